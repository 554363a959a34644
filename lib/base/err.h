// SPDX-License-Identifier: MIT
// Errors: a fixed record on the caller's stack, passed last, filled by whoever fails first and
// wrapped by each level that knows more. Nothing is allocated and nothing has to be freed.
//
// A fallible call returns 0 (or a count) or -errno and sets *e exactly when it fails. The kind says
// what the exit status, the code word and "retryable" are: one table (err_kinds), printed in the
// manual. e may never be NULL.
#pragma once
#include "base/base.h"

enum err_kind {
	ERR_FAILED,	  // 1   failed, cause in the message
	ERR_DAMAGED,	  // 1   "damaged": a state file that does not decode
	ERR_USAGE,	  // 2   usage or invalid input (argv, stdin, a document)
	ERR_STATE,	  // 3   exists, but not in the asked state
	ERR_MISSING,	  // 4   not found
	ERR_CONFLICT,	  // 5   conflict: exists with another specification
	ERR_QUOTA,	  // 6   quota or capacity
	ERR_DENIED,	  // 7   denied
	ERR_UNAVAILABLE,  // 8   unavailable, try again (locked, busy, KVM, daemon, peer)
	ERR_TIMEOUT,	  // 124 timed out
	ERR_EXEC_LOST,	  // 125 exec: the agent failed
	ERR_EXEC_DENIED,  // 126 exec: not executable
	ERR_EXEC_MISSING, // 127 exec: not found
	ERR_KINDS
};

struct err_row {
	const char *code; // the word in --errors json
	int exit;
	int no; // errno value (positive) that err_kind sets for this kind
	bool retryable;
	const char *doc;
};
extern const struct err_row err_kinds[ERR_KINDS];

struct err {
	int no; // errno value, never 0 once set
	enum err_kind kind;
	int exit;	  // 0: the kind's own; else this status (a child's or a guest's, passed on)
	char object[160]; // address or path of what it is about, may be empty
	char hint[240];	  // what to do, may be empty
	char msg[904];	  // outermost first: "tenant acme: open tenant.json: Permission denied"
};

// All return -(their errno value). err_set keeps no and derives the kind from it.
int err_set(struct err *e, int no, const char *fmt, ...) PRINTF(3, 4);
int err_sys(struct err *e, const char *fmt, ...) PRINTF(2, 3); // errno; appends ": strerror"
int err_kind(struct err *e, enum err_kind kind, const char *fmt, ...) PRINTF(3, 4);
int err_usage(struct err *e, const char *fmt, ...) PRINTF(2, 3); // the caller's words are off
// Prepends "fmt: "; returns -e->no so that it can stand in a return statement.
int err_wrap(struct err *e, const char *fmt, ...) PRINTF(2, 3);
// The same without the ": ".
int err_prefix(struct err *e, const char *fmt, ...) PRINTF(2, 3);
// Replaces the hint; returns -e->no.
int err_hint(struct err *e, const char *fmt, ...) PRINTF(2, 3);
// Names the object when none is named yet; returns -e->no.
int err_object(struct err *e, const char *fmt, ...) PRINTF(2, 3);
int err_exit(const struct err *e); // exit status of design.md section 2
void err_clear(struct err *e);
// The object of --errors json, and back from the last line that a tool of ours wrote to stderr
// (false, with *e untouched, when the line is no such object). exit is the status it ended with.
struct buf;
void err_to_json(const struct err *e, const char *request_id, struct buf *out);
bool err_from_json(const char *line, int exit, struct err *e);
