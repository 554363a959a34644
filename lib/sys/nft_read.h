// SPDX-License-Identifier: MIT
// A tenant's tables as lines of text, of what is wanted and of what the kernel has: equal lines
// mean equal effects. For lib/sys/nft*.c only.
#pragma once
#include "sys/nft_plan.h"

struct nft_line {
	enum nft_kind kind; // NFT_SET: an element too
	uint8_t family;
	char owner[64]; // the chain, set or object
	char *text;
	size_t place;		 // among the lines as they were read
	const char *check, *doc; // of what is wanted, NULL otherwise
};
struct nft_lines {
	struct nft_line *items;
	size_t len;
};
#define NFT_LINES_INIT  \
	{               \
		NULL, 0 \
	}
#define cleanup_nft_lines cleanup(nft_lines_free)
void nft_lines_free(struct nft_lines *l);

// In order; rules stay in the order of their chain. With `whole` the plan is all of a tenant.
void nft_lines_of(const struct nft_plan *p, bool whole, struct nft_lines *out);
// What the kernel has of the objects that the plan names, and (whole) all rules and elements of the
// plan's tables.
int nft_read(struct nl *nl, const struct nft_plan *p, bool whole, struct nft_lines *out,
	     struct err *e) MUST_CHECK;
// Faults of have against want.
void nft_lines_compare(const struct nft_lines *want, const struct nft_lines *have,
		       const char *table, struct codec_list *faults); // of nft_fault
void nft_fault_add(struct codec_list *faults, const char *check, const char *fmt, ...) PRINTF(3, 4);
bool nft_lines_equal(const struct nft_lines *want, const struct nft_lines *have);
// Objects of one kind; none is no error. -EINTR: they changed meanwhile, ask again.
struct nft_query {
	uint16_t type; // NFT_MSG_GET*
	uint8_t family;
	const char *table,
		*name; // NULL: all. The name is that of the rule's chain, the element's set
};
int nft_get(struct nl *nl, const struct nft_query *q, mnl_cb_t cb, void *arg,
	    struct err *e) MUST_CHECK; // one by name; none is no error
int nft_dump(struct nl *nl, const struct nft_query *q, mnl_cb_t cb, void *arg,
	     struct err *e) MUST_CHECK;
void nft_render_rule(struct nftnl_rule *r, struct buf *out); // without its chain
