// SPDX-License-Identifier: MIT
#include "life/net.h"

#include "base/fault.h"
#include "life/net_find.h"
#include "state/node.h"
#include "sys/link.h"
#include "sys/nft.h"

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

static int ensure(struct net_job *j, const struct tenant *t, struct err *e)
{
	struct link_bridge b = { .node_id = j->node_id, .address = t->tenant_id, .mtu = NET_MTU };
	struct nft_tenant n = { .net_id = t->net.tenant_net_id,
				.node_id = j->node_id,
				.address = t->tenant_id,
				.subnet = t->subnet };

	memcpy(b.name, j->report.bridge, sizeof(b.name));
	name_mac(n.net_id, OFFSET_GATEWAY, b.mac);
	b.ip = t->subnet.base + OFFSET_GATEWAY;
	b.prefix = t->subnet.prefix;
	// the table first: a bridge that forwards is never without its rules
	if (nft_tenant_ensure(j->filter, &n, &j->changes, e) < 0)
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

// A TAP of an instance that has a record is in use, or about to be; others are left-overs.
static int drop_taps(struct net_job *j, struct err *e)
{
	cleanup_links struct links l = LINKS_INIT;

	if (link_dump(j->route, &l, e) < 0)
		return -e->no;
	for (size_t i = 0; i < l.len; i++) {
		const struct link_row *row = &l.items[i];
		uint32_t net_id, offset;
		address_text text;
		node_id_text node;
		struct address a;

		if (!name_is_tap(row->name, &net_id, &offset) || net_id != j->report.net_id ||
		    !link_owner_parse(row->alias, node, text) || !str_eq(node, j->node_id))
			continue;
		if (address_parse(text, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0)
			return err_wrap(e, "%s", row->name);
		if (store_exists(STORE_INSTANCE, &a))
			return err_kind(e, ERR_STATE, "%s of %s is still there", row->name, text);
		if (link_remove(j->route, row->name, node, text, &j->changes, e) < 0)
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
	if (link_remove(j.route, j.report.bridge, j.node_id, tenant, &j.changes, e) < 0)
		return -e->no;
	if (fault_point("net-removed"))
		return err_sys(e, "remove table %s", j.report.table);
	if (nft_tenant_remove(j.filter, &n, &j.changes, e) < 0)
		return -e->no;
	return net_job_close(&j, ret, e);
}

int net_tap_add(const struct address *a, const struct net_call *c, struct net_report *ret,
		struct err *e)
{
	cleanup_net_job struct net_job j = NET_JOB_NONE;
	struct link_tap t = { .node_id = j.node_id, .address = j.report.address, .mtu = NET_MTU };

	if (net_job_open_instance(&j, a, c, e) < 0 ||
	    node_id_ensure(NULL, c->wait_ms, j.node_id, e) < 0 || net_job_lock(&j, e) < 0)
		return -e->no;
	memcpy(t.name, j.report.tap, sizeof(t.name));
	t.uid = t.gid = j.report.uid;
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

int net_tap_attach(const struct address *a, const struct net_call *c, struct net_report *ret,
		   struct err *e)
{
	cleanup_net_job struct net_job j = NET_JOB_NONE;

	if (net_job_open_instance(&j, a, c, e) < 0 || node_id_load(j.node_id, e) < 0 ||
	    net_job_lock(&j, e) < 0 || check_owner(&j, j.report.tap, j.report.address, e) < 0 ||
	    check_owner(&j, j.report.bridge, a->tenant, e) < 0 ||
	    link_attach(j.route, j.report.tap, j.report.bridge, &j.changes, e) < 0)
		return -e->no;
	return net_job_close(&j, ret, e);
}

int net_tap_del(const struct address *a, const struct net_call *c, struct net_report *ret,
		struct err *e)
{
	cleanup_net_job struct net_job j = NET_JOB_NONE;
	int r = net_job_open_instance(&j, a, c, e);

	if (r < 0 && e->kind != ERR_MISSING)
		return r;
	if (node_id_load(j.node_id, e) < 0 || (r < 0 && net_find_tap(&j, e) < 0) ||
	    net_job_lock(&j, e) < 0 ||
	    link_remove(j.route, j.report.tap, j.node_id, j.report.address, &j.changes, e) < 0)
		return -e->no;
	return net_job_close(&j, ret, e);
}
