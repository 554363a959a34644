// SPDX-License-Identifier: MIT
// What the next capture of a guest may be, and what it leaves behind. Pure: no file is touched.
//
// diff_base is the memory that a VM was loaded from. Every create call, a Full one too, clears the
// VMM's list of changed pages, whatever it answers: so diff_base is none, on disk, before the call
// is sent, and only a load brings one back.
#pragma once
#include "snap/manifest.h"

enum snap_event {
	SNAP_EV_BOOTED,	      // a cold boot
	SNAP_EV_LOADED,	      // from loaded
	SNAP_EV_CREATE_ASKED, // before any create call: sleep, named, clone
	SNAP_EV_ENDED,	      // the VMM is gone
};
// What diff_base is after it; loaded only for SNAP_EV_LOADED.
void snap_base_after(enum snap_event ev, const struct instance_base *loaded,
		     struct instance_base *base);

// What is known before a capture.
struct snap_before {
	struct instance_base base; // diff_base, read before it was set to none
	bool parent_there;	   // a capture of that name, in mem
	const char *parent_sha256; // its memory's digest
	bool release_good;	   // snap_release_check for SNAP_USE_DIFF
	bool holes_by_page;	   // pages_probe
	bool full_wanted;
};
enum snap_choice {
	SNAP_TAKE_DIFF,
	SNAP_TAKE_FULL_ASKED,
	SNAP_TAKE_FULL_NO_BASE, // cold boot, or a create call since the load
	SNAP_TAKE_FULL_GONE,
	SNAP_TAKE_FULL_OTHER, // that name is another memory now
	SNAP_TAKE_FULL_RELEASE,
	SNAP_TAKE_FULL_HOLES,
};
extern const char *const snap_choice_why[]; // for people; of SNAP_TAKE_DIFF ""
// *ret_parent: none but for SNAP_TAKE_DIFF.
enum snap_choice snap_choose(const struct snap_before *b, struct snap_parent *ret_parent);

// May it be given to a VMM? Kind state, saying what is missing, when not.
int snap_may_load(const struct snap_manifest *m, struct err *e) MUST_CHECK;
// May others than its own guest go on from it? Kind state when not.
int snap_may_share(const struct snap_manifest *m, struct err *e) MUST_CHECK;

// --- what nobody refers to

struct gc_item {
	snap_ref ref;
	int kind;	    // enum snap_kind
	bool damaged;	    // its manifest does not decode: what it refers to is not known
	snap_ref parent;    // while it is a delta; else none
	bool current_image; // a base of the image that starts use
	bool left;	    // a named one whose owner was killed
};
enum gc_why {
	GC_UNUSED, // goes
	GC_CURRENT,
	GC_DIFF_BASE,
	GC_NAMED,
	GC_PARENT,
	GC_DAMAGED,
	GC_DOUBT, // a damaged one may refer to it
	GC_IMAGE,
};
extern const char *const gc_why_names[]; // unused, current, diff-base, ...
struct gc_refs {
	const char *current; // what the link names, ""
	const snap_ref *used;
	size_t used_len; // diff_base, parents of captures in progress; for bases: of all instances
	bool doubt;	 // somebody's references could not be read
};
// why[i] for each item.
void gc_decide(const struct gc_item *items, size_t n, const struct gc_refs *refs, enum gc_why *why);
