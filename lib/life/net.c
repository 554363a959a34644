// SPDX-License-Identifier: MIT
#include "life/net.h"

#include <linux/netfilter.h>

#include "base/fault.h"
#include "base/log.h"
#include "life/net_find.h"
#include "life/net_plan.h"
#include "state/node.h"

static int prepare_tenant(struct net_job *j, const struct tenant *t, struct err *e)
{
	struct net_report *r = &j->report;

	r->net_id = t->net.tenant_net_id;
	name_bridge(r->net_id, r->bridge);
	name_table(r->net_id, r->table);
	memcpy(r->subnet, t->net.ipv4_subnet, sizeof(r->subnet));
	memcpy(r->gateway, t->net.gateway_ip, sizeof(r->gateway));
	r->mtu = NET_MTU;
	return net_job_lock(j, e);
}

// With a damaged record nobody knows the rules of its guest, so tables that are there stay as they
// are: better the old rules than none.
static int ensure_tables(struct net_job *j, const struct tenant *t, struct err *e)
{
	cleanup_net_plan struct net_plan p = NET_PLAN_NONE;
	struct nft_row row = { 0 };
	char table[16];

	if (net_plan_load(j->route, t, j->node_id, &p, e) < 0)
		return -e->no;
	name_table(t->net.tenant_net_id, table);
	if (p.damaged && nft_table_get(j->filter, NFPROTO_INET, table, &row, e) == 0 &&
	    nft_table_get(j->filter, NFPROTO_NETDEV, table, &row, e) == 0) {
		log_warn(t->tenant_id, "the rules are left as they are: %s", p.damage);
		return 0;
	}
	return nft_tenant_ensure(j->filter, &p.nft, &j->changes, e);
}

static int ensure(struct net_job *j, const struct tenant *t, struct err *e)
{
	struct link_bridge b = { .node_id = j->node_id, .address = t->tenant_id, .mtu = NET_MTU };

	memcpy(b.name, j->report.bridge, sizeof(b.name));
	name_mac(j->report.net_id, OFFSET_GATEWAY, b.mac);
	b.ip = t->subnet.base + OFFSET_GATEWAY;
	b.prefix = t->subnet.prefix;
	// the tables first: a bridge that forwards is never without its rules
	if (ensure_tables(j, t, e) < 0)
		return -e->no;
	if (fault_point("net-table"))
		return err_sys(e, "make bridge %s", b.name);
	if (link_bridge_ensure(j->route, &b, &j->changes, e) < 0)
		return -e->no;
	if (fault_point("net-bridge"))
		return err_sys(e, "enable forwarding");
	return link_sysctl("ipv4/ip_forward", "1", false, &j->changes, e);
}

int net_ensure(const char *tenant, const struct net_call *c, struct net_report *ret, struct err *e)
{
	cleanup_net_job struct net_job j = NET_JOB_NONE;
	struct tenant t = { 0 };

	if (tenant_load(tenant, &t, e) < 0 || net_job_open(&j, tenant, c, e) < 0 ||
	    node_id_ensure(NULL, c->wait_ms, j.node_id, e) < 0 || prepare_tenant(&j, &t, e) < 0 ||
	    ensure(&j, &t, e) < 0)
		return -e->no;
	return net_job_close(&j, ret, e);
}

// Whose TAP it is; a TAP of an instance that has a record is in use, or about to be. Others are
// left over or in store.
static int drop_tap(struct net_job *j, const struct link_row *row, const char *owner, struct err *e)
{
	struct address a;

	if (address_parse(owner, ADDRESS_TENANT, ADDRESS_INSTANCE, &a, e) < 0)
		return err_wrap(e, "%s", row->name);
	if (a.instance[0] && store_exists(STORE_INSTANCE, &a))
		return err_kind(e, ERR_STATE, "%s of %s is still there", row->name, owner);
	return link_remove(j->route, row->name, j->node_id, owner, &j->changes, e);
}

static int drop_taps(struct net_job *j, struct err *e)
{
	cleanup_links struct links l = LINKS_INIT;

	if (link_dump(j->route, &l, e) < 0)
		return -e->no;
	for (size_t i = 0; i < l.len; i++) {
		const struct link_row *row = &l.items[i];
		uint32_t net_id, offset;
		address_text owner;
		node_id_text node;

		if (name_is_tap(row->name, &net_id, &offset) && net_id == j->report.net_id &&
		    link_owner_parse(row->alias, node, owner) && str_eq(node, j->node_id) &&
		    drop_tap(j, row, owner, e) < 0)
			return -e->no;
	}
	return 0;
}

int net_destroy(const char *tenant, const struct net_call *c, struct net_report *ret, struct err *e)
{
	cleanup_net_job struct net_job j = NET_JOB_NONE;
	struct nft_tenant n = { .node_id = j.node_id, .address = tenant };

	if (net_job_open(&j, tenant, c, e) < 0 || node_id_load(j.node_id, e) < 0 ||
	    net_find_tenant(&j, tenant, e) < 0 || net_job_lock(&j, e) < 0 || drop_taps(&j, e) < 0)
		return -e->no;
	n.net_id = j.report.net_id;
	if (fault_point("net-taps"))
		return err_sys(e, "remove %s", j.report.bridge);
	if (link_remove(j.route, j.report.bridge, j.node_id, tenant, &j.changes, e) < 0)
		return -e->no;
	if (fault_point("net-removed"))
		return err_sys(e, "remove table %s", j.report.table);
	if (nft_tenant_remove(j.filter, &n, &j.changes, e) < 0)
		return -e->no;
	return net_job_close(&j, ret, e);
}

int net_policy(const struct address *a, const struct net_call *c, struct net_report *ret,
	       struct err *e)
{
	cleanup_net_plan struct net_plan p = NET_PLAN_NONE;
	cleanup_net_job struct net_job j = NET_JOB_NONE;
	struct tenant t = { 0 };
	struct nft_row row = { 0 };
	address_text text;

	address_print(a, text);
	if (tenant_load(a->tenant, &t, e) < 0 || net_job_open(&j, text, c, e) < 0 ||
	    node_id_ensure(NULL, c->wait_ms, j.node_id, e) < 0 || prepare_tenant(&j, &t, e) < 0 ||
	    net_plan_load_pool(j.route, &t, j.node_id, a->pool, &p, e) < 0)
		return -e->no;
	if (nft_table_get(j.filter, NFPROTO_INET, j.report.table, &row, e) < 0) {
		// without tables there is no guest either; they are made from the record
		err_clear(e);
		return net_job_close(&j, ret, e);
	}
	if (nft_pool_put(j.filter, &p.nft, a->pool, &j.changes, e) < 0)
		return -e->no;
	for (size_t i = 0; i < p.nft.guest_count; i++)
		if (net_guest_put(&j, &p, i, e) < 0)
			return -e->no;
	nl_free_behind(&j.filter); // the change holds already
	return net_job_close(&j, ret, e);
}
