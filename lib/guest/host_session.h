// SPDX-License-Identifier: MIT
// The host's side of terminals and named sessions. As in guest/host.h: calls that block, nothing
// that grows with what the guest sends.
#pragma once
#include "guest/host.h"
#include "guest/session.h"
#include <termios.h>

// A terminal of ours. It is raw between guest_term_raw and guest_term_restore; whoever opened it
// restores it on every way out.
struct guest_term {
	int fd;
	bool raw;
	struct termios saved;
};
bool guest_term_open(struct guest_term *t, int fd); // false: it is none
void guest_term_size(const struct guest_term *t, struct guest_size *out);
int guest_term_raw(struct guest_term *t, struct err *e) MUST_CHECK;
void guest_term_restore(struct guest_term *t);
#define cleanup_term cleanup(guest_term_restore)

// "ctrl-p,ctrl-q", "ctrl-]" or single characters, with commas between; "none": no keys.
#define GUEST_KEYS_MAX 8
struct guest_keys {
	char key[GUEST_KEYS_MAX];
	size_t count;
};
int guest_keys_parse(const char *s, struct guest_keys *out, struct err *e) MUST_CHECK;

// Who sits before it. A terminal's size goes with the request and follows SIGWINCH (let io->signals
// have it, and SIGTTOU), and while a command with a terminal of its own runs, ours is raw. Then,
// and with any session, SIGTERM and SIGHUP are for us: we leave. So we do when the terminal has
// gone.
struct guest_seat {
	struct guest_term *term;       // NULL: none
	const struct guest_keys *keys; // typed there, they make us leave a session; NULL: none
};
// guest_run for a command with a terminal (GUEST_EXEC_TTY). When we left because of a signal,
// *ret_wait_status tells that one.
int guest_run_seated(struct guest_conn *c, const struct guest_exec *x, const struct guest_io *io,
		     const struct guest_seat *seat, int *ret_wait_status, struct err *e) MUST_CHECK;

// How a caller and a session part.
struct guest_parting {
	bool detached; // it goes on: by the keys, or by a signal for us
	int signal;    // that signal, or 0
	int status;    // else its wait status
};
// Starts a session and stays with it as guest_run does with a command (detach: does not stay).
int guest_session_begin(struct guest_conn *c, const struct guest_session_start *s, bool detach,
			const struct guest_io *io, const struct guest_seat *seat,
			struct guest_parting *ret, struct err *e) MUST_CHECK;
int guest_session_attach(struct guest_conn *c, const char *name, const struct guest_io *io,
			 const struct guest_seat *seat, struct guest_parting *ret,
			 struct err *e) MUST_CHECK;

struct guest_session_list {
	struct guest_session items[GUEST_SESSIONS_MAX];
	size_t count;
};
void guest_session_list_clear(struct guest_session_list *l);
int guest_ask_sessions(struct guest_conn *c, int64_t deadline_ms, struct guest_session_list *ret,
		       struct err *e) MUST_CHECK;
// signal 0: forget it
int guest_ask_session_signal(struct guest_conn *c, const char *name, uint32_t signal,
			     int64_t deadline_ms, struct err *e) MUST_CHECK;
