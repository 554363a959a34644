// SPDX-License-Identifier: MIT
// One nftables table per tenant, `inet mvm-<net_id>`, built by libnftnl and replaced whole in one
// batch: the kernel has the old rules or the new ones, never a part. The table's comment is the
// owner text of link.h. Whether a table is as it should be is read from the kernel's rules.
#pragma once
#include "base/name.h"
#include "sys/changes.h"
#include "sys/nl.h"

struct nft_tenant {
	uint32_t net_id;
	const char *node_id, *address; // the tenant
	struct subnet subnet;
};
// Kind conflict when the table carries another owner. Removing needs no subnet.
int nft_tenant_ensure(struct nl *nl, const struct nft_tenant *t, struct changes *c,
		      struct err *e) MUST_CHECK;
int nft_tenant_remove(struct nl *nl, const struct nft_tenant *t, struct changes *c,
		      struct err *e) MUST_CHECK;

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
int nft_tables(struct nl *nl, struct nft_tables *out, struct err *e) MUST_CHECK;
void nft_tables_free(struct nft_tables *t);
