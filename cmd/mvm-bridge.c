// SPDX-License-Identifier: MIT
#include "base/tool.h"
#include "life/conf.h"
#include "life/net_verify.h"

static bool arg_dry_run, arg_deep, given_count;
static const char *arg_port;
static uint64_t arg_count;
static const struct opt change_opts[] = { { 0, OPT_FLAG, "dry-run", NULL,
					    "print the plan, change nothing", &arg_dry_run, 0, 0,
					    NULL, NULL },
					  OPT_END };
static const struct opt verify_opts[] = {
	{ 0, OPT_FLAG, "deep", NULL,
	  "also send packets from throw-away namespaces and report what passes", &arg_deep, 0, 0,
	  NULL, NULL },
	OPT_END
};
static const struct opt stock_opts[] = {
	{ 0, OPT_U64, "count", "N", "how many (default: spare_taps of mvm.conf)", &arg_count, 0,
	  CONF_SPARE_TAPS_MAX, NULL, &given_count },
	{ 0, OPT_FLAG, "dry-run", NULL, "print the first step, change nothing", &arg_dry_run, 0, 0,
	  NULL, NULL },
	OPT_END
};
static const struct opt port_opts[] = {
	{ 0, OPT_TEXT, "port", "LINK", "the link to take", &arg_port, 0, 0, NULL, NULL }, OPT_END
};
static const struct opt no_opts[] = { OPT_END };

typedef int (*tenant_fn)(const char *, const struct net_call *, struct net_report *, struct err *);
typedef int (*address_fn)(const struct address *, const struct net_call *, struct net_report *,
			  struct err *);

static struct net_call call_of(const struct call *call)
{
	return (struct net_call){ .dry_run = arg_dry_run, .wait_ms = call->lock_wait_ms };
}

static int on_tenant(tenant_fn fn, const struct call *call, struct buf *out, struct err *e)
{
	const struct net_call c = call_of(call);
	cleanup_net_report struct net_report r = { 0 };
	const char *tenant = call->argv[0];

	if (name_check(tenant, e) < 0)
		return -e->no;
	if (fn(tenant, &c, &r, e) < 0)
		return err_object(e, "%s", tenant);
	codec_print(net_report_fields, &r, out);
	return 0;
}

static int on_address(address_fn fn, enum address_depth depth, const struct call *call,
		      struct buf *out, struct err *e)
{
	const struct net_call c = call_of(call);
	cleanup_net_report struct net_report r = { 0 };
	struct address a;

	if (address_parse(call->argv[0], depth, depth, &a, e) < 0)
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
	return on_address(net_tap_add, ADDRESS_INSTANCE, call, out, e);
}

static int run_tap_attach(const struct call *call, struct buf *out, struct err *e)
{
	return on_address(net_tap_attach, ADDRESS_INSTANCE, call, out, e);
}

static int run_tap_del(const struct call *call, struct buf *out, struct err *e)
{
	unsigned count;

	if (conf_spare_taps(&count, e) < 0 ||
	    on_address(net_tap_del, ADDRESS_INSTANCE, call, out, e) < 0)
		return -e->no;
	if (!arg_dry_run)
		net_trim_later(call->argv[0], count);
	return 0;
}

static int run_policy(const struct call *call, struct buf *out, struct err *e)
{
	return on_address(net_policy, ADDRESS_POOL, call, out, e);
}

static int adopt(const struct address *a, const struct net_call *c, struct net_report *r,
		 struct err *e)
{
	return net_port_adopt(a, arg_port, c, r, e);
}

static int run_port_add(const struct call *call, struct buf *out, struct err *e)
{
	if (!arg_port || strlen(arg_port) >= IFNAME_SIZE)
		return err_usage(e, "--port: the name of a link is wanted");
	return on_address(adopt, ADDRESS_INSTANCE, call, out, e);
}

static int stock(const char *tenant, const struct net_call *c, struct net_report *r, struct err *e)
{
	unsigned count = (unsigned)arg_count;

	if (!given_count && conf_spare_taps(&count, e) < 0)
		return -e->no;
	return net_stock(tenant, count, false, c, r, e);
}

static int run_stock(const struct call *call, struct buf *out, struct err *e)
{
	return on_tenant(stock, call, out, e);
}

static int run_list(const struct call *call, struct buf *out, struct err *e)
{
	(void)call;
	return net_list(out, e);
}

static int run_info(const struct call *call, struct buf *out, struct err *e)
{
	if (name_check(call->argv[0], e) < 0)
		return -e->no;
	return net_info(call->argv[0], out, e) < 0 ? err_object(e, "%s", call->argv[0]) : 0;
}

static int run_verify(const struct call *call, struct buf *out, struct err *e)
{
	const struct net_verify_args a = { .tenant = call->argc ? call->argv[0] : NULL,
					   .deep = arg_deep,
					   .wait_ms = call->lock_wait_ms };
	unsigned bad;

	if ((a.tenant && name_check(a.tenant, e) < 0) || net_verify(&a, out, &bad, e) < 0)
		return -e->no;
	return bad ? err_kinds[ERR_STATE].exit : 0;
}

static int run_repair(const struct call *call, struct buf *out, struct err *e)
{
	const struct net_call c = call_of(call);
	const char *tenant = call->argc ? call->argv[0] : NULL;

	if (tenant && name_check(tenant, e) < 0)
		return -e->no;
	return net_repair(tenant, &c, out, e);
}

static const struct verb verbs[] = {
	{ "ensure", "TENANT", "make the tenant's bridge and rules, or set them right", change_opts,
	  1, 1, run_ensure, 0 },
	{ "destroy", "TENANT", "remove the tenant's bridge, TAPs in store and rules", change_opts,
	  1, 1, run_destroy, 0 },
	{ "tap-add", "TENANT/POOL/INSTANCE", "make the instance's TAP, down and on no bridge",
	  change_opts, 1, 1, run_tap_add, 0 },
	{ "tap-attach", "TENANT/POOL/INSTANCE",
	  "give the instance's TAP its rules and put it on the bridge, up", change_opts, 1, 1,
	  run_tap_attach, 0 },
	{ "tap-del", "TENANT/POOL/INSTANCE",
	  "take the instance's TAP off the bridge, its rules away, and keep it in store",
	  change_opts, 1, 1, run_tap_del, 0 },
	{ "policy", "TENANT/POOL", "apply the pool's egress policy and limits to its guests",
	  change_opts, 1, 1, run_policy, 0 },
	{ "stock", "TENANT", "make or remove TAPs until so many are in store", stock_opts, 1, 1,
	  run_stock, 0 },
	{ "port-add", "TENANT/POOL/INSTANCE",
	  "for tests: take a link as the instance's TAP, under its name", port_opts, 1, 1,
	  run_port_add, VERB_HIDDEN },
	{ "list", "", "list every bridge, TAP and table with a name of mvm's", no_opts, 0, 0,
	  run_list, 0 },
	{ "info", "TENANT", "print the tenant's network, its guests and what was dropped", no_opts,
	  1, 1, run_info, 0 },
	{ "verify", "[TENANT]", "compare the kernel's state with the records", verify_opts, 0, 1,
	  run_verify, 0 },
	{ "repair", "[TENANT]", "make what is missing, remove what has no owner", change_opts, 0, 1,
	  run_repair, 0 },
};

int main(int argc, char **argv)
{
	static const struct tool tool = { "mvm-bridge", "Tenants' bridges, TAPs and packet rules",
					  verbs, COUNT(verbs), NULL };

	return tool_main(&tool, argc, argv);
}
