// SPDX-License-Identifier: MIT
// What a tenant uses, counted from its instances' records, and its quotas. Work in flight counts
// (transition_usage). Consistent only under the tenant's lock. A damaged instance record counts as
// running with its pool's resources, so that damage never frees quota. Templates do not count.
#pragma once
#include "state/instance.h"

struct usage_counts { // instances by status; damaged ones in none of the others
	uint32_t created, ready, running, warm, sleeping, stopped, destroyed, damaged;
};

struct usage {
	uint32_t pools;
	uint32_t total_instances;
	struct usage_counts instance_counts;
	uint64_t total_vcpus;	 // of running, warm and damaged ones
	uint64_t total_mem_mib;	 // of the same
	uint64_t total_disk_mib; // data disks of all, as asked for, and captures: each as if it
				 // were alone, until usage_share
};
extern const struct field usage_fields[];
extern const struct field usage_counts_fields[];

int usage_of_tenant(const struct tenant *t, struct usage *ret, struct err *e) MUST_CHECK;
// One pool's share (pools is 1).
int usage_of_pool(const struct tenant *t, const struct pool *p, struct usage *ret,
		  struct err *e) MUST_CHECK;
// Takes off the disk what instances of the tenant, or of one pool, hold together: those files count
// once. It looks at the captures themselves; a check does it only where it would refuse otherwise.
int usage_share(const char *tenant, const char *pool, struct usage *u, struct err *e) MUST_CHECK;
// What the captures of one instance take, each file once.
int usage_captures(const struct store *instance, uint64_t *ret_bytes, struct err *e) MUST_CHECK;
// i NULL: a damaged record.
void usage_add(struct usage *u, const struct instance *i, const struct pool *p);

// Kind quota, naming the limit, what is used and what was asked.
int usage_check_pool(const struct tenant *t, const struct usage *u,
		     struct err *e) MUST_CHECK; // one more pool
// n more instances of p (pool_total: instances p has); max_instances_per_pool and max_disk_gib.
int usage_check_create(const struct tenant *t, const struct pool *p, const struct usage *u,
		       uint32_t pool_total, uint32_t n, struct err *e) MUST_CHECK;
// i is to run: max_running, max_vcpus, max_mem_mib. u includes i as it is now.
int usage_check_start(const struct tenant *t, const struct pool *p, const struct usage *u,
		      const struct instance *i, struct err *e) MUST_CHECK;
// i is to be warm: max_warm.
int usage_check_warm(const struct tenant *t, const struct usage *u, const struct instance *i,
		     struct err *e) MUST_CHECK;
// One of p is to be captured: max_disk_gib with all of its memory.
int usage_check_sleep(const struct tenant *t, const struct pool *p, const struct usage *u,
		      struct err *e) MUST_CHECK;
// The same with a copy of its data disk.
int usage_check_snapshot(const struct tenant *t, const struct pool *p, const struct usage *u,
			 struct err *e) MUST_CHECK;
// n more of p are going to run from one capture, whose files they share: max_running, max_vcpus,
// max_mem_mib, max_disk_gib for their data disks.
int usage_check_clones(const struct tenant *t, const struct pool *p, const struct usage *u,
		       uint32_t n, struct err *e) MUST_CHECK;
