// SPDX-License-Identifier: MIT
#include "sys/nft_read.h"

#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#define TRIES 8

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

static struct nft_line *add_table(struct nft_lines *l, uint8_t family, uint32_t use)
{
	cleanup_buf struct buf text = BUF_INIT;

	buf_fmt(&text, "%u chains, sets and counters", use);
	return add(l, NFT_CHAIN, family, "", &text);
}

static struct nft_line *add_chain(struct nft_lines *l, const struct nftnl_chain *c)
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

static struct nft_line *add_rule(struct nft_lines *l, struct nftnl_rule *r)
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

struct reading {
	struct nft_lines *out;
	const char *table;
	uint8_t family;
	uint32_t use;	   // of a table
	const char *check; // of a set of a plan
	const char *set;
};

static int add_element(struct nftnl_set_elem *x, void *arg)
{
	struct reading *r = arg;
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

static struct nft_line *add_set(struct nft_lines *l, const struct nftnl_set *s)
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

static struct nft_line *add_counter(struct nft_lines *l, struct nftnl_obj *o)
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

static void sort(struct nft_lines *l)
{
	if (l->len)
		qsort(l->items, l->len, sizeof(*l->items), by_place);
}

static void lines_of_part(const struct nft_part *part, struct nft_lines *out)
{
	struct nft_line *line = NULL;
	struct reading r = { .out = out, .family = part->family, .check = part->check };

	switch (part->kind) {
	case NFT_CHAIN:
		line = add_chain(out, part->chain);
		break;
	case NFT_RULE:
		line = add_rule(out, part->rule);
		line->doc = part->doc;
		break;
	case NFT_SET:
		r.set = nft_part_name(part);
		(void)nftnl_set_elem_foreach(part->set, add_element, &r);
		if (part->elements_only)
			return;
		line = add_set(out, part->set);
		break;
	case NFT_COUNTER:
		line = add_counter(out, part->obj);
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
		add_table(&l, families[i], objects(p, families[i]))->check = "rules";
	sort(&l);
	*out = l;
}

static struct nlmsghdr *begin(struct nl *nl, uint16_t type, uint8_t family, uint16_t flags)
{
	struct nlmsghdr *req = nl_begin(nl, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags);
	struct nfgenmsg *gen = mnl_nlmsg_put_extra_header(req, sizeof(*gen));

	gen->nfgen_family = family;
	gen->version = NFNETLINK_V0;
	return req;
}

int nft_dump(struct nl *nl, const struct nft_query *q, mnl_cb_t cb, void *arg, struct err *e)
{
	struct nlmsghdr *req;
	int r;

	req = begin(nl, q->type, q->family, NLM_F_DUMP);
	if (q->table)
		mnl_attr_put_strz(req, 1, q->table); // NFTA_*_TABLE of all kinds
	if (q->name)
		mnl_attr_put_strz(req, 2, q->name);
	r = nl_talk(nl, req, cb, arg, e);
	return r == -ENOENT ? 0 : r;
}

static int take_table(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_table *t = nftnl_table_alloc();
	struct reading *r = arg;

	if (t && nftnl_table_nlmsg_parse(h, t) == 0)
		r->use = nftnl_table_get_u32(t, NFTNL_TABLE_USE);
	nftnl_table_free(t);
	return MNL_CB_OK;
}

static int take_chain(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_chain *c = nftnl_chain_alloc();
	const struct reading *r = arg;

	if (c && nftnl_chain_nlmsg_parse(h, c) == 0)
		(void)add_chain(r->out, c);
	nftnl_chain_free(c);
	return MNL_CB_OK;
}

static int take_rule(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_rule *rule = nftnl_rule_alloc();
	const struct reading *r = arg;

	// the kernel finds chains by name in every table when the table is not there
	if (rule && nftnl_rule_nlmsg_parse(h, rule) == 0 &&
	    str_eq(nftnl_rule_get_str(rule, NFTNL_RULE_TABLE), r->table))
		(void)add_rule(r->out, rule);
	nftnl_rule_free(rule);
	return MNL_CB_OK;
}

static int take_set(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_set *s = nftnl_set_alloc();
	const struct reading *r = arg;

	if (s && nftnl_set_nlmsg_parse(h, s) == 0)
		(void)add_set(r->out, s);
	nftnl_set_free(s);
	return MNL_CB_OK;
}

static int take_elements(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_set *s = nftnl_set_alloc();

	if (s && nftnl_set_elems_nlmsg_parse(h, s) == 0)
		(void)nftnl_set_elem_foreach(s, add_element, arg);
	nftnl_set_free(s);
	return MNL_CB_OK;
}

static int take_counter(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_obj *o = nftnl_obj_alloc();
	const struct reading *r = arg;

	if (o && nftnl_obj_nlmsg_parse(h, o) == 0 &&
	    str_eq(nftnl_obj_get_str(o, NFTNL_OBJ_TABLE), r->table))
		(void)add_counter(r->out, o);
	nftnl_obj_free(o);
	return MNL_CB_OK;
}

int nft_get(struct nl *nl, const struct nft_query *q, mnl_cb_t cb, void *arg, struct err *e)
{
	struct nlmsghdr *req = begin(nl, q->type, q->family, 0);
	int done;

	mnl_attr_put_strz(req, 1, q->table);
	if (q->name)
		mnl_attr_put_strz(req, q->type == NFT_MSG_GETCHAIN ? NFTA_CHAIN_NAME : 2, q->name);
	done = nl_talk(nl, req, cb, arg, e);
	return done == -ENOENT ? 0 : done;
}

// The elements of a part, each by its key: a set may have thousands of others.
static int get_elements(struct nl *nl, const struct nft_part *part, struct reading *r,
			struct err *e)
{
	struct nftnl_set_elems_iter *it = nftnl_set_elems_iter_create(part->set);
	struct nftnl_set_elem *x;
	int done = 0;

	while (done == 0 && it && (x = nftnl_set_elems_iter_next(it))) {
		struct nlmsghdr *req = begin(nl, NFT_MSG_GETSETELEM, part->family, 0);
		struct nlattr *list, *one, *key;
		uint32_t len = 0;
		const void *data = nftnl_set_elem_get(x, NFTNL_SET_ELEM_KEY, &len);

		mnl_attr_put_strz(req, NFTA_SET_ELEM_LIST_TABLE, r->table);
		mnl_attr_put_strz(req, NFTA_SET_ELEM_LIST_SET, r->set);
		list = mnl_attr_nest_start(req, NFTA_SET_ELEM_LIST_ELEMENTS);
		one = mnl_attr_nest_start(req, NFTA_LIST_ELEM);
		key = mnl_attr_nest_start(req, NFTA_SET_ELEM_KEY);
		mnl_attr_put(req, NFTA_DATA_VALUE, len, data);
		mnl_attr_nest_end(req, key);
		mnl_attr_nest_end(req, one);
		mnl_attr_nest_end(req, list);
		done = nl_talk(nl, req, take_elements, r, e);
		done = done == -ENOENT ? 0 : done;
	}
	nftnl_set_elems_iter_destroy(it);
	return done;
}

static int read_set(struct nl *nl, const struct nft_part *part, struct reading *r, struct err *e)
{
	struct nft_query q = { NFT_MSG_GETSET, part->family, r->table, r->set };

	if (part->elements_only)
		return get_elements(nl, part, r, e);
	if (nft_get(nl, &q, take_set, r, e) < 0)
		return -e->no;
	q.type = NFT_MSG_GETSETELEM;
	return nft_dump(nl, &q, take_elements, r, e);
}

static int read_part(struct nl *nl, const struct nft_plan *p, const struct nft_part *part,
		     bool whole, struct nft_lines *out, struct err *e)
{
	struct reading r = { .out = out,
			     .table = p->table,
			     .family = part->family,
			     .set = nft_part_name(part),
			     .check = part->check };
	struct nft_query q = { NFT_MSG_GETCHAIN, part->family, p->table, r.set };

	if (part->kind == NFT_SET && !(whole && part->elements_only))
		return read_set(nl, part, &r, e);
	if (part->kind != NFT_CHAIN)
		return 0;
	if (nft_get(nl, &q, take_chain, &r, e) < 0)
		return -e->no;
	q.type = NFT_MSG_GETRULE;
	return whole ? 0 : nft_dump(nl, &q, take_rule, &r, e);
}

// Rules and counters of the whole table, also of what the plan does not know.
static int read_family(struct nl *nl, const struct nft_plan *p, uint8_t family,
		       struct nft_lines *out, struct err *e)
{
	struct reading r = { .out = out, .table = p->table, .family = family };
	struct nft_query q = { NFT_MSG_GETTABLE, family, p->table, NULL };

	if (nft_get(nl, &q, take_table, &r, e) < 0)
		return -e->no;
	(void)add_table(out, family, r.use);
	q.type = NFT_MSG_GETRULE;
	if (nft_dump(nl, &q, take_rule, &r, e) < 0)
		return -e->no;
	q.type = NFT_MSG_GETOBJ;
	return nft_dump(nl, &q, take_counter, &r, e);
}

static int read_all(struct nl *nl, const struct nft_plan *p, bool whole, struct nft_lines *out,
		    struct err *e)
{
	if (whole && (read_family(nl, p, NFPROTO_INET, out, e) < 0 ||
		      read_family(nl, p, NFPROTO_NETDEV, out, e) < 0))
		return -e->no;
	for (size_t i = 0; i < p->len; i++)
		if (read_part(nl, p, &p->parts[i], whole, out, e) < 0)
			return -e->no;
	return 0;
}

int nft_read(struct nl *nl, const struct nft_plan *p, bool whole, struct nft_lines *out,
	     struct err *e)
{
	cleanup_nft_lines struct nft_lines l = NFT_LINES_INIT;
	int r = -EINTR;

	for (int tries = 0; r == -EINTR && tries < TRIES; tries++) {
		nft_lines_free(&l);
		r = read_all(nl, p, whole, &l, e);
	}
	if (r < 0)
		return err_wrap(e, "read table %s", p->table);
	sort(&l);
	*out = l;
	l = (struct nft_lines)NFT_LINES_INIT;
	return 0;
}
