// SPDX-License-Identifier: MIT
// What nft_lines.c and nft_read.c share: the line of each kind of object, as libnftnl has it.
#pragma once
#include "sys/nft_read.h"

// Where the lines of what is read go.
struct nft_lines_to {
	struct nft_lines *out;
	const char *table;
	uint8_t family;
	uint32_t use;	   // of a table
	const char *check; // of a set of a plan
	const char *set;
};

struct nft_line *nft_line_table(struct nft_lines *l, uint8_t family, uint32_t use);
struct nft_line *nft_line_chain(struct nft_lines *l, const struct nftnl_chain *c);
struct nft_line *nft_line_rule(struct nft_lines *l, struct nftnl_rule *r);
struct nft_line *nft_line_set(struct nft_lines *l, const struct nftnl_set *s);
struct nft_line *nft_line_counter(struct nft_lines *l, struct nftnl_obj *o);
int nft_line_element(struct nftnl_set_elem *x, void *arg); // arg: a struct nft_lines_to
void nft_lines_sort(struct nft_lines *l);
