// SPDX-License-Identifier: MIT
#include "sys/nft_lines.h"

#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

void nft_lines_free(struct nft_lines *l)
{
	for (size_t i = 0; i < l->len; i++)
		free(l->items[i].text);
	free(l->items);
	*l = (struct nft_lines)NFT_LINES_INIT;
}

static struct nft_line *add(struct nft_lines *l, enum nft_kind kind, uint8_t family,
			    const char *owner, struct buf *text)
{
	struct nft_line *line;

	l->items = base_grow(l->items, l->len + 1, sizeof(*l->items));
	line = &l->items[l->len];
	*line = (struct nft_line){
		.kind = kind, .family = family, .text = buf_steal(text), .place = l->len
	};
	l->len++;
	(void)snprintf(line->owner, sizeof(line->owner), "%s", owner ? owner : "?");
	return line;
}

struct nft_line *nft_line_table(struct nft_lines *l, uint8_t family, uint32_t use)
{
	cleanup_buf struct buf text = BUF_INIT;

	buf_fmt(&text, "%u chains, sets and counters", use);
	return add(l, NFT_CHAIN, family, "", &text);
}

struct nft_line *nft_line_chain(struct nft_lines *l, const struct nftnl_chain *c)
{
	cleanup_buf struct buf text = BUF_INIT;
	const char *dev = nftnl_chain_get_str(c, NFTNL_CHAIN_DEV);

	buf_str(&text, "chain");
	if (nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM))
		buf_fmt(&text, " type %s hook %u priority %d policy %u device %s",
			nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE),
			nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM),
			nftnl_chain_get_s32(c, NFTNL_CHAIN_PRIO),
			nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY), dev ? dev : "-");
	return add(l, NFT_CHAIN, (uint8_t)nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY),
		   nftnl_chain_get_str(c, NFTNL_CHAIN_NAME), &text);
}

static int render_expr(struct nftnl_expr *x, void *arg)
{
	struct buf *out = arg;
	char text[512];
	int n = nftnl_expr_snprintf(text, sizeof(text), x, NFTNL_OUTPUT_DEFAULT, 0);

	if (n < 0 || (size_t)n >= sizeof(text))
		n = snprintf(text, sizeof(text), "?"); // then it is none of ours
	buf_fmt(out, "[%s %.*s]", nftnl_expr_get_str(x, NFTNL_EXPR_NAME), n, text);
	return 0;
}

void nft_render_rule(struct nftnl_rule *r, struct buf *out)
{
	(void)nftnl_expr_foreach(r, render_expr, out);
}

struct nft_line *nft_line_rule(struct nft_lines *l, struct nftnl_rule *r)
{
	cleanup_buf struct buf text = BUF_INIT;

	nft_render_rule(r, &text);
	return add(l, NFT_RULE, (uint8_t)nftnl_rule_get_u32(r, NFTNL_RULE_FAMILY),
		   nftnl_rule_get_str(r, NFTNL_RULE_CHAIN), &text);
}

static void hex(struct buf *out, struct nftnl_set_elem *x, uint16_t attr)
{
	uint32_t len = 0;
	const uint8_t *p = nftnl_set_elem_get(x, attr, &len);

	for (uint32_t i = 0; p && i < len; i++)
		buf_fmt(out, "%02x", p[i]);
}

int nft_line_element(struct nftnl_set_elem *x, void *arg)
{
	struct nft_lines_to *r = arg;
	cleanup_buf struct buf text = BUF_INIT;
	const char *chain = nftnl_set_elem_get_str(x, NFTNL_SET_ELEM_CHAIN);

	buf_str(&text, "element ");
	hex(&text, x, NFTNL_SET_ELEM_KEY);
	if (nftnl_set_elem_is_set(x, NFTNL_SET_ELEM_KEY_END)) {
		buf_char(&text, '-');
		hex(&text, x, NFTNL_SET_ELEM_KEY_END);
	}
	if (nftnl_set_elem_is_set(x, NFTNL_SET_ELEM_FLAGS) &&
	    nftnl_set_elem_get_u32(x, NFTNL_SET_ELEM_FLAGS) & NFT_SET_ELEM_INTERVAL_END)
		buf_str(&text, " end");
	if (nftnl_set_elem_is_set(x, NFTNL_SET_ELEM_VERDICT))
		buf_fmt(&text, " verdict %d %s",
			(int)nftnl_set_elem_get_u32(x, NFTNL_SET_ELEM_VERDICT), chain ? chain : "");
	add(r->out, NFT_SET, r->family, r->set, &text)->check = r->check;
	return 0;
}

struct nft_line *nft_line_set(struct nft_lines *l, const struct nftnl_set *s)
{
	cleanup_buf struct buf text = BUF_INIT;

	buf_fmt(&text, " set flags %u type %u length %u data %u",
		nftnl_set_get_u32(s, NFTNL_SET_FLAGS), nftnl_set_get_u32(s, NFTNL_SET_KEY_TYPE),
		nftnl_set_get_u32(s, NFTNL_SET_KEY_LEN),
		nftnl_set_is_set(s, NFTNL_SET_DATA_TYPE) ? nftnl_set_get_u32(s, NFTNL_SET_DATA_TYPE)
							 : 0);
	return add(l, NFT_SET, (uint8_t)nftnl_set_get_u32(s, NFTNL_SET_FAMILY),
		   nftnl_set_get_str(s, NFTNL_SET_NAME), &text);
}

struct nft_line *nft_line_counter(struct nft_lines *l, struct nftnl_obj *o)
{
	cleanup_buf struct buf text = BUF_INIT;

	buf_str(&text, "counter");
	return add(l, NFT_COUNTER, (uint8_t)nftnl_obj_get_u32(o, NFTNL_OBJ_FAMILY),
		   nftnl_obj_get_str(o, NFTNL_OBJ_NAME), &text);
}

static int by_place(const void *a, const void *b)
{
	const struct nft_line *x = a, *y = b;
	int r;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	r = strcmp(x->owner, y->owner);
	if (r == 0 && x->kind != NFT_RULE)
		r = strcmp(x->text, y->text);
	return r ? r : (x->place > y->place) - (x->place < y->place);
}

void nft_lines_sort(struct nft_lines *l)
{
	if (l->len)
		qsort(l->items, l->len, sizeof(*l->items), by_place);
}

static void lines_of_part(const struct nft_part *part, struct nft_lines *out)
{
	struct nft_line *line = NULL;
	struct nft_lines_to r = { .out = out, .family = part->family, .check = part->check };

	switch (part->kind) {
	case NFT_CHAIN:
		line = nft_line_chain(out, part->chain);
		break;
	case NFT_RULE:
		line = nft_line_rule(out, part->rule);
		line->doc = part->doc;
		break;
	case NFT_SET:
		r.set = nft_part_name(part);
		(void)nftnl_set_elem_foreach(part->set, nft_line_element, &r);
		if (part->elements_only)
			return;
		line = nft_line_set(out, part->set);
		break;
	case NFT_COUNTER:
		line = nft_line_counter(out, part->obj);
		break;
	}
	if (line)
		line->check = part->check;
}

// How many objects the plan has in a table.
static uint32_t objects(const struct nft_plan *p, uint8_t family)
{
	uint32_t n = 0;

	for (size_t i = 0; i < p->len; i++)
		n += p->parts[i].family == family && p->parts[i].kind != NFT_RULE &&
		     !p->parts[i].elements_only;
	return n;
}

void nft_lines_of(const struct nft_plan *p, bool whole, struct nft_lines *out)
{
	static const uint8_t families[] = { NFPROTO_INET, NFPROTO_NETDEV };
	struct nft_lines l = NFT_LINES_INIT;

	for (size_t i = 0; i < p->len; i++)
		lines_of_part(&p->parts[i], &l);
	for (size_t i = 0; whole && i < COUNT(families); i++)
		nft_line_table(&l, families[i], objects(p, families[i]))->check = "rules";
	nft_lines_sort(&l);
	*out = l;
}
