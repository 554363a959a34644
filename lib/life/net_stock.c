// SPDX-License-Identifier: MIT
// TAPs in store: made before they are needed, removed when nobody waits.
#include <unistd.h>

#include "base/fault.h"
#include "base/proc.h"
#include "life/net_find.h"
#include "state/alloc.h"
#include "sys/link.h"

// What the store of a tenant has, and which offsets could have one more.
struct stock {
	uint32_t *offsets; // of the TAPs in store
	size_t len;
	struct alloc taken;
};

static void stock_free(struct stock *s)
{
	free(s->offsets);
	alloc_free(&s->taken);
}

static int look(struct net_job *j, const struct tenant *t, struct stock *s, struct err *e)
{
	cleanup_links struct links l = LINKS_INIT;
	link_alias mine;

	link_owner_print(j->node_id, t->tenant_id, mine);
	if (link_dump(j->route, &l, e) < 0 || alloc_scan(t, &s->taken, e) < 0)
		return -e->no;
	for (size_t i = 0; i < l.len; i++) {
		uint32_t net_id, offset;

		if (!name_is_tap(l.items[i].name, &net_id, &offset) ||
		    net_id != t->net.tenant_net_id || offset > s->taken.last)
			continue;
		alloc_mark(&s->taken, offset);
		if (!str_eq(l.items[i].alias, mine))
			continue;
		s->offsets = base_grow(s->offsets, s->len + 1, sizeof(*s->offsets));
		s->offsets[s->len++] = offset;
	}
	return 0;
}

static int make_one(struct net_job *j, const struct tenant *t, struct stock *s, bool *ret_more,
		    struct err *e)
{
	struct link_tap tap = { .node_id = j->node_id, .address = t->tenant_id, .mtu = NET_MTU };
	uint32_t offset;

	if (alloc_offset(&s->taken, &offset, e) < 0) {
		if (e->kind != ERR_QUOTA)
			return -e->no;
		err_clear(e); // a subnet that is full needs no more
		*ret_more = false;
		return 0;
	}
	name_tap(t->net.tenant_net_id, offset, tap.name);
	tap.uid = tap.gid = name_uid(t->net.tenant_net_id, offset);
	return link_tap_ensure(j->route, &tap, &j->changes, e);
}

// The one that is needed last.
static int remove_one(struct net_job *j, const struct tenant *t, const struct stock *s,
		      struct err *e)
{
	uint32_t highest = s->offsets[0];
	ifname_text name;

	for (size_t i = 1; i < s->len; i++)
		if (s->offsets[i] > highest)
			highest = s->offsets[i];
	name_tap(t->net.tenant_net_id, highest, name);
	return link_remove(j->route, name, j->node_id, t->tenant_id, &j->changes, e);
}

static bool is_off(const struct stock *s, unsigned count, bool trim)
{
	return s->len > count || (s->len < count && !trim);
}

// *ret_more: one was made or removed, and there may be more to do. The lock is for who has to act;
// looking is done again under it.
static int step(struct net_job *j, const char *tenant, unsigned count, bool trim, bool *ret_more,
		struct err *e)
{
	cleanup(stock_free) struct stock seen = { 0 }, s = { 0 };
	struct tenant t = { 0 };

	*ret_more = false;
	if (tenant_load(tenant, &t, e) < 0 || look(j, &t, &seen, e) < 0)
		return -e->no;
	j->report.net_id = t.net.tenant_net_id;
	if (!is_off(&seen, count, trim))
		return 0;
	if (net_job_lock(j, e) < 0 || look(j, &t, &s, e) < 0)
		return -e->no;
	if (fault_point("net-stock"))
		return err_sys(e, "keep TAPs in store");
	*ret_more = is_off(&s, count, trim);
	if (!*ret_more)
		return 0;
	return s.len > count ? remove_one(j, &t, &s, e) : make_one(j, &t, &s, ret_more, e);
}

int net_stock(const char *tenant, unsigned count, bool trim, const struct net_call *c,
	      struct net_report *ret, struct err *e)
{
	cleanup_net_job struct net_job j = NET_JOB_NONE;
	bool more = true;

	if (net_job_open(&j, tenant, c, e) < 0 ||
	    node_id_ensure(NULL, c->wait_ms, j.node_id, e) < 0)
		return -e->no;
	while (more) {
		if (step(&j, tenant, count, trim, &more, e) < 0)
			return -e->no;
		base_closep(&j.lock); // others may want it between two TAPs
		j.lock = -1;
		more &= !c->dry_run; // which would find the same again
	}
	return net_job_close(&j, ret, e);
}

#define TRIM_WAIT_MS 2000

void net_trim_later(const char *address, unsigned count)
{
	const struct net_call c = { .wait_ms = TRIM_WAIT_MS };
	struct net_report ignored = { 0 };
	struct err e = { 0 };
	struct address a;

	if (address_parse(address, ADDRESS_TENANT, ADDRESS_INSTANCE, &a, &e) < 0 || fork() != 0)
		return;
	proc_leave(-1);
	_exit(net_stock(a.tenant, count, true, &c, &ignored, &e) < 0);
}
