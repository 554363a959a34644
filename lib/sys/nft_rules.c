// SPDX-License-Identifier: MIT
// The rules of a tenant, in words in mvm-bridge(8). Two things to know:
//   With br_netfilter on, frames inside one bridge pass the inet hooks too, with the bridge as both
// interfaces: the first rule lets them through, and NAT leaves them alone. With it off they never
// get here. So the answer is the same whoever flips that switch.
//   What leaves a guest is judged packet by packet, not by connection: a policy that is changed
// holds for what is open already.
#include "sys/nft_rules.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter_ipv4.h>

#include "sys/nft_expr.h"
#include "sys/nft_sets.h"

#define BRIDGES	  "br-tenant-" // what the names of all our bridges start with
#define IP_SADDR  12	       // offsets in headers
#define IP_DADDR  16
#define ICMP_TYPE 0

// Before the usual filter chains: what we drop is not worth their time. What leaves a tenant is
// judged before what arrives at another, so that it is counted where it came from.
#define FILTER_PRIORITY	 (NF_IP_PRI_FILTER - 10)
#define LEAVING_PRIORITY (FILTER_PRIORITY - 1)

#define KNOWN		(NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED))
#define PING_PER_SECOND 100

static const char egress[] = "egress", isolation[] = "cross-tenant", host_input[] = "host-input",
		  nat[] = "nat", forward[] = "forward", established[] = "established",
		  metadata[] = "metadata", ipv6[] = "ipv6", reserved[] = "reserved-ranges";

static void not_ipv4(struct nftnl_rule *r, const struct nft_tenant *t)
{
	(void)t;
	nft_match_ipv4(r, NFT_CMP_NEQ);
}

static void to_any_bridge(struct nftnl_rule *r, const struct nft_tenant *t)
{
	(void)t;
	nft_match_link_prefix(r, NFT_META_OIFNAME, BRIDGES);
}

static void untracked(struct nftnl_rule *r, const struct nft_tenant *t)
{
	(void)t;
	nft_match_state(r, NF_CT_STATE_INVALID_BIT | NF_CT_STATE_UNTRACKED_BIT);
}

// The family is known by then; said again, nft(8) can show the rule in its own words.
static void load_ipv4(struct nftnl_rule *r, uint32_t offset)
{
	nft_match_ipv4(r, NFT_CMP_EQ);
	nft_load_ip(r, offset, NFT_REG_1);
}

static void to_reserved(struct nftnl_rule *r, const struct nft_tenant *t)
{
	(void)t;
	load_ipv4(r, IP_DADDR);
	nft_lookup(r, "reserved", NFT_REG_1, false);
}

static void to_private(struct nftnl_rule *r, const struct nft_tenant *t)
{
	(void)t;
	load_ipv4(r, IP_DADDR);
	nft_lookup(r, "private", NFT_REG_1, false);
}

static void match_bridge(struct nftnl_rule *r, const struct nft_tenant *t, uint32_t key,
			 uint32_t op)
{
	ifname_text bridge;

	name_bridge(t->net_id, bridge);
	nft_match_link(r, key, op, bridge);
}

static void accept_known(struct nft_plan *p, const char *chain, const char *doc)
{
	struct nftnl_rule *r = nft_add_rule(p, NFPROTO_INET, chain, established, doc);

	nft_match_state(r, KNOWN);
	nft_verdict(r, NF_ACCEPT, NULL);
}

static void add_way(struct nft_plan *p, const char *chain, uint32_t key, const char *doc,
		    const char *to)
{
	struct nftnl_rule *r;

	r = nft_add_rule(p, NFPROTO_INET, chain, forward, "within the tenant");
	match_bridge(r, p->tenant, NFT_META_IIFNAME, NFT_CMP_EQ);
	match_bridge(r, p->tenant, NFT_META_OIFNAME, NFT_CMP_EQ);
	nft_verdict(r, NF_ACCEPT, NULL);
	r = nft_add_rule(p, NFPROTO_INET, chain, forward, doc);
	match_bridge(r, p->tenant, key, NFT_CMP_EQ);
	nft_verdict(r, NFT_GOTO, to);
}

static void plan_forward(struct nft_plan *p)
{
	struct nftnl_rule *r;

	add_way(p, "leaving", NFT_META_IIFNAME, "what leaves the tenant", "from-guests");
	add_way(p, "arriving", NFT_META_OIFNAME, "what comes from elsewhere", "to-guests");

	nft_add_drop(p, NFPROTO_INET, "from-guests", ipv6, not_ipv4, "ipv6", "IPv4 alone");
	nft_add_drop(p, NFPROTO_INET, "from-guests", isolation, to_any_bridge, "cross_tenant",
		     "not to other tenants");
	nft_add_drop(p, NFPROTO_INET, "from-guests", forward, untracked, "invalid",
		     "what NAT would not translate");
	nft_add_drop(p, NFPROTO_INET, "from-guests", reserved, to_reserved, "reserved",
		     "not to link-local, loopback, multicast");
	r = nft_add_rule(p, NFPROTO_INET, "from-guests", egress,
			 "by the policy of the guest's pool");
	load_ipv4(r, IP_SADDR);
	nft_vmap(r, "egress", NFT_REG_1);
	nft_add_drop(p, NFPROTO_INET, "from-guests", egress, NULL, "egress",
		     "no way out otherwise");

	nft_add_drop(p, NFPROTO_INET, "open", egress, to_private, "private",
		     "not to private ranges");
	r = nft_add_rule(p, NFPROTO_INET, "open", egress, "to everywhere else");
	nft_verdict(r, NF_ACCEPT, NULL);

	nft_add_drop(p, NFPROTO_INET, "to-guests", ipv6, not_ipv4, "ipv6", "IPv4 alone");
	r = nft_add_rule(p, NFPROTO_INET, "to-guests", established, "answers from where it may go");
	nft_match_state(r, KNOWN);
	load_ipv4(r, IP_DADDR);
	nft_vmap(r, "answers", NFT_REG_1);
	nft_add_drop(p, NFPROTO_INET, "to-guests", isolation, NULL, "inbound",
		     "and nothing else does");
}

static void plan_input(struct nft_plan *p)
{
	const struct nft_tenant *t = p->tenant;
	uint32_t gateway = htonl(t->subnet.base + OFFSET_GATEWAY);
	uint8_t echo = 8; // request
	struct nftnl_rule *r;

	r = nft_add_rule(p, NFPROTO_INET, "input", host_input, "from guests to this host");
	match_bridge(r, t, NFT_META_IIFNAME, NFT_CMP_EQ);
	nft_verdict(r, NFT_GOTO, "to-host");

	nft_add_drop(p, NFPROTO_INET, "to-host", ipv6, not_ipv4, "ipv6", "IPv4 alone");
	accept_known(p, "to-host", "answers to this host");
	r = nft_add_rule(p, NFPROTO_INET, "to-host", host_input, "ping of the gateway");
	nft_match_ipv4(r, NFT_CMP_EQ);
	nft_match_address(r, IP_DADDR, gateway, 32);
	nft_match_protocol(r, IPPROTO_ICMP);
	nft_load(r, NFT_PAYLOAD_TRANSPORT_HEADER, ICMP_TYPE, 1, NFT_REG_1);
	nft_compare(r, NFT_CMP_EQ, &echo, 1);
	nft_limit_packets(r, PING_PER_SECOND, PING_PER_SECOND);
	nft_verdict(r, NF_ACCEPT, NULL);
	r = nft_add_rule(p, NFPROTO_INET, "to-host", metadata, "the metadata service");
	load_ipv4(r, IP_SADDR);
	nft_lookup(r, "metadata", NFT_REG_1, false);
	nft_match_address(r, IP_DADDR, gateway, 32);
	nft_match_protocol(r, IPPROTO_TCP);
	nft_match_port(r, NFT_METADATA_PORT);
	nft_verdict(r, NF_ACCEPT, NULL);
	nft_add_drop(p, NFPROTO_INET, "to-host", host_input, NULL, "host",
		     "nothing else of this host");
}

static void plan_nat(struct nft_plan *p)
{
	const struct nft_tenant *t = p->tenant;
	struct nftnl_rule *r;

	r = nft_add_rule(p, NFPROTO_INET, "prerouting", metadata, "the clouds' metadata address");
	match_bridge(r, t, NFT_META_IIFNAME, NFT_CMP_EQ);
	load_ipv4(r, IP_SADDR);
	nft_lookup(r, "metadata", NFT_REG_1, false);
	nft_match_address(r, IP_DADDR, htonl(0xa9fea9fe), 32); // 169.254.169.254
	nft_match_protocol(r, IPPROTO_TCP);
	nft_match_port(r, 80);
	nft_dnat(r, htonl(t->subnet.base + OFFSET_GATEWAY), NFT_METADATA_PORT);

	r = nft_add_rule(p, NFPROTO_INET, "postrouting", nat, "outside under the host's address");
	nft_match_ipv4(r, NFT_CMP_EQ);
	nft_match_address(r, IP_SADDR, htonl(t->subnet.base), t->subnet.prefix);
	match_bridge(r, t, NFT_META_OIFNAME, NFT_CMP_NEQ);
	nft_masquerade(r);
}

// RFC 6890 and what it names; the first list can't be opened by a policy, the second can.
static void plan_ranges(struct nft_plan *p)
{
	static const struct subnet never[] = {
		{ 0x00000000, 8 },
		{ 0x7f000000, 8 },
		{ 0xa9fe0000, 16 },
		{ 0xe0000000, 3 },
	};
	static const struct subnet by_policy[] = {
		{ 0x0a000000, 8 },  { 0x64400000, 10 }, { 0xac100000, 12 },
		{ 0xc0000000, 24 }, { 0xc0a80000, 16 }, { 0xc6120000, 15 },
	};
	struct nftnl_set *s;

	s = nft_add_set(p, NFPROTO_INET, reserved, &nft_set_ranges, "reserved", false);
	for (size_t i = 0; i < COUNT(never); i++)
		nft_set_add_range(s, never[i].base, never[i].base | UINT32_MAX >> never[i].prefix);
	s = nft_add_set(p, NFPROTO_INET, reserved, &nft_set_ranges, "private", false);
	for (size_t i = 0; i < COUNT(by_policy); i++)
		nft_set_add_range(s, by_policy[i].base,
				  by_policy[i].base | UINT32_MAX >> by_policy[i].prefix);
}

void nft_plan_head(struct nft_plan *p)
{
	static const char *const inet_counters[] = { "ipv6",	 "cross_tenant", "invalid",
						     "reserved", "egress",	 "private",
						     "inbound",	 "host" };
	static const char *const inet_chains[] = { "from-guests", "open", "to-guests", "to-host" };

	for (size_t i = 0; i < COUNT(inet_counters); i++)
		nft_add_counter(p, NFPROTO_INET, inet_counters[i]);
	for (size_t i = 0; i < COUNT(inet_chains); i++)
		(void)nft_add_chain(p, NFPROTO_INET, inet_chains[i], forward);
	(void)nft_add_base(p, NFPROTO_INET, "leaving", forward, "filter", NF_INET_FORWARD,
			   LEAVING_PRIORITY);
	(void)nft_add_base(p, NFPROTO_INET, "arriving", forward, "filter", NF_INET_FORWARD,
			   FILTER_PRIORITY);
	(void)nft_add_base(p, NFPROTO_INET, "input", host_input, "filter", NF_INET_LOCAL_IN,
			   FILTER_PRIORITY);
	(void)nft_add_base(p, NFPROTO_INET, "prerouting", metadata, "nat", NF_INET_PRE_ROUTING,
			   NF_IP_PRI_NAT_DST);
	(void)nft_add_base(p, NFPROTO_INET, "postrouting", nat, "nat", NF_INET_POST_ROUTING,
			   NF_IP_PRI_NAT_SRC);
	plan_ranges(p);
	(void)nft_add_set(p, NFPROTO_INET, egress, &nft_set_verdicts, "egress", false);
	(void)nft_add_set(p, NFPROTO_INET, egress, &nft_set_verdicts, "answers", false);
	(void)nft_add_set(p, NFPROTO_INET, metadata, &nft_set_addresses, "metadata", false);
	plan_forward(p);
	plan_input(p);
	plan_nat(p);
	nft_plan_ports(p);
}

static void pool_chain_name(const char *pool, bool answers, char out[64])
{
	(void)snprintf(out, 64, "%s-%s", answers ? "answers" : "pool", pool);
}

static void pool_set_name(const char *pool, enum nft_pool_set which, char out[64])
{
	static const char *const ends[] = { "net", "proto", "port" };

	(void)snprintf(out, 64, "pool-%s-%s", pool, ends[which]);
}

// What goes to a place, or comes from there: the same sets.
static void allow(struct nft_plan *p, const char *chain, const char *set, enum nft_pool_set which,
		  bool answers)
{
	static const char *const docs[] = { "these networks", "these protocols there",
					    "these ports there" };
	struct nftnl_rule *r = nft_add_rule(p, NFPROTO_INET, chain, egress, docs[which]);

	load_ipv4(r, answers ? IP_SADDR : IP_DADDR);
	if (which >= NFT_POOL_PROTO)
		nft_load_meta(r, NFT_META_L4PROTO, NFT_REG32_01);
	if (which == NFT_POOL_PORT)
		nft_load(r, NFT_PAYLOAD_TRANSPORT_HEADER, answers ? L4_SPORT : L4_DPORT, 2,
			 NFT_REG32_02);
	nft_lookup(r, set, NFT_REG_1, false);
	nft_verdict(r, NF_ACCEPT, NULL);
}

void nft_plan_pool(struct nft_plan *p, const struct nft_pool *pool)
{
	static const struct nft_set_kind *const kinds[] = { &nft_set_ranges, &nft_set_protos,
							    &nft_set_ports };
	char out[64], in[64], set[64];
	struct nftnl_rule *r;

	pool_chain_name(pool->id, false, out);
	pool_chain_name(pool->id, true, in);
	(void)nft_add_chain(p, NFPROTO_INET, out, egress);
	(void)nft_add_chain(p, NFPROTO_INET, in, egress);
	// an error on the way comes from a router that nobody listed
	r = nft_add_rule(p, NFPROTO_INET, in, egress, "errors about what it sent");
	nft_match_state(r, NF_CT_STATE_BIT(IP_CT_RELATED));
	nft_verdict(r, NF_ACCEPT, NULL);
	for (int i = 0; i < NFT_POOL_SETS; i++) {
		pool_set_name(pool->id, (enum nft_pool_set)i, set);
		nft_set_add_ways(nft_add_set(p, NFPROTO_INET, egress, kinds[i], set, false), pool,
				 (enum nft_pool_set)i);
		allow(p, out, set, (enum nft_pool_set)i, false);
		allow(p, in, set, (enum nft_pool_set)i, true);
	}
	nft_add_drop(p, NFPROTO_INET, out, egress, NULL, "egress", "no way out otherwise");
	nft_add_drop(p, NFPROTO_INET, in, egress, NULL, "inbound", "and nothing else does");
}

void nft_plan_guest_egress(struct nft_plan *p, const struct nft_guest *g)
{
	static const char *const maps[NFT_GUEST_MAPS] = { "egress", "answers" };

	for (size_t i = 0; i < COUNT(maps); i++) {
		struct nftnl_set *s =
			nft_add_set(p, NFPROTO_INET, egress, &nft_set_verdicts, maps[i], true);
		char chain[64];

		pool_chain_name(g->pool, i == 1, chain);
		if (g->egress == NFT_EGRESS_POOL)
			nft_set_add_verdict(s, g->ip, NFT_GOTO, chain);
		else if (g->egress == NFT_EGRESS_OPEN && i == 0)
			nft_set_add_verdict(s, g->ip, NFT_GOTO, "open");
		else if (g->egress == NFT_EGRESS_OPEN)
			nft_set_add_verdict(s, g->ip, NF_ACCEPT, NULL);
	}
}

void nft_plan_guest(struct nft_plan *p, const struct nft_guest *g)
{
	nft_plan_port(p, g);
	nft_plan_guest_egress(p, g);
	if (g->metadata)
		nft_set_add_address(nft_add_set(p, NFPROTO_INET, metadata, &nft_set_addresses,
						"metadata", true),
				    g->ip);
}

void nft_plan_all(struct nft_plan *p)
{
	nft_plan_head(p);
	for (size_t i = 0; i < p->tenant->pool_count; i++)
		nft_plan_pool(p, &p->tenant->pools[i]);
	for (size_t i = 0; i < p->tenant->guest_count; i++)
		nft_plan_guest(p, &p->tenant->guests[i]);
}
