// SPDX-License-Identifier: MIT
// The expressions that the rules of mvm are made of, on libnftnl. For lib/sys/nft*.c only.
#pragma once
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <linux/netfilter/nf_tables.h>

#include "base/base.h"

#define L4_SPORT 0 // offsets in TCP's and UDP's header
#define L4_DPORT 2

// Built of bounded parts of ours: without memory there is no way on.
void *nft_need(void *p);

// Loads go to register r, which holds four bytes from NFT_REG32_00 on; the loaded value is padded.
void nft_load_meta(struct nftnl_rule *r, uint32_t key, uint32_t reg);
void nft_load(struct nftnl_rule *r, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg);
void nft_load_ip(struct nftnl_rule *r, uint32_t offset,
		 uint32_t reg); // an address of the IPv4 header or ARP
void nft_compare(struct nftnl_rule *r, uint32_t op, const void *data, uint32_t len);
void nft_mask(struct nftnl_rule *r, const void *mask, uint32_t len);
// A name with its padding is compared whole.
void nft_match_link(struct nftnl_rule *r, uint32_t key, uint32_t op, const char *name);
void nft_match_link_prefix(struct nftnl_rule *r, uint32_t key, const char *prefix);
void nft_match_ipv4(struct nftnl_rule *r, uint32_t op); // inet: the packet's family
// An address of the packet in network order; prefix 32 is one address.
void nft_match_address(struct nftnl_rule *r, uint32_t offset, uint32_t address, uint8_t prefix);
void nft_match_protocol(struct nftnl_rule *r, uint8_t proto); // layer 4, inet
void nft_match_port(struct nftnl_rule *r, uint16_t port);     // destination
void nft_match_state(struct nftnl_rule *r, uint32_t bits);    // any of conntrack's
// From the register that a key was loaded to.
void nft_lookup(struct nftnl_rule *r, const char *set, uint32_t reg, bool invert);
void nft_vmap(struct nftnl_rule *r, const char *map, uint32_t reg);
void nft_count_to(struct nftnl_rule *r, const char *counter);
// Below (or with over: above) the rate.
void nft_limit_packets(struct nftnl_rule *r, uint64_t per_second, uint32_t burst);
void nft_limit_bytes_over(struct nftnl_rule *r, uint64_t per_second, uint32_t burst);
void nft_log_as(struct nftnl_rule *r, const char *prefix);
void nft_verdict(struct nftnl_rule *r, int verdict, const char *chain); // chain NULL: none
void nft_masquerade(struct nftnl_rule *r);
void nft_dnat(struct nftnl_rule *r, uint32_t address, uint16_t port);
