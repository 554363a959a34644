// SPDX-License-Identifier: MIT
#include "base/tool.h"
#include "life/cli.h"
#include "life/left.h"
#include "state/instances.h"
#include "state/rows.h"

#define CREATE_MAX 1024

static uint64_t arg_count = 1;
static const char *arg_tenant, *arg_pool;
static bool arg_dry_run, arg_templates, arg_keep_volumes, given_count;

#define DRY_RUN_OPT                                                                            \
	{                                                                                      \
		.kind = OPT_FLAG, .name = "dry-run", .help = "print the plan, change nothing", \
		.slot = &arg_dry_run                                                           \
	}

static const struct opt create_opts[] = { { .letter = 'n',
					    .kind = OPT_U64,
					    .name = "count",
					    .arg = "N",
					    .help = "make N of them and print an array",
					    .slot = &arg_count,
					    .min = 1,
					    .max = CREATE_MAX,
					    .given = &given_count },
					  DRY_RUN_OPT,
					  OPT_END };
#define TENANT_OPT                                                   \
	{                                                            \
		.kind = OPT_TEXT, .name = "tenant", .arg = "TENANT", \
		.help = "only of this tenant", .slot = &arg_tenant   \
	}
#define POOL_OPT                                                             \
	{                                                                    \
		.kind = OPT_TEXT, .name = "pool", .arg = "POOL",             \
		.help = "only of this pool of the tenant", .slot = &arg_pool \
	}
static const struct opt list_opts[] = {
	TENANT_OPT,
	POOL_OPT,
	{ .kind = OPT_FLAG,
	  .name = "templates",
	  .help = "those that base snapshots are taken from as well",
	  .slot = &arg_templates },
	OPT_END
};
static const struct opt stats_opts[] = { TENANT_OPT, POOL_OPT, OPT_END };
static const struct opt remove_opts[] = { { .kind = OPT_FLAG,
					    .name = "keep-volumes",
					    .help = "keep its /data in the pool's volumes-kept/",
					    .slot = &arg_keep_volumes },
					  OPT_END };
static const struct opt sweep_opts[] = { DRY_RUN_OPT, OPT_END };

// The records of the addresses in lines, one a line.
static int print_created(const char *lines, struct buf *out, struct err *e)
{
	while (*lines) {
		size_t len = strcspn(lines, "\n");
		cleanup_free char *line = base_printf("%.*s", (int)len, lines);
		struct address a;

		if (address_parse(line, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0)
			return -e->no;
		if (given_count)
			rows_next(out);
		if (instances_info(&a, out, e) < 0)
			return -e->no;
		lines += len + (lines[len] == '\n');
	}
	return 0;
}

static int run_create(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_buf struct buf created = BUF_INIT;
	struct address a;
	uint32_t made;

	if (address_parse(call->argv[0], ADDRESS_POOL, ADDRESS_INSTANCE, &a, e) < 0)
		return -e->no;
	if (a.instance[0] && given_count)
		return err_usage(e, "%s: -n goes with TENANT/POOL", call->argv[0]);
	if (instances_create(&a, (uint32_t)arg_count, arg_dry_run, call->lock_wait_ms, &made,
			     &created, e) < 0)
		return -e->no;
	if (arg_dry_run) {
		buf_fmt(out,
			"{\"schema_version\":1,\"dry_run\":true,\"changed\":%s,\"would_create\":%u",
			made ? "true" : "false", made);
		rows_text(out, "tenant_id", a.tenant);
		rows_text(out, "pool_id", a.pool);
		buf_char(out, '}');
		return 0;
	}
	if (given_count)
		buf_char(out, '[');
	if (!made)
		buf_fmt(&created, "%s\n", call->argv[0]); // it was there
	if (print_created(buf_text(&created), out, e) < 0)
		return -e->no;
	if (given_count) {
		buf_char(out, ']');
		return 0;
	}
	rows_reopen(out);
	buf_fmt(out, ",\"changed\":%s}", made ? "true" : "false");
	return 0;
}

static int which(const struct call *call, struct address *a, struct err *e)
{
	*a = (struct address){ 0 };
	if (call->argc && (arg_tenant || arg_pool))
		return err_usage(e, "give TENANT[/POOL] or --tenant and --pool, not both");
	if (call->argc)
		return address_parse(call->argv[0], ADDRESS_TENANT, ADDRESS_POOL, a, e);
	if (arg_pool && !arg_tenant)
		return err_usage(e, "--pool needs --tenant");
	if (arg_tenant && (name_check(arg_tenant, e) < 0 || COPY(a->tenant, arg_tenant) < 0))
		return err_wrap(e, "--tenant");
	if (arg_pool && (name_check(arg_pool, e) < 0 || COPY(a->pool, arg_pool) < 0))
		return err_wrap(e, "--pool");
	return 0;
}

static int run_list(const struct call *call, struct buf *out, struct err *e)
{
	unsigned damaged;
	struct address a;

	if (which(call, &a, e) < 0 || instances_list(&a, arg_templates, out, &damaged, e) < 0)
		return -e->no;
	return damaged ? 1 : 0;
}

static int run_stats(const struct call *call, struct buf *out, struct err *e)
{
	struct address a = { 0 };

	if (call->argc && (arg_tenant || arg_pool))
		return err_usage(e, "give operands or --tenant and --pool, not both");
	if (!call->argc && which(call, &a, e) < 0)
		return -e->no;
	return cli_stats(call, &a, out, e);
}

static int run_info(const struct call *call, struct buf *out, struct err *e)
{
	struct address a;

	if (instances_resolve(call->argv[0], &a, e) < 0)
		return -e->no;
	return instances_info(&a, out, e);
}

// The record and the claim of its id only: what the kernel and the backend hold for it is gone by
// now.
static int run_remove(const struct call *call, struct buf *out, struct err *e)
{
	address_text text;
	struct address a;

	if (instances_resolve(call->argv[0], &a, e) < 0 ||
	    instances_remove(&a, arg_keep_volumes, call->lock_wait_ms, e) < 0)
		return -e->no;
	address_print(&a, text);
	buf_fmt(out, "{\"schema_version\":1,\"instance_path\":\"%s\",\"changed\":true}", text);
	return 0;
}

// One a line, before the paths that store_sweep tells.
static int sweep_left(const struct call *call, struct buf *lines, struct err *e)
{
	struct codec_list found = { 0 };
	int r = left_sweep(NULL, arg_dry_run, call->lock_wait_ms, &found, e);
	const struct left *l = found.items;
	address_text address;

	for (size_t i = 0; r == 0 && i < found.len; i++) {
		address_print(&l[i].a, address);
		buf_fmt(lines, "%s%s%s\n", address, l[i].ref[0] ? "/" : "", l[i].ref);
	}
	free(found.items);
	return r;
}

static int run_sweep(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_buf struct buf found = BUF_INIT;

	if (sweep_left(call, &found, e) < 0 ||
	    store_sweep(arg_dry_run, call->lock_wait_ms, &found, e) < 0)
		return -e->no;
	buf_fmt(out,
		"{\"schema_version\":1,\"changed\":%s%s,\"removed\":", found.len ? "true" : "false",
		arg_dry_run ? ",\"dry_run\":true" : "");
	rows_lines(buf_text(&found), out);
	buf_char(out, '}');
	return 0;
}

static const struct verb verbs[] = {
	{ "create", "TENANT/POOL[/INSTANCE]", "make an instance's record and give it its address",
	  create_opts, 1, 1, run_create, 0 },
	{ "list", "[TENANT[/POOL]]", "list instances", list_opts, 0, 1, run_list, 0 },
	{ "info", "INSTANCE", "show one instance, by its address or its id alone", NULL, 1, 1,
	  run_info, 0 },
	{ "start", "INSTANCE...", "start instances and wait until they are ready", cli_start_opts,
	  1, 256, cli_start, VERB_DAEMON },
	{ "stop", "INSTANCE...", "ask the guests to shut down, then end them", cli_stop_opts, 1,
	  256, cli_stop, VERB_DAEMON },
	{ "warm", "INSTANCE...", "pause guests in memory", cli_warm_opts, 1, 256, cli_warm,
	  VERB_DAEMON },
	{ "sleep", "INSTANCE...", "capture guests and end them", cli_sleep_opts, 1, 256, cli_sleep,
	  VERB_DAEMON },
	{ "wake", "INSTANCE...", "have guests go on where they were put to rest", NULL, 1, 256,
	  cli_wake, VERB_DAEMON },
	{ "discard", "INSTANCE...", "drop the captures of guests that sleep", NULL, 1, 256,
	  cli_discard, VERB_DAEMON },
	{ "snapshot", "create|list|restore|rm INSTANCE [NAME]",
	  "keep a guest as it is now, under a name, and go back to it", cli_snapshot_opts, 2, 3,
	  cli_snapshot, VERB_DAEMON },
	{ "clone", "INSTANCE", "make instances that go on from where another is, or was",
	  cli_clone_opts, 1, 1, cli_clone, VERB_DAEMON },
	{ "explain", "INSTANCE",
	  "show how it last started, slept and ended, and how long each took", NULL, 1, 1,
	  cli_explain, 0 },
	{ "stats", "[INSTANCE...|TENANT[/POOL]]",
	  "show what instances use now and how they last ended", stats_opts, 0, 256, run_stats, 0 },
	{ "top", "[TENANT[/POOL]]", "show what instances do, round after round", cli_top_opts, 0, 1,
	  cli_top, VERB_RAW },
	{ "destroy", "INSTANCE...|TENANT[/POOL]", "stop instances and remove them",
	  cli_destroy_opts, 1, 256, cli_destroy, VERB_DAEMON },
	CLI_STEP("prepare", "make what a VMM needs before it is started", cli_prepare),
	CLI_STEP("commit", "record that the guest is ready", cli_commit),
	CLI_STEP("drain", "end the run politely", cli_drain),
	CLI_STEP("finish", "record how the run ended and release what it held", cli_finish),
	CLI_STEP("settle", "bring what a killed verb left to its end", cli_settle),
	{ "destroy-record", "INSTANCE", "remove the record of an instance that does not run",
	  remove_opts, 1, 1, run_remove, VERB_HIDDEN },
	{ "sweep", "", "remove what killed creators and removers left", sweep_opts, 0, 0, run_sweep,
	  VERB_HIDDEN },
};

int main(int argc, char **argv)
{
	static const struct tool tool = {
		.name = "mvm-instance",
		.summary = "keep, start and stop the instances of a pool",
		.verbs = verbs,
		.verb_count = COUNT(verbs),
	};

	return tool_main(&tool, argc, argv);
}
