// SPDX-License-Identifier: MIT
// What a tenant's table holds, as libnftnl objects that nft.c sends or compares. For nft.c only.
#pragma once
#include <libnftnl/chain.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>

#include "base/buf.h"
#include "sys/nft.h"

#define NFT_PLAN_CHAINS 4
#define NFT_PLAN_RULES	16

struct nft_plan {
	struct nftnl_table *table;
	struct nftnl_chain *chains[NFT_PLAN_CHAINS];
	struct nftnl_rule *rules[NFT_PLAN_RULES]; // in the order of their chains
	size_t chain_count, rule_count;
};
#define NFT_PLAN_NONE         \
	{                     \
		.table = NULL \
	}
#define cleanup_nft_plan cleanup(nft_plan_free)
void nft_plan_make(const struct nft_tenant *t, struct nft_plan *out);
struct nftnl_table *nft_plan_table(const struct nft_tenant *t); // the caller frees
void nft_plan_free(struct nft_plan *p);
// One line for each chain and each expression; equal texts mean equal effects.
void nft_render_chain(const struct nftnl_chain *c, struct buf *out);
void nft_render_rule(struct nftnl_rule *r, struct buf *out);
