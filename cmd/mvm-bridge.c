// SPDX-License-Identifier: MIT
#include "base/tool.h"
#include "life/net.h"

static bool arg_dry_run;
static const struct opt change_opts[] = { { 0, OPT_FLAG, "dry-run", NULL,
					    "print the plan, change nothing", &arg_dry_run, 0, 0,
					    NULL, NULL },
					  OPT_END };
static const struct opt no_opts[] = { OPT_END };

typedef int (*tenant_fn)(const char *, const struct net_call *, struct net_report *, struct err *);
typedef int (*instance_fn)(const struct address *, const struct net_call *, struct net_report *,
			   struct err *);

static int on_tenant(tenant_fn fn, const struct call *call, struct buf *out, struct err *e)
{
	const struct net_call c = { .dry_run = arg_dry_run, .wait_ms = call->lock_wait_ms };
	cleanup_net_report struct net_report r = { 0 };
	const char *tenant = call->argv[0];

	if (name_check(tenant, e) < 0)
		return -e->no;
	if (fn(tenant, &c, &r, e) < 0)
		return err_object(e, "%s", tenant);
	codec_print(net_report_fields, &r, out);
	return 0;
}

static int on_instance(instance_fn fn, const struct call *call, struct buf *out, struct err *e)
{
	const struct net_call c = { .dry_run = arg_dry_run, .wait_ms = call->lock_wait_ms };
	cleanup_net_report struct net_report r = { 0 };
	struct address a;

	if (address_parse(call->argv[0], ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0)
		return -e->no;
	if (fn(&a, &c, &r, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	codec_print(net_report_fields, &r, out);
	return 0;
}

static int run_ensure(const struct call *call, struct buf *out, struct err *e)
{
	return on_tenant(net_ensure, call, out, e);
}

static int run_destroy(const struct call *call, struct buf *out, struct err *e)
{
	return on_tenant(net_destroy, call, out, e);
}

static int run_tap_add(const struct call *call, struct buf *out, struct err *e)
{
	return on_instance(net_tap_add, call, out, e);
}

static int run_tap_attach(const struct call *call, struct buf *out, struct err *e)
{
	return on_instance(net_tap_attach, call, out, e);
}

static int run_tap_del(const struct call *call, struct buf *out, struct err *e)
{
	return on_instance(net_tap_del, call, out, e);
}

static int run_list(const struct call *call, struct buf *out, struct err *e)
{
	(void)call;
	return net_list(out, e);
}

static const struct verb verbs[] = {
	{ "ensure", "TENANT", "make the tenant's bridge and rules, or set them right", change_opts,
	  1, 1, run_ensure, 0 },
	{ "destroy", "TENANT", "remove the tenant's bridge and rules", change_opts, 1, 1,
	  run_destroy, 0 },
	{ "tap-add", "TENANT/POOL/INSTANCE", "make the instance's TAP, down and on no bridge",
	  change_opts, 1, 1, run_tap_add, 0 },
	{ "tap-attach", "TENANT/POOL/INSTANCE", "put the instance's TAP on the bridge, up",
	  change_opts, 1, 1, run_tap_attach, 0 },
	{ "tap-del", "TENANT/POOL/INSTANCE", "remove the instance's TAP", change_opts, 1, 1,
	  run_tap_del, 0 },
	{ "list", "", "list every bridge, TAP and table with a name of mvm's", no_opts, 0, 0,
	  run_list, 0 },
};

int main(int argc, char **argv)
{
	static const struct tool tool = { "mvm-bridge", "Tenants' bridges, TAPs and packet rules",
					  verbs, COUNT(verbs), NULL };

	return tool_main(&tool, argc, argv);
}
