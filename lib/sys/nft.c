// SPDX-License-Identifier: MIT
#include "sys/nft.h"

#include <assert.h>
#include <libnftnl/common.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/fault.h"
#include "sys/link.h"
#include "sys/nft_rules.h"

#define TRIES	  8
#define BATCH_MAX 65536
#define PIECE_MAX 4096 // more than one table, chain or rule of ours takes

void nft_tables_free(struct nft_tables *t)
{
	free(t->items);
	*t = (struct nft_tables)NFT_TABLES_INIT;
}

static int take_comment(const struct nftnl_udata *u, void *arg)
{
	struct nft_row *row = arg;
	uint8_t len = nftnl_udata_len(u);

	if (nftnl_udata_type(u) != NFTNL_UDATA_TABLE_COMMENT || len == 0)
		return 0;
	static_assert(sizeof(row->comment) > UINT8_MAX, "a comment fits");
	memcpy(row->comment, nftnl_udata_get(u), len);
	row->comment[len - 1] = '\0';
	return 0;
}

static int take_table(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_table *t = nftnl_table_alloc();
	struct nft_tables *l = arg;
	struct nft_row row = { 0 };
	const char *name;
	const void *data;
	uint32_t len = 0;

	if (!t || nftnl_table_nlmsg_parse(h, t) < 0) {
		nftnl_table_free(t);
		return MNL_CB_ERROR;
	}
	name = nftnl_table_get_str(t, NFTNL_TABLE_NAME);
	row.family = (uint8_t)nftnl_table_get_u32(t, NFTNL_TABLE_FAMILY);
	data = nftnl_table_get_data(t, NFTNL_TABLE_USERDATA, &len);
	if (data)
		(void)nftnl_udata_parse(data, len, take_comment, &row);
	// a name that is longer than any of ours is not interesting, but it is no error
	if (name && COPY(row.name, name) == 0) {
		l->items = base_grow(l->items, l->len + 1, sizeof(*l->items));
		l->items[l->len++] = row;
	}
	nftnl_table_free(t);
	return MNL_CB_OK;
}

static struct nlmsghdr *begin(struct nl *nl, uint16_t type, uint16_t family)
{
	struct nlmsghdr *req =
		nl_begin(nl, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_DUMP);
	struct nfgenmsg *gen = mnl_nlmsg_put_extra_header(req, sizeof(*gen));

	gen->nfgen_family = (uint8_t)family;
	gen->version = NFNETLINK_V0;
	return req;
}

int nft_tables(struct nl *nl, struct nft_tables *out, struct err *e)
{
	cleanup_nft_tables struct nft_tables l = NFT_TABLES_INIT;
	int r = -EINTR;

	for (int tries = 0; r == -EINTR && tries < TRIES; tries++) {
		nft_tables_free(&l);
		r = nl_talk(nl, begin(nl, NFT_MSG_GETTABLE, NFPROTO_UNSPEC), take_table, &l, e);
	}
	if (r < 0)
		return err_wrap(e, "list nftables");
	*out = l;
	l = (struct nft_tables)NFT_TABLES_INIT;
	return 0;
}

// *ret_found with kind conflict when somebody else's table has our name.
static int find_own(struct nl *nl, const struct nft_tenant *t, bool *ret_found, struct err *e)
{
	cleanup_nft_tables struct nft_tables l = NFT_TABLES_INIT;
	char name[16];

	name_table(t->net_id, name);
	*ret_found = false;
	if (nft_tables(nl, &l, e) < 0)
		return -e->no;
	for (size_t i = 0; i < l.len; i++) {
		if (l.items[i].family != NFPROTO_INET || !str_eq(l.items[i].name, name))
			continue;
		*ret_found = true;
		return link_owner_check(name, l.items[i].comment, t->node_id, t->address, e);
	}
	return 0;
}

struct look {
	const char *table;
	struct buf *text;
};

static int look_chain(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_chain *c = nftnl_chain_alloc();
	const struct look *l = arg;

	if (!c || nftnl_chain_nlmsg_parse(h, c) < 0)
		buf_str(l->text, "?\n"); // of a kind we do not make
	else if (str_eq(nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE), l->table))
		nft_render_chain(c, l->text);
	nftnl_chain_free(c);
	return MNL_CB_OK;
}

static int look_rule(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_rule *r = nftnl_rule_alloc();
	const struct look *l = arg;

	if (!r || nftnl_rule_nlmsg_parse(h, r) < 0)
		buf_str(l->text, "?\n");
	else if (str_eq(nftnl_rule_get_str(r, NFTNL_RULE_TABLE), l->table))
		nft_render_rule(r, l->text);
	nftnl_rule_free(r);
	return MNL_CB_OK;
}

// What the kernel has, in the words of nft_render_*.
static int read_table(struct nl *nl, const char *table, struct buf *out, struct err *e)
{
	struct look l = { .table = table, .text = out };
	struct nlmsghdr *req;
	int r = -EINTR;

	for (int tries = 0; r == -EINTR && tries < TRIES; tries++) {
		buf_clear(out);
		r = nl_talk(nl, begin(nl, NFT_MSG_GETCHAIN, NFPROTO_INET), look_chain, &l, e);
		if (r < 0)
			continue;
		req = begin(nl, NFT_MSG_GETRULE, NFPROTO_INET);
		mnl_attr_put_strz(req, NFTA_RULE_TABLE, table);
		r = nl_talk(nl, req, look_rule, &l, e);
	}
	return r < 0 ? err_wrap(e, "read table %s", table) : 0;
}

static int matches(struct nl *nl, const struct nft_plan *p, bool *ret, struct err *e)
{
	cleanup_buf struct buf want = BUF_INIT, have = BUF_INIT;

	for (size_t i = 0; i < p->chain_count; i++)
		nft_render_chain(p->chains[i], &want);
	for (size_t i = 0; i < p->rule_count; i++)
		nft_render_rule(p->rules[i], &want);
	if (read_table(nl, nftnl_table_get_str(p->table, NFTNL_TABLE_NAME), &have, e) < 0)
		return -e->no;
	*ret = str_eq(buf_text(&want), buf_text(&have));
	return 0;
}

struct batch {
	char *data;
	size_t len;
	unsigned first, seq, requests;
};

static struct nlmsghdr *batch_add(struct batch *b, uint16_t type, uint16_t flags)
{
	if (b->len > BATCH_MAX - PIECE_MAX)
		abort(); // a plan of ours is a tenth of this
	b->requests++;
	return nftnl_nlmsg_build_hdr(b->data + b->len, type, NFPROTO_INET,
				     (uint16_t)(flags | NLM_F_ACK), b->seq++);
}

static void batch_close(struct batch *b, const struct nlmsghdr *req)
{
	b->len += MNL_ALIGN(req->nlmsg_len);
}

static void batch_table(struct batch *b, uint16_t type, const struct nftnl_table *t)
{
	struct nlmsghdr *req = batch_add(b, type, type == NFT_MSG_NEWTABLE ? NLM_F_CREATE : 0);

	nftnl_table_nlmsg_build_payload(req, t);
	batch_close(b, req);
}

static int batch_send(struct nl *nl, struct batch *b, struct err *e)
{
	batch_close(b, nftnl_batch_end(b->data + b->len, b->seq++));
	nl->seq = b->seq;
	return nl_talk_batch(nl, b->data, b->len, b->first, b->seq, b->requests, e);
}

static void batch_begin(struct nl *nl, struct batch *b)
{
	*b = (struct batch){ .data = base_alloc(1, BATCH_MAX), .first = nl->seq + 1 };
	b->seq = b->first;
	batch_close(b, nftnl_batch_begin(b->data, b->seq++));
}

static void batch_free(struct batch *b)
{
	free(b->data);
}

// Make (if missing), remove, make: in one transaction that is "replace".
static int replace(struct nl *nl, struct nft_plan *p, struct err *e)
{
	cleanup(batch_free) struct batch b;
	struct nlmsghdr *req;

	batch_begin(nl, &b);
	batch_table(&b, NFT_MSG_NEWTABLE, p->table);
	batch_table(&b, NFT_MSG_DELTABLE, p->table);
	batch_table(&b, NFT_MSG_NEWTABLE, p->table);
	for (size_t i = 0; i < p->chain_count; i++) {
		req = batch_add(&b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
		nftnl_chain_nlmsg_build_payload(req, p->chains[i]);
		batch_close(&b, req);
	}
	for (size_t i = 0; i < p->rule_count; i++) {
		req = batch_add(&b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
		nftnl_rule_nlmsg_build_payload(req, p->rules[i]);
		batch_close(&b, req);
	}
	if (fault_point("nft-batch"))
		return err_sys(e, "send the batch");
	return batch_send(nl, &b, e);
}

int nft_tenant_ensure(struct nl *nl, const struct nft_tenant *t, struct changes *c, struct err *e)
{
	cleanup_nft_plan struct nft_plan p = NFT_PLAN_NONE;
	bool found, same = false;

	if (find_own(nl, t, &found, e) < 0)
		return -e->no;
	nft_plan_make(t, &p);
	if (found && matches(nl, &p, &same, e) < 0)
		return -e->no;
	if (same || !changes_take(c, "%s table mvm-%u", found ? "replace" : "make", t->net_id))
		return 0;
	return replace(nl, &p, e) < 0 ? err_wrap(e, "make table mvm-%u", t->net_id) : 0;
}

int nft_tenant_remove(struct nl *nl, const struct nft_tenant *t, struct changes *c, struct err *e)
{
	cleanup_nft_plan struct nft_plan p = NFT_PLAN_NONE;
	cleanup(batch_free) struct batch b = { 0 };
	bool found;

	if (find_own(nl, t, &found, e) < 0)
		return -e->no;
	if (!found || !changes_take(c, "remove table mvm-%u", t->net_id))
		return 0;
	p.table = nft_plan_table(t);
	batch_begin(nl, &b);
	batch_table(&b, NFT_MSG_DELTABLE, p.table);
	if (batch_send(nl, &b, e) < 0 && e->no != ENOENT)
		return err_wrap(e, "remove table mvm-%u", t->net_id);
	return 0;
}
