// SPDX-License-Identifier: MIT
// Inside of guest/host: two streams between descriptors of ours and a request that is answered as a
// command is (STARTED, DATA, WINDOW, EOF, EXIT).
#pragma once
#include "guest/host_conn.h"
#include "guest/transfer.h"

struct stream {
	struct guest_conn *conn;
	int in, out;	  // -1: none, or ended. out is non-blocking; both stay the caller's
	bool out_socket;  // its end is a shutdown(2), else left to the caller
	int64_t start_ms; // until it must have started, a deadline
	int64_t idle_ms;  // for the guest to move anything once it is waited for; 0: for ever
	// Of the stream itself.
	bool started, exited, in_ended, out_ended, out_lost;
	int status;
	uint32_t room_in, room_out, owed;
	struct buf pending; // for out
	struct buf words;   // stream 2, GUEST_FILES_DONE_MAX bytes at most
	int64_t moved;	    // when something last did
};
// The request is in conn->out already. 0: EXIT has come and all is written. out_lost: who read out
// has gone, which ends it with -EPIPE.
int host_stream_run(struct stream *s, struct err *e) MUST_CHECK;
void host_stream_clear(struct stream *s);
