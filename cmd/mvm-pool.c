// SPDX-License-Identifier: MIT
#include "base/tool.h"
#include "state/confirm.h"
#include "state/pools.h"
#include "state/rows.h"

static const char *arg_flake, *arg_profile;
static struct strlist arg_allow, arg_probe_exec;
static const char *arg_probe_http;
static uint64_t arg_interval_ms, arg_probe_ms, arg_failures;
static int arg_probe_none;
static bool given_http, given_exec, given_none;
static uint64_t arg_cpus, arg_mem, arg_disk, arg_secrets, arg_start_ms, arg_drain_ms, arg_running,
	arg_warm, arg_sleeping, arg_ingress, arg_egress_kbit;
static bool given_cpus, given_mem, given_disk, given_secrets;
static int arg_seccomp, arg_compression, arg_egress, arg_start_from;
static int set_metadata, set_pinned, set_critical; // of update
static bool arg_metadata, arg_pinned, arg_critical, arg_dry_run, arg_force, arg_yes, arg_if_exists;
static struct pools_scale scale;
static struct pools_change change; // of it, create needs to know what was given

// clang-format off
#define DRY_RUN_OPT \
	{ 0, OPT_FLAG, "dry-run", NULL, "print the plan, change nothing", &arg_dry_run, 0, 0, NULL, NULL }
#define GIVEN(name) &change.given.name
#define LIVE_OPTS \
	{ 0, OPT_MS, "start-timeout", "TIME", "until a guest must be ready (60s in a new pool)", &arg_start_ms, 1000, 170000, NULL, GIVEN(start_timeout) }, \
	{ 0, OPT_MS, "drain-timeout", "TIME", "for a guest to shut down (10s in a new pool)", &arg_drain_ms, 0, 3600000, NULL, GIVEN(drain_timeout) }, \
	{ 0, OPT_ENUM, "start-from", "boot|template", "what a start is: a boot, or the load of a base", &arg_start_from, 0, 0, pool_start_names, GIVEN(start_from) }, \
	{ 0, OPT_ENUM, "snapshot-compression", "HOW", "what sleep makes of a memory: none, lz4 or zstd", &arg_compression, 0, 0, pool_compression_names, GIVEN(snapshot_compression) }, \
	{ 0, OPT_ENUM, "egress", "HOW", "ways out of the guests: open, allow or none", &arg_egress, 0, 0, pool_egress_names, GIVEN(egress) }, \
	{ 0, OPT_LIST, "allow", "CIDR[:PORT[/PROTO]]", "one way out (implies --egress allow)", &arg_allow, 0, 0, NULL, GIVEN(egress_allow) }, \
	{ 0, OPT_U64, "ingress-kbit", "N", "limit towards each guest in kbit/s, 64 or more, 0 for none", &arg_ingress, 0, POOL_KBIT_MAX, NULL, GIVEN(ingress_kbit) }, \
	{ 0, OPT_U64, "egress-kbit", "N", "limit from each guest in kbit/s, 64 or more, 0 for none", &arg_egress_kbit, 0, POOL_KBIT_MAX, NULL, GIVEN(egress_kbit) }, \
	{ 0, OPT_LIST, "probe-exec", "WORD", "this command in the guest tells whether it is well; once for each word", &arg_probe_exec, 0, 0, NULL, &given_exec }, \
	{ 0, OPT_TEXT, "probe-http", "PORT[/PATH]", "an answer of 200 to 399 of its web server tells it", &arg_probe_http, 0, 0, NULL, &given_http }, \
	{ 0, OPT_ENUM, "probe", "none", "nothing tells it", &arg_probe_none, 0, 0, probe_none, &given_none }, \
	{ 0, OPT_MS, "probe-interval", "TIME", "between two probes (10s in a new pool)", &arg_interval_ms, 1000, 86400000, NULL, GIVEN(probe_interval) }, \
	{ 0, OPT_MS, "probe-timeout", "TIME", "one that takes longer has failed (5s in a new pool)", &arg_probe_ms, 1000, 3600000, NULL, GIVEN(probe_timeout) }, \
	{ 0, OPT_U64, "probe-failures", "N", "so many one after the other make a guest unhealthy (3 in a new pool)", &arg_failures, 1, 1000, NULL, GIVEN(probe_failures) }
#define SWITCH_OPT(name, text, slot, given) \
	{ 0, OPT_ENUM, name, "off|on", text, slot, 0, 0, off_on, GIVEN(given) }
// clang-format on

static const char *const probe_none[] = { "none", NULL };
static const char *const off_on[] = { "off", "on", NULL };

static const struct opt create_opts[] = {
	{ 0, OPT_TEXT, "flake", "REF", "flake that builds its image", &arg_flake, 0, 0, NULL,
	  NULL },
	{ 0, OPT_TEXT, "profile", "NAME", "the flake's output tenant-NAME", &arg_profile, 0, 0,
	  NULL, NULL },
	{ 0, OPT_U64, "cpus", "N", "vCPUs of each instance", &arg_cpus, 1, 32, NULL, &given_cpus },
	{ 0, OPT_U64, "mem", "MIB", "memory of each instance in MiB", &arg_mem, 16, 1 << 20, NULL,
	  &given_mem },
	{ 0, OPT_U64, "data-disk", "MIB", "size of /data in MiB (default: none)", &arg_disk, 0,
	  1 << 24, NULL, &given_disk },
	{ 0, OPT_U64, "secrets-disk", "MIB", "size of the secrets drive in MiB (default 16)",
	  &arg_secrets, 1, 256, NULL, &given_secrets },
	{ 0, OPT_ENUM, "seccomp", "POLICY", "baseline or strict", &arg_seccomp, 0, 0,
	  pool_seccomp_names, NULL },
	LIVE_OPTS,
	{ 0, OPT_FLAG, "metadata", NULL, "let guests ask the metadata service", &arg_metadata, 0, 0,
	  NULL, NULL },
	{ 0, OPT_FLAG, "pinned", NULL, "never put to sleep by policy", &arg_pinned, 0, 0, NULL,
	  NULL },
	{ 0, OPT_FLAG, "critical", NULL, "left alone by reconcile", &arg_critical, 0, 0, NULL,
	  NULL },
	DRY_RUN_OPT,
	OPT_END,
};
static const struct opt update_opts[] = {
	LIVE_OPTS,
	SWITCH_OPT("metadata", "let guests ask the metadata service", &set_metadata, metadata),
	SWITCH_OPT("pinned", "never put to sleep by policy", &set_pinned, pinned),
	SWITCH_OPT("critical", "left alone by reconcile", &set_critical, critical),
	DRY_RUN_OPT,
	OPT_END,
};
static const struct opt scale_opts[] = {
	{ 0, OPT_U64, "running", "N", "instances that are to run", &arg_running, 0, 65536, NULL,
	  &scale.running_given },
	{ 0, OPT_U64, "warm", "N", "instances that are to wait paused", &arg_warm, 0, 65536, NULL,
	  &scale.warm_given },
	{ 0, OPT_U64, "sleeping", "N", "instances that are to sleep", &arg_sleeping, 0, 65536, NULL,
	  &scale.sleeping_given },
	DRY_RUN_OPT,
	OPT_END,
};
static const struct opt destroy_opts[] = {
	{ 0, OPT_FLAG, "force", NULL, "do not ask; damaged records go as well", &arg_force, 0, 0,
	  NULL, NULL },
	{ 'y', OPT_FLAG, "yes", NULL, "do not ask", &arg_yes, 0, 0, NULL, NULL },
	{ 0, OPT_FLAG, "if-exists", NULL, "no such pool is fine", &arg_if_exists, 0, 0, NULL,
	  NULL },
	DRY_RUN_OPT,
	OPT_END,
};

static int parse_pool(const char *word, struct address *a, struct err *e)
{
	return address_parse(word, ADDRESS_POOL, ADDRESS_POOL, a, e);
}

static int read_allow(struct codec_list *to, struct err *e)
{
	for (size_t i = 0; i < arg_allow.len; i++) {
		struct pool_allow *a = codec_list_add(to, sizeof(*a));

		if (pool_allow_parse(arg_allow.items[i], a, e) < 0)
			return err_wrap(e, "--allow");
	}
	return 0;
}

static int read_probe(struct pool_probe *p, struct err *e)
{
	struct pool_probe http;

	if (given_http + given_exec + given_none > 1)
		return err_usage(e,
				 "--probe-exec, --probe-http and --probe none exclude each other");
	change.given.probe = given_http || given_exec || given_none;
	if (given_http) {
		if (pool_probe_parse_http(arg_probe_http, &http, e) < 0)
			return err_wrap(e, "--probe-http");
		p->port = http.port;
		memcpy(p->path, http.path, sizeof(p->path));
	}
	for (size_t i = 0; i < arg_probe_exec.len; i++)
		codec_texts_add(&p->command, arg_probe_exec.items[i]);
	p->kind = given_http ? POOL_PROBE_HTTP : given_exec ? POOL_PROBE_EXEC : POOL_PROBE_NONE;
	if (change.given.probe_interval)
		p->interval_s = (uint32_t)(arg_interval_ms / 1000);
	if (change.given.probe_timeout)
		p->timeout_s = (uint32_t)(arg_probe_ms / 1000);
	if (change.given.probe_failures)
		p->failures = (uint32_t)arg_failures;
	return 0;
}

// What may change while guests run.
static int read_live(struct pool *p, struct err *e)
{
	if (change.given.start_timeout)
		p->runtime.start_timeout_s = (uint32_t)(arg_start_ms / 1000);
	if (change.given.drain_timeout)
		p->runtime.drain_timeout_s = (uint32_t)((arg_drain_ms + 999) / 1000);
	p->egress = arg_allow.len && !change.given.egress ? POOL_EGRESS_ALLOW : arg_egress;
	p->start_from = arg_start_from;
	p->snapshot_compression = arg_compression;
	p->bandwidth.ingress_kbit = (uint32_t)arg_ingress;
	p->bandwidth.egress_kbit = (uint32_t)arg_egress_kbit;
	return read_probe(&p->probe, e) < 0 ? -e->no : read_allow(&p->egress_allow, e);
}

static int read_limits(struct pool *p, struct err *e)
{
	if (given_disk)
		p->instance_resources.data_disk_mib = arg_disk;
	if (given_secrets)
		p->instance_resources.secrets_mib = arg_secrets;
	return read_live(p, e);
}

static int read_spec(const char *word, struct pool *p, struct err *e)
{
	struct address a;

	if (parse_pool(word, &a, e) < 0)
		return -e->no;
	if (!arg_flake || !arg_profile || !given_cpus || !given_mem)
		return err_usage(e, "--flake, --profile, --cpus and --mem are needed");
	pool_init(p, a.tenant, a.pool);
	p->instance_resources.vcpus = (uint32_t)arg_cpus;
	p->instance_resources.mem_mib = arg_mem;
	p->seccomp_policy = arg_seccomp;
	p->metadata_enabled = arg_metadata;
	p->pinned = arg_pinned;
	p->critical = arg_critical;
	if (name_check(arg_profile, e) < 0 || COPY(p->profile, arg_profile) < 0)
		return err_wrap(e, "--profile");
	if (pools_flake(arg_flake, p->flake_ref, e) < 0)
		return err_wrap(e, "--flake");
	return read_limits(p, e);
}

static void print_changed(bool changed, struct buf *out)
{
	buf_fmt(out, ",\"changed\":%s%s", changed ? "true" : "false",
		arg_dry_run ? ",\"dry_run\":true" : "");
}

static void print_pool(const struct pool *p, bool changed, struct buf *out)
{
	codec_print(pool_fields, p, out);
	rows_reopen(out);
	print_changed(changed, out);
	buf_char(out, '}');
}

static int run_create(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_pool struct pool p = { 0 };
	bool changed;

	if (read_spec(call->argv[0], &p, e) < 0 ||
	    pools_create(&p, arg_dry_run, call->lock_wait_ms, &changed, e) < 0)
		return -e->no;
	print_pool(&p, changed, out);
	return 0;
}

static int run_update(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_pool struct pool to = { .metadata_enabled = set_metadata == 1,
					.pinned = set_pinned == 1,
					.critical = set_critical == 1 },
				 p = { 0 };
	struct address a;
	bool changed;

	if (parse_pool(call->argv[0], &a, e) < 0 || read_live(&to, e) < 0)
		return -e->no;
	change.given.egress |= change.given.egress_allow; // --allow implies it
	change.to = to;					  // borrowed
	if (pools_update(a.tenant, a.pool, &change, arg_dry_run, call->lock_wait_ms, &p, &changed,
			 e) < 0)
		return -e->no;
	print_pool(&p, changed, out);
	return 0;
}

static int run_list(const struct call *call, struct buf *out, struct err *e)
{
	unsigned damaged;

	if (pools_list(call->argv[0], out, &damaged, e) < 0)
		return -e->no;
	return damaged ? 1 : 0;
}

static int run_info(const struct call *call, struct buf *out, struct err *e)
{
	struct address a;

	if (parse_pool(call->argv[0], &a, e) < 0)
		return -e->no;
	return pools_info(a.tenant, a.pool, out, e);
}

static int run_scale(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_buf struct buf created = BUF_INIT;
	cleanup_pool struct pool p = { 0 };
	uint32_t missing;
	struct address a;
	bool changed;

	if (parse_pool(call->argv[0], &a, e) < 0)
		return -e->no;
	if (!scale.running_given && !scale.warm_given && !scale.sleeping_given)
		return err_usage(e, "one of --running, --warm and --sleeping is needed");
	scale.counts = (struct pool_counts){ (uint32_t)arg_running, (uint32_t)arg_warm,
					     (uint32_t)arg_sleeping };
	if (pools_scale(a.tenant, a.pool, &scale, arg_dry_run, call->lock_wait_ms, &p, &changed,
			&missing, &created, e) < 0)
		return -e->no;
	buf_fmt(out,
		"{\"schema_version\":1,\"tenant_id\":\"%s\",\"pool_id\":\"%s\",\"desired_counts\":",
		a.tenant, a.pool);
	codec_print(pool_counts_fields, &p.desired_counts, out);
	print_changed(changed, out);
	buf_fmt(out, ",\"missing\":%u,\"created\":", missing);
	rows_lines(buf_text(&created), out);
	buf_char(out, '}');
	return 0;
}

static int check_there(const struct address *a, struct err *e)
{
	enum store_level level = store_exists(STORE_TENANT, a) ? STORE_POOL : STORE_TENANT;
	cleanup_store struct store s = STORE_NONE;

	return store_open(&s, level, a, e);
}

static int ask(const struct address *a, struct buf *victims, struct err *e)
{
	struct err ignored = { 0 };
	char what[128];

	if (pools_contents(a->tenant, a->pool, victims, &ignored) < 0)
		buf_clear(victims); // a damaged one may still be destroyed
	base_cut(what, sizeof(what), "pool %s/%s", a->tenant, a->pool);
	return confirm_destroy(arg_force || arg_yes || arg_dry_run, what, victims, e);
}

static int run_destroy(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_buf struct buf victims = BUF_INIT;
	struct address a;
	bool there = true;

	if (parse_pool(call->argv[0], &a, e) < 0)
		return -e->no;
	if (check_there(&a, e) < 0) {
		if (e->kind != ERR_MISSING || !arg_if_exists)
			return -e->no;
		there = false;
	}
	if (there && ask(&a, &victims, e) < 0)
		return -e->no;
	// The plan of a forced one is what `mvm pool destroy --force` does, running instances and
	// all.
	if (there && !(arg_dry_run && arg_force) &&
	    pools_destroy(a.tenant, a.pool, arg_force, arg_dry_run, call->lock_wait_ms, e) < 0)
		return -e->no;
	buf_fmt(out, "{\"schema_version\":1,\"tenant_id\":\"%s\",\"pool_id\":\"%s\"", a.tenant,
		a.pool);
	print_changed(there, out);
	buf_str(out, arg_dry_run ? ",\"would_remove\":" : ",\"removed\":");
	rows_lines(buf_text(&victims), out);
	buf_char(out, '}');
	return 0;
}

// Asks, and does nothing else: `mvm pool destroy --force` ends what runs first.
static int run_confirm(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_buf struct buf victims = BUF_INIT;
	struct address a;

	(void)out;
	if (parse_pool(call->argv[0], &a, e) < 0)
		return -e->no;
	if (check_there(&a, e) < 0)
		return e->kind == ERR_MISSING && arg_if_exists ? 0 : -e->no;
	return ask(&a, &victims, e);
}

static const struct verb verbs[] = {
	{ "create", "TENANT/POOL", "make a pool, or find it as asked for", create_opts, 1, 1,
	  run_create, 0 },
	{ "update", "TENANT/POOL", "change what may change while guests run", update_opts, 1, 1,
	  run_update, 0 },
	{ "list", "TENANT", "list the pools of a tenant", NULL, 1, 1, run_list, 0 },
	{ "info", "TENANT/POOL", "show one pool: revision, instances, resources", NULL, 1, 1,
	  run_info, 0 },
	{ "scale", "TENANT/POOL",
	  "say how many instances are wanted, and make the records that are missing", scale_opts, 1,
	  1, run_scale, 0 },
	{ "destroy", "TENANT/POOL", "remove a pool of which nothing runs", destroy_opts, 1, 1,
	  run_destroy, 0 },
	{ "confirm", "TENANT/POOL", "ask before a destroy", destroy_opts, 1, 1, run_confirm,
	  VERB_HIDDEN },
};

int main(int argc, char **argv)
{
	static const struct tool tool = {
		.name = "mvm-pool",
		.summary = "keep the pools of a tenant",
		.verbs = verbs,
		.verb_count = COUNT(verbs),
		.details = "It touches files only: reconcile starts and stops what the counts ask "
			   "for.",
	};

	return tool_main(&tool, argc, argv);
}
