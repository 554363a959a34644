// SPDX-License-Identifier: MIT
// The rules of a tenant. With br_netfilter on, frames inside one bridge pass these hooks too, with
// the bridge as both interfaces: the first rule lets them through, and NAT leaves them alone. With
// it off they never get here. So the answer is the same whoever flips that switch.
#include "sys/nft_rules.h"

#include <arpa/inet.h>
#include <libnftnl/expr.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_ipv4.h>
#include <stddef.h>

#include "sys/link.h"

#define BRIDGES	   "br-tenant-" // what the names of all our bridges start with
#define FORWARD	   "forward"
#define NAT	   "nat"
#define IPV4_SADDR 12 // offset in the header

// Built of bounded parts of ours: without memory there is no way on.
static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

static struct nftnl_expr *add(struct nftnl_rule *r, const char *kind)
{
	struct nftnl_expr *x = need(nftnl_expr_alloc(kind));

	nftnl_rule_add_expr(r, x);
	return x;
}

static void add_meta(struct nftnl_rule *r, uint32_t key)
{
	struct nftnl_expr *x = add(r, "meta");

	nftnl_expr_set_u32(x, NFTNL_EXPR_META_KEY, key);
	nftnl_expr_set_u32(x, NFTNL_EXPR_META_DREG, NFT_REG_1);
}

static void add_cmp(struct nftnl_rule *r, uint32_t op, const void *data, uint32_t len)
{
	struct nftnl_expr *x = add(r, "cmp");

	nftnl_expr_set_u32(x, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_CMP_OP, op);
	nftnl_expr_set(x, NFTNL_EXPR_CMP_DATA, data, len);
}

static void add_mask(struct nftnl_rule *r, uint32_t mask)
{
	struct nftnl_expr *x = add(r, "bitwise");
	uint32_t flip = 0;

	nftnl_expr_set_u32(x, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_BITWISE_LEN, sizeof(mask));
	nftnl_expr_set(x, NFTNL_EXPR_BITWISE_MASK, &mask, sizeof(mask));
	nftnl_expr_set(x, NFTNL_EXPR_BITWISE_XOR, &flip, sizeof(flip));
}

// A name with its padding is compared whole, a shorter one as a prefix.
static void match_link(struct nftnl_rule *r, uint32_t key, uint32_t op, const char *name)
{
	ifname_text padded = { 0 };

	(void)snprintf(padded, sizeof(padded), "%s", name);
	add_meta(r, key);
	add_cmp(r, op, padded, sizeof(padded));
}

static void match_any_bridge(struct nftnl_rule *r, uint32_t key)
{
	add_meta(r, key);
	add_cmp(r, NFT_CMP_EQ, BRIDGES, (uint32_t)strlen(BRIDGES));
}

static void match_known(struct nftnl_rule *r)
{
	struct nftnl_expr *x = add(r, "ct");
	uint32_t none = 0;

	nftnl_expr_set_u32(x, NFTNL_EXPR_CT_KEY, NFT_CT_STATE);
	nftnl_expr_set_u32(x, NFTNL_EXPR_CT_DREG, NFT_REG_1);
	add_mask(r, NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED));
	add_cmp(r, NFT_CMP_NEQ, &none, sizeof(none));
}

static void match_source(struct nftnl_rule *r, const struct subnet *s)
{
	struct nftnl_expr *x;
	uint32_t base = htonl(s->base);
	uint8_t ipv4 = NFPROTO_IPV4;

	add_meta(r, NFT_META_NFPROTO);
	add_cmp(r, NFT_CMP_EQ, &ipv4, sizeof(ipv4));
	x = add(r, "payload");
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_OFFSET, IPV4_SADDR);
	nftnl_expr_set_u32(x, NFTNL_EXPR_PAYLOAD_LEN, sizeof(base));
	add_mask(r, htonl(UINT32_MAX << (32 - s->prefix)));
	add_cmp(r, NFT_CMP_EQ, &base, sizeof(base));
}

static void verdict(struct nftnl_rule *r, uint32_t what)
{
	struct nftnl_expr *x = add(r, "immediate");

	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(x, NFTNL_EXPR_IMM_VERDICT, what);
}

static struct nftnl_rule *new_rule(struct nft_plan *p, const char *chain)
{
	struct nftnl_rule *r = need(nftnl_rule_alloc());

	nftnl_rule_set_u32(r, NFTNL_RULE_FAMILY, NFPROTO_INET);
	nftnl_rule_set_str(r, NFTNL_RULE_TABLE, nftnl_table_get_str(p->table, NFTNL_TABLE_NAME));
	nftnl_rule_set_str(r, NFTNL_RULE_CHAIN, chain);
	p->rules[p->rule_count++] = r;
	return r;
}

static void new_chain(struct nft_plan *p, const char *name, const char *type, uint32_t hook,
		      int32_t priority)
{
	struct nftnl_chain *c = need(nftnl_chain_alloc());

	nftnl_chain_set_u32(c, NFTNL_CHAIN_FAMILY, NFPROTO_INET);
	nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, nftnl_table_get_str(p->table, NFTNL_TABLE_NAME));
	nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, name);
	nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, type);
	nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, hook);
	nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, priority);
	nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_ACCEPT);
	p->chains[p->chain_count++] = c;
}

struct nftnl_table *nft_plan_table(const struct nft_tenant *t)
{
	struct nftnl_table *table = need(nftnl_table_alloc());
	struct nftnl_udata_buf *comment = need(nftnl_udata_buf_alloc(512));
	link_alias owner;
	char name[16];

	name_table(t->net_id, name);
	link_owner_print(t->node_id, t->address, owner);
	nftnl_table_set_u32(table, NFTNL_TABLE_FAMILY, NFPROTO_INET);
	nftnl_table_set_str(table, NFTNL_TABLE_NAME, name);
	if (!nftnl_udata_put_strz(comment, NFTNL_UDATA_TABLE_COMMENT, owner))
		abort(); // 93 bytes at most
	nftnl_table_set_data(table, NFTNL_TABLE_USERDATA, nftnl_udata_buf_data(comment),
			     nftnl_udata_buf_len(comment));
	nftnl_udata_buf_free(comment);
	return table;
}

void nft_plan_make(const struct nft_tenant *t, struct nft_plan *out)
{
	struct nft_plan p = NFT_PLAN_NONE;
	struct nftnl_rule *r;
	ifname_text bridge;

	name_bridge(t->net_id, bridge);
	p.table = nft_plan_table(t);
	new_chain(&p, FORWARD, "filter", NF_INET_FORWARD, NF_IP_PRI_FILTER);
	new_chain(&p, NAT, "nat", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC);

	r = new_rule(&p, FORWARD); // within the tenant
	match_link(r, NFT_META_IIFNAME, NFT_CMP_EQ, bridge);
	match_link(r, NFT_META_OIFNAME, NFT_CMP_EQ, bridge);
	verdict(r, NF_ACCEPT);

	r = new_rule(&p, FORWARD); // not to other tenants
	match_link(r, NFT_META_IIFNAME, NFT_CMP_EQ, bridge);
	match_any_bridge(r, NFT_META_OIFNAME);
	verdict(r, NF_DROP);

	r = new_rule(&p, FORWARD); // answers come in
	match_link(r, NFT_META_OIFNAME, NFT_CMP_EQ, bridge);
	match_known(r);
	verdict(r, NF_ACCEPT);

	r = new_rule(&p, FORWARD); // and nothing else does
	match_link(r, NFT_META_OIFNAME, NFT_CMP_EQ, bridge);
	verdict(r, NF_DROP);

	r = new_rule(&p, NAT); // to the outside under the host's address
	match_source(r, &t->subnet);
	match_link(r, NFT_META_OIFNAME, NFT_CMP_NEQ, bridge);
	(void)add(r, "masq");
	*out = p;
}

void nft_plan_free(struct nft_plan *p)
{
	for (size_t i = 0; i < p->rule_count; i++)
		nftnl_rule_free(p->rules[i]);
	for (size_t i = 0; i < p->chain_count; i++)
		nftnl_chain_free(p->chains[i]);
	if (p->table)
		nftnl_table_free(p->table);
	*p = (struct nft_plan)NFT_PLAN_NONE;
}

void nft_render_chain(const struct nftnl_chain *c, struct buf *out)
{
	const char *type = nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE);

	buf_fmt(out, "chain %s type %s hook %u priority %d policy %u\n",
		nftnl_chain_get_str(c, NFTNL_CHAIN_NAME), type ? type : "-",
		nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM),
		nftnl_chain_get_s32(c, NFTNL_CHAIN_PRIO),
		nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY));
}

static int render_expr(struct nftnl_expr *x, void *arg)
{
	struct buf *out = arg;
	char text[512];
	int n = nftnl_expr_snprintf(text, sizeof(text), x, NFTNL_OUTPUT_DEFAULT, 0);

	if (n < 0 || (size_t)n >= sizeof(text))
		n = snprintf(text, sizeof(text), "?"); // then it is none of ours
	buf_fmt(out, "  %s %.*s\n", nftnl_expr_get_str(x, NFTNL_EXPR_NAME), n, text);
	return 0;
}

void nft_render_rule(struct nftnl_rule *r, struct buf *out)
{
	buf_fmt(out, "rule %s\n", nftnl_rule_get_str(r, NFTNL_RULE_CHAIN));
	(void)nftnl_expr_foreach(r, render_expr, out);
}
