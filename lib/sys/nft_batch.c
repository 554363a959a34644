// SPDX-License-Identifier: MIT
#include "sys/nft_batch.h"

#include <libnftnl/common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/fault.h"
#include "sys/nft_expr.h"

// More than one request takes: a list of elements ends at 64 KiB, the rest are far smaller.
#define PIECE_MAX 131072

void nft_batch_free(struct nft_batch *b)
{
	buf_free(&b->data);
}

// The request is written into space of its own, since the buffer moves when it grows.
static void add(struct nft_batch *b, const struct nlmsghdr *req)
{
	static const char zero[MNL_ALIGNTO];

	b->last = b->data.len;
	buf_add(&b->data, req, req->nlmsg_len);
	buf_add(&b->data, zero, MNL_ALIGN(req->nlmsg_len) - req->nlmsg_len);
}

static struct nlmsghdr *piece(void)
{
	static union {
		struct nlmsghdr head;
		char bytes[PIECE_MAX];
	} space;

	return &space.head;
}

static struct nlmsghdr *begin(struct nft_batch *b, uint16_t type, uint8_t family, uint16_t flags)
{
	return nftnl_nlmsg_build_hdr((char *)piece(), type, family, flags, b->seq++);
}

void nft_batch_begin(struct nft_batch *b, struct nl *nl)
{
	*b = (struct nft_batch){ .first = nl->seq + 1 };
	b->seq = b->first;
	add(b, nftnl_batch_begin((char *)piece(), b->seq++));
}

bool nft_batch_is_empty(const struct nft_batch *b)
{
	return b->last == 0;
}

void nft_batch_table(struct nft_batch *b, bool make, const struct nftnl_table *t)
{
	struct nlmsghdr *req =
		begin(b, make ? NFT_MSG_NEWTABLE : NFT_MSG_DELTABLE,
		      (uint8_t)nftnl_table_get_u32(t, NFTNL_TABLE_FAMILY), make ? NLM_F_CREATE : 0);

	nftnl_table_nlmsg_build_payload(req, t);
	add(b, req);
}

static void elements(struct nft_batch *b, uint16_t type, uint8_t family, struct nftnl_set *s)
{
	struct nftnl_set_elems_iter *it = nft_need(nftnl_set_elems_iter_create(s));
	struct nlmsghdr *req;
	int more;

	if (nftnl_set_elems_iter_cur(it)) {
		do {
			req = begin(b, type, family, type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0);
			more = nftnl_set_elems_nlmsg_build_payload_iter(req, it);
			add(b, req);
		} while (more > 0);
	}
	nftnl_set_elems_iter_destroy(it);
}

void nft_batch_put(struct nft_batch *b, const struct nft_part *part)
{
	struct nlmsghdr *req;

	switch (part->kind) {
	case NFT_CHAIN:
		req = begin(b, NFT_MSG_NEWCHAIN, part->family, NLM_F_CREATE);
		nftnl_chain_nlmsg_build_payload(req, part->chain);
		add(b, req);
		break;
	case NFT_RULE:
		req = begin(b, NFT_MSG_NEWRULE, part->family, NLM_F_CREATE | NLM_F_APPEND);
		nftnl_rule_nlmsg_build_payload(req, part->rule);
		add(b, req);
		break;
	case NFT_SET:
		if (!part->elements_only) {
			req = begin(b, NFT_MSG_NEWSET, part->family, NLM_F_CREATE);
			nftnl_set_nlmsg_build_payload(req, part->set);
			add(b, req);
		}
		elements(b, NFT_MSG_NEWSETELEM, part->family, part->set);
		break;
	case NFT_COUNTER:
		req = begin(b, NFT_MSG_NEWOBJ, part->family, NLM_F_CREATE);
		nftnl_obj_nlmsg_build_payload(req, part->obj);
		add(b, req);
		break;
	}
}

void nft_batch_flush_chain(struct nft_batch *b, uint8_t family, const char *table,
			   const char *chain)
{
	struct nlmsghdr *req = begin(b, NFT_MSG_DELRULE, family, 0);

	mnl_attr_put_strz(req, NFTA_RULE_TABLE, table);
	mnl_attr_put_strz(req, NFTA_RULE_CHAIN, chain);
	add(b, req);
}

void nft_batch_flush_set(struct nft_batch *b, struct nftnl_set *set)
{
	struct nlmsghdr *req =
		begin(b, NFT_MSG_DELSETELEM, (uint8_t)nftnl_set_get_u32(set, NFTNL_SET_FAMILY), 0);

	mnl_attr_put_strz(req, NFTA_SET_ELEM_LIST_TABLE, nftnl_set_get_str(set, NFTNL_SET_TABLE));
	mnl_attr_put_strz(req, NFTA_SET_ELEM_LIST_SET, nftnl_set_get_str(set, NFTNL_SET_NAME));
	add(b, req);
}

void nft_batch_remove(struct nft_batch *b, const struct nft_part *part)
{
	struct nlmsghdr *req;

	switch (part->kind) {
	case NFT_CHAIN:
		nft_batch_flush_chain(b, part->family,
				      nftnl_chain_get_str(part->chain, NFTNL_CHAIN_TABLE),
				      nftnl_chain_get_str(part->chain, NFTNL_CHAIN_NAME));
		req = begin(b, NFT_MSG_DELCHAIN, part->family, 0);
		mnl_attr_put_strz(req, NFTA_CHAIN_TABLE,
				  nftnl_chain_get_str(part->chain, NFTNL_CHAIN_TABLE));
		mnl_attr_put_strz(req, NFTA_CHAIN_NAME,
				  nftnl_chain_get_str(part->chain, NFTNL_CHAIN_NAME));
		add(b, req);
		break;
	case NFT_SET:
		if (part->elements_only) {
			elements(b, NFT_MSG_DELSETELEM, part->family, part->set);
			break;
		}
		req = begin(b, NFT_MSG_DELSET, part->family, 0);
		mnl_attr_put_strz(req, NFTA_SET_TABLE,
				  nftnl_set_get_str(part->set, NFTNL_SET_TABLE));
		mnl_attr_put_strz(req, NFTA_SET_NAME, nftnl_set_get_str(part->set, NFTNL_SET_NAME));
		add(b, req);
		break;
	case NFT_RULE:
	case NFT_COUNTER:
		break; // they go with their chain or table
	}
}

int nft_batch_send(struct nft_batch *b, struct nl *nl, struct err *e)
{
	struct nlmsghdr *last = (void *)(b->data.data + b->last);

	if (fault_point("nft-batch"))
		return err_sys(e, "send the batch");
	last->nlmsg_flags |= NLM_F_ACK;
	add(b, nftnl_batch_end((char *)piece(), b->seq++));
	nl->seq = b->seq;
	return nl_talk_batch(nl, b->data.data, b->data.len, b->first, b->seq, e);
}
