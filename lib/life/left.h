// SPDX-License-Identifier: MIT
// What killed commands have left that nobody comes back to: templates of bases, clones that never
// ran, and the captures that were taken for them.
#pragma once
#include "snap/list.h"

struct left {
	struct address a;
	snap_ref ref;	 // a capture of that instance; "": the instance itself
	const char *why; // "template", "clone"
};
// Below a tenant or (NULL) of all: what is left goes and is appended to found, of struct left
// without anything to free; with dry_run it is only told. What somebody is at is left alone.
int left_sweep(const struct address *tenant, bool dry_run, int wait_ms, struct codec_list *found,
	       struct err *e) MUST_CHECK;

// What gc does for an instance, or a pool: that of snap/list.h, of a pool with what is left in its
// tenant. rows: of struct gc_row.
int left_gc(const struct address *a, bool dry_run, int wait_ms, struct codec_list *rows,
	    struct err *e) MUST_CHECK;
