// SPDX-License-Identifier: MIT
// What captures an instance or a pool has, and what of them goes.
#pragma once
#include "snap/gen.h"
#include "snap/rules.h"

struct snap_row {
	uint32_t schema_version; // 1
	snap_ref ref;
	bool current;
	int kind;	 // enum snap_kind
	int form;	 // enum snap_form
	int compression; // enum pool_compression
	bool spent;
	uint64_t bytes;	    // of the memory
	uint64_t allocated; // on the disk, all files
	snap_ref parent;    // of a delta, else none
	name_text name;
	char revision_hash[65];
	time_text created_at;
	bool left;	 // a named one that was taken for a process that was killed
	char error[256]; // why its manifest is no good; then only the name is known, and that kind
};
extern const struct field snap_row_fields[];
// struct snap_row, in the order of their numbers. s: an instance or a pool, locked or not.
int snap_list(const struct store *s, struct codec_list *rows, struct err *e) MUST_CHECK;

// The capture that word (NULL: none was given) names: without one what a wake would load, of an
// instance. Whether it is there is not looked at.
int snap_pick(const struct store *s, const char *word, snap_ref out, struct err *e) MUST_CHECK;
bool snap_there(const struct store *s, const char *ref);

struct gc_row {
	uint32_t schema_version; // 1
	char ref[80];		 // of what is there, or the name of what a crash left
	char why[16];		 // gc_why_names, "busy", "left-over", "template"
	bool removed;
	uint64_t allocated;
};
extern const struct field gc_row_fields[];
// Under the lock of s. Removes what nobody refers to and what killed captures left; with dry_run
// only says so. only: that capture alone, NULL for all. Whoever is about to refer to a capture
// holds it locked until that is written down: first diff_base, then the mark of a draft, then the
// manifest; so it is read in that order.
int snap_gc(const struct store *s, const char *only, bool dry_run, struct codec_list *rows,
	    struct err *e) MUST_CHECK;
// The same for a pool whose starts use the base called here and no other: one of the same image
// that was taken by another VMM, on another kernel or CPU, goes as well. snap_gc keeps all of the
// image.
int snap_gc_bases(const struct store *s, const char *here, bool dry_run, struct codec_list *rows,
		  struct err *e) MUST_CHECK;
// A base that is damaged, under the lock of its pool: removed, so that another can be taken. Kind
// state while a delta may be laid over it, unavailable while it is loaded.
int snap_base_remove(const struct store *s, const char *ref, struct err *e) MUST_CHECK;
