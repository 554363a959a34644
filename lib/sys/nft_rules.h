// SPDX-License-Identifier: MIT
// The rules of a tenant. For lib/sys/nft*.c only.
#pragma once
#include "sys/nft_plan.h"

#define NFT_METADATA_PORT 8169 // of the service on the bridge's address

// Each adds to a plan: all that does not depend on guests; one pool's ways; one guest.
void nft_plan_head(struct nft_plan *p);
void nft_plan_pool(struct nft_plan *p, const struct nft_pool *pool);
void nft_plan_guest(struct nft_plan *p, const struct nft_guest *g);
// Its elements of policy alone: one part for each of the maps, in the order of the guests.
#define NFT_GUEST_MAPS 2
void nft_plan_guest_egress(struct nft_plan *p, const struct nft_guest *g);
void nft_plan_all(struct nft_plan *p); // all of the tenant

// What is done at the guests' ports, in the table of family netdev: what all have, one guest's.
void nft_plan_ports(struct nft_plan *p);
void nft_plan_port(struct nft_plan *p, const struct nft_guest *g);

// The sets of a pool, as far as it has them.
enum nft_pool_set { NFT_POOL_NET, NFT_POOL_PROTO, NFT_POOL_PORT, NFT_POOL_SETS };
