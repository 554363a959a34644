// SPDX-License-Identifier: MIT
// Making a tenant's network what its records ask for, and removing what has no record.
#include "audit/audit.h"
#include "base/fault.h"
#include "life/net_find.h"
#include "life/net_look.h"
#include "state/instances.h"

static void print(struct net_report *r, struct buf *out)
{
	if (out->data[out->len - 1] != '[')
		buf_char(out, ',');
	codec_print(net_report_fields, r, out);
	net_report_free(r);
}

static void take_changes(struct net_report *to, struct net_report *from)
{
	char *const *items = from->changes.items;

	for (size_t i = 0; i < from->changes.len; i++)
		codec_texts_add(&to->changes, items[i]);
	to->changed |= from->changed;
	net_report_free(from);
}

struct mending {
	const struct net_call *c;
	struct net_report *r;
	struct net_job *job;
};

// The TAP of an instance that runs goes back to its place. One that is gone can't come back: the
// VMM holds what is left of it.
static int mend_instance(void *arg, const struct address *a, const struct instance *i,
			 const struct err *why, struct err *e)
{
	const struct mending *m = arg;
	struct net_report one = { 0 };
	struct link_row row = { 0 };

	(void)why;
	if (!i || !instance_has_vmm(i) || link_get(m->job->route, i->net.tap_dev, &row, e) < 0) {
		err_clear(e);
		return 0;
	}
	if (net_tap_attach(a, m->c, &one, e) < 0)
		return -e->no;
	take_changes(m->r, &one);
	return 0;
}

// A port that is no instance's, and whose rules nobody knows, has no business on the bridge.
static int drop_strangers(struct net_job *j, const struct net_plan *p, struct err *e)
{
	cleanup_links struct links l = LINKS_INIT;

	if (!p->bridge.index)
		return 0;
	if (link_dump(j->route, &l, e) < 0)
		return -e->no;
	for (size_t i = 0; i < l.len; i++)
		if (l.items[i].master == p->bridge.index &&
		    !net_plan_has_port(p, l.items[i].name) &&
		    link_detach(j->route, l.items[i].name, &j->changes, e) < 0)
			return -e->no;
	return 0;
}

static int mend_ports(const char *tenant, const struct net_call *c, struct net_report *r,
		      struct err *e)
{
	cleanup_net_plan struct net_plan p = NET_PLAN_NONE;
	cleanup_net_job struct net_job j = NET_JOB_NONE;
	struct net_report mine = { 0 };
	struct tenant t = { 0 };

	if (tenant_load(tenant, &t, e) < 0 || net_job_open(&j, tenant, c, e) < 0 ||
	    node_id_load(j.node_id, e) < 0)
		return -e->no;
	j.report.net_id = t.net.tenant_net_id;
	if (net_job_lock(&j, e) < 0 || net_plan_load(j.route, &t, j.node_id, &p, e) < 0 ||
	    (!p.damaged && drop_strangers(&j, &p, e) < 0))
		return -e->no;
	for (size_t i = 0; i < p.nft.guest_count; i++)
		if (net_guest_put(&j, &p, i, e) < 0 ||
		    link_set_mtu(j.route, p.nft.guests[i].port, NET_MTU, &j.changes, e) < 0)
			return -e->no;
	if (net_job_close(&j, &mine, e) < 0)
		return -e->no;
	take_changes(r, &mine);
	return 0;
}

// What had to be changed shows while it is changed, so this line comes after its deed, also when
// that came half-way only.
static void note(const struct address *a, const struct net_report *r)
{
	cleanup_buf struct buf text = BUF_INIT;
	char *const *items = r->changes.items;

	if (!r->changed)
		return;
	for (size_t i = 0; i < r->changes.len; i++)
		buf_fmt(&text, "%s%s", i ? ", " : "", items[i]);
	audit_note(a, AUDIT_NETWORK_REPAIRED, NULL, "%s", buf_text(&text));
}

static int mend(const struct address *a, const struct net_call *c, struct net_report *r,
		struct err *e)
{
	cleanup_net_job struct net_job look = NET_JOB_NONE;
	struct mending m = { .c = c, .r = r, .job = &look };

	if (net_ensure(a->tenant, c, r, e) < 0 || net_job_open(&look, a->tenant, c, e) < 0)
		return -e->no;
	// a plan only: what comes next needs what ensure would have made
	if (c->dry_run && r->changed)
		return 0;
	return instances_each(a, mend_instance, &m, e) < 0 ? -e->no
							   : mend_ports(a->tenant, c, r, e);
}

static int repair_one(const char *tenant, const struct net_call *c, struct buf *out, struct err *e)
{
	cleanup_net_report struct net_report r = { 0 };
	struct address a = { 0 };
	int mended;

	if (COPY(a.tenant, tenant) < 0)
		return err_usage(e, "'%.64s' is too long", tenant);
	mended = mend(&a, c, &r, e);
	if (!c->dry_run)
		note(&a, &r);
	if (mended < 0) {
		if (!c->dry_run)
			(void)audit_note_failed(&a, AUDIT_NETWORK_REPAIRED, NULL, e);
		return err_wrap(e, "%s", tenant);
	}
	print(&r, out);
	return 0;
}

static int remove_orphan(void *arg, const struct link_row *link, const struct nft_row *table,
			 const char *owner, struct err *e)
{
	struct net_job *j = arg;

	if (fault_point("net-orphan"))
		return err_sys(e, "fault");
	if (table)
		return nft_table_remove(j->filter, table, &j->changes, e);
	return link_remove(j->route, link->name, j->node_id, owner, &j->changes, e);
}

static int repair_node(const struct net_call *c, struct buf *out, struct err *e)
{
	cleanup_net_look struct net_look l = NET_LOOK_NONE;
	cleanup_net_job struct net_job j = NET_JOB_NONE;
	cleanup_net_report struct net_report r = { 0 };

	if (net_look_open(&l, e) < 0 || net_job_open(&j, "", c, e) < 0)
		return -e->no;
	memcpy(j.node_id, l.node_id, sizeof(j.node_id));
	if ((l.node_id[0] && net_look_orphans(&l, remove_orphan, &j, e) < 0) ||
	    net_job_close(&j, &r, e) < 0)
		return -e->no;
	print(&r, out);
	return 0;
}

int net_repair(const char *tenant, const struct net_call *c, struct buf *out, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	struct err first = { 0 };

	buf_char(out, '[');
	if (tenant) {
		if (repair_one(tenant, c, out, e) < 0)
			return -e->no;
	} else {
		if (store_list_tenants(&names, e) < 0)
			return -e->no;
		// one tenant's trouble is not the others'
		for (size_t i = 0; i < names.len; i++)
			if (repair_one(names.items[i], c, out, e) < 0) {
				if (!first.no)
					first = *e;
				err_clear(e);
			}
		if (repair_node(c, out, e) < 0)
			return -e->no;
	}
	buf_char(out, ']');
	if (first.no) {
		*e = first;
		return -e->no;
	}
	return 0;
}
