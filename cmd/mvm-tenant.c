// SPDX-License-Identifier: MIT
#include "base/num.h"
#include "base/tool.h"
#include "state/confirm.h"
#include "state/pools.h"
#include "state/rows.h"
#include "state/tenants.h"

static uint64_t arg_net_id, arg_vcpus, arg_mem, arg_running, arg_warm, arg_pools, arg_instances,
	arg_disk;
static const char *arg_subnet;
static int arg_deny_log; // of update
static bool arg_dry_run, arg_force, arg_yes, arg_if_exists, arg_all, arg_wipe;
static struct tenant_spec spec;

// clang-format off
#define QUOTA(word, unit, text, slot, most, given) \
	{ 0, OPT_U64, word, unit, text, slot, 0, most, NULL, given }
#define QUOTA_OPTS \
	QUOTA("max-vcpus", "N", "vCPUs of running and warm instances", &arg_vcpus, 65536, &spec.given.max_vcpus), \
	QUOTA("max-mem", "MIB", "their memory in MiB", &arg_mem, 1 << 30, &spec.given.max_mem_mib), \
	QUOTA("max-running", "N", "instances that run", &arg_running, 65536, &spec.given.max_running), \
	QUOTA("max-warm", "N", "instances that are paused in memory", &arg_warm, 65536, &spec.given.max_warm), \
	QUOTA("max-pools", "N", "pools", &arg_pools, 65536, &spec.given.max_pools), \
	QUOTA("max-instances", "N", "instances of one pool", &arg_instances, 65536, &spec.given.max_instances_per_pool), \
	QUOTA("max-disk", "GIB", "data disks and captures in GiB", &arg_disk, 1 << 30, &spec.given.max_disk_gib)
#define DRY_RUN_OPT \
	{ 0, OPT_FLAG, "dry-run", NULL, "print the plan, change nothing", &arg_dry_run, 0, 0, NULL, NULL }
// clang-format on

static const char *const off_on[] = { "off", "on", NULL };

static const struct opt create_opts[] = {
	{ 0, OPT_U64, "net-id", "N", "number of its network (default: the lowest free one)",
	  &arg_net_id, NET_ID_MIN, NET_ID_MAX, NULL, NULL },
	{ 0, OPT_TEXT, "subnet", "CIDR", "its addresses, /16 to /28 (default: from the net id)",
	  &arg_subnet, 0, 0, NULL, NULL },
	QUOTA_OPTS,
	{ 0, OPT_FLAG, "deny-log", NULL, "log the packets that its rules deny", &spec.deny_log, 0,
	  0, NULL, &spec.given.deny_log },
	DRY_RUN_OPT,
	OPT_END,
};
static const struct opt update_opts[] = {
	QUOTA_OPTS,
	{ 0, OPT_ENUM, "deny-log", "off|on", "log the packets that its rules deny", &arg_deny_log,
	  0, 0, off_on, &spec.given.deny_log },
	DRY_RUN_OPT,
	OPT_END,
};
static const struct opt list_opts[] = {
	{ 'a', OPT_FLAG, "all", NULL, "the development tenant as well", &arg_all, 0, 0, NULL,
	  NULL },
	OPT_END,
};
static const struct opt destroy_opts[] = {
	{ 0, OPT_FLAG, "force", NULL, "do not ask; pools of which nothing runs go as well",
	  &arg_force, 0, 0, NULL, NULL },
	{ 'y', OPT_FLAG, "yes", NULL, "do not ask", &arg_yes, 0, 0, NULL, NULL },
	{ 0, OPT_FLAG, "if-exists", NULL, "no such tenant is fine", &arg_if_exists, 0, 0, NULL,
	  NULL },
	{ 0, OPT_FLAG, "wipe-volumes", NULL, "accepted: volumes always go with their tenant",
	  &arg_wipe, 0, 0, NULL, NULL },
	DRY_RUN_OPT,
	OPT_END,
};

static int read_spec(const char *id, struct err *e)
{
	spec.id = id;
	spec.net_id = (uint32_t)arg_net_id;
	spec.quotas = (struct tenant_quotas){
		.max_vcpus = (uint32_t)arg_vcpus,
		.max_mem_mib = arg_mem,
		.max_running = (uint32_t)arg_running,
		.max_warm = (uint32_t)arg_warm,
		.max_pools = (uint32_t)arg_pools,
		.max_instances_per_pool = (uint32_t)arg_instances,
		.max_disk_gib = arg_disk,
	};
	if (name_check(id, e) < 0)
		return err_wrap(e, "tenant");
	if (arg_subnet && subnet_parse(arg_subnet, &spec.subnet, e) < 0)
		return err_wrap(e, "--subnet");
	return 0;
}

static void print_result(const struct tenant *t, bool changed, struct buf *out)
{
	codec_print(tenant_fields, t, out);
	rows_reopen(out);
	buf_fmt(out, ",\"changed\":%s%s}", changed ? "true" : "false",
		arg_dry_run ? ",\"dry_run\":true" : "");
}

static int run_create(const struct call *call, struct buf *out, struct err *e)
{
	struct tenant t;
	bool changed;

	if (read_spec(call->argv[0], e) < 0 ||
	    tenants_create(&spec, arg_dry_run, call->lock_wait_ms, &t, &changed, e) < 0)
		return -e->no;
	print_result(&t, changed, out);
	return 0;
}

static int run_update(const struct call *call, struct buf *out, struct err *e)
{
	struct tenant t;
	bool changed;

	spec.deny_log = arg_deny_log == 1;
	if (read_spec(call->argv[0], e) < 0 ||
	    tenants_update(&spec, arg_dry_run, call->lock_wait_ms, &t, &changed, e) < 0)
		return -e->no;
	print_result(&t, changed, out);
	return 0;
}

static int run_list(const struct call *call, struct buf *out, struct err *e)
{
	unsigned damaged;

	(void)call;
	if (tenants_list(arg_all, out, &damaged, e) < 0)
		return -e->no;
	return damaged ? 1 : 0;
}

static int run_info(const struct call *call, struct buf *out, struct err *e)
{
	return tenants_info(call->argv[0], out, e);
}

// What would die, for the question and the plan; a damaged tenant may still be destroyed.
static void victims_of(const char *id, struct buf *out)
{
	struct err ignored = { 0 };

	if (pools_contents(id, NULL, out, &ignored) < 0)
		buf_clear(out);
}

static int check_there(const char *id, struct err *e)
{
	struct address a = { 0 };

	if (name_check(id, e) < 0 || COPY(a.tenant, id) < 0)
		return err_wrap(e, "tenant");
	if (store_exists(STORE_TENANT, &a))
		return 0;
	err_kind(e, ERR_MISSING, "%s: no such tenant", id);
	return err_object(e, "%s", id);
}

static int ask(const char *id, struct err *e)
{
	cleanup_buf struct buf victims = BUF_INIT;
	char what[64];

	victims_of(id, &victims);
	base_cut(what, sizeof(what), "tenant %s", id);
	return confirm_destroy(arg_force || arg_yes || arg_dry_run, what, &victims, e);
}

static void print_destroyed(const char *id, bool changed, struct buf *out)
{
	cleanup_buf struct buf victims = BUF_INIT;

	buf_fmt(out, "{\"schema_version\":1,\"tenant_id\":\"%s\",\"changed\":%s", id,
		changed ? "true" : "false");
	if (arg_dry_run) {
		victims_of(id, &victims);
		buf_str(out, ",\"dry_run\":true,\"would_remove\":");
		rows_lines(buf_text(&victims), out);
	}
	buf_char(out, '}');
}

static int run_destroy(const struct call *call, struct buf *out, struct err *e)
{
	const char *id = call->argv[0];

	if (check_there(id, e) < 0) {
		if (e->kind != ERR_MISSING || !arg_if_exists)
			return -e->no;
		print_destroyed(id, false, out);
		return 0;
	}
	if (ask(id, e) < 0)
		return -e->no;
	// The plan of a forced one is what `mvm tenant destroy --force` does, pools and all.
	if (arg_force && !arg_dry_run && tenants_empty(id, call->lock_wait_ms, e) < 0)
		return -e->no;
	if (!(arg_dry_run && arg_force) &&
	    tenants_destroy(id, arg_dry_run, call->lock_wait_ms, e) < 0)
		return -e->no;
	print_destroyed(id, true, out);
	return 0;
}

// Asks, and does nothing else: `mvm tenant destroy` has more than this tool's files to remove.
static int run_confirm(const struct call *call, struct buf *out, struct err *e)
{
	(void)out;
	if (check_there(call->argv[0], e) < 0)
		return e->kind == ERR_MISSING && arg_if_exists ? 0 : -e->no;
	return ask(call->argv[0], e);
}

static const struct verb verbs[] = {
	{ "create", "TENANT", "make a tenant, or find it as asked for", create_opts, 1, 1,
	  run_create, 0 },
	{ "update", "TENANT", "change quotas and the log of denied packets", update_opts, 1, 1,
	  run_update, 0 },
	{ "list", "", "list the tenants with their networks, quotas and usage", list_opts, 0, 0,
	  run_list, 0 },
	{ "info", "TENANT", "show one tenant with its pools", NULL, 1, 1, run_info, 0 },
	{ "destroy", "TENANT", "remove a tenant that has no pools", destroy_opts, 1, 1, run_destroy,
	  0 },
	{ "confirm", "TENANT", "ask before a destroy", destroy_opts, 1, 1, run_confirm,
	  VERB_HIDDEN },
};

int main(int argc, char **argv)
{
	static const struct tool tool = {
		.name = "mvm-tenant",
		.summary = "keep the tenants of this node",
		.verbs = verbs,
		.verb_count = COUNT(verbs),
		.details = "It touches files only: `mvm tenant` makes and removes the network as "
			   "well.",
	};

	return tool_main(&tool, argc, argv);
}
