// SPDX-License-Identifier: MIT
// The kinds of sets in a tenant's tables, and their elements. For lib/sys/nft*.c only.
#pragma once
#include <libnftnl/set.h>

#include "sys/nft_rules.h"

struct nft_set_kind {
	uint32_t flags;	   // NFT_SET_*
	uint32_t type;	   // as nft(8) numbers them, so that it can show the set
	uint8_t fields[4]; // lengths of a concatenation's parts, 0 ends them
	bool verdicts;	   // a map to verdicts
};
extern const struct nft_set_kind nft_set_ranges;    // IPv4 intervals
extern const struct nft_set_kind nft_set_addresses; // IPv4
extern const struct nft_set_kind nft_set_verdicts;  // IPv4 : verdict
extern const struct nft_set_kind nft_set_protos;    // IPv4 interval . protocol
extern const struct nft_set_kind nft_set_ports;	    // IPv4 interval . protocol . port
extern const struct nft_set_kind nft_set_macs;	    // link . MAC
extern const struct nft_set_kind nft_set_guests;    // link . MAC . IPv4

struct nftnl_set *nft_set_new(uint8_t family, const char *table, const char *name,
			      const struct nft_set_kind *kind);		    // the caller frees
void nft_set_add_range(struct nftnl_set *s, uint32_t first, uint32_t last); // host byte order
void nft_set_add_address(struct nftnl_set *s, uint32_t ip);
void nft_set_add_verdict(struct nftnl_set *s, uint32_t ip, int verdict, const char *chain);
// To a set of macs or of guests.
void nft_set_add_guest(struct nftnl_set *s, const struct nft_guest *g);
// The ways of a pool that belong into this set; those that overlap become one.
void nft_set_add_ways(struct nftnl_set *s, const struct nft_pool *pool, enum nft_pool_set which);
