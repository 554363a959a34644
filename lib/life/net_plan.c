// SPDX-License-Identifier: MIT
#include "life/net_plan.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/num.h"

bool net_plan_has_port(const struct net_plan *p, const char *link)
{
	for (size_t i = 0; i < p->nft.guest_count; i++)
		if (str_eq(p->nft.guests[i].port, link))
			return true;
	return false;
}

void net_plan_free(struct net_plan *p)
{
	for (size_t i = 0; i < p->nft.pool_count; i++)
		free(p->nft.pools[i].ways);
	free(p->nft.pools);
	free(p->nft.guests);
	free(p->guests);
	*p = (struct net_plan)NET_PLAN_NONE;
}

static void begin(struct net_plan *p, const struct tenant *t, const char *node_id)
{
	*p = (struct net_plan){ .tenant = *t };
	p->nft = (struct nft_tenant){ .net_id = t->net.tenant_net_id,
				      .node_id = node_id,
				      .subnet = t->subnet,
				      .deny_log = t->net.deny_log };
}

static int add_ways(struct net_plan *p, const struct pool *pool, struct err *e)
{
	const struct pool_allow *allow = pool->egress_allow.items;
	struct nft_pool *to;

	p->nft.pools = base_grow(p->nft.pools, p->nft.pool_count + 1, sizeof(*p->nft.pools));
	to = &p->nft.pools[p->nft.pool_count++];
	*to = (struct nft_pool){ .way_count = pool->egress_allow.len };
	memcpy(to->id, pool->pool_id, sizeof(to->id));
	to->ways = base_alloc(to->way_count + 1, sizeof(*to->ways));
	for (size_t i = 0; i < to->way_count; i++) {
		struct nft_way *w = &to->ways[i];

		if (pool_allow_net(allow[i].cidr, &w->to, e) < 0)
			return err_wrap(e, "pool %s", pool->pool_id);
		w->port = (uint16_t)allow[i].port;
		w->proto = str_eq(allow[i].proto, "tcp")   ? IPPROTO_TCP
			   : str_eq(allow[i].proto, "udp") ? IPPROTO_UDP
							   : 0;
	}
	return 0;
}

static void add_guest(struct net_plan *p, const struct address *a, const struct instance *i,
		      const struct pool *pool)
{
	struct nft_tenant *n = &p->nft;
	struct nft_guest *g;
	struct net_guest *own;

	n->guests = base_grow(n->guests, n->guest_count + 1, sizeof(*n->guests));
	p->guests = base_grow(p->guests, n->guest_count + 1, sizeof(*p->guests));
	own = &p->guests[n->guest_count];
	g = &n->guests[n->guest_count++];
	*g = (struct nft_guest){ .ip = n->subnet.base + i->net.offset,
				 .metadata = pool->metadata_enabled,
				 .rate = (uint64_t)pool->bandwidth.egress_kbit * BYTES_PER_KBIT };
	memcpy(g->port, i->net.tap_dev, sizeof(g->port));
	memcpy(g->pool, pool->pool_id, sizeof(g->pool));
	name_mac_bytes(n->net_id, i->net.offset, g->mac);
	g->egress = pool->egress == POOL_EGRESS_OPEN	? NFT_EGRESS_OPEN
		    : pool->egress == POOL_EGRESS_ALLOW ? NFT_EGRESS_POOL
							: NFT_EGRESS_NONE;
	*own = (struct net_guest){ .a = *a,
				   .status = i->status,
				   .ingress = (uint64_t)pool->bandwidth.ingress_kbit *
					      BYTES_PER_KBIT };
}

// A damaged record is told, and its guest is not let through: nobody knows what it may do.
static void damaged(struct net_plan *p, const struct err *why)
{
	if (p->damaged++ == 0)
		(void)snprintf(p->damage, sizeof(p->damage), "%.199s", why->msg);
}

static int load_instance(struct nl *route, struct net_plan *p, const struct address *a,
			 const struct pool *pool, struct err *e)
{
	struct link_row row = { 0 };
	struct err why = { 0 };
	struct instance i = { 0 };
	char node[37];
	address_text owner, address;
	int r;

	if (instance_load(a, &p->tenant, &i, &why) < 0) {
		if (why.kind != ERR_MISSING)
			damaged(p, &why);
		return 0;
	}
	r = i.net.offset ? link_get(route, i.net.tap_dev, &row, e) : -ENOENT;
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	address_print(a, address);
	// a bridge that is gone takes its ports' place away, not their rules
	if (row.master == p->bridge.index && (row.master || row.up) &&
	    link_owner_parse(row.alias, node, owner) && str_eq(node, p->nft.node_id) &&
	    str_eq(owner, address))
		add_guest(p, a, &i, pool);
	return 0;
}

static int load_pool(struct nl *route, struct net_plan *p, const char *id, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	cleanup_pool struct pool pool = { 0 };
	struct address a = { 0 };
	struct err why = { 0 };

	if (pool_load(p->tenant.tenant_id, id, &pool, &why) < 0) {
		if (why.kind != ERR_MISSING)
			damaged(p, &why);
		return 0;
	}
	if ((pool.egress == POOL_EGRESS_ALLOW && add_ways(p, &pool, e) < 0) ||
	    store_list_instances(p->tenant.tenant_id, id, &names, e) < 0)
		return -e->no;
	memcpy(a.tenant, p->tenant.tenant_id, sizeof(a.tenant));
	memcpy(a.pool, pool.pool_id, sizeof(a.pool));
	for (size_t i = 0; i < names.len; i++)
		if (name_check_instance(names.items[i], &why) == 0 &&
		    COPY(a.instance, names.items[i]) == 0 &&
		    load_instance(route, p, &a, &pool, e) < 0)
			return -e->no;
	return 0;
}

static int look_at_bridge(struct nl *route, struct net_plan *p, struct err *e)
{
	ifname_text name;
	int r;

	name_bridge(p->nft.net_id, name);
	r = link_get(route, name, &p->bridge, e);
	return r == -ENOENT ? 0 : r;
}

int net_plan_load(struct nl *route, const struct tenant *t, const char *node_id,
		  struct net_plan *out, struct err *e)
{
	cleanup_names struct store_names pools = STORE_NAMES_NONE;

	begin(out, t, node_id);
	if (look_at_bridge(route, out, e) < 0 || store_list_pools(t->tenant_id, &pools, e) < 0)
		return -e->no;
	for (size_t i = 0; i < pools.len; i++)
		if (load_pool(route, out, pools.items[i], e) < 0)
			return -e->no;
	out->nft.address = out->tenant.tenant_id;
	return 0;
}

int net_plan_load_pool(struct nl *route, const struct tenant *t, const char *node_id,
		       const char *pool, struct net_plan *out, struct err *e)
{
	struct pool there = { 0 };

	begin(out, t, node_id);
	// here what is damaged or absent is what was asked for
	if (pool_load(t->tenant_id, pool, &there, e) < 0)
		return -e->no;
	pool_free(&there);
	out->nft.address = out->tenant.tenant_id;
	if (look_at_bridge(route, out, e) < 0 || load_pool(route, out, pool, e) < 0)
		return -e->no;
	return 0;
}

int net_plan_load_guest(const struct tenant *t, const char *node_id, const struct address *a,
			const struct instance *i, struct net_plan *out, struct err *e)
{
	cleanup_pool struct pool pool = { 0 };

	begin(out, t, node_id);
	if (pool_load(a->tenant, a->pool, &pool, e) < 0 ||
	    (pool.egress == POOL_EGRESS_ALLOW && add_ways(out, &pool, e) < 0))
		return -e->no;
	add_guest(out, a, i, &pool);
	out->nft.address = out->tenant.tenant_id;
	return 0;
}
