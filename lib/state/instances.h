// SPDX-License-Identifier: MIT
// Making, finding and forgetting instance records. Starting, stopping and all that touches a kernel
// object is in lib/life.
#pragma once
#include "state/instance.h"

// n new records in a->tenant/a->pool; with a->instance that one (n is 1: equal already exists ->
// *made 0). created gets "t/p/i" lines, one for each that was made.
int instances_create(const struct address *a, uint32_t n, bool dry_run, int wait_ms, uint32_t *made,
		     struct buf *created, struct err *e) MUST_CHECK;
// The same for a caller that holds the tenant's and the pool's locks. own: they are this process's
// until they have run (instance_own).
int instances_create_locked(const struct store *pool_store, const struct tenant *t,
			    const struct pool *p, const struct address *a, uint32_t n, bool own,
			    uint32_t *made, struct buf *created, struct err *e) MUST_CHECK;
// A template's record (role template, offset 0, no claim on an address); a->instance is filled.
int instances_create_template(struct address *a, int wait_ms, struct instance *ret,
			      struct err *e) MUST_CHECK;

// Removes record and claim of an instance that does not run (kind state otherwise) and has no op
// alive. What the kernel holds for it must be gone before. keep_volumes moves volumes/ to
// volumes-kept/<i> of the pool.
int instances_remove(const struct address *a, bool keep_volumes, int wait_ms,
		     struct err *e) MUST_CHECK;
// The same for a caller that holds the tenant's and the pool's locks; volumes go.
int instances_remove_locked(const struct store *pool, const struct address *a, int wait_ms,
			    struct err *e) MUST_CHECK;

// Calls fn for each instance below tenant[/pool] (a NULL: all tenants), sorted by address. A
// damaged record is passed with i NULL and the error in why. fn's failure ends the walk.
typedef int (*instances_fn)(void *arg, const struct address *a, const struct instance *i,
			    const struct err *why, struct err *e);
int instances_each(const struct address *a, instances_fn fn, void *arg, struct err *e) MUST_CHECK;
// JSON as the tools print it: the record with the network's keys beside instance_id as well.
int instances_list(const struct address *a, bool templates, struct buf *out, unsigned *damaged,
		   struct err *e) MUST_CHECK;
int instances_info(const struct address *a, struct buf *out, struct err *e) MUST_CHECK;
// A full address, or an instance id alone (looked up in ids/).
int instances_resolve(const char *word, struct address *ret, struct err *e) MUST_CHECK;
