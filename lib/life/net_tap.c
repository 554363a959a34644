// SPDX-License-Identifier: MIT
// The TAPs of a tenant: an instance's, and those in store.
#include "base/fault.h"
#include "life/net_find.h"
#include "life/net_plan.h"
#include "state/node.h"
#include "sys/qdisc.h"

static void tap_of(const struct net_job *j, struct link_tap *out)
{
	*out = (struct link_tap){ .node_id = j->node_id,
				  .address = j->report.address,
				  .mtu = NET_MTU,
				  .uid = j->report.uid,
				  .gid = j->report.uid };
	memcpy(out->name, j->report.tap, sizeof(out->name));
}

int net_tap_add(const struct address *a, const struct net_call *c, struct net_report *ret,
		struct err *e)
{
	cleanup_net_job struct net_job j = NET_JOB_NONE;
	struct link_tap t;

	if (net_job_open_instance(&j, a, c, e) < 0 ||
	    node_id_ensure(NULL, c->wait_ms, j.node_id, e) < 0 || net_job_lock(&j, e) < 0)
		return -e->no;
	tap_of(&j, &t);
	t.spare = a->tenant;
	if (link_tap_ensure(j.route, &t, &j.changes, e) < 0)
		return -e->no;
	return net_job_close(&j, ret, e);
}

static int check_owner(struct net_job *j, const char *name, const char *address, struct err *e)
{
	struct link_row row = { 0 };

	if (link_get(j->route, name, &row, e) < 0)
		return -e->no;
	return link_owner_check(name, row.alias, j->node_id, address, e);
}

int net_guest_put(struct net_job *j, const struct net_plan *p, size_t i, struct err *e)
{
	const struct nft_guest *g = &p->nft.guests[i];

	if (nft_guest_put(j->filter, &p->nft, g, &j->changes, e) < 0) {
		if (e->no == ENOENT)
			(void)err_hint(e, "run 'mvm net ensure %s'", p->tenant.tenant_id);
		return -e->no;
	}
	return qdisc_rate_ensure(j->route, g->port, p->guests[i].ingress, &j->changes, e);
}

static int attach(struct net_job *j, const struct address *a, struct err *e)
{
	cleanup_net_plan struct net_plan p = NET_PLAN_NONE;
	struct tenant t = { 0 };
	struct instance i = { 0 };

	if (check_owner(j, j->report.tap, j->report.address, e) < 0 ||
	    check_owner(j, j->report.bridge, a->tenant, e) < 0 ||
	    tenant_load(a->tenant, &t, e) < 0 || instance_load(a, &t, &i, e) < 0 ||
	    net_plan_load_guest(&t, j->node_id, a, &i, &p, e) < 0)
		return -e->no;
	// the pool's chain before a guest that is sent there
	if (p.nft.pool_count && nft_pool_put(j->filter, &p.nft, a->pool, &j->changes, e) < 0)
		return -e->no;
	if (net_guest_put(j, &p, 0, e) < 0)
		return -e->no;
	if (fault_point("net-attach"))
		return err_sys(e, "attach %s", j->report.tap);
	return link_attach(j->route, j->report.tap, j->report.bridge, &j->changes, e);
}

int net_tap_attach(const struct address *a, const struct net_call *c, struct net_report *ret,
		   struct err *e)
{
	cleanup_net_job struct net_job j = NET_JOB_NONE;

	if (net_job_open_instance(&j, a, c, e) < 0 || node_id_load(j.node_id, e) < 0 ||
	    net_job_lock(&j, e) < 0 || attach(&j, a, e) < 0)
		return -e->no;
	return net_job_close(&j, ret, e);
}

int net_port_adopt(const struct address *a, const char *port, const struct net_call *c,
		   struct net_report *ret, struct err *e)
{
	cleanup_net_job struct net_job j = NET_JOB_NONE;

	if (net_job_open_instance(&j, a, c, e) < 0 ||
	    node_id_ensure(NULL, c->wait_ms, j.node_id, e) < 0 || net_job_lock(&j, e) < 0 ||
	    link_adopt(j.route, port, j.report.tap, j.node_id, j.report.address, &j.changes, e) <
		    0 ||
	    attach(&j, a, e) < 0)
		return -e->no;
	return net_job_close(&j, ret, e);
}

// The rules of a port, by what its name says; the record may be gone.
static int drop_rules(struct net_job *j, struct err *e)
{
	struct nft_tenant n = { .net_id = j->report.net_id, .node_id = j->node_id };
	struct nft_guest g = { 0 };
	uint32_t net_id, offset;
	struct subnet s = { 0 };

	memcpy(g.port, j->report.tap, sizeof(g.port));
	if (!name_is_tap(g.port, &net_id, &offset))
		return err_kind(e, ERR_DAMAGED, "'%s' is no TAP's name", g.port);
	name_mac_bytes(net_id, offset, g.mac);
	// without the tenant's record there is no address to look for, and soon no table
	if (j->report.subnet[0] && subnet_parse(j->report.subnet, &s, e) < 0)
		return -e->no;
	g.ip = s.base + offset;
	return nft_guest_drop(j->filter, &n, &g, &j->changes, e);
}

// Into the store, unless somebody still has it open. What is too much there is net_stock's affair.
static int put_away(struct net_job *j, const struct link_row *row, const char *tenant,
		    struct err *e)
{
	struct address of = { 0 };
	struct link_tap t;

	tap_of(j, &t);
	if (COPY(of.tenant, tenant) < 0 || !row->tap || row->carrier || !row->persistent ||
	    !store_exists(STORE_TENANT, &of))
		return link_remove(j->route, t.name, t.node_id, t.address, &j->changes, e);
	if (qdisc_rate_ensure(j->route, t.name, 0, &j->changes, e) < 0)
		return -e->no;
	return link_tap_give(j->route, &t, tenant, &j->changes, e);
}

// *ret_mine false: there is no TAP of the instance's (any more), it may be in store already.
static int find_mine(struct net_job *j, const char *tenant, struct link_row *row, bool *ret_mine,
		     struct err *e)
{
	link_alias spare;
	int r = link_get(j->route, j->report.tap, row, e);

	*ret_mine = false;
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	link_owner_print(j->node_id, tenant, spare);
	if (str_eq(row->alias, spare))
		return 0;
	*ret_mine = true;
	return link_owner_check(row->name, row->alias, j->node_id, j->report.address, e);
}

static int tap_del(struct net_job *j, const char *tenant, struct err *e)
{
	struct link_row row = { 0 };
	bool mine;

	if (find_mine(j, tenant, &row, &mine, e) < 0 ||
	    (mine && link_detach(j->route, row.name, &j->changes, e) < 0))
		return -e->no;
	if (fault_point("net-detached"))
		return err_sys(e, "remove the rules of %s", j->report.tap);
	if (drop_rules(j, e) < 0)
		return -e->no;
	if (fault_point("net-ruleless"))
		return err_sys(e, "put %s away", j->report.tap);
	return mine ? put_away(j, &row, tenant, e) : 0;
}

int net_tap_del(const struct address *a, const struct net_call *c, struct net_report *ret,
		struct err *e)
{
	cleanup_net_job struct net_job j = NET_JOB_NONE;
	int r = net_job_open_instance(&j, a, c, e);

	if (r < 0 && e->kind != ERR_MISSING)
		return r;
	if (node_id_load(j.node_id, e) < 0 || (r < 0 && net_find_tap(&j, e) < 0) ||
	    net_job_lock(&j, e) < 0 || tap_del(&j, a->tenant, e) < 0)
		return -e->no;
	return net_job_close(&j, ret, e);
}
