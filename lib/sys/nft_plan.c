// SPDX-License-Identifier: MIT
#include "sys/nft_plan.h"

#include <libnftnl/udata.h>
#include <linux/netfilter.h>

#include "sys/link.h"
#include "sys/nft_expr.h"
#include "sys/nft_sets.h"

#define DENY_LOG_PER_SECOND 5

static struct nft_part *add_part(struct nft_plan *p, enum nft_kind kind, uint8_t family,
				 const char *check)
{
	struct nft_part *part;

	p->parts = base_grow(p->parts, p->len + 1, sizeof(*p->parts));
	part = &p->parts[p->len++];
	*part = (struct nft_part){ .kind = kind, .family = family, .check = check };
	return part;
}

struct nftnl_chain *nft_add_chain(struct nft_plan *p, uint8_t family, const char *name,
				  const char *check)
{
	struct nft_part *part = add_part(p, NFT_CHAIN, family, check);
	struct nftnl_chain *c = part->chain = nft_need(nftnl_chain_alloc());

	nftnl_chain_set_u32(c, NFTNL_CHAIN_FAMILY, family);
	nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, p->table);
	nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, name);
	return c;
}

struct nftnl_chain *nft_add_base(struct nft_plan *p, uint8_t family, const char *name,
				 const char *check, const char *type, uint32_t hook,
				 int32_t priority)
{
	struct nftnl_chain *c = nft_add_chain(p, family, name, check);

	nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, type);
	nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, hook);
	nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, priority);
	nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_ACCEPT);
	return c;
}

struct nftnl_rule *nft_add_rule(struct nft_plan *p, uint8_t family, const char *chain,
				const char *check, const char *doc)
{
	struct nftnl_udata_buf *comment = nft_need(nftnl_udata_buf_alloc(256));
	struct nft_part *part = add_part(p, NFT_RULE, family, check);
	struct nftnl_rule *r = part->rule = nft_need(nftnl_rule_alloc());

	part->doc = doc;
	nftnl_rule_set_u32(r, NFTNL_RULE_FAMILY, family);
	nftnl_rule_set_str(r, NFTNL_RULE_TABLE, p->table);
	nftnl_rule_set_str(r, NFTNL_RULE_CHAIN, chain);
	if (!nftnl_udata_put_strz(comment, NFTNL_UDATA_RULE_COMMENT, doc))
		abort(); // constant texts
	nftnl_rule_set_data(r, NFTNL_RULE_USERDATA, nftnl_udata_buf_data(comment),
			    nftnl_udata_buf_len(comment));
	nftnl_udata_buf_free(comment);
	return r;
}

void nft_add_counter(struct nft_plan *p, uint8_t family, const char *name)
{
	struct nft_part *part = add_part(p, NFT_COUNTER, family, "counters");
	struct nftnl_obj *o = part->obj = nft_need(nftnl_obj_alloc());

	nftnl_obj_set_u32(o, NFTNL_OBJ_FAMILY, family);
	nftnl_obj_set_u32(o, NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
	nftnl_obj_set_str(o, NFTNL_OBJ_TABLE, p->table);
	nftnl_obj_set_str(o, NFTNL_OBJ_NAME, name);
}

struct nftnl_set *nft_add_set(struct nft_plan *p, uint8_t family, const char *check,
			      const struct nft_set_kind *kind, const char *name, bool elements_only)
{
	struct nft_part *part = add_part(p, NFT_SET, family, check);

	part->set = nft_set_new(family, p->table, name, kind);
	part->elements_only = elements_only;
	return part->set;
}

void nft_add_drop(struct nft_plan *p, uint8_t family, const char *chain, const char *check,
		  nft_match_fn match, const char *counter, const char *doc)
{
	struct nftnl_rule *r;
	char prefix[64];

	if (p->tenant->deny_log) {
		(void)snprintf(prefix, sizeof(prefix), "%s %s ", p->table, counter);
		r = nft_add_rule(p, family, chain, "deny-log", doc);
		if (match)
			match(r, p->tenant);
		nft_limit_packets(r, DENY_LOG_PER_SECOND, DENY_LOG_PER_SECOND);
		nft_log_as(r, prefix);
	}
	r = nft_add_rule(p, family, chain, check, doc);
	if (match)
		match(r, p->tenant);
	nft_count_to(r, counter);
	nft_verdict(r, NF_DROP, NULL);
}

void nft_plan_begin(const struct nft_tenant *t, struct nft_plan *out)
{
	*out = (struct nft_plan){ .tenant = t };
	name_table(t->net_id, out->table);
}

struct nftnl_table *nft_plan_table(const struct nft_plan *p, uint8_t family)
{
	struct nftnl_table *table = nft_need(nftnl_table_alloc());
	struct nftnl_udata_buf *comment = nft_need(nftnl_udata_buf_alloc(512));
	link_alias owner;

	link_owner_print(p->tenant->node_id, p->tenant->address, owner);
	nftnl_table_set_u32(table, NFTNL_TABLE_FAMILY, family);
	nftnl_table_set_str(table, NFTNL_TABLE_NAME, p->table);
	if (!nftnl_udata_put_strz(comment, NFTNL_UDATA_TABLE_COMMENT, owner))
		abort(); // 93 bytes at most
	nftnl_table_set_data(table, NFTNL_TABLE_USERDATA, nftnl_udata_buf_data(comment),
			     nftnl_udata_buf_len(comment));
	nftnl_udata_buf_free(comment);
	return table;
}

const char *nft_part_name(const struct nft_part *part)
{
	switch (part->kind) {
	case NFT_CHAIN:
		return nftnl_chain_get_str(part->chain, NFTNL_CHAIN_NAME);
	case NFT_RULE:
		return nftnl_rule_get_str(part->rule, NFTNL_RULE_CHAIN);
	case NFT_SET:
		return nftnl_set_get_str(part->set, NFTNL_SET_NAME);
	case NFT_COUNTER:
		break;
	}
	return nftnl_obj_get_str(part->obj, NFTNL_OBJ_NAME);
}

void nft_plan_free(struct nft_plan *p)
{
	for (size_t i = 0; i < p->len; i++) {
		struct nft_part *part = &p->parts[i];

		switch (part->kind) {
		case NFT_CHAIN:
			nftnl_chain_free(part->chain);
			break;
		case NFT_RULE:
			nftnl_rule_free(part->rule);
			break;
		case NFT_SET:
			nftnl_set_free(part->set);
			break;
		case NFT_COUNTER:
			nftnl_obj_free(part->obj);
			break;
		}
	}
	free(p->parts);
	*p = (struct nft_plan)NFT_PLAN_NONE;
}
