// SPDX-License-Identifier: MIT
// The places that packets go between: made and removed.
#include <fcntl.h>

#include "base/clock.h"
#include "base/fd.h"
#include "life/net_deep_parts.h"

#define INNER	"eth0" // of every throw-away namespace
#define LEFT_MS 20000  // the kernel may still be removing what a killed run left

static const char digits[DEEP_PLACES] = {
	[AT_OUTSIDE] = '0', [AT_GUEST] = '1', [AT_NEIGHBOUR] = '2', [AT_OTHER] = '3'
};

static const struct net_deep_side *owner_of(const struct deep_rig *rig, enum deep_place at)
{
	return rig->ports[at].side ? rig->ports[at].side : &rig->a->own;
}

// A link of that name: of another run, which is fine for now, or of somebody who has nothing to do
// with us. It may go meanwhile.
static int clash(struct deep_rig *rig, enum deep_place at, const char *name, struct err *e)
{
	struct link_row row = { 0 };

	if (link_get(rig->route, name, &row, e) < 0) {
		if (e->no != ENOENT)
			return -e->no;
		err_clear(e);
		return 0;
	}
	return link_owner_check(name, row.alias, rig->a->node_id, owner_of(rig, at)->tenant, e);
}

static int make_pair(struct deep_rig *rig, enum deep_place at, struct err *e)
{
	struct deep_port *p = &rig->ports[at];
	int64_t until = clock_ms() + LEFT_MS;
	link_alias alias;
	ifname_text name;
	struct netns_veth v = { .name = name,
				.alias = alias,
				.peer = INNER,
				.peer_mac = p->side ? p->mac : NULL,
				.mtu = rig->a->mtu };
	int r;

	(void)snprintf(name, sizeof(name), "tn%ud%c", owner_of(rig, at)->net_id % 10000,
		       digits[at]);
	link_owner_print(rig->a->node_id, owner_of(rig, at)->tenant, alias);
	v.ns = p->ns = netns_new(e);
	if (p->ns < 0)
		return p->ns;
	while ((r = netns_veth_make(rig->route, &v, e)) == -EEXIST && clock_left(until) > 0) {
		err_clear(e);
		if (clash(rig, at, name, e) < 0)
			return -e->no;
		clock_sleep_ms(50);
	}
	if (r == -EEXIST)
		return err_kind(e, ERR_UNAVAILABLE,
				"%s is there: this network is being tried already", name);
	if (r < 0)
		return r;
	memcpy(p->name, name, sizeof(name)); // from here on it is ours to remove
	return 0;
}

// before it is up: else the kernel speaks IPv6 on it
static int quiet(const struct deep_port *p, struct err *e)
{
	struct changes done = CHANGES_INIT;
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "ipv6/conf/%s/disable_ipv6", p->name);
	r = link_sysctl(path, "1", true, &done, e);
	changes_free(&done);
	return r;
}

static int furnish(struct deep_port *p, uint8_t prefix, const struct subnet *route, uint32_t via,
		   struct err *e)
{
	const struct subnet address = { .base = p->ip, .prefix = prefix };
	cleanup_nl struct nl *nl = NULL;
	struct link_row row = { 0 };

	if (netns_nl(p->ns, &nl, e) < 0 || link_get(nl, INNER, &row, e) < 0 ||
	    netns_address_add(nl, row.index, &address, e) < 0 || netns_up(nl, row.index, e) < 0)
		return -e->no;
	p->inner = row.index;
	return netns_route_add(nl, row.index, route, via, e);
}

static int rule(struct deep_rig *rig, struct deep_port *p, bool put, struct err *e)
{
	struct nft_guest g = { .ip = p->ip, .egress = NFT_EGRESS_OPEN };

	memcpy(g.port, p->name, sizeof(g.port));
	memcpy(g.mac, p->mac, sizeof(g.mac));
	p->ruled = put; // also when it fails: what was half put is to be dropped
	return rig->a->port_rules(rig->a->arg, p->side->net_id, &g, put, e);
}

// The rules before the port is on the bridge: it is never there without them.
static int make_guest(struct deep_rig *rig, enum deep_place at, const struct net_deep_side *side,
		      uint32_t offset, struct err *e)
{
	struct deep_port *p = &rig->ports[at];
	const uint32_t gateway = side->subnet.base + OFFSET_GATEWAY;
	const struct subnet all = { .base = 0, .prefix = 0 };
	struct changes done = CHANGES_INIT;
	int r;

	p->side = side;
	p->ip = side->subnet.base + offset;
	p->mac[0] = 0x02; // as name_mac
	p->mac[1] = 0xfc;
	p->mac[2] = (uint8_t)(side->net_id >> 8);
	p->mac[3] = (uint8_t)side->net_id;
	p->mac[4] = (uint8_t)(offset >> 8);
	p->mac[5] = (uint8_t)offset;
	if (make_pair(rig, at, e) < 0 || quiet(p, e) < 0 ||
	    furnish(p, side->subnet.prefix, &all, gateway, e) < 0 || rule(rig, p, true, e) < 0)
		return -e->no;
	r = link_attach(rig->route, p->name, side->bridge, &done, e);
	changes_free(&done);
	return r;
}

// More addresses out there, which the host finds by a route of its own.
static int add_beyond(struct deep_rig *rig, int index, uint32_t ip, struct err *e)
{
	const struct subnet one = { .base = ip, .prefix = 32 };
	cleanup_nl struct nl *nl = NULL;
	struct link_row row = { 0 };

	if (ip == 0)
		return 0;
	if (netns_nl(rig->ports[AT_OUTSIDE].ns, &nl, e) < 0 || link_get(nl, INNER, &row, e) < 0 ||
	    netns_address_add(nl, row.index, &one, e) < 0)
		return -e->no;
	return netns_route_add(rig->route, index, &one, 0, e);
}

static int make_outside(struct deep_rig *rig, struct err *e)
{
	struct deep_port *p = &rig->ports[AT_OUTSIDE];
	const struct subnet near = { .base = rig->targets[TO_HOST].ip, .prefix = 30 };
	struct link_row row = { 0 };

	p->ip = rig->targets[TO_PUBLIC].ip;
	if (make_pair(rig, AT_OUTSIDE, e) < 0 || quiet(p, e) < 0 ||
	    furnish(p, near.prefix, &rig->a->own.subnet, near.base, e) < 0 ||
	    link_get(rig->route, p->name, &row, e) < 0 ||
	    netns_address_add(rig->route, row.index, &near, e) < 0 ||
	    netns_up(rig->route, row.index, e) < 0 ||
	    add_beyond(rig, row.index, rig->targets[TO_PRIVATE].ip, e) < 0 ||
	    add_beyond(rig, row.index, rig->targets[TO_LINK_LOCAL].ip, e) < 0)
		return -e->no;
	return 0;
}

static int look_at_host(struct deep_rig *rig, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (fd_read_file(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward", 16, &text, e) < 0)
		return err_wrap(e, "look whether the host forwards");
	rig->forwarding = buf_text(&text)[0] == '1';
	return deep_choose(rig, e);
}

static int find_bridge(struct deep_rig *rig, const struct net_deep_side *s, int *ret_index,
		       struct err *e)
{
	struct link_row row = { 0 };

	if (link_get(rig->route, s->bridge, &row, e) == 0) {
		*ret_index = row.index;
		return 0;
	}
	if (e->no != ENOENT)
		return -e->no;
	err_clear(e);
	(void)err_kind(e, ERR_STATE, "the bridge %s of tenant %s is not there", s->bridge,
		       s->tenant);
	return err_hint(e, "mvm-bridge ensure %s", s->tenant);
}

static void set_target(struct deep_rig *rig, enum deep_target to, enum deep_place at, uint32_t ip)
{
	rig->targets[to].at = at;
	rig->targets[to].ip = ip;
}

static int make_other(struct deep_rig *rig, struct err *e)
{
	const struct net_deep_side *s = &rig->a->other;

	if (!deep_has_other(rig))
		return 0;
	if (find_bridge(rig, s, &rig->other_bridge, e) < 0 ||
	    make_guest(rig, AT_OTHER, s, s->offsets[0], e) < 0)
		return -e->no;
	set_target(rig, TO_OTHER, AT_OTHER, rig->ports[AT_OTHER].ip);
	set_target(rig, TO_OTHER_GATEWAY, AT_HOST, s->subnet.base + OFFSET_GATEWAY);
	return 0;
}

int deep_rig_make(const struct net_deep_args *a, struct deep_rig *rig, struct err *e)
{
	const struct net_deep_side *s = &a->own;

	memset(rig, 0, sizeof(*rig));
	for (int i = 0; i < DEEP_PLACES; i++)
		rig->ports[i].ns = -1;
	rig->a = a;
	if (nl_new(NETLINK_ROUTE, &rig->route, e) < 0 || look_at_host(rig, e) < 0 ||
	    find_bridge(rig, s, &rig->bridge, e) < 0 ||
	    make_guest(rig, AT_GUEST, s, s->offsets[0], e) < 0 ||
	    make_guest(rig, AT_NEIGHBOUR, s, s->offsets[1], e) < 0 || make_other(rig, e) < 0 ||
	    make_outside(rig, e) < 0)
		return -e->no;
	set_target(rig, TO_GUEST, AT_GUEST, rig->ports[AT_GUEST].ip);
	set_target(rig, TO_NEIGHBOUR, AT_NEIGHBOUR, rig->ports[AT_NEIGHBOUR].ip);
	set_target(rig, TO_GATEWAY, AT_HOST, s->subnet.base + OFFSET_GATEWAY);
	return 0;
}

// The rest goes on whatever fails; *e keeps the first.
static void keep(struct err *e, int r, const struct err *one)
{
	if (r < 0 && !e->no)
		*e = *one;
}

static void drop_port(struct deep_rig *rig, enum deep_place at, struct err *e)
{
	struct deep_port *p = &rig->ports[at];
	cleanup_changes struct changes done = CHANGES_INIT;
	struct err one = { 0 };

	if (p->ruled)
		keep(e, rule(rig, p, false, &one), &one);
	if (p->name[0])
		keep(e,
		     link_remove(rig->route, p->name, rig->a->node_id, owner_of(rig, at)->tenant,
				 &done, &one),
		     &one);
	if (p->ns >= 0)
		(void)close(p->ns);
	// what the host learnt of an address that a guest may get next
	if (p->side && p->name[0])
		keep(e,
		     netns_neighbour_drop(rig->route,
					  at == AT_OTHER ? rig->other_bridge : rig->bridge, p->ip,
					  &one),
		     &one);
	p->ns = -1;
	p->name[0] = '\0';
	p->ruled = false;
}

int deep_rig_end(struct deep_rig *rig, struct err *e)
{
	struct err first = { 0 };

	for (int at = 0; at < DEEP_PLACES && rig->route; at++)
		drop_port(rig, (enum deep_place)at, &first);
	nl_free(rig->route);
	rig->route = NULL;
	if (!first.no)
		return 0;
	*e = first;
	return err_wrap(e, "clean up");
}

void deep_rig_drop(struct deep_rig *rig)
{
	struct err ignored = { 0 };

	if (rig->a && deep_rig_end(rig, &ignored) < 0)
		return; // what failed first is the error
}
