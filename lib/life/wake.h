// SPDX-License-Identifier: MIT
// A guest goes on: from memory, from its capture, and the second half of the latter once the VM has
// been loaded and its guest repaired.
#pragma once
#include "life/held.h"
#include "life/launch.h"
#include "state/transition.h"

// start or wake, whatever there is to go on from. A capture that is refused or lost makes it a cold
// start, whose cause is in the record. boot: one that does not run boots, also where its pool has a
// base.
int wake_run(const struct address *a, enum action verb, bool boot, int wait_ms, bool *ret_changed,
	     struct err *e) MUST_CHECK;
// Of a paused one, with op working in the record; i: as it was written.
int wake_warm(const struct address *a, const struct instance *i, int wait_ms,
	      struct err *e) MUST_CHECK;

// In commit, of a VM that was loaded: present secrets and configuration, the bridge, thaw.
int wake_commit(const struct address *a, const struct launch *l, int vmm_fd,
		struct err *e) MUST_CHECK;
// Under the locks: what its next capture may be a delta of.
int wake_note_base(struct held *h, const struct launch *l, struct err *e) MUST_CHECK;
// In commit, of any start: its stage times into the state. more: what came behind READY.
void wake_keep_start(struct held *h, const struct start_record *r);
