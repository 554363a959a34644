// SPDX-License-Identifier: MIT
#include "sys/nft.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "sys/link.h"
#include "sys/nft_batch.h"
#include "sys/nft_read.h"
#include "sys/nft_rules.h"

static const uint8_t families[] = { NFPROTO_INET, NFPROTO_NETDEV };

// Which of both tables are there; kind conflict when one is somebody else's.
struct own {
	bool found[COUNT(families)];
};

static int find_own(struct nl *nl, const struct nft_tenant *t, struct own *ret, struct err *e)
{
	char name[16];

	name_table(t->net_id, name);
	for (size_t i = 0; i < COUNT(families); i++) {
		struct nft_row row = { 0 };
		int r = nft_table_get(nl, families[i], name, &row, e);

		ret->found[i] = r == 0;
		if (r == -ENOENT)
			continue;
		if (r < 0 || link_owner_check(name, row.comment, t->node_id, t->address, e) < 0)
			return -e->no;
	}
	return 0;
}

static int is_equal(struct nl *nl, const struct nft_plan *p, bool whole, bool *ret, struct err *e)
{
	cleanup_nft_lines struct nft_lines want = NFT_LINES_INIT, have = NFT_LINES_INIT;

	nft_lines_of(p, whole, &want);
	if (nft_read(nl, p, whole, &have, e) < 0)
		return -e->no;
	*ret = nft_lines_equal(&want, &have);
	return 0;
}

static void add_table(struct nft_batch *b, const struct nft_plan *p, uint8_t family, bool make)
{
	struct nftnl_table *table = nft_plan_table(p, family);

	nft_batch_table(b, make, table);
	nftnl_table_free(table);
}

// Remove what is there and make it anew: in one transaction that is "replace".
static int replace(struct nl *nl, const struct nft_plan *p, const struct own *own, struct err *e)
{
	cleanup_nft_batch struct nft_batch b;

	nft_batch_begin(&b, nl);
	for (size_t i = 0; i < COUNT(families); i++) {
		if (own->found[i])
			add_table(&b, p, families[i], false);
		add_table(&b, p, families[i], true);
	}
	for (size_t i = 0; i < p->len; i++)
		nft_batch_put(&b, &p->parts[i]);
	return nft_batch_send(&b, nl, e);
}

int nft_tenant_ensure(struct nl *nl, const struct nft_tenant *t, struct changes *c, struct err *e)
{
	cleanup_nft_plan struct nft_plan p = NFT_PLAN_NONE;
	bool same = false;
	struct own own = { { false } };

	if (find_own(nl, t, &own, e) < 0)
		return -e->no;
	nft_plan_begin(t, &p);
	nft_plan_all(&p);
	if (own.found[0] && own.found[1] && is_equal(nl, &p, true, &same, e) < 0)
		return -e->no;
	if (same || !changes_take(c, "%s the tables %s",
				  own.found[0] || own.found[1] ? "replace" : "make", p.table))
		return 0;
	return replace(nl, &p, &own, e) < 0 ? err_wrap(e, "make the tables %s", p.table) : 0;
}

int nft_tenant_remove(struct nl *nl, const struct nft_tenant *t, struct changes *c, struct err *e)
{
	cleanup_nft_plan struct nft_plan p = NFT_PLAN_NONE;
	cleanup_nft_batch struct nft_batch b;
	struct own own = { { false } };

	nft_batch_begin(&b, nl);
	if (find_own(nl, t, &own, e) < 0)
		return -e->no;
	nft_plan_begin(t, &p);
	if (!(own.found[0] || own.found[1]) || !changes_take(c, "remove the tables %s", p.table))
		return 0;
	for (size_t i = 0; i < COUNT(families); i++)
		if (own.found[i])
			add_table(&b, &p, families[i], false);
	if (nft_batch_send(&b, nl, e) < 0 && e->no != ENOENT)
		return err_wrap(e, "remove the tables %s", p.table);
	return 0;
}

// In the lines of what the kernel has: is there anything of the part?
static bool is_there(const struct nft_lines *have, const struct nft_part *part)
{
	for (size_t i = 0; i < have->len; i++)
		if (have->items[i].kind == part->kind && have->items[i].family == part->family &&
		    str_eq(have->items[i].owner, nft_part_name(part)))
			return true;
	return false;
}

// Of a plan, what is of this kind and what the kernel has.
static void remove_kind(struct nft_batch *b, const struct nft_plan *p, enum nft_kind kind,
			const struct nft_lines *have)
{
	for (size_t i = 0; i < p->len; i++)
		if (p->parts[i].kind == kind && is_there(have, &p->parts[i]))
			nft_batch_remove(b, &p->parts[i]);
}

// Everything that a guest may have, whatever its policy is: for looking it up and taking it away.
static void plan_widest(struct nft_plan *p, const struct nft_guest *g)
{
	struct nft_guest wide = *g;

	wide.metadata = true;
	if (wide.egress == NFT_EGRESS_NONE)
		wide.egress = NFT_EGRESS_OPEN;
	nft_plan_guest(p, &wide);
}

static void remove_guest(struct nft_batch *b, const struct nft_plan *wide,
			 const struct nft_lines *have)
{
	// elements first: the chain that one of them names goes after it
	remove_kind(b, wide, NFT_SET, have);
	remove_kind(b, wide, NFT_CHAIN, have);
}

int nft_guest_put(struct nl *nl, const struct nft_tenant *t, const struct nft_guest *g,
		  struct changes *c, struct err *e)
{
	cleanup_nft_lines struct nft_lines want = NFT_LINES_INIT, have = NFT_LINES_INIT;
	cleanup_nft_plan struct nft_plan p = NFT_PLAN_NONE, wide = NFT_PLAN_NONE;
	cleanup_nft_batch struct nft_batch b;

	nft_batch_begin(&b, nl);
	nft_plan_begin(t, &p);
	nft_plan_guest(&p, g);
	nft_lines_of(&p, false, &want);
	nft_plan_begin(t, &wide);
	plan_widest(&wide, g);
	if (nft_read(nl, &wide, false, &have, e) < 0)
		return -e->no;
	if (nft_lines_equal(&want, &have) || !changes_take(c, "set the rules of %s", g->port))
		return 0;
	remove_guest(&b, &wide, &have);
	for (size_t i = 0; i < p.len; i++)
		nft_batch_put(&b, &p.parts[i]);
	if (nft_batch_send(&b, nl, e) < 0)
		return err_wrap(e, "set the rules of %s", g->port);
	return 0;
}

int nft_guest_drop(struct nl *nl, const struct nft_tenant *t, const struct nft_guest *g,
		   struct changes *c, struct err *e)
{
	cleanup_nft_lines struct nft_lines have = NFT_LINES_INIT;
	cleanup_nft_plan struct nft_plan wide = NFT_PLAN_NONE;
	cleanup_nft_batch struct nft_batch b;

	nft_batch_begin(&b, nl);
	nft_plan_begin(t, &wide);
	plan_widest(&wide, g);
	if (nft_read(nl, &wide, false, &have, e) < 0)
		return -e->no;
	remove_guest(&b, &wide, &have);
	if (nft_batch_is_empty(&b) || !changes_take(c, "remove the rules of %s", g->port))
		return 0;
	if (nft_batch_send(&b, nl, e) < 0)
		return err_wrap(e, "remove the rules of %s", g->port);
	return 0;
}

static const struct nft_pool *find_pool(const struct nft_tenant *t, const char *pool)
{
	for (size_t i = 0; i < t->pool_count; i++)
		if (str_eq(t->pools[i].id, pool))
			return &t->pools[i];
	return NULL;
}

struct pool_change {
	const struct nft_tenant *t;
	const char *pool;
	const struct nft_pool *ways;		     // NULL: it has none
	struct nft_plan ways_plan, elements, widest; // of all guests
	struct nft_lines have_ways, have_guests;
};

static void pool_change_free(struct pool_change *p)
{
	nft_plan_free(&p->ways_plan);
	nft_plan_free(&p->elements);
	nft_plan_free(&p->widest);
	nft_lines_free(&p->have_ways);
	nft_lines_free(&p->have_guests);
}

// The ways' sets are flushed and filled: their elements change, the rules that use them stay.
static void put_ways(struct nft_batch *b, const struct pool_change *p)
{
	bool there = p->have_ways.len > 0;

	for (size_t i = 0; i < p->ways_plan.len; i++) {
		struct nft_part part = p->ways_plan.parts[i];

		part.elements_only = there;
		if (there && part.kind == NFT_SET)
			nft_batch_flush_set(b, part.set);
		if (!there || part.kind == NFT_SET)
			nft_batch_put(b, &part);
	}
}

// The elements that the guests are to have, and those that they may have: an element is looked up
// by its key whatever its verdict is.
static void plan_elements(struct pool_change *p)
{
	for (size_t i = 0; i < p->t->guest_count; i++) {
		struct nft_guest g = p->t->guests[i];

		nft_plan_guest_egress(&p->elements, &g);
		if (g.egress == NFT_EGRESS_NONE)
			g.egress = NFT_EGRESS_OPEN;
		nft_plan_guest_egress(&p->widest, &g);
	}
}

static bool has_element(const struct nft_lines *have, const struct nft_part *part, uint32_t ip)
{
	char start[32];

	(void)snprintf(start, sizeof(start), "element %08x ", ip);
	for (size_t i = 0; i < have->len; i++)
		if (str_eq(have->items[i].owner, nft_part_name(part)) &&
		    str_starts(have->items[i].text, start))
			return true;
	return false;
}

static bool pool_is_equal(const struct pool_change *p)
{
	cleanup_nft_lines struct nft_lines ways = NFT_LINES_INIT, guests = NFT_LINES_INIT;

	if (p->ways)
		nft_lines_of(&p->ways_plan, false, &ways);
	nft_lines_of(&p->elements, false, &guests);
	return nft_lines_equal(&ways, &p->have_ways) && nft_lines_equal(&guests, &p->have_guests);
}

static int pool_read(struct nl *nl, struct pool_change *p, struct err *e)
{
	struct nft_pool none = { 0 };

	(void)snprintf(none.id, sizeof(none.id), "%s", p->pool);
	nft_plan_begin(p->t, &p->ways_plan);
	nft_plan_pool(&p->ways_plan, p->ways ? p->ways : &none);
	nft_plan_begin(p->t, &p->elements);
	nft_plan_begin(p->t, &p->widest);
	plan_elements(p);
	if (nft_read(nl, &p->ways_plan, false, &p->have_ways, e) < 0 ||
	    nft_read(nl, &p->widest, false, &p->have_guests, e) < 0)
		return -e->no;
	return 0;
}

int nft_pool_put(struct nl *nl, const struct nft_tenant *t, const char *pool, struct changes *c,
		 struct err *e)
{
	cleanup(pool_change_free) struct pool_change p = { .t = t,
							   .pool = pool,
							   .ways = find_pool(t, pool) };
	cleanup_nft_batch struct nft_batch b;

	nft_batch_begin(&b, nl);
	if (pool_read(nl, &p, e) < 0)
		return -e->no;
	if (pool_is_equal(&p) || !changes_take(c, "set the egress policy of %s", pool))
		return 0;
	if (p.ways)
		put_ways(&b, &p);
	for (size_t i = 0; i < p.widest.len; i++)
		if (has_element(&p.have_guests, &p.widest.parts[i],
				t->guests[i / NFT_GUEST_MAPS].ip))
			nft_batch_remove(&b, &p.widest.parts[i]);
	for (size_t i = 0; i < p.elements.len; i++)
		nft_batch_put(&b, &p.elements.parts[i]);
	if (!p.ways) {
		remove_kind(&b, &p.ways_plan, NFT_CHAIN, &p.have_ways);
		remove_kind(&b, &p.ways_plan, NFT_SET, &p.have_ways);
	}
	if (nft_batch_send(&b, nl, e) < 0)
		return err_wrap(e, "set the egress policy of %s", pool);
	return 0;
}

int nft_tenant_compare(struct nl *nl, const struct nft_tenant *t, struct codec_list *ret,
		       struct err *e)
{
	cleanup_nft_lines struct nft_lines want = NFT_LINES_INIT, have = NFT_LINES_INIT;
	cleanup_nft_plan struct nft_plan p = NFT_PLAN_NONE;

	nft_plan_begin(t, &p);
	nft_plan_all(&p);
	nft_lines_of(&p, true, &want);
	if (nft_read(nl, &p, true, &have, e) < 0)
		return -e->no;
	nft_lines_compare(&want, &have, p.table, ret);
	return 0;
}
