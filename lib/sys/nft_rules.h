// SPDX-License-Identifier: MIT
// What a tenant's tables hold, as libnftnl objects that nft.c sends or compares. For lib/sys/nft*.c
// only.
#pragma once
#include <libnftnl/chain.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>

#include "base/buf.h"
#include "sys/nft.h"

#define NFT_METADATA_PORT 8169 // of the service on the bridge's address

enum nft_kind { NFT_CHAIN, NFT_RULE, NFT_SET, NFT_COUNTER };
struct nft_part {
	enum nft_kind kind;
	uint8_t family;
	const char *check; // what `net verify` calls it when it is not as it should be
	const char *doc;   // of a rule: what it is for
	union {
		struct nftnl_chain *chain;
		struct nftnl_rule *rule;
		struct nftnl_set *set; // with its elements
		struct nftnl_obj *obj;
	};
	bool elements_only; // the set itself is there, or another part
};
struct nft_plan {
	const struct nft_tenant *tenant;
	char table[16];		// of both families
	struct nft_part *parts; // chains before the rules that go there, sets before their use
	size_t len;
};
#define NFT_PLAN_NONE          \
	{                      \
		.tenant = NULL \
	}
#define cleanup_nft_plan cleanup(nft_plan_free)

void nft_plan_begin(const struct nft_tenant *t, struct nft_plan *out);
// Each adds to a plan: all that does not depend on guests; one pool's ways; one guest.
void nft_plan_head(struct nft_plan *p);
void nft_plan_pool(struct nft_plan *p, const struct nft_pool *pool);
void nft_plan_guest(struct nft_plan *p, const struct nft_guest *g);
// Its elements of policy alone: one part for each of the maps, in the order of the guests.
#define NFT_GUEST_MAPS 2
void nft_plan_guest_egress(struct nft_plan *p, const struct nft_guest *g);
void nft_plan_all(struct nft_plan *p); // all of the tenant
void nft_plan_free(struct nft_plan *p);
struct nftnl_table *nft_plan_table(const struct nft_plan *p, uint8_t family); // the caller frees
const char *nft_part_name(const struct nft_part *part); // of its chain, set or object

// The sets of a pool, as far as it has them.
enum nft_pool_set { NFT_POOL_NET, NFT_POOL_PROTO, NFT_POOL_PORT, NFT_POOL_SETS };
