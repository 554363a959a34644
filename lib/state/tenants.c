// SPDX-License-Identifier: MIT
#include "state/tenants.h"

#include "base/log.h"
#include "state/alloc.h"
#include "state/archive.h"
#include "state/node.h"
#include "state/pools.h"
#include "state/rows.h"
#include "state/usage.h"

// Quotas that were asked for, as {given, wanted, present} of each.
#define FOR_QUOTAS(do_it)                                                                       \
	do_it(max_vcpus) do_it(max_mem_mib) do_it(max_running) do_it(max_warm) do_it(max_pools) \
		do_it(max_instances_per_pool) do_it(max_disk_gib)

// What `update` changes: the first that is not as asked.
static const char *what_differs(const struct tenant_spec *spec, const struct tenant *t)
{
#define DIFFERS(member)                                                    \
	if (spec->given.member && spec->quotas.member != t->quotas.member) \
		return #member;
	FOR_QUOTAS(DIFFERS)
#undef DIFFERS
	return spec->given.deny_log && spec->deny_log != t->net.deny_log ? "deny_log" : NULL;
}

static void set_given(const struct tenant_spec *spec, struct tenant *t)
{
#define SET(member)             \
	if (spec->given.member) \
		t->quotas.member = spec->quotas.member;
	FOR_QUOTAS(SET)
#undef SET
	if (spec->given.deny_log)
		t->net.deny_log = spec->deny_log;
}

static int compare(const struct tenant_spec *spec, const struct tenant *t, struct err *e)
{
	const char *what = what_differs(spec, t);
	subnet_text subnet;

	subnet_print(&spec->subnet, subnet);
	if (spec->net_id && spec->net_id != t->net.tenant_net_id)
		err_kind(e, ERR_CONFLICT, "exists with net id %u", t->net.tenant_net_id);
	else if (spec->subnet.prefix && !str_eq(subnet, t->net.ipv4_subnet))
		err_kind(e, ERR_CONFLICT, "exists with subnet %s", t->net.ipv4_subnet);
	else if (what)
		err_kind(e, ERR_CONFLICT, "exists with another %s", what);
	else
		return 0;
	err_object(e, "%s", t->tenant_id);
	if (what)
		err_hint(e, "it is changed by mvm tenant update %s", t->tenant_id);
	return err_wrap(e, "%s", t->tenant_id);
}

static void note_created(int dir, const struct tenant *t)
{
	struct audit_event event = { .action = AUDIT_TENANT_CREATED };
	char detail[AUDIT_DETAIL_MAX + 1];
	struct err e = { 0 };

	base_cut(detail, sizeof(detail),
		 "subnet %s, net id %u, max_vcpus %u, max_mem_mib %llu, max_running %u",
		 t->net.ipv4_subnet, t->net.tenant_net_id, t->quotas.max_vcpus,
		 (unsigned long long)t->quotas.max_mem_mib, t->quotas.max_running);
	memcpy(event.at.tenant, t->tenant_id, sizeof(event.at.tenant));
	event.detail = detail;
	if (audit_append_at(dir, &event, &e) < 0)
		log_error(t->tenant_id, "TenantCreated is not in the audit log: %s", e.msg);
}

static int make(const struct store *node, const struct tenant *t, struct err *e)
{
	cleanup_draft struct store_draft d = STORE_DRAFT_NONE;

	if (store_draft_begin(node, "tenants", t->tenant_id, &d, e) < 0 ||
	    store_draft_mkdir(&d, "secrets", 0700, e) < 0 ||
	    store_draft_mkdir(&d, "config", STORE_DIR_MODE, e) < 0 ||
	    store_draft_mkdir(&d, "pools", STORE_DIR_MODE, e) < 0 ||
	    store_draft_save(&d, TENANT_FILE, tenant_fields, t, e) < 0)
		return err_wrap(e, "%s", t->tenant_id);
	note_created(d.dir, t); // a tenant comes with its log
	return store_draft_commit(&d, e) < 0 ? err_wrap(e, "%s", t->tenant_id) : 0;
}

int tenants_create(const struct tenant_spec *spec, bool dry_run, int wait_ms, struct tenant *ret,
		   bool *changed, struct err *e)
{
	cleanup_store struct store node = STORE_NONE;
	struct subnet subnet = spec->subnet;
	uint32_t net_id = spec->net_id;
	struct address a = { 0 };
	node_id_text node_id;

	if (name_check(spec->id, e) < 0 || COPY(a.tenant, spec->id) < 0)
		return err_wrap(e, "tenant");
	if (net_id == NET_ID_MAX && !str_eq(spec->id, "dev"))
		return err_usage(e, "net id %d is the development tenant's", NET_ID_MAX);
	// A dry run reads only: with no node yet there is nothing to lock.
	if (!(dry_run && !store_exists(STORE_NODE, NULL)) &&
	    store_lock(&node, STORE_NODE, NULL, wait_ms, e) < 0)
		return -e->no;
	*changed = !store_exists(STORE_TENANT, &a);
	if (!*changed)
		return tenant_load(spec->id, ret, e) < 0 ? -e->no : compare(spec, ret, e);
	tenant_init(ret, spec->id);
	set_given(spec, ret);
	if (alloc_net(spec->id, &net_id, &subnet, e) < 0) {
		err_object(e, "%s", spec->id);
		return err_wrap(e, "%s", spec->id);
	}
	if (tenant_set_net(ret, net_id, &subnet, e) < 0)
		return -e->no;
	if (dry_run)
		return 0;
	if (node_id_ensure(&node, 0, node_id, e) < 0)
		return -e->no;
	return make(&node, ret, e);
}

static int update(const struct address *a, const struct tenant_spec *spec, bool dry_run,
		  int wait_ms, struct tenant *ret, bool *changed, struct err *e)
{
	cleanup_buf struct buf before = BUF_INIT, after = BUF_INIT;
	cleanup_store struct store s = STORE_NONE;

	if (store_lock(&s, STORE_TENANT, a, wait_ms, e) < 0 || tenant_load_from(&s, ret, e) < 0)
		return -e->no;
	codec_print(tenant_fields, ret, &before);
	*changed = what_differs(spec, ret) != NULL;
	set_given(spec, ret);
	if (!*changed || dry_run)
		return 0;
	codec_print(tenant_fields, ret, &after);
	audit_note_changes(a, AUDIT_TENANT_UPDATED, buf_text(&before), buf_text(&after));
	return tenant_save(&s, ret, e);
}

int tenants_update(const struct tenant_spec *spec, bool dry_run, int wait_ms, struct tenant *ret,
		   bool *changed, struct err *e)
{
	struct address a = { 0 };

	if (name_check(spec->id, e) < 0 || COPY(a.tenant, spec->id) < 0)
		return err_wrap(e, "tenant");
	if (update(&a, spec, dry_run, wait_ms, ret, changed, e) == 0)
		return 0;
	return dry_run ? -e->no : audit_note_failed(&a, AUDIT_TENANT_UPDATED, NULL, e);
}

static int check_empty(const struct store *s, struct err *e)
{
	cleanup_names struct store_names pools = STORE_NAMES_NONE;

	if (store_list(s, "pools", &pools, e) < 0)
		return -e->no;
	if (pools.len == 0)
		return 0;
	err_kind(e, ERR_STATE, "%s: has %zu pool%s, %s first", s->name, pools.len,
		 pools.len == 1 ? "" : "s", pools.items[0]);
	err_object(e, "%s", s->name);
	return err_hint(e, "mvm tenant destroy --force %s ends and removes all that it has",
			s->name);
}

int tenants_empty(const char *id, int wait_ms, struct err *e)
{
	cleanup_names struct store_names pools = STORE_NAMES_NONE;

	if (store_list_pools(id, &pools, e) < 0)
		return -e->no;
	for (size_t p = 0; p < pools.len; p++) {
		if (pools_destroy(id, pools.items[p], true, false, wait_ms, e) == 0)
			continue;
		if (e->kind != ERR_MISSING)
			return -e->no;
		err_clear(e); // somebody else was faster
	}
	return 0;
}

// The trail holds the log's lock.
static void note_not_destroyed(struct audit_trail *trail, const struct err *why)
{
	const struct audit_event event = { .action = AUDIT_TENANT_DESTROYED,
					   .outcome = AUDIT_FAILED,
					   .detail = why->msg };
	struct err e = { 0 };

	if (trail->ready && trail_add(trail, &event, &e) < 0)
		log_info(trail->tenant, "the audit log does not tell it: %s", e.msg);
}

int tenants_destroy(const char *id, bool dry_run, int wait_ms, struct err *e)
{
	cleanup_store struct store node = STORE_NONE, s = STORE_NONE;
	cleanup_trail struct audit_trail trail = TRAIL_NONE; // held until the directory is gone
	struct address a = { 0 };

	if (name_check(id, e) < 0 || COPY(a.tenant, id) < 0)
		return err_wrap(e, "tenant");
	if (!store_exists(STORE_TENANT, &a)) // before the lock would make a node
		return store_open(&s, STORE_TENANT, &a, e);
	if (store_lock(&node, STORE_NODE, NULL, wait_ms, e) < 0 ||
	    store_lock(&s, STORE_TENANT, &a, wait_ms, e) < 0 || check_empty(&s, e) < 0)
		return -e->no;
	if (dry_run)
		return 0;
	if (archive_audit(&node, &s, &trail, e) == 0 && store_remove(&node, "tenants", id, e) == 0)
		return 0;
	note_not_destroyed(&trail, e);
	return err_wrap(e, "%s", id);
}

// The record, and what people ask for first without knowing its shape.
static void print_tenant(const struct tenant *t, const struct usage *u, struct buf *out)
{
	codec_print(tenant_fields, t, out);
	rows_reopen(out);
	buf_fmt(out, ",\"net_id\":%u", t->net.tenant_net_id);
	rows_text(out, "subnet", t->net.ipv4_subnet);
	rows_text(out, "gateway", t->net.gateway_ip);
	rows_text(out, "bridge", t->net.bridge_name);
	buf_str(out, ",\"usage\":");
	codec_print(usage_fields, u, out);
}

static int list_one(const char *id, bool all, struct buf *out, struct err *e)
{
	struct tenant t;
	struct usage u;

	if (tenant_load(id, &t, e) < 0 || usage_of_tenant(&t, &u, e) < 0 ||
	    usage_share(id, NULL, &u, e) < 0)
		return -e->no;
	if (t.net.tenant_net_id == NET_ID_MAX && !all) // the development tenant
		return 0;
	rows_next(out);
	print_tenant(&t, &u, out);
	buf_char(out, '}');
	return 0;
}

int tenants_list(bool all, struct buf *out, unsigned *damaged, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;

	*damaged = 0;
	if (store_list_tenants(&names, e) < 0)
		return -e->no;
	buf_char(out, '[');
	for (size_t n = 0; n < names.len; n++) {
		struct address a = { 0 };
		struct err why = { 0 };

		if (list_one(names.items[n], all, out, &why) == 0 || why.kind == ERR_MISSING)
			continue;
		++*damaged;
		if (COPY(a.tenant, names.items[n]) < 0)
			abort(); // both hold names
		rows_next(out);
		rows_damaged(out, &a, &why);
	}
	buf_char(out, ']');
	return 0;
}

int tenants_info(const char *id, struct buf *out, struct err *e)
{
	unsigned damaged;
	struct tenant t;
	struct usage u;

	if (tenant_load(id, &t, e) < 0 || usage_of_tenant(&t, &u, e) < 0 ||
	    usage_share(id, NULL, &u, e) < 0)
		return -e->no;
	print_tenant(&t, &u, out);
	buf_str(out, ",\"pools\":");
	if (pools_list(id, out, &damaged, e) < 0)
		return -e->no;
	buf_char(out, '}');
	return 0;
}
