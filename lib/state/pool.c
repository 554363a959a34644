// SPDX-License-Identifier: MIT
#include "state/pool.h"

#include <fcntl.h>

#include "base/num.h"

#define HASH_MAX 64

const char *const pool_seccomp_names[] = { "baseline", "strict", NULL };
const char *const pool_start_names[] = { "boot", "template", NULL };
const char *const pool_compression_names[] = { "none", "lz4", "zstd", NULL };
const char *const pool_egress_names[] = { "open", "allow", "none", NULL };

const char *const pool_probe_names[] = { "none", "exec", "http", NULL };

static int check_proto(const char *text, struct err *e)
{
	if (!text[0] || str_eq(text, "tcp") || str_eq(text, "udp"))
		return 0;
	return err_usage(e, "'%.16s' is not tcp or udp", text);
}

int pool_allow_net(const char *cidr, struct subnet *ret, struct err *e)
{
	size_t len = strcspn(cidr, "/");
	uint64_t prefix = 32;
	struct err why = { 0 };
	uint32_t base;
	ip_text host;

	if (base_fmt(host, sizeof(host), "%.*s", (int)MIN(len, sizeof(host)), cidr) < 0 ||
	    ip_parse(host, &base, &why) < 0 ||
	    (cidr[len] && num_u64(cidr + len + 1, 0, 32, &prefix, &why) < 0))
		return err_usage(e, "'%.32s' is not an IPv4 network", cidr);
	if (prefix < 32 && base & (UINT32_MAX >> prefix))
		return err_usage(e, "'%.32s' is not an IPv4 network: bits of a host are set", cidr);
	*ret = (struct subnet){ .base = base, .prefix = (uint8_t)prefix };
	return 0;
}

static int check_cidr(const char *text, struct err *e)
{
	struct subnet net;

	return pool_allow_net(text, &net, e);
}

int pool_allow_parse(const char *word, struct pool_allow *ret, struct err *e)
{
	// the slash of the prefix comes before the colon
	const char *colon = strchr(word, ':'), *slash = colon ? strchr(colon, '/') : NULL;
	size_t len = colon ? (size_t)(colon - word) : strlen(word);
	struct pool_allow to = { 0 };
	char port[16] = "";
	uint64_t n = 0;

	if (base_fmt(to.cidr, sizeof(to.cidr), "%.*s", (int)MIN(len, 64), word) < 0)
		return err_usage(e, "'%.64s' is not CIDR[:PORT[/PROTO]]", word);
	if (slash && (!slash[1] || COPY(to.proto, slash + 1) < 0))
		return err_usage(e, "'%.64s': not tcp or udp", word);
	if (colon) {
		base_cut(port, sizeof(port), "%.*s", slash ? (int)(slash - colon - 1) : 15,
			 colon + 1);
		if (num_u64(port, 1, 65535, &n, e) < 0)
			return err_wrap(e, "'%.64s'", word);
	}
	to.port = (uint32_t)n;
	*ret = to;
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

const struct field pool_bandwidth_fields[] = {
	{ FIELD_SLOT(struct pool_bandwidth, ingress_kbit, uint32_t), .kind = KIND_UINT,
	  .max = POOL_KBIT_MAX, .doc = "towards the guest, 64 or more, 0 for no limit" },
	{ FIELD_SLOT(struct pool_bandwidth, egress_kbit, uint32_t), .kind = KIND_UINT,
	  .max = POOL_KBIT_MAX, .doc = "from the guest, 64 or more, 0 for no limit" },
	FIELD_END
};

const struct field pool_probe_fields[] = {
	{ FIELD_SLOT(struct pool_probe, kind, int), .kind = KIND_ENUM, .names = pool_probe_names,
	  .doc = "a command in the guest, a request to its web server, or none" },
	{ FIELD_SLOT(struct pool_probe, command, struct codec_list), .kind = KIND_TEXTS,
	  .flags = FIELD_OMIT_EMPTY, .max = POOL_PROBE_WORDS, .doc = "its words, for exec" },
	{ FIELD_SLOT(struct pool_probe, port, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_OMIT_EMPTY, .max = 65535, .doc = "for http, on the guest's loopback" },
	{ FIELD_SLOT(struct pool_probe, path, char[256]), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .doc = "for http, with its slash" },
	{ FIELD_SLOT(struct pool_probe, interval_s, uint32_t), .kind = KIND_UINT, .max = 86400,
	  .doc = "from the end of one probe to the next" },
	{ FIELD_SLOT(struct pool_probe, timeout_s, uint32_t), .kind = KIND_UINT, .max = 3600,
	  .doc = "one that takes longer has failed" },
	{ FIELD_SLOT(struct pool_probe, failures, uint32_t), .kind = KIND_UINT, .max = 1000,
	  .doc = "so many one after the other make a guest unhealthy" },
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
	{ FIELD_SLOT(struct pool, start_from, int), .kind = KIND_ENUM, .names = pool_start_names,
	  .doc = "what a start is: a boot, or the load of a base taken from a template" },
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
	{ FIELD_SLOT(struct pool, bandwidth, struct pool_bandwidth), .kind = KIND_RECORD,
	  .sub = pool_bandwidth_fields,
	  .doc = "limits of each guest's link in kilobits (1000 bits) per second" },
	{ FIELD_SLOT(struct pool, probe, struct pool_probe), .kind = KIND_RECORD,
	  .sub = pool_probe_fields, .doc = "how it is found out whether a guest is well" },
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
		.probe = { .interval_s = 10, .timeout_s = 5, .failures = 3 },
	};
	if (COPY(p->tenant_id, tenant) < 0 || COPY(p->pool_id, id) < 0)
		abort(); // ids were checked where they came in
	clock_utc(p->created_at);
}

void pool_free(struct pool *p)
{
	codec_free(pool_fields, p);
}

// Nothing outside has such an address: an entry that overlaps one is a mistake, or a way to the
// host or to a metadata service.
static const struct {
	struct subnet net;
	const char *what;
} never[] = {
	{ { 0, 8 }, "0.0.0.0/8 (this host)" },
	{ { 127u << 24, 8 }, "127.0.0.0/8 (loopback)" },
	{ { 169u << 24 | 254u << 16, 16 }, "169.254.0.0/16 (link-local)" },
	{ { 224u << 24, 4 }, "224.0.0.0/4 (multicast)" },
	{ { 240u << 24, 4 }, "240.0.0.0/4 (reserved)" },
};

static int check_allow(const struct pool_allow *a, struct err *e)
{
	struct subnet net = { 0 };

	if (pool_allow_net(a->cidr, &net, e) < 0)
		return err_wrap(e, "egress_allow");
	if (net.prefix == 0) {
		err_usage(e, "egress_allow: %s is everything", a->cidr);
		return err_hint(e, "use --egress open");
	}
	for (size_t i = 0; i < COUNT(never); i++)
		if (subnet_overlap(&net, &never[i].net))
			return err_usage(e, "egress_allow: %s overlaps %s", a->cidr, never[i].what);
	return 0;
}

static int check_kbit(const char *key, uint32_t kbit, struct err *e)
{
	if (kbit == 0 || kbit >= POOL_KBIT_MIN)
		return 0;
	return err_usage(e, "bandwidth: %s: %u is less than %d (0: no limit)", key, kbit,
			 POOL_KBIT_MIN);
}

int pool_probe_parse_http(const char *word, struct pool_probe *ret, struct err *e)
{
	size_t len = strcspn(word, "/");
	struct pool_probe to = { .kind = POOL_PROBE_HTTP };
	char port[16];
	uint64_t n;

	if (base_fmt(port, sizeof(port), "%.*s", (int)MIN(len, 64), word) < 0 ||
	    num_u64(port, 1, 65535, &n, e) < 0 || COPY(to.path, word[len] ? word + len : "/") < 0)
		return err_usage(e, "'%.64s' is not PORT[/PATH]", word);
	to.port = (uint32_t)n;
	*ret = to;
	return 0;
}

// What the guest's agent would refuse at a start is refused here.
static int check_probe(const struct pool_probe *p, struct err *e)
{
	char *const *words = p->command.items;
	size_t len = 0;

	for (size_t i = 0; i < p->command.len; i++)
		len += strlen(words[i]) + 5;
	if (p->kind == POOL_PROBE_NONE)
		return 0;
	if (!p->interval_s || !p->timeout_s || !p->failures)
		return err_usage(e, "probe: interval_s, timeout_s and failures are needed");
	if (p->kind == POOL_PROBE_EXEC && (!p->command.len || !words[0][0] || len > 16 * KIB))
		return err_usage(e, "probe: no command, or one of more than 16 KiB");
	if (p->kind == POOL_PROBE_HTTP && (!p->port || p->path[0] != '/'))
		return err_usage(e, "probe: http needs a port and a path");
	for (const char *c = p->path; *c; c++)
		if (*c <= ' ' || *c == 0x7f)
			return err_usage(e, "probe: path: blanks or control bytes");
	return 0;
}

int pool_check(const struct pool *p, const char *tenant, const char *id, struct err *e)
{
	if (!str_eq(p->tenant_id, tenant) || !str_eq(p->pool_id, id))
		return err_usage(e, "pool_id: %s/%s lies in the directory of %s/%s", p->tenant_id,
				 p->pool_id, tenant, id);
	if (p->egress_allow.len && p->egress != POOL_EGRESS_ALLOW)
		return err_usage(e, "egress_allow: given, but egress is '%s'",
				 pool_egress_names[p->egress]);
	for (size_t i = 0; i < p->egress_allow.len; i++)
		if (check_allow((const struct pool_allow *)p->egress_allow.items + i, e) < 0)
			return -e->no;
	if (check_kbit("ingress_kbit", p->bandwidth.ingress_kbit, e) < 0 ||
	    check_kbit("egress_kbit", p->bandwidth.egress_kbit, e) < 0 ||
	    check_probe(&p->probe, e) < 0)
		return -e->no;
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
	p.egress_allow = p.probe.command = (struct codec_list){ 0 }; // *ret has them
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
