// SPDX-License-Identifier: MIT
#include "sys/nft_lines.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#define TRIES 8

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
	struct nft_lines_to *r = arg;

	if (t && nftnl_table_nlmsg_parse(h, t) == 0)
		r->use = nftnl_table_get_u32(t, NFTNL_TABLE_USE);
	nftnl_table_free(t);
	return MNL_CB_OK;
}

static int take_chain(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_chain *c = nftnl_chain_alloc();
	const struct nft_lines_to *r = arg;

	if (c && nftnl_chain_nlmsg_parse(h, c) == 0)
		(void)nft_line_chain(r->out, c);
	nftnl_chain_free(c);
	return MNL_CB_OK;
}

static int take_rule(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_rule *rule = nftnl_rule_alloc();
	const struct nft_lines_to *r = arg;

	// the kernel finds chains by name in every table when the table is not there
	if (rule && nftnl_rule_nlmsg_parse(h, rule) == 0 &&
	    str_eq(nftnl_rule_get_str(rule, NFTNL_RULE_TABLE), r->table))
		(void)nft_line_rule(r->out, rule);
	nftnl_rule_free(rule);
	return MNL_CB_OK;
}

static int take_set(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_set *s = nftnl_set_alloc();
	const struct nft_lines_to *r = arg;

	if (s && nftnl_set_nlmsg_parse(h, s) == 0)
		(void)nft_line_set(r->out, s);
	nftnl_set_free(s);
	return MNL_CB_OK;
}

static int take_elements(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_set *s = nftnl_set_alloc();

	if (s && nftnl_set_elems_nlmsg_parse(h, s) == 0)
		(void)nftnl_set_elem_foreach(s, nft_line_element, arg);
	nftnl_set_free(s);
	return MNL_CB_OK;
}

static int take_counter(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_obj *o = nftnl_obj_alloc();
	const struct nft_lines_to *r = arg;

	if (o && nftnl_obj_nlmsg_parse(h, o) == 0 &&
	    str_eq(nftnl_obj_get_str(o, NFTNL_OBJ_TABLE), r->table))
		(void)nft_line_counter(r->out, o);
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
static int get_elements(struct nl *nl, const struct nft_part *part, struct nft_lines_to *r,
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

static int read_set(struct nl *nl, const struct nft_part *part, struct nft_lines_to *r,
		    struct err *e)
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
	struct nft_lines_to r = { .out = out,
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
	struct nft_lines_to r = { .out = out, .table = p->table, .family = family };
	struct nft_query q = { NFT_MSG_GETTABLE, family, p->table, NULL };

	if (nft_get(nl, &q, take_table, &r, e) < 0)
		return -e->no;
	(void)nft_line_table(out, family, r.use);
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
	nft_lines_sort(&l);
	*out = l;
	l = (struct nft_lines)NFT_LINES_INIT;
	return 0;
}
