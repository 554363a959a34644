// SPDX-License-Identifier: MIT
// Changes to nftables that the kernel makes together or not at all. For lib/sys/nft*.c only.
#pragma once
#include "sys/nft_plan.h"

struct nft_batch {
	struct buf data;
	unsigned first, seq;
	size_t last; // where the last request begins
};
#define cleanup_nft_batch cleanup(nft_batch_free)

void nft_batch_begin(struct nft_batch *b, struct nl *nl);
void nft_batch_free(struct nft_batch *b);
void nft_batch_table(struct nft_batch *b, bool make, const struct nftnl_table *t);
// Makes the part's object, or adds its elements to a set that is there.
void nft_batch_put(struct nft_batch *b, const struct nft_part *part);
// Removes a chain with its rules, a set or an object; of a part with elements_only its elements.
void nft_batch_remove(struct nft_batch *b, const struct nft_part *part);
void nft_batch_flush_chain(struct nft_batch *b, uint8_t family, const char *table,
			   const char *chain);
void nft_batch_flush_set(struct nft_batch *b, struct nftnl_set *set); // all elements
bool nft_batch_is_empty(const struct nft_batch *b);
int nft_batch_send(struct nft_batch *b, struct nl *nl, struct err *e) MUST_CHECK;
