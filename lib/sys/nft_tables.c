// SPDX-License-Identifier: MIT
// Looking at tables and counters, whoever made them.
#include <assert.h>
#include <libnftnl/common.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "sys/nft_batch.h"
#include "sys/nft_expr.h"
#include "sys/nft_read.h"

#define TRIES 8

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

int nft_tables(struct nl *nl, struct nft_tables *out, struct err *e)
{
	static const struct nft_query all = { .type = NFT_MSG_GETTABLE, .family = NFPROTO_UNSPEC };
	cleanup_nft_tables struct nft_tables l = NFT_TABLES_INIT;
	int r = -EINTR;

	for (int tries = 0; r == -EINTR && tries < TRIES; tries++) {
		nft_tables_free(&l);
		r = nft_dump(nl, &all, take_table, &l, e);
	}
	if (r < 0)
		return err_wrap(e, "list nftables");
	*out = l;
	l = (struct nft_tables)NFT_TABLES_INIT;
	return 0;
}

int nft_table_get(struct nl *nl, uint8_t family, const char *name, struct nft_row *ret,
		  struct err *e)
{
	const struct nft_query q = { .type = NFT_MSG_GETTABLE, .family = family, .table = name };
	cleanup_nft_tables struct nft_tables l = NFT_TABLES_INIT;

	if (nft_get(nl, &q, take_table, &l, e) < 0)
		return err_wrap(e, "look up table %s", name);
	if (l.len != 1)
		return err_set(e, ENOENT, "no table %s", name);
	*ret = l.items[0];
	return 0;
}

int nft_table_remove(struct nl *nl, const struct nft_row *row, struct changes *c, struct err *e)
{
	struct nftnl_table *table;
	cleanup_nft_batch struct nft_batch b;

	nft_batch_begin(&b, nl);
	if (!changes_take(c, "remove the table %s", row->name))
		return 0;
	table = nft_need(nftnl_table_alloc());
	nftnl_table_set_u32(table, NFTNL_TABLE_FAMILY, row->family);
	nftnl_table_set_str(table, NFTNL_TABLE_NAME, row->name);
	nft_batch_table(&b, false, table);
	nftnl_table_free(table);
	if (nft_batch_send(&b, nl, e) < 0 && e->no != ENOENT)
		return err_wrap(e, "remove the table %s", row->name);
	return 0;
}

struct counting {
	const char *table;
	struct codec_list *ret;
};

static int take_count(const struct nlmsghdr *h, void *arg)
{
	const struct counting *c = arg;
	struct nftnl_obj *o = nftnl_obj_alloc();
	struct nft_count *row;

	if (o && nftnl_obj_nlmsg_parse(h, o) == 0 &&
	    nftnl_obj_get_u32(o, NFTNL_OBJ_TYPE) == NFT_OBJECT_COUNTER &&
	    str_eq(nftnl_obj_get_str(o, NFTNL_OBJ_TABLE), c->table)) {
		row = codec_list_add(c->ret, sizeof(*row));
		(void)snprintf(row->name, sizeof(row->name), "%s",
			       nftnl_obj_get_str(o, NFTNL_OBJ_NAME));
		row->family = (uint8_t)nftnl_obj_get_u32(o, NFTNL_OBJ_FAMILY);
		row->packets = nftnl_obj_get_u64(o, NFTNL_OBJ_CTR_PKTS);
		row->bytes = nftnl_obj_get_u64(o, NFTNL_OBJ_CTR_BYTES);
	}
	nftnl_obj_free(o);
	return MNL_CB_OK;
}

int nft_counts(struct nl *nl, uint32_t net_id, struct codec_list *ret, struct err *e)
{
	static const uint8_t families[] = { NFPROTO_INET, NFPROTO_NETDEV };
	char table[16];
	struct counting c = { .table = table, .ret = ret };

	name_table(net_id, table);
	for (size_t i = 0; i < COUNT(families); i++) {
		const struct nft_query q = { NFT_MSG_GETOBJ, families[i], table, NULL };

		if (nft_dump(nl, &q, take_count, &c, e) < 0 && e->no != EINTR)
			return err_wrap(e, "read the counters of %s", table);
	}
	return 0;
}
