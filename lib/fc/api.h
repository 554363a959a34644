// SPDX-License-Identifier: MIT
// Client of Firecracker's API over a unix socket (libcurl, by fc/curl.h). It speaks to
// firecracker and to mvm-fc-qemu alike.
//
// The socket lies in a folder the VM's uid owns, so it is hostile: the caller opens it with the
// rules of design.md section 3 and hands over the descriptor; the peer has to be that uid.
// Answers are capped at 1 MiB; every call has a deadline of its own.
#pragma once
#include "base/buf.h"
#include "base/err.h"

struct api;
#define cleanup_api cleanup(api_freep)

// dir_fd/name: the socket; waits until it is there and answers, or until deadline_ms (clock_ms()),
// or until dead_fd (a pidfd of the VMM, -1 for none) becomes readable.
int api_open(int dir_fd, const char *name, uint32_t uid, int64_t deadline_ms, int dead_fd,
	     struct api **ret, struct err *e) MUST_CHECK;
void api_freep(struct api **a);

// status 2xx: 0, with the body in *answer when that is not NULL. Anything else: kind failed, with
// the VMM's fault_message. No answer within timeout_ms: kind timeout, and what the VMM did is
// unknown.
int api_call(struct api *a, const char *method, const char *path, const char *body, int timeout_ms,
	     struct buf *answer, struct err *e) MUST_CHECK;
