// SPDX-License-Identifier: MIT
// What mvm-tenant does: files only. Each call takes the locks it needs.
#pragma once
#include "state/tenant.h"

struct tenant_spec {
	const char *id;
	uint32_t net_id;      // 0: choose (or whatever the existing tenant has)
	struct subnet subnet; // prefix 0: choose
	struct tenant_quotas quotas;
	bool deny_log;
	// what was asked for: an existing tenant is compared in these only
	struct {
		bool max_vcpus, max_mem_mib, max_running, max_warm, max_pools,
			max_instances_per_pool, max_disk_gib, deny_log;
	} given;
};

// Makes it, or finds it equal (*changed false); kind conflict when it exists and differs.
int tenants_create(const struct tenant_spec *spec, bool dry_run, int wait_ms, struct tenant *ret,
		   bool *changed, struct err *e) MUST_CHECK;
// Sets the given quotas and the given deny_log.
int tenants_update(const struct tenant_spec *spec, bool dry_run, int wait_ms, struct tenant *ret,
		   bool *changed, struct err *e) MUST_CHECK;
// Removes its pools, as far as nothing of them runs (pools_destroy with force).
int tenants_empty(const char *id, int wait_ms, struct err *e) MUST_CHECK;
// Kind state while pools exist. The audit log goes to archive/. Absent: ERR_MISSING.
int tenants_destroy(const char *id, bool dry_run, int wait_ms, struct err *e) MUST_CHECK;
// JSON as the tools print it. A damaged tenant is a row with its id and an "error"; *damaged
// counts. all: the hidden development tenant as well.
int tenants_list(bool all, struct buf *out, unsigned *damaged, struct err *e) MUST_CHECK;
int tenants_info(const char *id, struct buf *out, struct err *e) MUST_CHECK;
