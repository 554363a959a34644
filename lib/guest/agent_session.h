// SPDX-License-Identifier: MIT
// Inside of the agent: named sessions, for lib/guest/agent_*.c only. A session is a command (struct
// exec) whose output goes onto a tape; connections read the tape, each at its own place.
#pragma once
#include "guest/agent_core.h"
#include "guest/session.h"

// A reader that has fallen this far behind holds up the command, for so long; then it loses output.
#define SESSION_LAG_MAX	    (GUEST_SESSION_KEEP - GUEST_WINDOW)
#define SESSION_PATIENCE_MS 2000

struct tape_run {
	uint64_t start;
	int stream;
};
struct tape {
	struct ring bytes;
	struct tape_run *runs;
	size_t first, count;
};
void tape_init(struct tape *t);
void tape_free(struct tape *t);
uint64_t tape_start(const struct tape *t); // the oldest byte kept
void tape_add(struct tape *t, int stream, const void *p, size_t len);
// The stream of the byte at pos (tape_start or later) and where that stream pauses; -1: not
// written.
int tape_peek(const struct tape *t, uint64_t pos, uint64_t *ret_end);
// Bytes of one stream from *pos on.
size_t tape_read(const struct tape *t, uint64_t *pos, void *out, size_t len);

struct session {
	struct agent *a;
	struct session *next;
	guest_session_name name;
	struct guest_words argv;
	uint64_t started_us;
	struct exec *exec; // its conn is the one whose input is taken
	bool done;	   // ended, and all its output is on the tape
	struct tape tape;
	struct loop_source *patience;
};

// agent_session.c
struct session *agent_session_find(const struct agent *a, const char *name);
int agent_session_start(struct conn *c, const struct guest_session_start *want,
			struct err *e) MUST_CHECK;
void agent_session_list(struct conn *c);
int agent_session_signal(struct agent *a, const struct guest_session_signal *want,
			 struct err *e) MUST_CHECK;
// agent_attach.c
int agent_attach(struct conn *c, const struct guest_attach *want, struct err *e) MUST_CHECK;
void agent_attach_to(struct conn *c, struct session *s, bool input);
void agent_attach_pump(struct session *s); // what is new to everybody who reads it
uint32_t agent_attach_count(const struct session *s);
void agent_attach_drop(struct session *s); // it is about to be freed
void agent_session_describe(const struct session *s, struct buf *out);
