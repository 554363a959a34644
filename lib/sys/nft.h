// SPDX-License-Identifier: MIT
// A tenant's packet rules: the tables `inet mvm-<net_id>` (forwarding, the host's input, NAT) and
// `netdev mvm-<net_id>` (what may leave a TAP at all), built by libnftnl and put in place together
// in one batch: the kernel has the old rules or the new ones, never a part. Each table's comment is
// the owner text of link.h. Whether they are as they should be is read from the kernel.
//
// Nothing of others can open what is closed here: a drop is final in nftables, whatever other
// chains say. Policy, rules and sets are described in mvm-bridge(8).
#pragma once
#include "base/name.h"
#include "sys/changes.h"
#include "sys/nl.h"
#include "json/codec.h"

// A way out of a pool's guests.
struct nft_way {
	struct subnet to;
	uint8_t proto; // IPPROTO_TCP, IPPROTO_UDP, 0: any
	uint16_t port; // 0: any
};
struct nft_pool {
	name_text id;
	struct nft_way *ways;
	size_t way_count;
};
enum nft_egress { NFT_EGRESS_NONE, NFT_EGRESS_OPEN, NFT_EGRESS_POOL };
// What is behind a port of the bridge; the port's link must exist before its rules are made.
struct nft_guest {
	ifname_text port;
	uint8_t mac[6];
	uint32_t ip;	// host byte order
	int egress;	// enum nft_egress
	name_text pool; // whose ways count, with NFT_EGRESS_POOL
	bool metadata;	// may ask the metadata service
	uint64_t rate;	// bytes per second that it may send, 0: no limit
};
struct nft_tenant {
	uint32_t net_id;
	const char *node_id, *address; // the tenant
	struct subnet subnet;
	bool deny_log;		// log what is dropped, at a limited rate
	struct nft_pool *pools; // those with ways; borrowed
	size_t pool_count;
	struct nft_guest *guests; // borrowed
	size_t guest_count;
};

// Kind conflict when a table carries another owner. Everything in one batch.
int nft_tenant_ensure(struct nl *nl, const struct nft_tenant *t, struct changes *c,
		      struct err *e) MUST_CHECK;
// Needs net_id, node_id and address alone.
int nft_tenant_remove(struct nl *nl, const struct nft_tenant *t, struct changes *c,
		      struct err *e) MUST_CHECK;
// One guest of a tenant whose tables are there: its rules and elements as g says, in one batch.
// Nothing of the other guests is read or written. -ENOENT when the tables are not there.
int nft_guest_put(struct nl *nl, const struct nft_tenant *t, const struct nft_guest *g,
		  struct changes *c, struct err *e) MUST_CHECK;
// By port, MAC and address; gone is fine. Before the link is removed.
int nft_guest_drop(struct nl *nl, const struct nft_tenant *t, const struct nft_guest *g,
		   struct changes *c, struct err *e) MUST_CHECK;
// The policy of one pool and of its guests (t->guests, and pool among t->pools when it has ways),
// in one batch.
int nft_pool_put(struct nl *nl, const struct nft_tenant *t, const char *pool, struct changes *c,
		 struct err *e) MUST_CHECK;

// What differs between the kernel's rules and those of t.
struct nft_fault {
	const char *check; // constant text: the check of `net verify` that it breaks
	char text[512];
};
int nft_tenant_compare(struct nl *nl, const struct nft_tenant *t, struct codec_list *ret,
		       struct err *e) MUST_CHECK; // of nft_fault
// Named counters of both tables, in the order of the rules.
struct nft_count {
	uint8_t family; // NFPROTO_INET, NFPROTO_NETDEV
	char name[32];
	uint64_t packets, bytes;
};
int nft_counts(struct nl *nl, uint32_t net_id, struct codec_list *ret,
	       struct err *e) MUST_CHECK; // of nft_count

struct nft_row {
	char name[64];
	uint8_t family;
	char comment[256]; // "" for none
};
struct nft_tables {
	struct nft_row *items;
	size_t len;
};
#define NFT_TABLES_INIT \
	{               \
		NULL, 0 \
	}
#define cleanup_nft_tables cleanup(nft_tables_free)
int nft_table_get(struct nl *nl, uint8_t family, const char *name, struct nft_row *ret,
		  struct err *e) MUST_CHECK; // -ENOENT
int nft_table_remove(struct nl *nl, const struct nft_row *row, struct changes *c,
		     struct err *e) MUST_CHECK; // gone is fine
int nft_tables(struct nl *nl, struct nft_tables *out, struct err *e) MUST_CHECK;
void nft_tables_free(struct nft_tables *t);

// Rules and base chains of tables that are not mvm's, which open or break the tenant's network
// (check "foreign"). tables is a list of all.
int nft_foreign(struct nl *nl, const struct nft_tenant *t, const struct nft_tables *tables,
		struct codec_list *ret, struct err *e) MUST_CHECK; // of nft_fault
