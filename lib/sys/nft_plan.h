// SPDX-License-Identifier: MIT
// What a tenant's tables hold, as libnftnl objects that nft.c sends or compares, and how they are
// put together. For lib/sys/nft*.c only.
#pragma once
#include <libnftnl/chain.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>

#include "base/buf.h"
#include "sys/nft.h"

enum nft_kind { NFT_CHAIN, NFT_RULE, NFT_SET, NFT_COUNTER };
struct nft_set_kind;
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
void nft_plan_free(struct nft_plan *p);
struct nftnl_table *nft_plan_table(const struct nft_plan *p, uint8_t family); // the caller frees
const char *nft_part_name(const struct nft_part *part); // of its chain, set or object

// Each adds a part; what is returned stays the plan's. `check` and `doc` are constant texts.
struct nftnl_chain *nft_add_chain(struct nft_plan *p, uint8_t family, const char *name,
				  const char *check);
struct nftnl_chain *nft_add_base(struct nft_plan *p, uint8_t family, const char *name,
				 const char *check, const char *type, uint32_t hook,
				 int32_t priority);
struct nftnl_rule *nft_add_rule(struct nft_plan *p, uint8_t family, const char *chain,
				const char *check, const char *doc);
void nft_add_counter(struct nft_plan *p, uint8_t family, const char *name);
struct nftnl_set *nft_add_set(struct nft_plan *p, uint8_t family, const char *check,
			      const struct nft_set_kind *kind, const char *name,
			      bool elements_only);
// What a rule matches, again: `match` (NULL: everything) puts it into one rule for the log, if the
// tenant has one, and one that counts and drops.
typedef void (*nft_match_fn)(struct nftnl_rule *r, const struct nft_tenant *t);
void nft_add_drop(struct nft_plan *p, uint8_t family, const char *chain, const char *check,
		  nft_match_fn match, const char *counter, const char *doc);
