// SPDX-License-Identifier: MIT
// What every verb begins with: what a dead predecessor left is brought to its end, then the verb is
// checked and written into the record as an op, under the tenant's and the instance's locks.
#pragma once
#include "audit/actions.h"
#include "state/instance.h"
#include "state/transition.h"

struct ask {
	enum action verb;
	enum op_stage stage; // what resumes a warm one is working, whatever is said here
	bool force;	     // past the pool's limits for what policy asks
	bool boot;	     // from the disks, also where a base is there
	const char *cold;    // why a start is cold although its memory was wanted, or NULL
	enum err_kind cold_kind;
};
// Writes op {verb, stage}. *ret, which may be NULL: the record with it. Not *ret_changed: there is
// nothing to do.
int ask_op(const struct address *a, const struct ask *q, int wait_ms, struct instance *ret,
	   bool *ret_changed, struct err *e) MUST_CHECK;
// Of a verb that works on a VM which goes on (stage working): it is done, and the instance has that
// status; noted as action, AUDIT_ACTIONS for none. Kind state when the op is another one by now, as
// the VM has ended meanwhile.
int ask_done(const struct address *a, const char *op_id, enum instance_status status,
	     enum audit_action action, int wait_ms, struct err *e) MUST_CHECK;
// The same for one that failed: its guest goes on as it was before.
int ask_undo(const struct address *a, const struct instance *seen, int wait_ms,
	     struct err *e) MUST_CHECK;

// Brings a record whose worker or VMM died into a state that is true; nothing to do is fine.
// ending: the instance is about to be stopped, so a guest that cannot be thawed is no hindrance.
int ask_settle(const struct address *a, bool ending, int wait_ms, struct err *e) MUST_CHECK;
// Of a verb whose backend failed: was its op not even begun by a step, it is taken back, and so
// told by *ret_never. Then nobody but the backend knows why.
int ask_take_back(const struct address *a, int wait_ms, bool *ret_never, struct err *e) MUST_CHECK;
// Behind it no op is left but that of somebody who was quicker: kind unavailable. Of the steps of a
// start none lives as long as its op, which so looks dead to who has not asked the backend since.
int ask_check_free(const struct instance *i, struct err *e) MUST_CHECK;
