// SPDX-License-Identifier: MIT
#include "sys/nft_sets.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>

#include "sys/nft_expr.h"

// nft(8)'s numbers of data types (nftables, include/datatype.h); a concatenation has six bits each.
enum { TYPE_IPV4 = 7, TYPE_ETHER = 9, TYPE_PROTO = 12, TYPE_SERVICE = 13, TYPE_IFNAME = 41 };
#define TYPE_BITS    6
#define TYPE_VERDICT 0xffffff00u // NFT_DATA_VERDICT

const struct nft_set_kind nft_set_ranges = { .flags = NFT_SET_INTERVAL,
					     .type = TYPE_IPV4,
					     .fields = { 4 } };
const struct nft_set_kind nft_set_addresses = { .type = TYPE_IPV4, .fields = { 4 } };
const struct nft_set_kind nft_set_verdicts = {
	.flags = NFT_SET_MAP, .type = TYPE_IPV4, .fields = { 4 }, .verdicts = true
};
const struct nft_set_kind nft_set_protos = { .flags = NFT_SET_INTERVAL | NFT_SET_CONCAT,
					     .type = TYPE_IPV4 << TYPE_BITS | TYPE_PROTO,
					     .fields = { 4, 1 } };
const struct nft_set_kind nft_set_ports = { .flags = NFT_SET_INTERVAL | NFT_SET_CONCAT,
					    .type = TYPE_IPV4 << 2 * TYPE_BITS |
						    TYPE_PROTO << TYPE_BITS | TYPE_SERVICE,
					    .fields = { 4, 1, 2 } };
const struct nft_set_kind nft_set_macs = { .flags = NFT_SET_CONCAT,
					   .type = TYPE_IFNAME << TYPE_BITS | TYPE_ETHER,
					   .fields = { 16, 6 } };
const struct nft_set_kind nft_set_guests = { .flags = NFT_SET_CONCAT,
					     .type = TYPE_IFNAME << 2 * TYPE_BITS |
						     TYPE_ETHER << TYPE_BITS | TYPE_IPV4,
					     .fields = { 16, 6, 4 } };

// Parts of a key fill whole registers of four bytes.
static uint32_t padded(uint32_t len)
{
	return (len + 3) & ~3u;
}

struct nftnl_set *nft_set_new(uint8_t family, const char *table, const char *name,
			      const struct nft_set_kind *kind)
{
	struct nftnl_set *s = nft_need(nftnl_set_alloc());
	static uint32_t id; // of a set within a batch
	uint32_t len = 0;
	uint32_t count = 0;

	for (; count < sizeof(kind->fields) && kind->fields[count]; count++)
		len += padded(kind->fields[count]);
	nftnl_set_set_u32(s, NFTNL_SET_FAMILY, family);
	nftnl_set_set_str(s, NFTNL_SET_TABLE, table);
	nftnl_set_set_str(s, NFTNL_SET_NAME, name);
	nftnl_set_set_u32(s, NFTNL_SET_ID, ++id);
	nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, kind->type);
	nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, len);
	nftnl_set_set_u32(s, NFTNL_SET_FLAGS, kind->flags);
	if (kind->flags & NFT_SET_CONCAT)
		nftnl_set_set_data(s, NFTNL_SET_DESC_CONCAT, kind->fields, count);
	if (kind->verdicts) {
		nftnl_set_set_u32(s, NFTNL_SET_DATA_TYPE, TYPE_VERDICT);
		nftnl_set_set_u32(s, NFTNL_SET_DATA_LEN, 16);
	}
	return s;
}

static struct nftnl_set_elem *add(struct nftnl_set *s, const void *key, uint32_t len)
{
	struct nftnl_set_elem *x = nft_need(nftnl_set_elem_alloc());

	nftnl_set_elem_set(x, NFTNL_SET_ELEM_KEY, key, len);
	nftnl_set_elem_add(s, x);
	return x;
}

void nft_set_add_range(struct nftnl_set *s, uint32_t first, uint32_t last)
{
	uint32_t from = htonl(first), behind = htonl(last + 1);

	(void)add(s, &from, sizeof(from));
	// the kernel's intervals end before an element; to the end of all there is none
	if (last != UINT32_MAX)
		nftnl_set_elem_set_u32(add(s, &behind, sizeof(behind)), NFTNL_SET_ELEM_FLAGS,
				       NFT_SET_ELEM_INTERVAL_END);
}

void nft_set_add_address(struct nftnl_set *s, uint32_t ip)
{
	uint32_t key = htonl(ip);

	(void)add(s, &key, sizeof(key));
}

void nft_set_add_verdict(struct nftnl_set *s, uint32_t ip, int verdict, const char *chain)
{
	uint32_t key = htonl(ip);
	struct nftnl_set_elem *x = add(s, &key, sizeof(key));

	nftnl_set_elem_set_u32(x, NFTNL_SET_ELEM_VERDICT, (uint32_t)verdict);
	if (chain)
		nftnl_set_elem_set_str(x, NFTNL_SET_ELEM_CHAIN, chain);
}

void nft_set_add_guest(struct nftnl_set *s, const struct nft_guest *g)
{
	uint8_t key[28] = { 0 };
	uint32_t ip = htonl(g->ip);

	memcpy(key, g->port, strnlen(g->port, IFNAME_SIZE));
	memcpy(key + 16, g->mac, sizeof(g->mac));
	memcpy(key + 24, &ip, sizeof(ip));
	(void)add(s, key, nftnl_set_get_u32(s, NFTNL_SET_KEY_LEN));
}

// A way as a range of addresses for one protocol (0: any) and one port (0: any).
struct range {
	uint32_t first, last;
	uint8_t proto;
	uint16_t port;
};

static int by_order(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	if (x->proto != y->proto)
		return x->proto < y->proto ? -1 : 1;
	if (x->port != y->port)
		return x->port < y->port ? -1 : 1;
	return x->first < y->first ? -1 : x->first > y->first;
}

static void put_range(struct nftnl_set *s, const struct range *r, enum nft_pool_set which)
{
	uint32_t first = htonl(r->first), last = htonl(r->last);
	uint32_t len = which == NFT_POOL_PROTO ? 8 : 12;
	uint16_t port = htons(r->port);
	uint8_t from[12] = { 0 }, to[12] = { 0 };

	if (which == NFT_POOL_NET) {
		nft_set_add_range(s, r->first, r->last);
		return;
	}
	memcpy(from, &first, 4);
	memcpy(to, &last, 4);
	from[4] = to[4] = r->proto;
	memcpy(from + 8, &port, 2);
	memcpy(to + 8, &port, 2);
	nftnl_set_elem_set(add(s, from, len), NFTNL_SET_ELEM_KEY_END, to, len);
}

static enum nft_pool_set set_of(const struct nft_way *w)
{
	return w->port ? NFT_POOL_PORT : w->proto ? NFT_POOL_PROTO : NFT_POOL_NET;
}

void nft_set_add_ways(struct nftnl_set *s, const struct nft_pool *pool, enum nft_pool_set which)
{
	// a port without a protocol is TCP's and UDP's
	cleanup_free struct range *r = base_alloc(2 * pool->way_count + 1, sizeof(*r));
	size_t len = 0;

	for (size_t i = 0; i < pool->way_count; i++) {
		const struct nft_way *w = &pool->ways[i];
		bool both = w->port && !w->proto;

		if (set_of(w) != which)
			continue;
		r[len] = (struct range){ .first = w->to.base,
					 .port = w->port,
					 .proto = both ? IPPROTO_TCP : w->proto };
		r[len].last = w->to.base |
			      (w->to.prefix ? UINT32_MAX >> 1 >> (w->to.prefix - 1) : UINT32_MAX);
		len++;
		if (both) {
			r[len] = r[len - 1];
			r[len++].proto = IPPROTO_UDP;
		}
	}
	qsort(r, len, sizeof(*r), by_order);
	for (size_t i = 0; i < len; i++) {
		struct range all = r[i];

		while (i + 1 < len && r[i + 1].proto == all.proto && r[i + 1].port == all.port &&
		       (all.last == UINT32_MAX || r[i + 1].first <= all.last + 1)) {
			i++;
			if (r[i].last > all.last)
				all.last = r[i].last;
		}
		put_range(s, &all, which);
	}
}
