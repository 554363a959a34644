// SPDX-License-Identifier: MIT
// Captures on disk (design.md section 7):
//	<pool>/snapshots/base-<hash>/		vmstate, mem, manifest.json
//	<instance>/snapshots/gen-<n>/		vmstate, delta or mem or mem.pack, manifest.json
//	<instance>/snapshots/gen-<n>/name -> NAME	of a named one: what it is called
//	<instance>/snapshots/delta -> gen-<n>	what a wake loads
// Each has a file `lock`. Who writes into a capture holds it exclusively, who reads a parent holds
// it shared; it comes after the store's locks and is held while they are not.
//
// A capture is made as .new-<ref>, whose `capture.json` says that one is in progress and over which
// parent: it is there before the instance's diff_base is set to none, so that nobody takes the
// parent away meanwhile. It appears whole, by one rename, or not at all.
#pragma once
#include "snap/manifest.h"

#define SNAP_DIR  "snapshots"
#define SNAP_LINK "delta" // beside the generations
#define SNAP_MARK "capture.json"
#define SNAP_NAME "name" // a link that leads nowhere: it is read when the manifest cannot be

struct snap_mark {		 // capture.json
	uint32_t schema_version; // 1
	int kind;		 // enum snap_kind
	struct snap_parent parent;
	time_text since;
	char boot_id[37];
	uint32_t pid;
	uint64_t pid_start;
};
extern const struct field snap_mark_fields[];

// A capture in the making.
struct snap_draft {
	struct store_draft draft; // draft.dir: where vmstate and mem, or delta, are put
	int lock;
	snap_ref ref;
	struct snap_mark mark;
};
#define SNAP_DRAFT_NONE                               \
	{                                             \
		.draft = STORE_DRAFT_NONE, .lock = -1 \
	}
#define cleanup_snap_draft cleanup(snap_draft_drop)
// Under the lock of the instance (of the pool for a base, whose ref is given; else ref is ""). A
// delta has a parent, which has to be there with that digest; anything else has none. May be let go
// of the store's lock afterwards: the draft has one of its own.
int snap_draft_begin(const struct store *s, enum snap_kind kind, const char *ref,
		     const struct snap_parent *parent, struct snap_draft *ret,
		     struct err *e) MUST_CHECK;
// Moves a file that a VMM of user uid has written out of a directory of its own, as vmstate, mem or
// delta. The directory is hostile: only a regular file of that user with one link is taken, and
// it is root's from then on. dir is where it lies, on the same file system.
int snap_draft_take(struct snap_draft *d, int dir, const char *from, uid_t uid, const char *as,
		    struct err *e) MUST_CHECK;
// Of a base and a named one: makes vmstate and mem files of root's own, which no VMM has open (for
// a moment the memory is there twice, where the file system cannot share it). Punches holes into a
// memory, syncs, takes the digests, fills kind, created_at, parent, vmstate
// and memory of m, and writes the manifest. Needs no lock of the store, and takes its time.
int snap_draft_seal(struct snap_draft *d, struct snap_manifest *m, const struct pages_cancel *c,
		    struct err *e) MUST_CHECK;
// Under the store's lock again: it appears, and is what the link names (a base and a named one: are
// only there).
int snap_draft_commit(const struct store *s, struct snap_draft *d, struct err *e) MUST_CHECK;
void snap_draft_drop(struct snap_draft *d); // removes what was not committed

// A capture that is there.
struct snap_gen {
	int dir, lock; // lock -1: not taken
	snap_ref ref;
	struct snap_manifest m;
};
#define SNAP_GEN_NONE                 \
	{                             \
		.dir = -1, .lock = -1 \
	}
#define cleanup_gen cleanup(snap_gen_close)
enum snap_lock { SNAP_UNLOCKED, SNAP_SHARED, SNAP_EXCLUSIVE };
// s: the instance or the pool, locked or not. Kind missing when there is no such capture.
int snap_gen_open(const struct store *s, const char *ref, enum snap_lock lock, int wait_ms,
		  struct snap_gen *ret, struct err *e) MUST_CHECK;
// The same for a load: what differs from wanted is refused by its name (snap_manifest_check).
int snap_gen_open_as(const struct store *s, const char *ref, enum snap_lock lock, int wait_ms,
		     const struct snap_wanted *wanted, struct snap_gen *ret,
		     struct err *e) MUST_CHECK;
void snap_gen_close(struct snap_gen *g);
// Its lock alone, exclusively, and nothing of it read: to remove it. Returns the descriptor.
int snap_gen_lock(const struct store *s, const char *ref, int wait_ms, struct err *e) MUST_CHECK;
// What a capture, an open directory, is called beside its manifest; "": nothing that is a name.
void snap_gen_name(int dir, name_text out);
// The parent that a manifest names: a generation of the instance or a base of its pool, whole in
// mem, with the digest that was recorded. Never another one. Locked shared.
int snap_parent_open(const struct store *s, const struct snap_parent *p, int wait_ms,
		     struct snap_gen *ret, struct err *e) MUST_CHECK;
// What the link names; "" when there is none. A link that names no generation is kind damaged.
int snap_current(const struct store *s, snap_ref out, struct err *e) MUST_CHECK;
// Under the instance's lock. ref "": the link goes.
int snap_set_current(const struct store *s, const char *ref, struct err *e) MUST_CHECK;

// Just before the load call, with the capture locked exclusively: on disk when it returns. Spent
// already is kind state. A base and a named one are not marked. Undone only when the VMM is known
// never to have been called.
int snap_spend(struct snap_gen *g, struct err *e) MUST_CHECK;
int snap_unspend(struct snap_gen *g, struct err *e) MUST_CHECK;

// Are the files those of the manifest? vmstate is always read; mem only with all, or where it is
// not as it was when its digest was taken. *ret_read (may be NULL): the memory was read.
int snap_gen_verify(const struct snap_gen *g, bool all, const struct pages_cancel *c,
		    bool *ret_read, struct err *e) MUST_CHECK;
// The memory alone.
int snap_memory_verify(const struct snap_gen *g, bool all, const struct pages_cancel *c,
		       bool *ret_read, struct err *e) MUST_CHECK;
// Removes from an exclusively locked capture what its manifest does not name: the work of a killed
// compose, pack or unpack, before or behind its one step that counts.
int snap_gen_settle(const struct snap_gen *g, struct err *e) MUST_CHECK;
const char *snap_memory_file(int form); // its name
// size, inode and time of a memory file into m.
int snap_memory_seen(int fd, struct snap_memory *m, struct err *e) MUST_CHECK;
