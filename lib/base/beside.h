// SPDX-License-Identifier: MIT
// A part of a step that need not wait for the rest of it, in a forked process: it sees what the
// caller had when it began, and its error comes back as the caller's. Not for a caller with
// threads, and not while a lock is held: the lock would be held for as long as the part runs.
#pragma once
#include "base/err.h"
#include <sys/types.h>

struct beside {
	pid_t pid; // 0: none
	int from;  // its error, if any
};
#define BESIDE_NONE                  \
	{                            \
		.pid = 0, .from = -1 \
	}
#define cleanup_beside cleanup(beside_free)

// fn bounds its own time. It is killed when the caller dies.
typedef int (*beside_fn)(const void *arg, struct err *e);
int beside_begin(beside_fn fn, const void *arg, struct beside *ret, struct err *e) MUST_CHECK;
// Waits for its end. What was never begun, or has been waited for, is fine.
int beside_end(struct beside *b, struct err *e) MUST_CHECK;
// The same where the rest has failed already: nothing is left under way.
void beside_free(struct beside *b);
