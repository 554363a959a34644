// SPDX-License-Identifier: MIT
// Named captures of an instance (snap/named.h): taken while it goes on, gone back to, cloned from.
#pragma once
#include "life/taken.h"
#include "snap/named.h"
#include "state/instance.h"

struct named_row {		 // what `mvm-instance snapshot list` prints
	uint32_t schema_version; // 1
	name_text name;
	snap_ref ref;
	time_text created_at;
	bool quiesced; // its guest was at rest: else no clone is made of it
	char revision_hash[65];
	uint64_t mem_bytes;
	uint64_t data_bytes; // of its copy of the data disk, 0: it has none
	uint64_t allocated;  // on the disk, all files
	bool left;	     // taken for a clone that was killed
	char error[256];     // why its manifest is no good; without a name it may be none at all
};
extern const struct field named_row_fields[];
int named_list(const struct address *a, struct codec_list *rows, struct err *e) MUST_CHECK;

struct named_created {
	uint32_t schema_version; // 1
	bool changed;		 // true
	name_text name;
	struct taken taken;
};
extern const struct field named_created_fields[];
// Of one that runs or is warm, which goes on as it was. force: without the guest's own programs,
// and as it is when it does not come to rest. own: for this process alone, so that it goes when
// that is killed. The caller frees ret by named_created_free.
int named_create(const struct address *a, const char *name, bool force, bool own, int wait_ms,
		 struct named_created *ret, struct err *e) MUST_CHECK;
void named_created_free(struct named_created *r);
// None of that name is fine.
int named_remove(const struct address *a, const char *name, int wait_ms, bool *ret_changed,
		 struct err *e) MUST_CHECK;
// One that does not run gets that disk and goes on from that memory. What it has on its disk is
// lost; force: so is the capture that it sleeps in.
int named_restore(const struct address *a, const char *name, bool force, int wait_ms,
		  bool *ret_changed, struct err *e) MUST_CHECK;

// --- what restore and clone share (named_use.c)

// Opens it locked, whole, read and compared: what a guest of this instance is here and now has to
// be what it was.
int named_open(const struct address *a, const char *name, int wait_ms, struct snap_gen *ret,
	       struct err *e) MUST_CHECK;
// to, which does not run, sleeps with its memory and disk afterwards; cloned_from: "" when it is
// to's own. Killed anywhere its disk is the old one or the new one.
int named_give(const struct snap_gen *g, const struct address *to, const char *cloned_from,
	       int wait_ms, struct err *e) MUST_CHECK;

// n new instances of its pool, each with a copy of its disk, begin where it was when that capture
// was taken; name NULL: now, and the capture goes afterwards. Their records are made here, their
// addresses written to created, one a line; each is then started by named_clone_start.
struct named_clone {
	struct address of;
	name_text name;
	bool own; // the capture was taken for this
	struct snap_gen gen;
};
#define NAMED_CLONE_NONE             \
	{                            \
		.gen = SNAP_GEN_NONE \
	}
int named_clone_begin(struct named_clone *c, const struct address *of, const char *name, uint32_t n,
		      int wait_ms, struct buf *created, struct err *e) MUST_CHECK;
// What cannot be started is destroyed again.
int named_clone_start(const struct named_clone *c, const struct address *a, int wait_ms,
		      struct err *e) MUST_CHECK;
// failed: addresses among which some were not started, "" for none. What of them is half made goes.
void named_clone_end(struct named_clone *c, const char *failed, int wait_ms);
