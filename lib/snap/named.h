// SPDX-License-Identifier: MIT
// Named captures: kept until somebody removes them, with a copy of the data disk that was taken in
// the same pause. One is never loaded itself, so it is never spent: who goes on from it gets a
// capture of his own, whose vmstate and mem are links to its files, and a copy of its data.
#pragma once
#include "snap/gen.h"

#define SNAP_NAMES_MAX 16u // of one instance

// While the guest stands still: a copy of disk, an open file, into the draft. Its last change keeps
// its time, for that is what the manifest knows the disk by.
int snap_data_keep(struct snap_draft *d, int disk, struct err *e) MUST_CHECK;
// Syncs it and fills m->data; none is fine. Before snap_draft_seal.
int snap_data_seal(struct snap_draft *d, struct snap_manifest *m, const struct pages_cancel *c,
		   struct err *e) MUST_CHECK;
// Reads the copy and compares it with the manifest.
int snap_data_verify(const struct snap_gen *g, const struct pages_cancel *c,
		     struct err *e) MUST_CHECK;

// Of an instance, locked or not: what is called name, damaged or not. Kind missing when nothing is.
int snap_named_find(const struct store *s, const char *name, snap_ref ret,
		    struct err *e) MUST_CHECK;
// May there be another one of that name? Kind conflict or quota when not.
int snap_named_room(const struct store *s, const char *name, struct err *e) MUST_CHECK;
// Under the instance's lock. Kind unavailable while somebody goes on from it, as he needs that lock
// in the end. Nothing of it is read, so that what is damaged can be removed. Gone already is fine.
int snap_named_remove(const struct store *s, const char *name, bool *ret_removed,
		      struct err *e) MUST_CHECK;

// A draft of kind full becomes a capture that goes on from g, a named one, locked: as says whose it
// is (the disks are those of g), cloned_from is "" for g's own instance; any other takes one that
// snap_may_share. Then the draft has all but
// SNAP_DATA where it belongs, which the caller moves.
int snap_share(struct snap_draft *d, const struct snap_gen *g, const struct snap_guest *as,
	       const char *cloned_from, const struct pages_cancel *c, struct err *e) MUST_CHECK;
// Is its mem the very file of that one?
bool snap_shares(const struct snap_gen *a, const struct snap_gen *b);
