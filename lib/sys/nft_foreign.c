// SPDX-License-Identifier: MIT
// What other software's rules do to a tenant's network, as far as reading them tells. None of them
// can open what mvm drops; they can drop what mvm lets through, and one that names our links is
// there for a purpose that somebody should know.
#include "sys/nft_read.h"

#include <arpa/inet.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#define TRIES 8
#define SHOWN 160

struct foreign {
	const struct nft_tenant *t;
	ifname_text bridge;
	struct codec_list *faults;
	struct codec_list closed; // of struct closed
};

// A base chain of others that drops what no rule of it accepts.
struct closed {
	uint8_t family;
	char table[64], chain[64];
	bool lets_us; // one of its table's rules accepts what names our links
};

static const char *family_name(uint32_t family)
{
	switch (family) {
	case NFPROTO_INET:
		return "inet";
	case NFPROTO_IPV4:
		return "ip";
	case NFPROTO_ARP:
		return "arp";
	case NFPROTO_NETDEV:
		return "netdev";
	case NFPROTO_BRIDGE:
		return "bridge";
	default:
		return "other";
	}
}

static bool is_of_mvm(uint32_t family, const char *table)
{
	uint32_t net_id;

	return name_is_table(table, &net_id) &&
	       (family == NFPROTO_INET || family == NFPROTO_NETDEV);
}

static bool is_port(const struct foreign *f, const char *name)
{
	uint32_t net_id, offset;

	return str_eq(name, f->bridge) ||
	       (name_is_tap(name, &net_id, &offset) && net_id == f->t->net_id);
}

static void look_at_chain(struct foreign *f, const struct nftnl_chain *c)
{
	const char *table = nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE);
	const char *name = nftnl_chain_get_str(c, NFTNL_CHAIN_NAME);
	const char *dev = nftnl_chain_get_str(c, NFTNL_CHAIN_DEV);
	uint32_t family = nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY);
	struct closed *closed;

	if (!table || !name || !nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM) ||
	    is_of_mvm(family, table))
		return;
	if (family == NFPROTO_NETDEV && dev && is_port(f, dev))
		nft_fault_add(f->faults, "foreign",
			      "netdev %s, chain %s: looks at %s and is not mvm's", table, name,
			      dev);
	if ((family != NFPROTO_INET && family != NFPROTO_IPV4) ||
	    nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM) != NF_INET_FORWARD ||
	    nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY) != NF_DROP)
		return;
	closed = codec_list_add(&f->closed, sizeof(*closed));
	closed->family = (uint8_t)family;
	(void)snprintf(closed->table, sizeof(closed->table), "%s", table);
	(void)snprintf(closed->chain, sizeof(closed->chain), "%s", name);
}

static int take_chain(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_chain *c = nftnl_chain_alloc();

	if (c && nftnl_chain_nlmsg_parse(h, c) == 0)
		look_at_chain(arg, c);
	nftnl_chain_free(c);
	return MNL_CB_OK;
}

struct seen {
	const struct foreign *f;
	bool names_us;
	int verdict; // the last one, -1: none
};

// A link of ours, all of our bridges, or an address of the tenant.
static bool is_about_us(const struct foreign *f, const void *data, uint32_t len)
{
	char text[IFNAME_SIZE + 1] = { 0 };
	uint32_t ip;

	if (len == sizeof(ip)) {
		memcpy(&ip, data, sizeof(ip));
		ip = ntohl(ip);
		if ((ip & (UINT32_MAX << (32 - f->t->subnet.prefix))) == f->t->subnet.base)
			return true;
	}
	memcpy(text, data, len < IFNAME_SIZE ? len : IFNAME_SIZE);
	return is_port(f, text) || (strlen(text) >= 4 && str_starts(f->bridge, text));
}

static int look_at_expr(struct nftnl_expr *x, void *arg)
{
	const char *kind = nftnl_expr_get_str(x, NFTNL_EXPR_NAME);
	struct seen *s = arg;
	uint32_t len = 0;
	const void *data;

	if (str_eq(kind, "cmp")) {
		data = nftnl_expr_get(x, NFTNL_EXPR_CMP_DATA, &len);
		s->names_us |= data && is_about_us(s->f, data, len);
	} else if (str_eq(kind, "immediate") && nftnl_expr_is_set(x, NFTNL_EXPR_IMM_VERDICT)) {
		s->verdict = (int)nftnl_expr_get_u32(x, NFTNL_EXPR_IMM_VERDICT);
	}
	return 0;
}

static void look_at_rule(struct foreign *f, struct nftnl_rule *r)
{
	const char *table = nftnl_rule_get_str(r, NFTNL_RULE_TABLE);
	const char *chain = nftnl_rule_get_str(r, NFTNL_RULE_CHAIN);
	uint32_t family = nftnl_rule_get_u32(r, NFTNL_RULE_FAMILY);
	struct seen s = { .f = f, .verdict = -1 };
	cleanup_buf struct buf text = BUF_INIT;
	struct closed *closed = f->closed.items;

	if (!table || !chain)
		return;
	(void)nftnl_expr_foreach(r, look_at_expr, &s);
	if (!s.names_us)
		return;
	for (size_t i = 0; i < f->closed.len; i++)
		closed[i].lets_us |= closed[i].family == family && str_eq(closed[i].table, table) &&
				     s.verdict != NF_DROP;
	nft_render_rule(r, &text);
	nft_fault_add(f->faults, "foreign", "%s %s, chain %s: a rule that is not mvm's %s: %.*s",
		      family_name(family), table, chain,
		      s.verdict == NF_DROP     ? "drops what names this network"
		      : s.verdict == NF_ACCEPT ? "accepts what names this network"
					       : "names this network",
		      SHOWN, buf_text(&text));
}

static int take_rule(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_rule *r = nftnl_rule_alloc();

	if (r && nftnl_rule_nlmsg_parse(h, r) == 0)
		look_at_rule(arg, r);
	nftnl_rule_free(r);
	return MNL_CB_OK;
}

// Table by table: those of our tenants may be hundreds.
static int look(struct nl *nl, struct foreign *f, const struct nft_tables *tables, struct err *e)
{
	struct nft_query q = { .type = NFT_MSG_GETCHAIN, .family = NFPROTO_UNSPEC };
	bool any = false;

	for (size_t i = 0; i < tables->len; i++)
		any |= !is_of_mvm(tables->items[i].family, tables->items[i].name);
	if (any && nft_dump(nl, &q, take_chain, f, e) < 0)
		return -e->no;
	q.type = NFT_MSG_GETRULE;
	for (size_t i = 0; i < tables->len; i++) {
		q.family = tables->items[i].family;
		q.table = tables->items[i].name;
		if (!is_of_mvm(tables->items[i].family, tables->items[i].name) &&
		    nft_dump(nl, &q, take_rule, f, e) < 0)
			return -e->no;
	}
	return 0;
}

int nft_foreign(struct nl *nl, const struct nft_tenant *t, const struct nft_tables *tables,
		struct codec_list *ret, struct err *e)
{
	struct foreign f = { .t = t };
	size_t before = ret->len;
	const struct closed *closed;
	int r = -EINTR;

	f.faults = ret;
	name_bridge(t->net_id, f.bridge);
	for (int tries = 0; r == -EINTR && tries < TRIES; tries++) {
		ret->len = before;
		f.closed.len = 0;
		r = look(nl, &f, tables, e);
	}
	closed = f.closed.items;
	for (size_t i = 0; r == 0 && i < f.closed.len; i++)
		if (!closed[i].lets_us)
			nft_fault_add(
				ret, "foreign",
				"%s %s, chain %s: drops forwarded packets by default and has no "
				"rule for %s: the guests do not get out",
				family_name(closed[i].family), closed[i].table, closed[i].chain,
				f.bridge);
	free(f.closed.items);
	return r < 0 ? err_wrap(e, "read the rules of others") : 0;
}
