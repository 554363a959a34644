// SPDX-License-Identifier: MIT
// Objects on disk (design.md section 3): one directory each, a `lock` file that is never renamed,
// documents that are replaced whole. Readers take no lock.
//
// Locks are taken in the order node, tenant, pool, instance; taking one while an equal or lower one
// is held by this process is a bug and asserts. store_lock waits up to wait_ms, then fails with
// kind unavailable and names the holder.
//
// A document that does not decode is ERR_DAMAGED (file, key, way out in the message); an absent
// object is ERR_MISSING; neither is ever treated as the other.
#pragma once
#include "base/path.h"
#include "json/codec.h"

enum store_level { STORE_NODE, STORE_TENANT, STORE_POOL, STORE_INSTANCE, STORE_LEVELS };

#define STORE_NEW	".new-" // an object that is being made
#define STORE_OLD	".old-" // an object that is being removed
#define STORE_DIR_MODE	0750
#define STORE_FILE_MODE 0640

struct store {
	int dir;  // -1: closed
	int lock; // -1: not locked
	enum store_level level;
	path_text path;	   // of the directory, for messages
	address_text name; // "" for the node
};
#define STORE_NONE                    \
	{                             \
		.dir = -1, .lock = -1 \
	}
#define cleanup_store cleanup(store_close)

// Opens the directory of an object without its lock. a may be NULL for STORE_NODE; segments of a
// below the level are ignored.
int store_open(struct store *s, enum store_level level, const struct address *a,
	       struct err *e) MUST_CHECK;
// The same and takes its lock. The node's directory is made when it is missing.
int store_lock(struct store *s, enum store_level level, const struct address *a, int wait_ms,
	       struct err *e) MUST_CHECK;
void store_close(struct store *s); // unlocks; closed already is fine
bool store_exists(enum store_level level, const struct address *a);

// A document of the object. out must be zeroed; it is filled only on success (then codec_free it if
// its table owns heap memory).
int store_load(const struct store *s, const char *file, const struct field *tab, void *out,
	       struct err *e) MUST_CHECK;
// The document without which the object is nothing (tenant.json, ...): its absence is damage,
// unless the whole object is gone by now.
int store_load_record(const struct store *s, const char *file, const struct field *tab, void *out,
		      struct err *e) MUST_CHECK;
// Turns *e (a check that failed on what a file holds) into kind damaged, naming the file.
int store_damaged(const struct store *s, const char *file, struct err *e);
// Replaces a document; the lock must be held.
int store_save(const struct store *s, const char *file, const struct field *tab, const void *in,
	       struct err *e) MUST_CHECK;

// A new object below a locked parent, at <parent>/<sub>/<id> (sub "" : directly below). It is built
// in .new-<id>, with a lock file, and appears by store_draft_commit, whole and synced, or not at
// all. What a crash leaves is removed by the next draft of that id or by store_sweep.
struct store_draft {
	int parent; // the directory <parent>/<sub>
	int dir;    // the new directory
	char name[80];
};
#define STORE_DRAFT_NONE                \
	{                               \
		.parent = -1, .dir = -1 \
	}
#define cleanup_draft cleanup(store_draft_drop)
int store_draft_begin(const struct store *parent, const char *sub, const char *id,
		      struct store_draft *ret, struct err *e) MUST_CHECK;
int store_draft_mkdir(const struct store_draft *d, const char *name, mode_t mode,
		      struct err *e) MUST_CHECK;
int store_draft_save(const struct store_draft *d, const char *file, const struct field *tab,
		     const void *in, struct err *e) MUST_CHECK;
// Kind conflict when an object of that id exists.
int store_draft_commit(struct store_draft *d, struct err *e) MUST_CHECK;
void store_draft_drop(struct store_draft *d); // removes what was not committed

// Takes <parent>/<sub>/<id> out of sight at once (renamed to .old-<id>) and then removes it. The
// parent's lock must be held. Gone already is fine.
int store_remove(const struct store *parent, const char *sub, const char *id,
		 struct err *e) MUST_CHECK;

// Names of the entries of <s>/<sub>, sorted, without dot entries. An absent sub is an empty list.
struct store_names {
	char (*items)[NAME_MAX_LEN + 1];
	size_t len;
};
#define STORE_NAMES_NONE \
	{                \
		NULL, 0  \
	}
#define cleanup_names cleanup(store_names_free)
int store_list(const struct store *s, const char *sub, struct store_names *ret,
	       struct err *e) MUST_CHECK;
void store_names_free(struct store_names *n);
// Lists by address: tenants (a NULL), pools of a tenant, instances of a pool.
int store_list_tenants(struct store_names *ret, struct err *e) MUST_CHECK;
int store_list_pools(const char *tenant, struct store_names *ret, struct err *e) MUST_CHECK;
int store_list_instances(const char *tenant, const char *pool, struct store_names *ret,
			 struct err *e) MUST_CHECK;

// Removes what killed creators and removers left: .new-* and .old-* entries of the node, of every
// tenant and pool (under their locks), and claims in ids/ whose instance does not exist. Each
// removed path (relative to the state root) is appended to found, one a line. With dry_run nothing
// is removed.
int store_sweep(bool dry_run, int wait_ms, struct buf *found, struct err *e) MUST_CHECK;

// field_check functions for the tables of this layer
int store_check_name(const char *text, struct err *e);
int store_check_instance(const char *text, struct err *e);
int store_check_time(const char *text, struct err *e);
int store_check_subnet(const char *text, struct err *e);
int store_check_ip(const char *text, struct err *e);
