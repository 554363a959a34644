// SPDX-License-Identifier: MIT
#include "state/tenant.h"

#define MANY UINT32_MAX

const struct tenant_quotas tenant_default_quotas = {
	.max_vcpus = 16,
	.max_mem_mib = 32768,
	.max_running = 8,
	.max_warm = 4,
	.max_pools = 64,
	.max_instances_per_pool = 1024,
	.max_disk_gib = 100,
};

const struct field tenant_quota_fields[] = {
	{ FIELD_SLOT(struct tenant_quotas, max_vcpus, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 65536,
	  .doc = "vCPUs of running and warm instances together" },
	{ FIELD_SLOT(struct tenant_quotas, max_mem_mib, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 1ULL << 30, .doc = "their memory" },
	{ FIELD_SLOT(struct tenant_quotas, max_running, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 65536, .doc = "instances that run" },
	{ FIELD_SLOT(struct tenant_quotas, max_warm, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 65536, .doc = "instances that are paused in memory" },
	{ FIELD_SLOT(struct tenant_quotas, max_pools, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 65536, .doc = "pools" },
	{ FIELD_SLOT(struct tenant_quotas, max_instances_per_pool, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 65536, .doc = "instances of one pool, in any state" },
	{ FIELD_SLOT(struct tenant_quotas, max_disk_gib, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 1ULL << 30, .doc = "data disks and captures" },
	FIELD_END
};

const struct field tenant_net_fields[] = {
	{ FIELD_SLOT(struct tenant_net, tenant_net_id, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = NET_ID_MIN, .max = NET_ID_MAX,
	  .doc = "number of the tenant's network, unique in the cluster" },
	{ FIELD_SLOT(struct tenant_net, ipv4_subnet, subnet_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_subnet,
	  .doc = "its addresses, /16 to /28" },
	{ FIELD_SLOT(struct tenant_net, gateway_ip, ip_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_ip, .doc = "offset 1 of the subnet" },
	{ FIELD_SLOT(struct tenant_net, bridge_name, ifname_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "br-tenant-<tenant_net_id>" },
	{ FIELD_SLOT(struct tenant_net, deny_log, bool), .kind = KIND_BOOL,
	  .doc = "packets that are denied are logged" },
	FIELD_END
};

const struct field tenant_fields[] = {
	{ FIELD_SLOT(struct tenant, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct tenant, tenant_id, name_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_name, .doc = "name, unique on the node",
	  .schema_pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$" },
	{ FIELD_SLOT(struct tenant, quotas, struct tenant_quotas), .kind = KIND_RECORD,
	  .flags = FIELD_REQUIRED, .sub = tenant_quota_fields, .doc = "hard limits" },
	{ FIELD_SLOT(struct tenant, net, struct tenant_net), .kind = KIND_RECORD,
	  .flags = FIELD_REQUIRED, .sub = tenant_net_fields, .doc = "its network" },
	{ FIELD_SLOT(struct tenant, secrets_epoch, uint64_t), .kind = KIND_UINT, .max = MANY,
	  .doc = "counts the rotations of its secrets" },
	{ FIELD_SLOT(struct tenant, config_version, uint64_t), .kind = KIND_UINT, .max = MANY,
	  .doc = "counts the changes of its configuration drive" },
	{ FIELD_SLOT(struct tenant, pinned, bool), .kind = KIND_BOOL,
	  .doc = "its instances never sleep by policy" },
	{ FIELD_SLOT(struct tenant, audit_retention_days, uint32_t), .kind = KIND_UINT,
	  .max = 36500, .doc = "days audit logs are kept, 0 for ever" },
	{ FIELD_SLOT(struct tenant, created_at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .check = store_check_time,
	  .doc = "when it was made (UTC)" },
	FIELD_END
};

void tenant_init(struct tenant *t, const char *id)
{
	*t = (struct tenant){ .schema_version = 1,
			      .quotas = tenant_default_quotas,
			      .config_version = 1 };
	if (COPY(t->tenant_id, id) < 0)
		abort(); // ids were checked where they came in
	clock_utc(t->created_at);
}

int tenant_set_net(struct tenant *t, uint32_t net_id, const struct subnet *subnet, struct err *e)
{
	if (net_id < NET_ID_MIN || net_id > NET_ID_MAX)
		return err_usage(e, "net id %u is outside %d..%d", net_id, NET_ID_MIN, NET_ID_MAX);
	t->net.tenant_net_id = net_id;
	t->subnet = *subnet;
	subnet_print(subnet, t->net.ipv4_subnet);
	subnet_ip(subnet, OFFSET_GATEWAY, t->net.gateway_ip);
	name_bridge(net_id, t->net.bridge_name);
	return 0;
}

int tenant_check(struct tenant *t, const char *id, struct err *e)
{
	ip_text gateway;
	ifname_text bridge;

	if (!str_eq(t->tenant_id, id))
		return err_usage(e, "tenant_id: '%s' lies in the directory of '%s'", t->tenant_id,
				 id);
	if (subnet_parse(t->net.ipv4_subnet, &t->subnet, e) < 0)
		return err_wrap(e, "net: ipv4_subnet");
	subnet_ip(&t->subnet, OFFSET_GATEWAY, gateway);
	if (!str_eq(gateway, t->net.gateway_ip))
		return err_usage(e, "net: gateway_ip: %s, must be %s", t->net.gateway_ip, gateway);
	name_bridge(t->net.tenant_net_id, bridge);
	if (!str_eq(bridge, t->net.bridge_name))
		return err_usage(e, "net: bridge_name: %s, must be %s", t->net.bridge_name, bridge);
	return 0;
}

int tenant_load_from(const struct store *s, struct tenant *ret, struct err *e)
{
	struct tenant t = { 0 };

	if (store_load_record(s, TENANT_FILE, tenant_fields, &t, e) < 0)
		return -e->no;
	if (tenant_check(&t, s->name, e) < 0)
		return store_damaged(s, TENANT_FILE, e);
	*ret = t;
	return 0;
}

int tenant_load(const char *id, struct tenant *ret, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct address a = { 0 };

	if (name_check(id, e) < 0 || COPY(a.tenant, id) < 0)
		return err_wrap(e, "tenant");
	if (store_open(&s, STORE_TENANT, &a, e) < 0)
		return -e->no;
	return tenant_load_from(&s, ret, e);
}

int tenant_save(const struct store *s, const struct tenant *t, struct err *e)
{
	return store_save(s, TENANT_FILE, tenant_fields, t, e);
}
