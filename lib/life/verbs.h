// SPDX-License-Identifier: MIT
// The verbs a user asks for: each checks and writes an op under the tenant's lock, asks the
// backend, then only reads what the steps left. What a dead predecessor left half done is finished
// first, so repeating a verb always goes on.
#pragma once
#include "state/instance.h"

// Boots (or, running already, does nothing). On failure the error is the start's own, with the
// console's last lines.
int verb_start(const struct address *a, int wait_ms, bool *ret_changed, struct err *e) MUST_CHECK;
int verb_stop(const struct address *a, bool force, int wait_ms, bool *ret_changed,
	      struct err *e) MUST_CHECK;
// Stops it if it runs, frees what the kernel and the backend hold, removes the record. Gone is
// fine.
int verb_destroy(const struct address *a, bool keep_volumes, int wait_ms, bool *ret_changed,
		 struct err *e) MUST_CHECK;
// Brings a record whose worker or VMM died into a state that is true; nothing to do is fine.
int verb_repair(const struct address *a, int wait_ms, struct err *e) MUST_CHECK;
