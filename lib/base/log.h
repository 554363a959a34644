// SPDX-License-Identifier: MIT
// Messages on stderr, one line each, control bytes replaced. Form: text; JSON lines with
// MVM_LOG=json; with "<N>" priorities when stderr is the journal ($JOURNAL_STREAM fits fd 2).
// Level from MVM_LOG_LEVEL (error, warn, info, debug; default info). With info or debug each call
// of a tool ends with a line of its own: what it did, to what, how it ended and how long it took.
#pragma once
#include "base/err.h"

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

void log_open(const char *tool);
void log_default(enum log_level level); // the level when MVM_LOG_LEVEL does not say
void log_line(enum log_level level, const char *object, const char *fmt, ...) PRINTF(3, 4);
#define log_error(object, ...) log_line(LOG_LEVEL_ERROR, object, __VA_ARGS__)
#define log_warn(object, ...)  log_line(LOG_LEVEL_WARN, object, __VA_ARGS__)
#define log_info(object, ...)  log_line(LOG_LEVEL_INFO, object, __VA_ARGS__)
#define log_debug(object, ...) log_line(LOG_LEVEL_DEBUG, object, __VA_ARGS__)
struct log_span {
	const char *action;  // the verb
	const char *object;  // what it was about, may be NULL
	const char *outcome; // "done", or the code word of the error
	int status;	     // exit status
	int64_t elapsed_ms;
};
// Only where MVM_LOG_LEVEL asks for it: stderr is for the one error line otherwise.
void log_span(const struct log_span *s);
// Replaces control bytes and broken UTF-8 by '?', in place.
void log_clean(char *s);
// sd_notify(3)'s protocol to $NOTIFY_SOCKET: no socket is fine and does nothing.
int log_notify(const char *state, struct err *e) MUST_CHECK;
// Waits until the manager has taken what was sent before (sd_notify_barrier(3)).
int log_notify_barrier(int timeout_ms, struct err *e) MUST_CHECK;
