// SPDX-License-Identifier: MIT
// Messages of terminals and of named sessions (frames 32 to 47), as in guest/proto.
#pragma once
#include "guest/proto.h"

#define GUEST_SESSIONS_MAX 32u	      // at once, ended ones included
#define GUEST_SESSION_KEEP (1u << 20) // bytes of output that a session keeps
typedef char guest_session_name[40];  // [a-z0-9][a-z0-9._-]{0,38}
bool guest_session_name_ok(const char *name);

struct guest_size { // TERMINAL
	uint16_t rows, cols;
};

struct guest_session_start {
	guest_session_name name;
	struct guest_exec exec;
};
void guest_session_start_clear(struct guest_session_start *s);

enum guest_attach_flags { GUEST_ATTACH_NO_INPUT = 1 };
struct guest_attach {
	guest_session_name name;
	uint32_t flags; // enum guest_attach_flags
};

struct guest_session { // what the agent says of one
	guest_session_name name;
	struct guest_words argv;
	uint64_t started_us; // UTC
	uint64_t kept;	     // bytes of output
	uint32_t pid;	     // of its command, also after its end
	uint32_t status;     // wait status once ended
	uint32_t attached;   // connections that read it
	bool ended, tty;
};
void guest_session_clear(struct guest_session *s);

struct guest_session_signal {
	guest_session_name name;
	uint32_t signal; // 0: forget the session, which has ended
};

void guest_size_put(struct buf *b, const struct guest_size *in);
int guest_size_get(const void *p, size_t len, struct guest_size *out, struct err *e) MUST_CHECK;
void guest_session_start_put(struct buf *b, const struct guest_session_start *in);
int guest_session_start_get(const void *p, size_t len, struct guest_session_start *out,
			    struct err *e) MUST_CHECK;
void guest_attach_put(struct buf *b, const struct guest_attach *in);
int guest_attach_get(const void *p, size_t len, struct guest_attach *out, struct err *e) MUST_CHECK;
void guest_session_put(struct buf *b, const struct guest_session *in);
int guest_session_get(const void *p, size_t len, struct guest_session *out,
		      struct err *e) MUST_CHECK;
void guest_session_signal_put(struct buf *b, const struct guest_session_signal *in);
int guest_session_signal_get(const void *p, size_t len, struct guest_session_signal *out,
			     struct err *e) MUST_CHECK;
