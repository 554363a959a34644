// SPDX-License-Identifier: MIT
// Inside of guest/host, for lib/guest/host*.c only: one connection, read and written by frames.
#pragma once
#include "guest/drive.h"
#include "guest/host.h"

#define HOST_CONN_OUT_MAX ((size_t)2 * GUEST_WINDOW) // bytes of answers

struct guest_conn {
	int fd;	     // non-blocking
	int gone_fd; // readable when the VMM has ended, or -1; not ours
	struct buf in, out;
	size_t used;	     // bytes at the front of in that were taken
	bool greeted;	     // the peer's hello has come
	int64_t hello_until; // its deadline
};

// Our hello goes out with what is sent first; the peer's is taken when it comes.
struct guest_conn *host_conn_new(int fd, int gone_fd, int64_t hello_until);
// Hello in both directions, and nothing else yet.
int host_conn_greet(struct guest_conn *c, struct err *e) MUST_CHECK;
// The deadline (0: none) of whatever comes next, which may be the hello.
int64_t host_conn_until(const struct guest_conn *c, int64_t deadline_ms);
// The next whole frame if it is there already: 1, with *payload valid until the next call; else 0.
int host_conn_next(struct guest_conn *c, struct guest_head *h, const uint8_t **payload,
		   struct err *e) MUST_CHECK;
// Waits for it. Kind unavailable when the peer closes, failed when the VMM has ended.
int host_conn_read(struct guest_conn *c, int64_t deadline_ms, struct guest_head *h,
		   const uint8_t **payload, struct err *e) MUST_CHECK;
// A peer that makes us answer and does not read the answers is not read either.
bool host_conn_may_read(const struct guest_conn *c);
// One read(2) into c->in; nothing being there yet is no failure.
int host_conn_fill(struct guest_conn *c, struct err *e) MUST_CHECK;
// As much of c->out as the socket takes now.
int host_conn_push(struct guest_conn *c, struct err *e) MUST_CHECK;
// All of it.
int host_conn_flush(struct guest_conn *c, int64_t deadline_ms, struct err *e) MUST_CHECK;
// An ERROR frame as *e, with "guest: " before it; anything else as a breach of the protocol.
int host_conn_refused(const struct guest_head *h, const uint8_t *payload, struct err *e);
// SECRETS or CONFIG CHANGED, to go out with the next flush; and what is said to it.
void host_drive_put(struct guest_conn *c, enum guest_drive which,
		    const uint8_t digest[GUEST_DIGEST]);
int host_drive_answer(struct guest_conn *c, int64_t deadline_ms, struct err *e) MUST_CHECK;
// Waits for events on fd, for the end of the VMM, or for the deadline (an error).
int host_wait(int fd, short events, int gone_fd, int64_t deadline_ms, struct err *e) MUST_CHECK;
