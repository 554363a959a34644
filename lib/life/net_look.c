// SPDX-License-Identifier: MIT
#include "life/net_look.h"

#include <stdarg.h>

#include <linux/netfilter.h>

#include "state/instances.h"
#include "sys/qdisc.h"

int net_look_open(struct net_look *l, struct err *e)
{
	*l = (struct net_look)NET_LOOK_NONE;
	if (node_id_load(l->node_id, e) < 0) {
		if (e->kind != ERR_MISSING)
			return -e->no;
		err_clear(e); // a node that made nothing yet
	}
	if (nl_new(NETLINK_ROUTE, &l->route, e) < 0 ||
	    nl_new(NETLINK_NETFILTER, &l->filter, e) < 0 || link_dump(l->route, &l->links, e) < 0 ||
	    nft_tables(l->filter, &l->tables, e) < 0)
		return -e->no;
	return 0;
}

void net_look_close(struct net_look *l)
{
	nl_free(l->route);
	nl_free(l->filter);
	links_free(&l->links);
	nft_tables_free(&l->tables);
}

void net_issue_add(struct net_verdict *v, const char *check, const char *fix, const char *fmt, ...)
{
	struct net_issue *i = codec_list_add(&v->issues, sizeof(*i));
	va_list args;

	(void)snprintf(i->check, sizeof(i->check), "%s", check);
	(void)snprintf(i->fix, sizeof(i->fix), "%s", fix);
	va_start(args, fmt);
	(void)vsnprintf(i->message, sizeof(i->message), fmt, args);
	va_end(args);
}

bool net_verdict_holds(const struct net_verdict *v, const char *check)
{
	const struct net_issue *i = v->issues.items;

	for (size_t n = 0; n < v->issues.len; n++)
		if (str_eq(i[n].check, check))
			return false;
	return true;
}

void net_verdict_close(struct net_verdict *v)
{
	const struct net_issue *i = v->issues.items;
	size_t used = 0;

	v->ok = v->issues.len == 0;
	v->taps = (uint32_t)v->tap_devices.len;
	(void)snprintf(v->summary, sizeof(v->summary), "ok");
	for (size_t n = 0; n < v->issues.len && used < sizeof(v->summary); n++)
		used += (size_t)snprintf(v->summary + used, sizeof(v->summary) - used, "%s%s: %s",
					 n ? "; " : "", i[n].check, i[n].message);
	if (!v->tenant_id[0])
		return;
	v->bridge_exists = net_verdict_holds(v, "bridge-exists");
	v->bridge_up = v->bridge_exists && net_verdict_holds(v, "bridge-up");
	v->gateway_assigned = v->bridge_exists && net_verdict_holds(v, "gateway");
	v->nat_masquerade = net_verdict_holds(v, "rules") && net_verdict_holds(v, "nat");
	v->forward_outbound = net_verdict_holds(v, "rules") && net_verdict_holds(v, "forward");
	v->forward_established =
		net_verdict_holds(v, "rules") && net_verdict_holds(v, "established");
	v->cross_tenant = net_verdict_holds(v, "rules") && net_verdict_holds(v, "cross-tenant");
	v->anti_spoof = net_verdict_holds(v, "rules") && net_verdict_holds(v, "anti-spoof");
	v->host_input = net_verdict_holds(v, "rules") && net_verdict_holds(v, "host-input");
}

static void repair_of(const char *tenant, char out[64])
{
	(void)snprintf(out, 64, "mvm net repair %s", tenant);
}

static int look_at_bridge(struct net_look *l, const struct net_plan *p, struct net_verdict *v,
			  const char *fix, struct err *e)
{
	const struct link_row *b = links_by_name(&l->links, v->bridge_name);
	address_text owner;
	mac_text mac;
	uint8_t want[6];
	char node[37];
	bool has;

	if (!b) {
		net_issue_add(v, "bridge-exists", fix, "there is no link %s", v->bridge_name);
		return 0;
	}
	if (!str_eq(b->kind, "bridge") || !link_owner_parse(b->alias, node, owner) ||
	    !str_eq(node, l->node_id) || !str_eq(owner, v->tenant_id)) {
		net_issue_add(v, "bridge-exists", "ip -d link show",
			      "%s was not made for this tenant", v->bridge_name);
		return 0;
	}
	if (!b->up)
		net_issue_add(v, "bridge-up", fix, "%s is down", b->name);
	if (b->mtu != NET_MTU)
		net_issue_add(v, "mtu", fix, "%s has MTU %u instead of %u", b->name, b->mtu,
			      NET_MTU);
	name_mac_bytes(p->nft.net_id, OFFSET_GATEWAY, want);
	name_mac(p->nft.net_id, OFFSET_GATEWAY, mac);
	if (memcmp(b->mac, want, sizeof(want)) != 0)
		net_issue_add(v, "gateway", fix, "the MAC of %s is not %s", b->name, mac);
	if (link_has_address(l->route, b->index, p->nft.subnet.base + OFFSET_GATEWAY,
			     p->nft.subnet.prefix, &has, e) < 0)
		return -e->no;
	if (!has)
		net_issue_add(v, "gateway", fix, "%s does not have %s/%u", b->name, v->gateway,
			      p->nft.subnet.prefix);
	return 0;
}

// What is plugged in where guests are, and is no guest's.
static void look_at_ports(const struct net_look *l, const struct net_plan *p, struct net_verdict *v,
			  const char *fix)
{
	const struct link_row *b = links_by_name(&l->links, v->bridge_name);

	for (size_t i = 0; b && i < l->links.len; i++) {
		const struct link_row *row = &l->links.items[i];

		if (row->master == b->index && !net_plan_has_port(p, row->name))
			net_issue_add(v, "ports", fix, "%s is on %s and is no instance's TAP",
				      row->name, b->name);
	}
}

static int look_at_tap(struct net_look *l, const struct net_plan *p, size_t i,
		       struct net_verdict *v, const char *fix, struct err *e)
{
	const struct nft_guest *g = &p->nft.guests[i];
	const struct link_row *row = links_by_name(&l->links, g->port);
	struct net_tap_row *out;
	uint64_t rate;

	if (!row) // went away while we look
		return 0;
	out = codec_list_add(&v->tap_devices, sizeof(*out));
	memcpy(out->name, row->name, sizeof(out->name));
	address_print(&p->guests[i].a, out->instance);
	out->up = row->up;
	out->attached = true;
	out->mtu = row->mtu;
	if (!row->up)
		net_issue_add(v, "taps", fix, "%s of %s is down", row->name, out->instance);
	if (row->mtu != NET_MTU)
		net_issue_add(v, "mtu", fix, "%s has MTU %u instead of %u", row->name, row->mtu,
			      NET_MTU);
	if (qdisc_rate_get(l->route, row->name, &rate, e) < 0)
		return e->no == ENOENT || e->no == ENODEV ? 0 : -e->no;
	if (rate != p->guests[i].ingress)
		net_issue_add(v, "bandwidth", fix,
			      "%s lets %llu bytes/s through to the guest instead of %llu",
			      row->name, (unsigned long long)rate,
			      (unsigned long long)p->guests[i].ingress);
	return 0;
}

struct running {
	const struct net_plan *p;
	struct net_verdict *v;
	const char *fix;
};

// An instance that runs has its TAP on the bridge.
static int look_at_instance(void *arg, const struct address *a, const struct instance *i,
			    const struct err *why, struct err *e)
{
	const struct running *r = arg;
	address_text text;

	(void)e;
	address_print(a, text);
	if (!i)
		net_issue_add(r->v, "records", "see the message", "%s: %s", text, why->msg);
	else if (instance_has_vmm(i) && !net_plan_has_port(r->p, i->net.tap_dev))
		net_issue_add(r->v, "taps", r->fix, "%s of %s is not on the bridge", i->net.tap_dev,
			      text);
	return 0;
}

static void take_faults(struct net_verdict *v, struct codec_list *faults, const char *fix)
{
	const struct nft_fault *f = faults->items;

	for (size_t i = 0; i < faults->len; i++)
		net_issue_add(v, f[i].check,
			      str_eq(f[i].check, "foreign") ? "nft list ruleset" : fix, "%s",
			      f[i].text);
	free(faults->items);
	*faults = (struct codec_list){ 0 };
}

static int look_at_rules(struct net_look *l, const struct net_plan *p, struct net_verdict *v,
			 const char *fix, struct err *e)
{
	struct codec_list faults = { 0 };
	char table[16];
	size_t found = 0;

	name_table(p->nft.net_id, table);
	for (size_t i = 0; i < l->tables.len; i++)
		found += str_eq(l->tables.items[i].name, table) &&
			 (l->tables.items[i].family == NFPROTO_INET ||
			  l->tables.items[i].family == NFPROTO_NETDEV);
	if (found < 2) {
		net_issue_add(v, "rules", fix,
			      "the tables inet %s and netdev %s are not both there", table, table);
	} else if (nft_tenant_compare(l->filter, &p->nft, &faults, e) < 0) {
		return -e->no;
	}
	take_faults(v, &faults, fix);
	if (nft_foreign(l->filter, &p->nft, &l->tables, &faults, e) < 0)
		return -e->no;
	take_faults(v, &faults, fix);
	return 0;
}

int net_look_tenant(struct net_look *l, const char *tenant, struct net_verdict *v, struct err *e)
{
	cleanup_net_plan struct net_plan p = NET_PLAN_NONE;
	struct running r = { .p = &p, .v = v };
	struct address a = { 0 };
	struct tenant t = { 0 };
	char fix[64];

	repair_of(tenant, fix);
	r.fix = fix;
	if (tenant_load(tenant, &t, e) < 0 || net_plan_load(l->route, &t, l->node_id, &p, e) < 0)
		return -e->no;
	*v = (struct net_verdict){ .schema_version = 1 };
	memcpy(v->tenant_id, t.tenant_id, sizeof(v->tenant_id));
	memcpy(v->bridge_name, t.net.bridge_name, sizeof(v->bridge_name));
	memcpy(v->subnet, t.net.ipv4_subnet, sizeof(v->subnet));
	memcpy(v->gateway, t.net.gateway_ip, sizeof(v->gateway));
	memcpy(a.tenant, t.tenant_id, sizeof(a.tenant));
	if (look_at_bridge(l, &p, v, fix, e) < 0 || look_at_rules(l, &p, v, fix, e) < 0 ||
	    instances_each(&a, look_at_instance, &r, e) < 0)
		return -e->no;
	look_at_ports(l, &p, v, fix);
	for (size_t i = 0; i < p.nft.guest_count; i++)
		if (look_at_tap(l, &p, i, v, fix, e) < 0)
			return -e->no;
	net_verdict_close(v);
	return 0;
}
