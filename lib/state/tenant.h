// SPDX-License-Identifier: MIT
// tenants/<t>/tenant.json: who a tenant is, what it may use, its network.
// Derived values (gateway, bridge) are stored and compared with the formulas at every load.
#pragma once
#include "base/clock.h"
#include "state/store.h"

#define TENANT_FILE "tenant.json"

struct tenant_quotas {
	uint32_t max_vcpus;
	uint64_t max_mem_mib;
	uint32_t max_running;
	uint32_t max_warm;
	uint32_t max_pools;
	uint32_t max_instances_per_pool;
	uint64_t max_disk_gib;
};

struct tenant_net {
	uint32_t tenant_net_id;
	subnet_text ipv4_subnet;
	ip_text gateway_ip;
	ifname_text bridge_name;
	bool deny_log; // what its rules drop is logged
};

struct tenant {
	uint32_t schema_version; // 1
	name_text tenant_id;
	struct tenant_quotas quotas;
	struct tenant_net net;
	uint64_t secrets_epoch;	       // counts rotations
	uint64_t config_version;       // counts changes of the config drive
	bool pinned;		       // its pools never sleep by policy
	uint32_t audit_retention_days; // 0: for ever
	time_text created_at;
	// not stored
	struct subnet subnet; // of net.ipv4_subnet
};
extern const struct field tenant_fields[];
extern const struct field tenant_quota_fields[];
extern const struct field tenant_net_fields[];

extern const struct tenant_quotas tenant_default_quotas;
// A record with default quotas; the network comes from tenant_set_net.
void tenant_init(struct tenant *t, const char *id);
int tenant_set_net(struct tenant *t, uint32_t net_id, const struct subnet *subnet,
		   struct err *e) MUST_CHECK;
// Checks the record as a whole and fills subnet; id is the directory's name.
int tenant_check(struct tenant *t, const char *id, struct err *e) MUST_CHECK;

int tenant_load(const char *id, struct tenant *ret, struct err *e) MUST_CHECK; // no lock
int tenant_load_from(const struct store *s, struct tenant *ret, struct err *e) MUST_CHECK;
int tenant_save(const struct store *s, const struct tenant *t, struct err *e) MUST_CHECK;
