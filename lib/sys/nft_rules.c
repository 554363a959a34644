// SPDX-License-Identifier: MIT
// The rules of a tenant, in words in mvm-bridge(8). Two things to know:
//   With br_netfilter on, frames inside one bridge pass the inet hooks too, with the bridge as both
// interfaces: the first rule lets them through, and NAT leaves them alone. With it off they never
// get here. So the answer is the same whoever flips that switch.
//   What leaves a guest is judged packet by packet, not by connection: a policy that is changed
// holds for what is open already.
#include "sys/nft_rules.h"

#include <arpa/inet.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter_ipv4.h>

#include "sys/link.h"
#include "sys/nft_expr.h"
#include "sys/nft_sets.h"

#define BRIDGES	   "br-tenant-" // what the names of all our bridges start with
#define IP_SADDR   12		// offsets in headers
#define IP_DADDR   16
#define IP_FRAG	   6
#define ICMP_TYPE  0
#define L4_SPORT   0
#define L4_DPORT   2
#define ETH_SADDR  6
#define ETH_TYPE   12
#define ARP_SENDER 8 // MAC, then address
#define ARP_ADDR   14
#define ARP_TARGET 24

// Before the usual filter chains: what we drop is not worth their time. What leaves a tenant is
// judged before what arrives at another, so that it is counted where it came from.
#define FILTER_PRIORITY	 (NF_IP_PRI_FILTER - 10)
#define LEAVING_PRIORITY (FILTER_PRIORITY - 1)
#define PORT_PRIORITY	 (-200)

// A token bucket that is never smaller than two of the largest packets a virtio device sends.
#define BURST_MIN	    131072u
#define BURST_OF_RATE	    20 // 50 ms
#define KNOWN		    (NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED))
#define PING_PER_SECOND	    100
#define DENY_LOG_PER_SECOND 5

static const char egress[] = "egress", isolation[] = "cross-tenant", spoof[] = "anti-spoof",
		  host_input[] = "host-input", nat[] = "nat", forward[] = "forward",
		  established[] = "established", metadata[] = "metadata", ipv6[] = "ipv6",
		  reserved[] = "reserved-ranges", bandwidth[] = "bandwidth";

static struct nft_part *add_part(struct nft_plan *p, enum nft_kind kind, uint8_t family,
				 const char *check)
{
	struct nft_part *part;

	p->parts = base_grow(p->parts, p->len + 1, sizeof(*p->parts));
	part = &p->parts[p->len++];
	*part = (struct nft_part){ .kind = kind, .family = family, .check = check };
	return part;
}

static struct nftnl_chain *add_chain(struct nft_plan *p, uint8_t family, const char *name,
				     const char *check)
{
	struct nft_part *part = add_part(p, NFT_CHAIN, family, check);
	struct nftnl_chain *c = part->chain = nft_need(nftnl_chain_alloc());

	nftnl_chain_set_u32(c, NFTNL_CHAIN_FAMILY, family);
	nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, p->table);
	nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, name);
	return c;
}

static struct nftnl_chain *add_base(struct nft_plan *p, uint8_t family, const char *name,
				    const char *check, const char *type, uint32_t hook,
				    int32_t priority)
{
	struct nftnl_chain *c = add_chain(p, family, name, check);

	nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, type);
	nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, hook);
	nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, priority);
	nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_ACCEPT);
	return c;
}

static struct nftnl_rule *add_rule(struct nft_plan *p, uint8_t family, const char *chain,
				   const char *check, const char *doc)
{
	struct nftnl_udata_buf *comment = nft_need(nftnl_udata_buf_alloc(256));
	struct nft_part *part = add_part(p, NFT_RULE, family, check);
	struct nftnl_rule *r = part->rule = nft_need(nftnl_rule_alloc());

	part->doc = doc;
	nftnl_rule_set_u32(r, NFTNL_RULE_FAMILY, family);
	nftnl_rule_set_str(r, NFTNL_RULE_TABLE, p->table);
	nftnl_rule_set_str(r, NFTNL_RULE_CHAIN, chain);
	if (!nftnl_udata_put_strz(comment, NFTNL_UDATA_RULE_COMMENT, doc))
		abort(); // constant texts
	nftnl_rule_set_data(r, NFTNL_RULE_USERDATA, nftnl_udata_buf_data(comment),
			    nftnl_udata_buf_len(comment));
	nftnl_udata_buf_free(comment);
	return r;
}

static void add_counter(struct nft_plan *p, uint8_t family, const char *name)
{
	struct nft_part *part = add_part(p, NFT_COUNTER, family, "counters");
	struct nftnl_obj *o = part->obj = nft_need(nftnl_obj_alloc());

	nftnl_obj_set_u32(o, NFTNL_OBJ_FAMILY, family);
	nftnl_obj_set_u32(o, NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
	nftnl_obj_set_str(o, NFTNL_OBJ_TABLE, p->table);
	nftnl_obj_set_str(o, NFTNL_OBJ_NAME, name);
}

static struct nftnl_set *add_set(struct nft_plan *p, uint8_t family, const char *check,
				 const struct nft_set_kind *kind, const char *name,
				 bool elements_only)
{
	struct nft_part *part = add_part(p, NFT_SET, family, check);

	part->set = nft_set_new(family, p->table, name, kind);
	part->elements_only = elements_only;
	return part->set;
}

// What a rule matches, again: `match` puts it into one rule for the log and one that drops.
typedef void (*match_fn)(struct nftnl_rule *r, const struct nft_tenant *t);

static void add_drop(struct nft_plan *p, uint8_t family, const char *chain, const char *check,
		     match_fn match, const char *counter, const char *doc)
{
	struct nftnl_rule *r;
	char prefix[64];

	if (p->tenant->deny_log) {
		(void)snprintf(prefix, sizeof(prefix), "%s %s ", p->table, counter);
		r = add_rule(p, family, chain, "deny-log", doc);
		if (match)
			match(r, p->tenant);
		nft_limit_packets(r, DENY_LOG_PER_SECOND, DENY_LOG_PER_SECOND);
		nft_log_as(r, prefix);
	}
	r = add_rule(p, family, chain, check, doc);
	if (match)
		match(r, p->tenant);
	nft_count_to(r, counter);
	nft_verdict(r, NF_DROP, NULL);
}

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

static void load_ip(struct nftnl_rule *r, uint32_t offset, uint32_t reg)
{
	nft_load(r, NFT_PAYLOAD_NETWORK_HEADER, offset, 4, reg);
}

// The family is known by then; said again, nft(8) can show the rule in its own words.
static void load_ipv4(struct nftnl_rule *r, uint32_t offset)
{
	nft_match_ipv4(r, NFT_CMP_EQ);
	load_ip(r, offset, NFT_REG_1);
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
	struct nftnl_rule *r = add_rule(p, NFPROTO_INET, chain, established, doc);

	nft_match_state(r, KNOWN);
	nft_verdict(r, NF_ACCEPT, NULL);
}

static void add_way(struct nft_plan *p, const char *chain, uint32_t key, const char *doc,
		    const char *to)
{
	struct nftnl_rule *r;

	r = add_rule(p, NFPROTO_INET, chain, forward, "within the tenant");
	match_bridge(r, p->tenant, NFT_META_IIFNAME, NFT_CMP_EQ);
	match_bridge(r, p->tenant, NFT_META_OIFNAME, NFT_CMP_EQ);
	nft_verdict(r, NF_ACCEPT, NULL);
	r = add_rule(p, NFPROTO_INET, chain, forward, doc);
	match_bridge(r, p->tenant, key, NFT_CMP_EQ);
	nft_verdict(r, NFT_GOTO, to);
}

static void plan_forward(struct nft_plan *p)
{
	struct nftnl_rule *r;

	add_way(p, "leaving", NFT_META_IIFNAME, "what leaves the tenant", "from-guests");
	add_way(p, "arriving", NFT_META_OIFNAME, "what comes from elsewhere", "to-guests");

	add_drop(p, NFPROTO_INET, "from-guests", ipv6, not_ipv4, "ipv6", "IPv4 alone");
	add_drop(p, NFPROTO_INET, "from-guests", isolation, to_any_bridge, "cross_tenant",
		 "not to other tenants");
	add_drop(p, NFPROTO_INET, "from-guests", forward, untracked, "invalid",
		 "what NAT would not translate");
	add_drop(p, NFPROTO_INET, "from-guests", reserved, to_reserved, "reserved",
		 "not to link-local, loopback, multicast");
	r = add_rule(p, NFPROTO_INET, "from-guests", egress, "by the policy of the guest's pool");
	load_ipv4(r, IP_SADDR);
	nft_vmap(r, "egress", NFT_REG_1);
	add_drop(p, NFPROTO_INET, "from-guests", egress, NULL, "egress", "no way out otherwise");

	add_drop(p, NFPROTO_INET, "open", egress, to_private, "private", "not to private ranges");
	r = add_rule(p, NFPROTO_INET, "open", egress, "to everywhere else");
	nft_verdict(r, NF_ACCEPT, NULL);

	add_drop(p, NFPROTO_INET, "to-guests", ipv6, not_ipv4, "ipv6", "IPv4 alone");
	r = add_rule(p, NFPROTO_INET, "to-guests", established, "answers from where it may go");
	nft_match_state(r, KNOWN);
	load_ipv4(r, IP_DADDR);
	nft_vmap(r, "answers", NFT_REG_1);
	add_drop(p, NFPROTO_INET, "to-guests", isolation, NULL, "inbound", "and nothing else does");
}

static void plan_input(struct nft_plan *p)
{
	const struct nft_tenant *t = p->tenant;
	uint32_t gateway = htonl(t->subnet.base + OFFSET_GATEWAY);
	uint8_t echo = 8; // request
	struct nftnl_rule *r;

	r = add_rule(p, NFPROTO_INET, "input", host_input, "from guests to this host");
	match_bridge(r, t, NFT_META_IIFNAME, NFT_CMP_EQ);
	nft_verdict(r, NFT_GOTO, "to-host");

	add_drop(p, NFPROTO_INET, "to-host", ipv6, not_ipv4, "ipv6", "IPv4 alone");
	accept_known(p, "to-host", "answers to this host");
	r = add_rule(p, NFPROTO_INET, "to-host", host_input, "ping of the gateway");
	nft_match_ipv4(r, NFT_CMP_EQ);
	nft_match_address(r, IP_DADDR, gateway, 32);
	nft_match_protocol(r, IPPROTO_ICMP);
	nft_load(r, NFT_PAYLOAD_TRANSPORT_HEADER, ICMP_TYPE, 1, NFT_REG_1);
	nft_compare(r, NFT_CMP_EQ, &echo, 1);
	nft_limit_packets(r, PING_PER_SECOND, PING_PER_SECOND);
	nft_verdict(r, NF_ACCEPT, NULL);
	r = add_rule(p, NFPROTO_INET, "to-host", metadata, "the metadata service");
	load_ipv4(r, IP_SADDR);
	nft_lookup(r, "metadata", NFT_REG_1, false);
	nft_match_address(r, IP_DADDR, gateway, 32);
	nft_match_protocol(r, IPPROTO_TCP);
	nft_match_port(r, NFT_METADATA_PORT);
	nft_verdict(r, NF_ACCEPT, NULL);
	add_drop(p, NFPROTO_INET, "to-host", host_input, NULL, "host", "nothing else of this host");
}

static void plan_nat(struct nft_plan *p)
{
	const struct nft_tenant *t = p->tenant;
	struct nftnl_rule *r;

	r = add_rule(p, NFPROTO_INET, "prerouting", metadata, "the clouds' metadata address");
	match_bridge(r, t, NFT_META_IIFNAME, NFT_CMP_EQ);
	load_ipv4(r, IP_SADDR);
	nft_lookup(r, "metadata", NFT_REG_1, false);
	nft_match_address(r, IP_DADDR, htonl(0xa9fea9fe), 32); // 169.254.169.254
	nft_match_protocol(r, IPPROTO_TCP);
	nft_match_port(r, 80);
	nft_dnat(r, htonl(t->subnet.base + OFFSET_GATEWAY), NFT_METADATA_PORT);

	r = add_rule(p, NFPROTO_INET, "postrouting", nat, "outside under the host's address");
	nft_match_ipv4(r, NFT_CMP_EQ);
	nft_match_address(r, IP_SADDR, htonl(t->subnet.base), t->subnet.prefix);
	match_bridge(r, t, NFT_META_OIFNAME, NFT_CMP_NEQ);
	nft_masquerade(r);
}

// The type as it is in the frame: the kernel's own idea of it has VLAN tags taken off.
static void load_type(struct nftnl_rule *r)
{
	nft_load(r, NFT_PAYLOAD_LL_HEADER, ETH_TYPE, 2, NFT_REG_1);
}

static void match_type(struct nftnl_rule *r, uint32_t op, uint16_t type)
{
	uint16_t wire = htons(type);

	load_type(r);
	nft_compare(r, op, &wire, sizeof(wire));
}

static void load_port_and_mac(struct nftnl_rule *r)
{
	nft_load_meta(r, NFT_META_IIFNAME, NFT_REG_1);
	nft_load(r, NFT_PAYLOAD_LL_HEADER, ETH_SADDR, 6, NFT_REG_2);
}

static void wrong_mac(struct nftnl_rule *r, const struct nft_tenant *t)
{
	(void)t;
	load_port_and_mac(r);
	nft_lookup(r, "macs", NFT_REG_1, true);
}

// What a rule can't load it does not match: only what is whole and its own gets through. The last
// word of a header is loaded to have the header there.
static void match_own_ipv4(struct nftnl_rule *r)
{
	uint32_t nowhere = 0;

	load_port_and_mac(r);
	load_ip(r, IP_SADDR, NFT_REG32_06);
	nft_lookup(r, "guests", NFT_REG_1, false);
	load_ip(r, IP_DADDR, NFT_REG_1);
	nft_compare(r, NFT_CMP_NEQ, &nowhere, sizeof(nowhere));
}

// Ethernet and IPv4, nothing exotic.
static void match_own_arp(struct nftnl_rule *r)
{
	static const uint8_t kind[] = { 0, 1, 8, 0, 6, 4 };
	uint32_t nobody = UINT32_MAX;

	nft_load(r, NFT_PAYLOAD_NETWORK_HEADER, 0, sizeof(kind), NFT_REG_1);
	nft_compare(r, NFT_CMP_EQ, kind, sizeof(kind));
	nft_load_meta(r, NFT_META_IIFNAME, NFT_REG_1);
	nft_load(r, NFT_PAYLOAD_NETWORK_HEADER, ARP_SENDER, 6, NFT_REG_2);
	load_ip(r, ARP_ADDR, NFT_REG32_06);
	nft_lookup(r, "guests", NFT_REG_1, false);
	load_ip(r, ARP_TARGET, NFT_REG_1);
	nft_compare(r, NFT_CMP_NEQ, &nobody, sizeof(nobody));
}

static void is_ipv6(struct nftnl_rule *r, const struct nft_tenant *t)
{
	(void)t;
	match_type(r, NFT_CMP_EQ, 0x86dd);
}

static void not_ip(struct nftnl_rule *r, const struct nft_tenant *t)
{
	(void)t;
	match_type(r, NFT_CMP_NEQ, 0x0800);
}

static void is_fragment(struct nftnl_rule *r, const struct nft_tenant *t)
{
	uint16_t bits = htons(0x3fff), none = 0; // offset and "more"

	(void)t;
	nft_load(r, NFT_PAYLOAD_NETWORK_HEADER, IP_FRAG, sizeof(bits), NFT_REG_1);
	nft_mask(r, &bits, sizeof(bits));
	nft_compare(r, NFT_CMP_NEQ, &none, sizeof(none));
}

static void plan_ports(struct nft_plan *p)
{
	static const char from[] = "from-port", arp[] = "arp";
	struct nftnl_rule *r;

	add_drop(p, NFPROTO_NETDEV, from, spoof, wrong_mac, "spoof_mac", "its own MAC alone");
	r = add_rule(p, NFPROTO_NETDEV, from, spoof, "ARP");
	match_type(r, NFT_CMP_EQ, 0x0806);
	nft_verdict(r, NFT_GOTO, arp);
	add_drop(p, NFPROTO_NETDEV, from, ipv6, is_ipv6, "ipv6", "no IPv6");
	add_drop(p, NFPROTO_NETDEV, from, spoof, not_ip, "other", "nothing but ARP and IPv4");
	add_drop(p, NFPROTO_NETDEV, from, spoof, is_fragment, "fragment", "no fragments");
	r = add_rule(p, NFPROTO_NETDEV, from, spoof, "its own address alone");
	match_own_ipv4(r);
	nft_verdict(r, NF_ACCEPT, NULL);
	add_drop(p, NFPROTO_NETDEV, from, spoof, NULL, "spoof_ip", "no other sender");

	r = add_rule(p, NFPROTO_NETDEV, arp, spoof, "its own MAC and address alone");
	match_own_arp(r);
	nft_verdict(r, NF_ACCEPT, NULL);
	add_drop(p, NFPROTO_NETDEV, arp, spoof, NULL, "spoof_arp", "no other sender");
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

	s = add_set(p, NFPROTO_INET, reserved, &nft_set_ranges, "reserved", false);
	for (size_t i = 0; i < COUNT(never); i++)
		nft_set_add_range(s, never[i].base, never[i].base | UINT32_MAX >> never[i].prefix);
	s = add_set(p, NFPROTO_INET, reserved, &nft_set_ranges, "private", false);
	for (size_t i = 0; i < COUNT(by_policy); i++)
		nft_set_add_range(s, by_policy[i].base,
				  by_policy[i].base | UINT32_MAX >> by_policy[i].prefix);
}

void nft_plan_head(struct nft_plan *p)
{
	static const char *const inet_counters[] = { "ipv6",	 "cross_tenant", "invalid",
						     "reserved", "egress",	 "private",
						     "inbound",	 "host" };
	static const char *const port_counters[] = { "over_rate", "spoof_mac", "ipv6",	   "other",
						     "spoof_ip",  "fragment",  "spoof_arp" };
	static const char *const inet_chains[] = { "from-guests", "open", "to-guests", "to-host" };

	for (size_t i = 0; i < COUNT(inet_counters); i++)
		add_counter(p, NFPROTO_INET, inet_counters[i]);
	for (size_t i = 0; i < COUNT(port_counters); i++)
		add_counter(p, NFPROTO_NETDEV, port_counters[i]);
	for (size_t i = 0; i < COUNT(inet_chains); i++)
		(void)add_chain(p, NFPROTO_INET, inet_chains[i], forward);
	(void)add_chain(p, NFPROTO_NETDEV, "arp", spoof);
	(void)add_chain(p, NFPROTO_NETDEV, "from-port", spoof);
	(void)add_base(p, NFPROTO_INET, "leaving", forward, "filter", NF_INET_FORWARD,
		       LEAVING_PRIORITY);
	(void)add_base(p, NFPROTO_INET, "arriving", forward, "filter", NF_INET_FORWARD,
		       FILTER_PRIORITY);
	(void)add_base(p, NFPROTO_INET, "input", host_input, "filter", NF_INET_LOCAL_IN,
		       FILTER_PRIORITY);
	(void)add_base(p, NFPROTO_INET, "prerouting", metadata, "nat", NF_INET_PRE_ROUTING,
		       NF_IP_PRI_NAT_DST);
	(void)add_base(p, NFPROTO_INET, "postrouting", nat, "nat", NF_INET_POST_ROUTING,
		       NF_IP_PRI_NAT_SRC);
	plan_ranges(p);
	(void)add_set(p, NFPROTO_INET, egress, &nft_set_verdicts, "egress", false);
	(void)add_set(p, NFPROTO_INET, egress, &nft_set_verdicts, "answers", false);
	(void)add_set(p, NFPROTO_INET, metadata, &nft_set_addresses, "metadata", false);
	(void)add_set(p, NFPROTO_NETDEV, spoof, &nft_set_macs, "macs", false);
	(void)add_set(p, NFPROTO_NETDEV, spoof, &nft_set_guests, "guests", false);
	plan_forward(p);
	plan_input(p);
	plan_nat(p);
	plan_ports(p);
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
	struct nftnl_rule *r = add_rule(p, NFPROTO_INET, chain, egress, docs[which]);

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
	(void)add_chain(p, NFPROTO_INET, out, egress);
	(void)add_chain(p, NFPROTO_INET, in, egress);
	// an error on the way comes from a router that nobody listed
	r = add_rule(p, NFPROTO_INET, in, egress, "errors about what it sent");
	nft_match_state(r, NF_CT_STATE_BIT(IP_CT_RELATED));
	nft_verdict(r, NF_ACCEPT, NULL);
	for (int i = 0; i < NFT_POOL_SETS; i++) {
		pool_set_name(pool->id, (enum nft_pool_set)i, set);
		nft_set_add_ways(add_set(p, NFPROTO_INET, egress, kinds[i], set, false), pool,
				 (enum nft_pool_set)i);
		allow(p, out, set, (enum nft_pool_set)i, false);
		allow(p, in, set, (enum nft_pool_set)i, true);
	}
	add_drop(p, NFPROTO_INET, out, egress, NULL, "egress", "no way out otherwise");
	add_drop(p, NFPROTO_INET, in, egress, NULL, "inbound", "and nothing else does");
}

void nft_plan_guest_egress(struct nft_plan *p, const struct nft_guest *g)
{
	static const char *const maps[NFT_GUEST_MAPS] = { "egress", "answers" };

	for (size_t i = 0; i < COUNT(maps); i++) {
		struct nftnl_set *s =
			add_set(p, NFPROTO_INET, egress, &nft_set_verdicts, maps[i], true);
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
	uint64_t burst = g->rate / BURST_OF_RATE;
	struct nftnl_chain *c;
	struct nftnl_rule *r;

	c = add_base(p, NFPROTO_NETDEV, g->port, spoof, "filter", NF_NETDEV_INGRESS, PORT_PRIORITY);
	nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_DROP);
	nftnl_chain_set_str(c, NFTNL_CHAIN_DEV, g->port);
	if (g->rate) {
		r = add_rule(p, NFPROTO_NETDEV, g->port, bandwidth, "what it may send");
		nft_limit_bytes_over(r, g->rate,
				     (uint32_t)(burst < BURST_MIN    ? BURST_MIN
						: burst > UINT32_MAX ? UINT32_MAX
								     : burst));
		nft_count_to(r, "over_rate");
		nft_verdict(r, NF_DROP, NULL);
	}
	r = add_rule(p, NFPROTO_NETDEV, g->port, spoof, "what a guest may send");
	nft_verdict(r, NFT_GOTO, "from-port");
	nft_set_add_guest(add_set(p, NFPROTO_NETDEV, spoof, &nft_set_macs, "macs", true), g);
	nft_set_add_guest(add_set(p, NFPROTO_NETDEV, spoof, &nft_set_guests, "guests", true), g);
	nft_plan_guest_egress(p, g);
	if (g->metadata)
		nft_set_add_address(
			add_set(p, NFPROTO_INET, metadata, &nft_set_addresses, "metadata", true),
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

void nft_plan_begin(const struct nft_tenant *t, struct nft_plan *out)
{
	*out = (struct nft_plan){ .tenant = t };
	name_table(t->net_id, out->table);
}

struct nftnl_table *nft_plan_table(const struct nft_plan *p, uint8_t family)
{
	struct nftnl_table *table = nft_need(nftnl_table_alloc());
	struct nftnl_udata_buf *comment = nft_need(nftnl_udata_buf_alloc(512));
	link_alias owner;

	link_owner_print(p->tenant->node_id, p->tenant->address, owner);
	nftnl_table_set_u32(table, NFTNL_TABLE_FAMILY, family);
	nftnl_table_set_str(table, NFTNL_TABLE_NAME, p->table);
	if (!nftnl_udata_put_strz(comment, NFTNL_UDATA_TABLE_COMMENT, owner))
		abort(); // 93 bytes at most
	nftnl_table_set_data(table, NFTNL_TABLE_USERDATA, nftnl_udata_buf_data(comment),
			     nftnl_udata_buf_len(comment));
	nftnl_udata_buf_free(comment);
	return table;
}

const char *nft_part_name(const struct nft_part *part)
{
	switch (part->kind) {
	case NFT_CHAIN:
		return nftnl_chain_get_str(part->chain, NFTNL_CHAIN_NAME);
	case NFT_RULE:
		return nftnl_rule_get_str(part->rule, NFTNL_RULE_CHAIN);
	case NFT_SET:
		return nftnl_set_get_str(part->set, NFTNL_SET_NAME);
	case NFT_COUNTER:
		break;
	}
	return nftnl_obj_get_str(part->obj, NFTNL_OBJ_NAME);
}

void nft_plan_free(struct nft_plan *p)
{
	for (size_t i = 0; i < p->len; i++) {
		struct nft_part *part = &p->parts[i];

		switch (part->kind) {
		case NFT_CHAIN:
			nftnl_chain_free(part->chain);
			break;
		case NFT_RULE:
			nftnl_rule_free(part->rule);
			break;
		case NFT_SET:
			nftnl_set_free(part->set);
			break;
		case NFT_COUNTER:
			nftnl_obj_free(part->obj);
			break;
		}
	}
	free(p->parts);
	*p = (struct nft_plan)NFT_PLAN_NONE;
}
