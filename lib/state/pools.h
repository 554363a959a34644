// SPDX-License-Identifier: MIT
// What mvm-pool does: files only. Each call takes the locks it needs.
#pragma once
#include "state/pool.h"

// "." and other relative paths, with or without "path:", become absolute; nothing is opened.
int pools_flake(const char *ref, char out[1024], struct err *e) MUST_CHECK;

// Makes it, or finds it equal (*changed false: all but desired_counts and created_at compared);
// kind conflict when it exists and differs. want is checked here; its created_at is set.
int pools_create(struct pool *want, bool dry_run, int wait_ms, bool *changed,
		 struct err *e) MUST_CHECK;

struct pools_scale {
	bool running_given, warm_given, sleeping_given;
	struct pool_counts counts;
};
// Stores the counts and makes the records that are missing up to their sum; never removes one.
// created gets their addresses, one a line; *missing counts them (in a dry run too).
int pools_scale(const char *tenant, const char *id, const struct pools_scale *s, bool dry_run,
		int wait_ms, struct pool *ret, bool *changed, uint32_t *missing,
		struct buf *created, struct err *e) MUST_CHECK;
// What may change while guests run; only what is given does. Another egress than "allow" drops the
// list. to.egress_allow stays the caller's.
struct pools_change {
	struct {
		bool egress, egress_allow, ingress_kbit, egress_kbit, metadata, pinned, critical,
			start_timeout, drain_timeout, probe, probe_interval, probe_timeout,
			probe_failures, start_from, snapshot_compression;
	} given;
	struct pool to;
};
// Stores the record as changed, or finds it so (*changed false).
int pools_update(const char *tenant, const char *id, const struct pools_change *c, bool dry_run,
		 int wait_ms, struct pool *ret, bool *changed, struct err *e) MUST_CHECK;
// Removes the pool with its instances' records. Kind state while one of them runs or is warm. A
// damaged record goes only with force.
int pools_destroy(const char *tenant, const char *id, bool force, bool dry_run, int wait_ms,
		  struct err *e) MUST_CHECK;
// What would go: paths of its instances, one a line.
int pools_contents(const char *tenant, const char *id, struct buf *out, struct err *e) MUST_CHECK;
int pools_list(const char *tenant, struct buf *out, unsigned *damaged, struct err *e) MUST_CHECK;
int pools_info(const char *tenant, const char *id, struct buf *out, struct err *e) MUST_CHECK;
