// SPDX-License-Identifier: MIT
// A guest is brought to rest and captured, as a sleep and a named capture do it. Whatever fails,
// its VM goes on: the op in the record says "working" all the while, and ask_undo puts it back.
#pragma once
#include "life/taken.h"
#include "life/vm.h"
#include "snap/gen.h"
#include "state/pool.h"

struct take {
	const struct address *a;
	const char *what, *verb; // of the fault points life-<what>-<where>; what people call it
	int wait_ms;
	bool force;
	int64_t begun, frozen;
	uint64_t frozen_ms; // take_goes_on
	struct instance i;  // with its op
	struct vm vm;
	struct pool pool;
	struct snap_draft draft;
	struct snap_manifest m;
	bool quiesced;		  // the guest was at rest
	uint64_t bytes;		  // of its memory on the disk
	struct codec_list stages; // of struct start_stage
};
#define TAKE_NONE                                        \
	{                                                \
		.vm = VM_NONE, .draft = SNAP_DRAFT_NONE, \
	}
// Before anything of a guest is touched: one of a release whose captures cannot be loaded is not
// even paused, or its op undone.
int take_check_release(const struct address *a, struct err *e) MUST_CHECK;
// Opens VM and pool of an instance that has its op. What cannot be loaded again is refused: that is
// no capture.
int take_open(struct take *t, struct err *e) MUST_CHECK;
void take_close(struct take *t); // a draft that was not committed goes

// Notes when name was done, and passes the fault point.
int take_stage(struct take *t, const char *name, const char *fault, struct err *e) MUST_CHECK;
// The instance, locked, if this is still its op: the VM may have ended meanwhile.
int take_lock(const struct take *t, struct store *s, struct instance *ret,
	      struct err *e) MUST_CHECK;
// The guest comes to rest, diff_base is none on the disk, and the CPUs stand still.
int take_stand_still(struct take *t, struct err *e) MUST_CHECK;
// Of one that stands still: its data disk is safe, m says what it is, and its memory is in the
// draft.
int take_memory(struct take *t, bool delta, struct err *e) MUST_CHECK;
// The guest goes on from here, or its capture is safe.
void take_goes_on(struct take *t);
// Of one that is there; the stages are ret's from then on.
void take_tell(struct take *t, struct taken *ret);
// What a capture that came to nothing takes on the disk: room that the guest may need to go on.
void take_drop(struct take *t);
