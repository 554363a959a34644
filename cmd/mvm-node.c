// SPDX-License-Identifier: MIT
#include "base/tool.h"
#include "life/census.h"
#include "life/node_report.h"

static bool arg_strays, arg_sweep, arg_dry_run;
static const struct opt no_opts[] = { OPT_END };
static const struct opt census_opts[] = {
	{ 0, OPT_FLAG, "strays", NULL, "print only what nobody owns", &arg_strays, 0, 0, NULL,
	  NULL },
	{ 0, OPT_FLAG, "sweep", NULL, "first remove unfinished drafts and claims of no instance",
	  &arg_sweep, 0, 0, NULL, NULL },
	{ 0, OPT_FLAG, "dry-run", NULL, "with --sweep: remove nothing", &arg_dry_run, 0, 0, NULL,
	  NULL },
	OPT_END
};

static int run_info(const struct call *call, struct buf *out, struct err *e)
{
	return node_report_info(call->lock_wait_ms, out, e);
}

static int run_stats(const struct call *call, struct buf *out, struct err *e)
{
	(void)call;
	return node_report_stats(out, e);
}

static int run_census(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_census struct census c = CENSUS_NONE;
	cleanup_buf struct buf swept = BUF_INIT;

	if (arg_dry_run && !arg_sweep)
		return err_usage(e, "--dry-run goes with --sweep");
	if (arg_sweep && store_sweep(arg_dry_run, call->lock_wait_ms, &swept, e) < 0)
		return -e->no;
	if (census_take(&c, call->lock_wait_ms, e) < 0)
		return -e->no;
	return census_print(&c, arg_strays, out) ? err_kinds[ERR_STATE].exit : 0;
}

static const struct verb verbs[] = {
	{ "info", "", "print what this node is", no_opts, 0, 0, run_info, 0 },
	{ "stats", "", "count tenants, pools and instances", no_opts, 0, 0, run_stats, 0 },
	{ "census", "", "list every object of mvm's on this machine and whose it is", census_opts,
	  0, 0, run_census, 0 },
};

int main(int argc, char **argv)
{
	static const struct tool tool = { "mvm-node",
					  "This node: identity, counts, what lies around", verbs,
					  COUNT(verbs), NULL };

	return tool_main(&tool, argc, argv);
}
