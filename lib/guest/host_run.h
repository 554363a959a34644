// SPDX-License-Identifier: MIT
// Inside of guest/host, for lib/guest/host*.c only: the streams of a command and of a process here.
#pragma once
#include "guest/host_conn.h"
#include "guest/host_session.h"

struct host_run {
	struct guest_conn *conn;
	const struct guest_io *io;
	struct guest_seat seat;
	bool session;	       // it outlives us
	uint8_t answer;	       // the frame that says that it has begun: STARTED, or SESSION
	int fd[GUEST_STREAMS]; // -1: ended, or none
	struct buf pending[GUEST_STREAMS];
	int older; // of stdout and stderr, the one whose pending bytes came first
	uint32_t room[GUEST_STREAMS]; // stdin: what the guest takes; else what it may send
	bool started, exited;
	int status;
	int64_t deadline; // of what is waited for now, 0: none
	int ends;	  // signals sent because of the deadline: TERM, KILL
	size_t keys;	  // of the detach keys: that many were typed, and are held back
	bool detached;	  // by them
	int left;	  // the signal that made us leave, 0: none
	int asked;	  // signals in a row that asked for the end
	int64_t asked_ms; // when the last one did
};

// The terminal's size goes before the request.
void host_run_size(struct host_run *r);
// One read(2) of our stdin, when there is something and the guest has room.
void host_run_input(struct host_run *r);
// From the request to the end, whichever comes; the request is in conn->out.
int host_run_all(struct host_run *r, struct err *e) MUST_CHECK;
