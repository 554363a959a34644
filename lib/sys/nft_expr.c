// SPDX-License-Identifier: MIT
#include "sys/nft_expr.h"

#include <arpa/inet.h>
#include <libnftnl/expr.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <net/if.h>
#include <syslog.h>

void *nft_need(void *p)
{
	if (!p)
		abort();
	return p;
}

static struct nftnl_expr *add(struct nftnl_rule *r, const char *kind)
{
	struct nftnl_expr *x = nft_need(nftnl_expr_alloc(kind));

	nftnl_rule_add_expr(r, x);
	return x;
}

void nft_load_meta(struct nftnl_rule *r, uint32_t key, uint32_t reg)
{
	struct nftnl_expr *x = add(r, "meta");

	nftnl_expr_set_u32(x, NFTNL_EXPR_META_KEY, key);
	nftnl_expr_set_u32(x, NFTNL_EXPR_META_DREG, reg);
}

void nft_load(struct nftnl_rule *r, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg)
{
	struct nftnl_expr *x = add(r, "payload");

	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_DREG, reg);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_LEN, len);
}

void nft_load_ip(struct nftnl_rule *r, uint32_t offset, uint32_t reg)
{
	nft_load(r, NFT_PAYLOAD_NETWORK_HEADER, offset, 4, reg);
}

void nft_compare(struct nftnl_rule *r, uint32_t op, const void *data, uint32_t len)
{
	struct nftnl_expr *x = add(r, "cmp");

	nftnl_expr_set_u32(x, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_CMP_OP, op);
	nftnl_expr_set(x, NFTNL_EXPR_CMP_DATA, data, len);
}

void nft_mask(struct nftnl_rule *r, const void *mask, uint32_t len)
{
	struct nftnl_expr *x = add(r, "bitwise");
	static const uint8_t flip[16];

	nftnl_expr_set_u32(x, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_BITWISE_LEN, len);
	nftnl_expr_set(x, NFTNL_EXPR_BITWISE_MASK, mask, len);
	nftnl_expr_set(x, NFTNL_EXPR_BITWISE_XOR, flip, len);
}

void nft_match_link(struct nftnl_rule *r, uint32_t key, uint32_t op, const char *name)
{
	char padded[IFNAMSIZ] = { 0 };

	(void)snprintf(padded, sizeof(padded), "%s", name);
	nft_load_meta(r, key, NFT_REG_1);
	nft_compare(r, op, padded, sizeof(padded));
}

void nft_match_link_prefix(struct nftnl_rule *r, uint32_t key, const char *prefix)
{
	nft_load_meta(r, key, NFT_REG_1);
	nft_compare(r, NFT_CMP_EQ, prefix, (uint32_t)strlen(prefix));
}

void nft_match_ipv4(struct nftnl_rule *r, uint32_t op)
{
	uint8_t ipv4 = NFPROTO_IPV4;

	nft_load_meta(r, NFT_META_NFPROTO, NFT_REG_1);
	nft_compare(r, op, &ipv4, sizeof(ipv4));
}

void nft_match_address(struct nftnl_rule *r, uint32_t offset, uint32_t address, uint8_t prefix)
{
	uint32_t mask = htonl(UINT32_MAX << (32 - prefix));

	nft_load(r, NFT_PAYLOAD_NETWORK_HEADER, offset, sizeof(address), NFT_REG_1);
	if (prefix < 32)
		nft_mask(r, &mask, sizeof(mask));
	nft_compare(r, NFT_CMP_EQ, &address, sizeof(address));
}

void nft_match_protocol(struct nftnl_rule *r, uint8_t proto)
{
	nft_load_meta(r, NFT_META_L4PROTO, NFT_REG_1);
	nft_compare(r, NFT_CMP_EQ, &proto, sizeof(proto));
}

void nft_match_port(struct nftnl_rule *r, uint16_t port)
{
	uint16_t wire = htons(port);

	nft_load(r, NFT_PAYLOAD_TRANSPORT_HEADER, L4_DPORT, sizeof(wire), NFT_REG_1);
	nft_compare(r, NFT_CMP_EQ, &wire, sizeof(wire));
}

void nft_match_state(struct nftnl_rule *r, uint32_t bits)
{
	struct nftnl_expr *x = add(r, "ct");
	uint32_t none = 0;

	nftnl_expr_set_u32(x, NFTNL_EXPR_CT_KEY, NFT_CT_STATE);
	nftnl_expr_set_u32(x, NFTNL_EXPR_CT_DREG, NFT_REG_1);
	nft_mask(r, &bits, sizeof(bits));
	nft_compare(r, NFT_CMP_NEQ, &none, sizeof(none));
}

void nft_lookup(struct nftnl_rule *r, const char *set, uint32_t reg, bool invert)
{
	struct nftnl_expr *x = add(r, "lookup");

	nftnl_expr_set_str(x, NFTNL_EXPR_LOOKUP_SET, set);
	nftnl_expr_set_u32(x, NFTNL_EXPR_LOOKUP_SREG, reg);
	nftnl_expr_set_u32(x, NFTNL_EXPR_LOOKUP_FLAGS, invert ? NFT_LOOKUP_F_INV : 0);
}

void nft_vmap(struct nftnl_rule *r, const char *map, uint32_t reg)
{
	struct nftnl_expr *x = add(r, "lookup");

	nftnl_expr_set_str(x, NFTNL_EXPR_LOOKUP_SET, map);
	nftnl_expr_set_u32(x, NFTNL_EXPR_LOOKUP_SREG, reg);
	nftnl_expr_set_u32(x, NFTNL_EXPR_LOOKUP_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(x, NFTNL_EXPR_LOOKUP_FLAGS, 0);
}

void nft_count_to(struct nftnl_rule *r, const char *counter)
{
	struct nftnl_expr *x = add(r, "objref");

	nftnl_expr_set_u32(x, NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
	nftnl_expr_set_str(x, NFTNL_EXPR_OBJREF_IMM_NAME, counter);
}

static void limit(struct nftnl_rule *r, uint32_t type, uint64_t rate, uint32_t burst,
		  uint32_t flags)
{
	struct nftnl_expr *x = add(r, "limit");

	nftnl_expr_set_u64(x, NFTNL_EXPR_LIMIT_RATE, rate);
	nftnl_expr_set_u64(x, NFTNL_EXPR_LIMIT_UNIT, 1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_LIMIT_BURST, burst);
	nftnl_expr_set_u32(x, NFTNL_EXPR_LIMIT_TYPE, type);
	nftnl_expr_set_u32(x, NFTNL_EXPR_LIMIT_FLAGS, flags);
}

void nft_limit_packets(struct nftnl_rule *r, uint64_t per_second, uint32_t burst)
{
	limit(r, NFT_LIMIT_PKTS, per_second, burst, 0);
}

void nft_limit_bytes_over(struct nftnl_rule *r, uint64_t per_second, uint32_t burst)
{
	limit(r, NFT_LIMIT_PKT_BYTES, per_second, burst, NFT_LIMIT_F_INV);
}

void nft_log_as(struct nftnl_rule *r, const char *prefix)
{
	struct nftnl_expr *x = add(r, "log");

	nftnl_expr_set_str(x, NFTNL_EXPR_LOG_PREFIX, prefix);
	nftnl_expr_set_u32(x, NFTNL_EXPR_LOG_LEVEL, LOG_INFO);
}

void nft_verdict(struct nftnl_rule *r, int verdict, const char *chain)
{
	struct nftnl_expr *x = add(r, "immediate");

	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_VERDICT, (uint32_t)verdict);
	if (chain)
		nftnl_expr_set_str(x, NFTNL_EXPR_IMM_CHAIN, chain);
}

void nft_masquerade(struct nftnl_rule *r)
{
	(void)add(r, "masq");
}

static void immediate(struct nftnl_rule *r, uint32_t reg, const void *data, uint32_t len)
{
	struct nftnl_expr *x = add(r, "immediate");

	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_DREG, reg);
	nftnl_expr_set(x, NFTNL_EXPR_IMM_DATA, data, len);
}

void nft_dnat(struct nftnl_rule *r, uint32_t address, uint16_t port)
{
	uint16_t wire = htons(port);
	struct nftnl_expr *x;

	immediate(r, NFT_REG_1, &address, sizeof(address));
	immediate(r, NFT_REG_2, &wire, sizeof(wire));
	x = add(r, "nat");
	nftnl_expr_set_u32(x, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
	nftnl_expr_set_u32(x, NFTNL_EXPR_NAT_FAMILY, NFPROTO_IPV4);
	nftnl_expr_set_u32(x, NFTNL_EXPR_NAT_REG_ADDR_MIN, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_NAT_REG_PROTO_MIN, NFT_REG_2);
	// the kernel's own way to say it, so that both read alike
	nftnl_expr_set_u32(x, NFTNL_EXPR_NAT_REG_ADDR_MAX, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_NAT_REG_PROTO_MAX, NFT_REG_2);
	nftnl_expr_set_u32(x, NFTNL_EXPR_NAT_FLAGS,
			   NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED);
}
