// SPDX-License-Identifier: MIT
// The verbs a user asks for: each checks and writes an op under the tenant's lock, asks the
// backend, then only reads what the steps left. What a dead predecessor left half done is finished
// first, so repeating a verb always goes on.
#pragma once
#include "state/instance.h"

// Boots, goes on from memory or from a capture, or, running already, does nothing. On failure the
// error is the start's own, with the console's last lines. cold: a boot, before which a capture is
// dropped.
int verb_start(const struct address *a, bool cold, int wait_ms, bool *ret_changed,
	       struct err *e) MUST_CHECK;
// The same for what was put to rest, or ended without having been asked to.
int verb_wake(const struct address *a, int wait_ms, bool *ret_changed, struct err *e) MUST_CHECK;
// Pauses in memory. force: also one that policy would have to leave alone yet.
int verb_warm(const struct address *a, bool force, int wait_ms, bool *ret_changed,
	      struct err *e) MUST_CHECK;
// Captures and ends. force: that, without the guest's own programs, and also a guest that does not
// come to rest, as it is.
int verb_sleep(const struct address *a, bool force, int wait_ms, bool *ret_changed,
	       struct err *e) MUST_CHECK;
// Drops the capture of one that sleeps: it is stopped then.
int verb_discard(const struct address *a, int wait_ms, bool *ret_changed, struct err *e) MUST_CHECK;
int verb_stop(const struct address *a, bool force, int wait_ms, bool *ret_changed,
	      struct err *e) MUST_CHECK;
// Stops it if it runs, frees what the kernel and the backend hold, removes the record. Gone is
// fine.
int verb_destroy(const struct address *a, bool keep_volumes, int wait_ms, bool *ret_changed,
		 struct err *e) MUST_CHECK;
// The same of one that does not run: kind state when it does.
int verb_destroy_idle(const struct address *a, int wait_ms, bool *ret_changed,
		      struct err *e) MUST_CHECK;
