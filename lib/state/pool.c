// SPDX-License-Identifier: MIT
#include "state/pool.h"

#include <fcntl.h>

#define HASH_MAX 64

const char *const pool_seccomp_names[] = { "baseline", "strict", NULL };
const char *const pool_compression_names[] = { "none", "lz4", "zstd", NULL };
const char *const pool_egress_names[] = { "open", "allow", "none", NULL };

static int check_proto(const char *text, struct err *e)
{
	if (!text[0] || str_eq(text, "tcp") || str_eq(text, "udp"))
		return 0;
	return err_usage(e, "'%.16s' is not tcp or udp", text);
}

// Any IPv4 network or address: unlike a tenant's subnet it may have any prefix.
static int check_cidr(const char *text, struct err *e)
{
	const char *slash = strchr(text, '/');
	uint32_t ip, prefix = 32;
	ip_text host;

	if (slash && (strlen(slash) < 2 || strlen(slash) > 3 ||
		      strspn(slash + 1, "0123456789") != strlen(slash) - 1))
		return err_usage(e, "'%.32s' is not an IPv4 network", text);
	if (base_fmt(host, sizeof(host), "%.*s", slash ? (int)(slash - text) : 18, text) < 0 ||
	    ip_parse(host, &ip, e) < 0)
		return err_usage(e, "'%.32s' is not an IPv4 network", text);
	if (slash)
		prefix = (uint32_t)(slash[1] - '0') * (slash[2] ? 10u : 1u) +
			 (slash[2] ? (uint32_t)(slash[2] - '0') : 0u);
	if (prefix > 32 || (prefix < 32 && ip & (UINT32_MAX >> prefix)))
		return err_usage(e, "'%.32s' is not an IPv4 network", text);
	return 0;
}

const struct field pool_resources_fields[] = {
	{ FIELD_SLOT(struct pool_resources, vcpus, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 32, .doc = "virtual CPUs" },
	{ FIELD_SLOT(struct pool_resources, mem_mib, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 16, .max = 1 << 20, .doc = "memory" },
	{ FIELD_SLOT(struct pool_resources, data_disk_mib, uint64_t), .kind = KIND_UINT,
	  .max = 1 << 24, .doc = "size of the /data drive, 0 for none" },
	{ FIELD_SLOT(struct pool_resources, secrets_mib, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 256, .doc = "size of the secrets drive" },
	FIELD_END
};

const struct field pool_counts_fields[] = {
	{ FIELD_SLOT(struct pool_counts, running, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 65536, .doc = "instances that are to run" },
	{ FIELD_SLOT(struct pool_counts, warm, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 65536, .doc = "instances that are to wait paused" },
	{ FIELD_SLOT(struct pool_counts, sleeping, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 65536, .doc = "instances that are to sleep" },
	FIELD_END
};

const struct field pool_runtime_fields[] = {
	{ FIELD_SLOT(struct pool_runtime, start_timeout_s, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 170, .doc = "from the start until the guest says that it is ready" },
	{ FIELD_SLOT(struct pool_runtime, drain_timeout_s, uint32_t), .kind = KIND_UINT,
	  .max = 3600, .doc = "from the request to shut down until the guest is ended" },
	{ FIELD_SLOT(struct pool_runtime, min_running_s, uint32_t), .kind = KIND_UINT,
	  .max = 31536000, .doc = "policy pauses nothing that runs for less" },
	{ FIELD_SLOT(struct pool_runtime, min_warm_s, uint32_t), .kind = KIND_UINT, .max = 31536000,
	  .doc = "policy puts nothing to sleep that is warm for less" },
	FIELD_END
};

const struct field pool_sleep_policy_fields[] = {
	{ FIELD_SLOT(struct pool_sleep_policy, warm_idle_s, uint32_t), .kind = KIND_UINT,
	  .max = 31536000, .doc = "idle for so long: pause" },
	{ FIELD_SLOT(struct pool_sleep_policy, sleep_idle_s, uint32_t), .kind = KIND_UINT,
	  .max = 31536000, .doc = "idle for so long: sleep" },
	{ FIELD_SLOT(struct pool_sleep_policy, cpu_pct, uint32_t), .kind = KIND_UINT, .max = 100,
	  .doc = "below this it is idle" },
	{ FIELD_SLOT(struct pool_sleep_policy, net_bytes, uint64_t), .kind = KIND_UINT,
	  .max = UINT32_MAX, .doc = "below this since the last look it is idle" },
	FIELD_END
};

const struct field pool_allow_fields[] = {
	{ FIELD_SLOT(struct pool_allow, cidr, char[19]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .min = 7, .check = check_cidr, .doc = "IPv4 network or address" },
	{ FIELD_SLOT(struct pool_allow, port, uint32_t), .kind = KIND_UINT, .max = 65535,
	  .doc = "port, 0 for any" },
	{ FIELD_SLOT(struct pool_allow, proto, char[4]), .kind = KIND_TEXT, .check = check_proto,
	  .doc = "tcp, udp, or empty for any" },
	FIELD_END
};

const struct field pool_fields[] = {
	{ FIELD_SLOT(struct pool, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct pool, pool_id, name_text), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .check = store_check_name, .doc = "name, unique in the tenant" },
	{ FIELD_SLOT(struct pool, tenant_id, name_text), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .check = store_check_name, .doc = "whose it is" },
	{ FIELD_SLOT(struct pool, flake_ref, char[1024]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .doc = "flake its image is built from, absolute" },
	{ FIELD_SLOT(struct pool, profile, name_text), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .check = store_check_name, .doc = "output of the flake: tenant-<profile>" },
	{ FIELD_SLOT(struct pool, instance_resources, struct pool_resources), .kind = KIND_RECORD,
	  .flags = FIELD_REQUIRED, .sub = pool_resources_fields, .doc = "size of each instance" },
	{ FIELD_SLOT(struct pool, desired_counts, struct pool_counts), .kind = KIND_RECORD,
	  .flags = FIELD_REQUIRED, .sub = pool_counts_fields, .doc = "how many are wanted" },
	{ FIELD_SLOT(struct pool, seccomp_policy, int), .kind = KIND_ENUM,
	  .names = pool_seccomp_names, .doc = "system calls the VMM may make" },
	{ FIELD_SLOT(struct pool, snapshot_compression, int), .kind = KIND_ENUM,
	  .names = pool_compression_names, .doc = "how captures are packed" },
	{ FIELD_SLOT(struct pool, metadata_enabled, bool), .kind = KIND_BOOL,
	  .doc = "guests may ask the metadata service" },
	{ FIELD_SLOT(struct pool, pinned, bool), .kind = KIND_BOOL,
	  .doc = "its instances never sleep by policy" },
	{ FIELD_SLOT(struct pool, critical, bool), .kind = KIND_BOOL,
	  .doc = "reconcile leaves its instances alone" },
	{ FIELD_SLOT(struct pool, runtime, struct pool_runtime), .kind = KIND_RECORD,
	  .flags = FIELD_REQUIRED, .sub = pool_runtime_fields, .doc = "time limits" },
	{ FIELD_SLOT(struct pool, sleep_policy, struct pool_sleep_policy), .kind = KIND_RECORD,
	  .flags = FIELD_REQUIRED, .sub = pool_sleep_policy_fields,
	  .doc = "when an instance is idle" },
	{ FIELD_SLOT(struct pool, egress, int), .kind = KIND_ENUM, .names = pool_egress_names,
	  .doc = "ways out of the guests: all public ones, the listed ones, none" },
	{ FIELD_SLOT(struct pool, egress_allow, struct codec_list), .kind = KIND_LIST,
	  .flags = FIELD_OMIT_EMPTY, .max = 256, .sub = pool_allow_fields,
	  .item_size = sizeof(struct pool_allow), .doc = "the listed ones" },
	{ FIELD_SLOT(struct pool, created_at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .check = store_check_time,
	  .doc = "when it was made (UTC)" },
	FIELD_END
};

void pool_init(struct pool *p, const char *tenant, const char *id)
{
	*p = (struct pool){
		.schema_version = 1,
		.instance_resources = { .vcpus = 1, .mem_mib = 256, .secrets_mib = 16 },
		.runtime = { .start_timeout_s = 60,
			     .drain_timeout_s = 10,
			     .min_running_s = 60,
			     .min_warm_s = 30 },
		.sleep_policy = { .warm_idle_s = 300,
				  .sleep_idle_s = 900,
				  .cpu_pct = 5,
				  .net_bytes = 1024 },
	};
	if (COPY(p->tenant_id, tenant) < 0 || COPY(p->pool_id, id) < 0)
		abort(); // ids were checked where they came in
	clock_utc(p->created_at);
}

void pool_free(struct pool *p)
{
	codec_free(pool_fields, p);
}

int pool_check(const struct pool *p, const char *tenant, const char *id, struct err *e)
{
	if (!str_eq(p->tenant_id, tenant) || !str_eq(p->pool_id, id))
		return err_usage(e, "pool_id: %s/%s lies in the directory of %s/%s", p->tenant_id,
				 p->pool_id, tenant, id);
	if (p->egress_allow.len && p->egress != POOL_EGRESS_ALLOW)
		return err_usage(e, "egress_allow: given, but egress is '%s'",
				 pool_egress_names[p->egress]);
	return 0;
}

int pool_load_from(const struct store *s, struct pool *ret, struct err *e)
{
	cleanup_pool struct pool p = { 0 };
	struct address a;

	if (address_parse(s->name, ADDRESS_POOL, ADDRESS_POOL, &a, e) < 0 ||
	    store_load_record(s, POOL_FILE, pool_fields, &p, e) < 0)
		return -e->no;
	if (pool_check(&p, a.tenant, a.pool, e) < 0)
		return store_damaged(s, POOL_FILE, e);
	*ret = p;
	p.egress_allow = (struct codec_list){ 0 };
	return 0;
}

static int pool_open(const char *tenant, const char *id, struct store *ret, struct err *e)
{
	struct address a = { 0 };

	if (name_check(tenant, e) < 0 || name_check(id, e) < 0 || COPY(a.tenant, tenant) < 0 ||
	    COPY(a.pool, id) < 0)
		return err_wrap(e, "pool");
	if (!store_exists(STORE_TENANT,
			  &a)) // name the tenant, not the pool, when that is what lacks
		return store_open(ret, STORE_TENANT, &a, e);
	return store_open(ret, STORE_POOL, &a, e);
}

int pool_load(const char *tenant, const char *id, struct pool *ret, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;

	if (pool_open(tenant, id, &s, e) < 0)
		return -e->no;
	return pool_load_from(&s, ret, e);
}

int pool_save(const struct store *s, const struct pool *p, struct err *e)
{
	return store_save(s, POOL_FILE, pool_fields, p, e);
}

int pool_revision(const char *tenant, const char *id, char ret[65], struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	char target[128];
	const char *hash;

	if (pool_open(tenant, id, &s, e) < 0)
		return -e->no;
	ssize_t n = readlinkat(s.dir, "artifacts/current", target, sizeof(target) - 1);
	ret[0] = '\0';
	if (n < 0 && errno == ENOENT)
		return 0;
	if (n < 0)
		return err_sys(e, "%s: read artifacts/current", s.name);
	target[n] = '\0';
	hash = target + strlen("revisions/");
	if (!str_starts(target, "revisions/") || !hash[0] || strlen(hash) > HASH_MAX ||
	    strchr(hash, '/')) {
		err_usage(e, "'%.64s' is not revisions/<hash>", target);
		return store_damaged(&s, "artifacts/current", e);
	}
	return base_copy(ret, HASH_MAX + 1, hash);
}
