// SPDX-License-Identifier: MIT
// In a network namespace of each test's own. Without any rules, every packet that the rules are to
// stop gets through and is seen, so that "blocked" is no accident of how it is tried; with the
// rules, every flow is as it should be.
#include <sched.h>

#include "base/clock.h"
#include "life/net_deep.h"
#include "sys/link.h"
#include "sys/netns.h"
#include "tap.h"

#define NODE "00000000-0000-4000-8000-000000000001"

struct rules {
	struct nl *filter; // NULL: there are no rules
	unsigned puts, drops;
	uint32_t other; // puts for this net_id
	bool fail;
};

static struct nft_tenant tenant(uint32_t net_id)
{
	return (struct nft_tenant){ .net_id = net_id,
				    .node_id = NODE,
				    .address = net_id == 7 ? "acme" : "globex",
				    .subnet = { 0x0a140000 | net_id << 8, 24 } };
}

static int real_rules(struct nl *filter, uint32_t net_id, const struct nft_guest *g, bool put,
		      struct err *e)
{
	cleanup_changes struct changes c = CHANGES_INIT;
	const struct nft_tenant t = tenant(net_id);

	return put ? nft_guest_put(filter, &t, g, &c, e) : nft_guest_drop(filter, &t, g, &c, e);
}

static int port_rules(void *arg, uint32_t net_id, const struct nft_guest *g, bool put,
		      struct err *e)
{
	struct rules *r = arg;

	CHECK(str_starts(g->port, "tn"));
	CHECK_INT(g->egress, NFT_EGRESS_OPEN);
	CHECK_INT(g->mac[5], g->ip & 255);
	r->puts += put;
	r->drops += !put;
	r->other += put && net_id == 8;
	if (put && r->fail)
		return err_kind(e, ERR_FAILED, "no rules today");
	return r->filter ? real_rules(r->filter, net_id, g, put, e) : 0;
}

static struct net_deep_side side(uint32_t net_id, const char *tenant)
{
	struct net_deep_side s = { .net_id = net_id,
				   .tenant = tenant,
				   .subnet = { 0x0a140000 | net_id << 8, 24 },
				   .offsets = { 254, 253 } };

	name_bridge(net_id, s.bridge);
	return s;
}

static struct net_deep_args args(struct rules *r)
{
	return (struct net_deep_args){ .node_id = NODE,
				       .own = side(7, "acme"),
				       .other = side(8, "globex"),
				       .mtu = 1500,
				       .port_rules = port_rules,
				       .arg = r };
}

static void bridge(struct nl *nl, const struct net_deep_side *s)
{
	struct link_bridge b = { .node_id = NODE,
				 .address = s->tenant,
				 .mtu = 1500,
				 .ip = s->subnet.base + OFFSET_GATEWAY,
				 .prefix = 24 };
	cleanup_changes struct changes c = CHANGES_INIT;
	struct err e = { 0 };

	memcpy(b.name, s->bridge, sizeof(b.name));
	name_mac(s->net_id, OFFSET_GATEWAY, b.mac);
	CHECK(link_bridge_ensure(nl, &b, &c, &e) == 0);
}

static void forward(const char *value)
{
	cleanup_changes struct changes c = CHANGES_INIT;
	struct err e = { 0 };

	CHECK(link_sysctl("ipv4/ip_forward", value, false, &c, &e) == 0);
}

// A network without rules: two bridges, forwarding.
static void fresh(struct nl **nl)
{
	const struct net_deep_side own = side(7, "acme"), other = side(8, "globex");
	struct err e = { 0 };

	CHECK(unshare(CLONE_NEWNET) == 0);
	CHECK(nl_new(NETLINK_ROUTE, nl, &e) == 0);
	bridge(*nl, &own);
	bridge(*nl, &other);
	forward("1");
}

// Links and routes, by number: what was borrowed is given back.
static size_t things(struct nl *nl)
{
	cleanup_links struct links l = LINKS_INIT;
	cleanup_netns_routes struct netns_routes r = NETNS_ROUTES_INIT;
	struct err e = { 0 };

	CHECK(link_dump(nl, &l, &e) == 0);
	CHECK(netns_routes(nl, &r, &e) == 0);
	return l.len * 1000 + r.len;
}

// The flow of that name; an empty one when it is missing.
static const struct net_flow *find(const struct codec_list *flows, const char *name)
{
	static const struct net_flow none;
	const struct net_flow *f = flows->items;

	for (size_t i = 0; i < flows->len; i++)
		if (str_eq(f[i].name, name))
			return &f[i];
	tap_fail(__FILE__, __LINE__, "no flow %s", name);
	return &none;
}

static void show(const struct codec_list *flows)
{
	const struct net_flow *f = flows->items;

	for (size_t i = 0; i < flows->len; i++)
		dprintf(STDERR_FILENO, "%-20s %-16s %-26s want %d seen %d ok %d %s\n", f[i].name,
			f[i].from, f[i].to, f[i].expected, f[i].seen, f[i].ok, f[i].detail);
}

TEST(without_rules_every_flow_gets_through)
{
	cleanup_nl struct nl *nl = NULL;
	struct codec_list flows = { 0 };
	struct rules r = { 0 };
	const struct net_deep_args a = args(&r);
	const struct net_flow *f;
	int64_t start = clock_ms();
	struct err e = { 0 };
	size_t before;

	fresh(&nl);
	before = things(nl);
	CHECK_INT(net_deep(&a, &flows, &e), 0);
	CHECK_STR(e.msg, "");
	show(&flows);
	CHECK(clock_ms() - start < 60000);
	CHECK(flows.len > 40);
	f = flows.items;
	for (size_t i = 0; i < flows.len; i++)
		if (f[i].seen != NET_FLOW_PASS)
			tap_fail(__FILE__, __LINE__, "%s: %s", f[i].name, f[i].detail);
	CHECK(find(&flows, "east-west-tcp")->ok);
	CHECK(find(&flows, "frame-arp")->ok);
	CHECK(!find(&flows, "spoof-mac")->ok);
	CHECK(!find(&flows, "egress-tcp")->ok);
	CHECK_STR(find(&flows, "egress-tcp")->detail,
		  "seen from 10.20.7.254, not from the host's 203.0.113.249");
	CHECK_INT(r.puts, 3);
	CHECK_INT(r.drops, 3);
	CHECK_INT(r.other, 1);
	CHECK_INT(things(nl), before);
	codec_free_list(net_flow_fields, sizeof(*f), &flows);
}

TEST(with_the_rules_every_flow_is_as_it_should_be)
{
	cleanup_nl struct nl *nl = NULL, *filter = NULL;
	cleanup_changes struct changes c = CHANGES_INIT;
	const struct nft_tenant both[] = { tenant(7), tenant(8) };
	struct codec_list flows = { 0 };
	struct rules r = { 0 };
	const struct net_deep_args a = args(&r);
	const struct net_flow *f;
	struct err e = { 0 };

	fresh(&nl);
	CHECK(nl_new(NETLINK_NETFILTER, &filter, &e) == 0);
	CHECK(nft_tenant_ensure(filter, &both[0], &c, &e) == 0);
	CHECK(nft_tenant_ensure(filter, &both[1], &c, &e) == 0);
	r.filter = filter;
	CHECK_INT(net_deep(&a, &flows, &e), 0);
	CHECK_STR(e.msg, "");
	show(&flows);
	CHECK(flows.len > 40);
	f = flows.items;
	for (size_t i = 0; i < flows.len; i++)
		if (!f[i].ok)
			tap_fail(__FILE__, __LINE__, "%s: %s", f[i].name, f[i].detail);
	codec_free_list(net_flow_fields, sizeof(*f), &flows);
}

TEST(without_forwarding_every_forwarded_flow_says_so)
{
	cleanup_nl struct nl *nl = NULL;
	struct codec_list flows = { 0 };
	struct rules r = { 0 };
	struct net_deep_args a = args(&r);
	struct err e = { 0 };

	fresh(&nl);
	forward("0");
	a.other = (struct net_deep_side){ .net_id = 0 };
	a.wait_ms = 60;
	CHECK_INT(net_deep(&a, &flows, &e), 0);
	show(&flows);
	CHECK_STR(find(&flows, "egress-udp")->detail, "IPv4 forwarding is off on this host");
	CHECK_STR(find(&flows, "private-tcp")->detail, "IPv4 forwarding is off on this host");
	CHECK(!find(&flows, "private-tcp")->ok);
	CHECK(!find(&flows, "inward-icmp")->ok);
	CHECK(find(&flows, "gateway-icmp")->ok);
	CHECK_INT(r.puts, 2);
	codec_free_list(net_flow_fields, sizeof(struct net_flow), &flows);
}

TEST(refusals_leave_nothing_behind)
{
	cleanup_nl struct nl *nl = NULL;
	struct codec_list flows = { 0 };
	struct rules r = { .fail = true };
	struct net_deep_args a = args(&r);
	struct err e = { 0 };
	size_t before;

	fresh(&nl);
	before = things(nl);
	CHECK(net_deep(&a, &flows, &e) < 0);
	CHECK_STR(e.msg, "try the network: no rules today");
	CHECK_INT(r.puts, 1);
	CHECK_INT(r.drops, 1); // what was half put
	a.own.offsets[1] = 0;
	err_clear(&e);
	CHECK(net_deep(&a, &flows, &e) < 0);
	CHECK_INT(err_exit(&e), 6);
	CHECK_STR(e.msg, "10.20.7.0/24 of tenant acme has no two free addresses to try the network "
			 "from");
	a.own.offsets[1] = 255; // the broadcast address
	err_clear(&e);
	CHECK(net_deep(&a, &flows, &e) < 0);
	CHECK_INT(err_exit(&e), 6);
	a.own.offsets[1] = 253;
	CHECK(COPY(a.own.bridge, "br-none") == 0);
	err_clear(&e);
	CHECK(net_deep(&a, &flows, &e) < 0);
	CHECK_INT(err_exit(&e), 3);
	CHECK_INT(things(nl), before);
	CHECK_INT(flows.len, 0);
}

TEST(a_link_of_that_name_is_left_alone)
{
	cleanup_nl struct nl *nl = NULL;
	cleanup_fd int ns = -1;
	struct codec_list flows = { 0 };
	struct rules r = { 0 };
	const struct net_deep_args a = args(&r);
	struct link_row row = { 0 };
	struct netns_veth v = { .name = "tn7d2", .alias = "somebody", .peer = "eth0", .mtu = 1500 };
	struct err e = { 0 };
	size_t before;

	fresh(&nl);
	ns = v.ns = netns_new(&e);
	CHECK(netns_veth_make(nl, &v, &e) == 0);
	before = things(nl);
	CHECK(net_deep(&a, &flows, &e) < 0);
	CHECK_INT(err_exit(&e), 5);
	CHECK_STR(e.msg, "try the network: tn7d2 was not made by mvm");
	CHECK_INT(things(nl), before);
	err_clear(&e);
	CHECK(link_get(nl, "tn7d2", &row, &e) == 0);
	CHECK_STR(row.alias, "somebody");
}

TEST(addresses_outside_are_those_that_nobody_has)
{
	const struct subnet taken = { 0xcb007101, 24 }, meta = { 0xa9fea9fe, 32 };
	cleanup_nl struct nl *nl = NULL;
	struct codec_list flows = { 0 };
	struct rules r = { 0 };
	struct net_deep_args a = args(&r);
	struct link_row row = { 0 };
	struct err e = { 0 };

	fresh(&nl);
	a.wait_ms = 60;
	CHECK(link_get(nl, "br-tenant-8", &row, &e) == 0);
	CHECK(netns_address_add(nl, row.index, &taken, &e) == 0);
	CHECK(netns_route_add(nl, row.index, &meta, 0, &e) == 0);
	CHECK_INT(net_deep(&a, &flows, &e), 0);
	show(&flows);
	CHECK(str_starts(find(&flows, "egress-tcp")->to, "198.51.100.250:"));
	CHECK(str_starts(find(&flows, "metadata-udp")->to, "169.254.170.2:81 "));
	codec_free_list(net_flow_fields, sizeof(struct net_flow), &flows);
}
