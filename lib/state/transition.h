// SPDX-License-Identifier: MIT
// The lifecycle as one table: which verb leads from which state to which (design.md section 4).
// The diagram in the documentation is printed from it.
#pragma once
#include "state/instance.h"

enum action {
	DO_NONE,
	DO_READY, // artifacts are there (build)
	DO_START, // also resumes a warm one and wakes a sleeping one
	DO_STOP,
	DO_WARM,  // pause, stays in memory
	DO_SLEEP, // capture, then end
	DO_WAKE,
	DO_DISCARD,  // drop the capture of a sleeping one
	DO_SNAPSHOT, // a named one; the VM survives
	DO_CLONE,    // a copy of it; the VM survives
	DO_EXIT,     // the VMM ended by itself, or the host rebooted
	DO_DESTROY,
	ACTIONS
};
extern const char *const action_names[]; // "", "ready", "start", ... NULL-terminated

// *to is set when the verb may go on: *to == from means that there is nothing to change (start on
// running; snapshot and clone keep the state). Otherwise kind state, naming both states and, where
// there is one, the verb that would help.
int transition_check(enum action action, enum instance_status from, enum instance_status *to,
		     struct err *e) MUST_CHECK;
// The same with what the record knows: wake on a stopped instance is a cold start when its last
// exit was not asked for (*ret_cold is then the cause, else "").
int transition_check_instance(enum action action, const struct instance *i,
			      enum instance_status *to, const char **ret_cold,
			      struct err *e) MUST_CHECK;
// What an instance counts as while its op is in flight: of the state it left and the one it goes to
// the one that uses more.
enum instance_status transition_usage(const struct instance *i);
// Graphviz; a Markdown table of states and verbs.
void transition_dot(struct buf *out);
void transition_markdown(struct buf *out);
