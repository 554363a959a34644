// SPDX-License-Identifier: MIT
// What is judged at a guest's port, before the bridge sees it: who sends, and how fast.
#include <arpa/inet.h>
#include <linux/netfilter.h>

#include "sys/nft_expr.h"
#include "sys/nft_rules.h"
#include "sys/nft_sets.h"

#define IP_SADDR   12 // offsets in headers
#define IP_DADDR   16
#define IP_FRAG	   6
#define ETH_SADDR  6
#define ETH_TYPE   12
#define ARP_SENDER 8 // MAC, then address
#define ARP_ADDR   14
#define ARP_TARGET 24

#define PORT_PRIORITY (-200) // before whatever else looks at a port
// A token bucket that is never smaller than two of the largest packets a virtio device sends.
#define BURST_MIN     131072u
#define BURST_OF_RATE 20 // 50 ms

static const char spoof[] = "anti-spoof", ipv6[] = "ipv6", bandwidth[] = "bandwidth",
		  from[] = "from-port", arp[] = "arp";

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
	nft_load_ip(r, IP_SADDR, NFT_REG32_06);
	nft_lookup(r, "guests", NFT_REG_1, false);
	nft_load_ip(r, IP_DADDR, NFT_REG_1);
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
	nft_load_ip(r, ARP_ADDR, NFT_REG32_06);
	nft_lookup(r, "guests", NFT_REG_1, false);
	nft_load_ip(r, ARP_TARGET, NFT_REG_1);
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

void nft_plan_ports(struct nft_plan *p)
{
	static const char *const counters[] = { "over_rate", "spoof_mac", "ipv6",     "other",
						"spoof_ip",  "fragment",  "spoof_arp" };
	struct nftnl_rule *r;

	for (size_t i = 0; i < COUNT(counters); i++)
		nft_add_counter(p, NFPROTO_NETDEV, counters[i]);
	(void)nft_add_chain(p, NFPROTO_NETDEV, arp, spoof);
	(void)nft_add_chain(p, NFPROTO_NETDEV, from, spoof);
	(void)nft_add_set(p, NFPROTO_NETDEV, spoof, &nft_set_macs, "macs", false);
	(void)nft_add_set(p, NFPROTO_NETDEV, spoof, &nft_set_guests, "guests", false);

	nft_add_drop(p, NFPROTO_NETDEV, from, spoof, wrong_mac, "spoof_mac", "its own MAC alone");
	r = nft_add_rule(p, NFPROTO_NETDEV, from, spoof, "ARP");
	match_type(r, NFT_CMP_EQ, 0x0806);
	nft_verdict(r, NFT_GOTO, arp);
	nft_add_drop(p, NFPROTO_NETDEV, from, ipv6, is_ipv6, "ipv6", "no IPv6");
	nft_add_drop(p, NFPROTO_NETDEV, from, spoof, not_ip, "other", "nothing but ARP and IPv4");
	nft_add_drop(p, NFPROTO_NETDEV, from, spoof, is_fragment, "fragment", "no fragments");
	r = nft_add_rule(p, NFPROTO_NETDEV, from, spoof, "its own address alone");
	match_own_ipv4(r);
	nft_verdict(r, NF_ACCEPT, NULL);
	nft_add_drop(p, NFPROTO_NETDEV, from, spoof, NULL, "spoof_ip", "no other sender");

	r = nft_add_rule(p, NFPROTO_NETDEV, arp, spoof, "its own MAC and address alone");
	match_own_arp(r);
	nft_verdict(r, NF_ACCEPT, NULL);
	nft_add_drop(p, NFPROTO_NETDEV, arp, spoof, NULL, "spoof_arp", "no other sender");
}

void nft_plan_port(struct nft_plan *p, const struct nft_guest *g)
{
	uint64_t burst = g->rate / BURST_OF_RATE;
	struct nftnl_chain *c;
	struct nftnl_rule *r;

	c = nft_add_base(p, NFPROTO_NETDEV, g->port, spoof, "filter", NF_NETDEV_INGRESS,
			 PORT_PRIORITY);
	nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_DROP);
	nftnl_chain_set_str(c, NFTNL_CHAIN_DEV, g->port);
	if (g->rate) {
		burst = burst < BURST_MIN ? BURST_MIN : burst > UINT32_MAX ? UINT32_MAX : burst;
		r = nft_add_rule(p, NFPROTO_NETDEV, g->port, bandwidth, "what it may send");
		nft_limit_bytes_over(r, g->rate, (uint32_t)burst);
		nft_count_to(r, "over_rate");
		nft_verdict(r, NF_DROP, NULL);
	}
	r = nft_add_rule(p, NFPROTO_NETDEV, g->port, spoof, "what a guest may send");
	nft_verdict(r, NFT_GOTO, from);
	nft_set_add_guest(nft_add_set(p, NFPROTO_NETDEV, spoof, &nft_set_macs, "macs", true), g);
	nft_set_add_guest(nft_add_set(p, NFPROTO_NETDEV, spoof, &nft_set_guests, "guests", true),
			  g);
}
