// SPDX-License-Identifier: MIT
#include "state/instances.h"

#include <stdio.h>

#include "audit/audit.h"
#include "base/fault.h"
#include "base/fd.h"
#include "state/alloc.h"
#include "state/usage.h"

static int make_record(const struct store *pool_store, const struct tenant *t,
		       const struct address *a, uint32_t offset, bool own, struct instance *ret,
		       struct err *e)
{
	cleanup_draft struct store_draft d = STORE_DRAFT_NONE;

	instance_init(ret, a, t, offset);
	if ((own && instance_own(ret, e) < 0) ||
	    store_draft_begin(pool_store, "instances", a->instance, &d, e) < 0 ||
	    store_draft_mkdir(&d, "volumes", 0700, e) < 0 ||
	    store_draft_mkdir(&d, "snapshots", 0700, e) < 0 ||
	    store_draft_save(&d, INSTANCE_FILE, instance_fields, ret, e) < 0)
		return -e->no;
	if (offset) // a template is nobody's instance
		audit_note(a, AUDIT_INSTANCE_CREATED, NULL, "ip %s, mac %s", ret->net.guest_ip,
			   ret->net.mac);
	return store_draft_commit(&d, e);
}

// Claims the id, then makes the record; a failure in between gives the id back, a crash leaves a
// claim that store_sweep finds.
static int make_one(const struct store *pool_store, const struct tenant *t, struct address *a,
		    uint32_t offset, bool own, struct instance *ret, struct err *e)
{
	struct err ignored = { 0 };

	if (alloc_claim(a, offset, e) < 0)
		return err_wrap(e, "%s/%s", a->tenant, a->pool);
	if (fault_point("instance-claimed"))
		err_sys(e, "make the record");
	else if (make_record(pool_store, t, a, offset, own, ret, e) == 0)
		return 0;
	err_wrap(e, "%s/%s/%s", a->tenant, a->pool, a->instance);
	err_object(e, "%s/%s/%s", a->tenant, a->pool, a->instance);
	if (!store_exists(STORE_INSTANCE, a) && alloc_release(a->instance, &ignored) < 0)
		err_hint(e, "the id %s stays claimed until the next sweep", a->instance);
	return -e->no;
}

static int check_room(const struct tenant *t, const struct pool *p, uint32_t n, struct err *e)
{
	struct usage tenant, pool;

	if (usage_of_tenant(t, &tenant, e) < 0 || usage_of_pool(t, p, &pool, e) < 0)
		return -e->no;
	return usage_check_create(t, p, &tenant, pool.total_instances, n, e);
}

// The claim of an id whose creator died belongs to whoever makes that very instance.
static int adopt_claim(const struct address *a, struct err *e)
{
	struct address claimed;

	if (alloc_find(a->instance, &claimed, NULL, e) < 0) {
		if (e->kind != ERR_MISSING)
			return -e->no;
		err_clear(e);
		return 0;
	}
	if (!str_eq(a->tenant, claimed.tenant) || !str_eq(a->pool, claimed.pool))
		return err_kind(e, ERR_CONFLICT, "%s: the id is in use on this node", a->instance);
	return alloc_release(a->instance, e);
}

int instances_create_locked(const struct store *pool_store, const struct tenant *t,
			    const struct pool *p, const struct address *a, uint32_t n, bool own,
			    uint32_t *made, struct buf *created, struct err *e)
{
	cleanup_alloc struct alloc map = ALLOC_NONE;

	*made = 0;
	if (check_room(t, p, n, e) < 0) {
		audit_note_quota(a, e);
		return -e->no;
	}
	if (alloc_scan(t, &map, e) < 0)
		return -e->no;
	for (uint32_t k = 0; k < n; k++) {
		struct address at = *a;
		struct instance i;
		address_text text;
		uint32_t offset;

		if (alloc_offset(&map, &offset, e) < 0) {
			audit_note_quota(a, e);
			err_object(e, "%s", t->tenant_id);
			return err_wrap(e, "%s", t->tenant_id);
		}
		if (at.instance[0] && adopt_claim(&at, e) < 0)
			return -e->no;
		if (make_one(pool_store, t, &at, offset, own, &i, e) < 0)
			return -e->no;
		++*made;
		address_print(&at, text);
		buf_fmt(created, "%s\n", text);
	}
	return 0;
}

static int create(const struct address *a, uint32_t n, bool dry_run, int wait_ms, uint32_t *made,
		  struct buf *created, struct err *e)
{
	cleanup_store struct store ts = STORE_NONE, ps = STORE_NONE;
	cleanup_pool struct pool p = { 0 };
	struct instance found;
	struct tenant t;

	if (store_lock(&ts, STORE_TENANT, a, wait_ms, e) < 0 || tenant_load_from(&ts, &t, e) < 0 ||
	    store_lock(&ps, STORE_POOL, a, wait_ms, e) < 0 || pool_load_from(&ps, &p, e) < 0)
		return -e->no;
	*made = 0;
	if (a->instance[0] && store_exists(STORE_INSTANCE, a))
		return instance_load(a, &t, &found, e);
	if (dry_run) {
		*made = n;
		return check_room(&t, &p, n, e);
	}
	return instances_create_locked(&ps, &t, &p, a, n, false, made, created, e);
}

int instances_create(const struct address *a, uint32_t n, bool dry_run, int wait_ms, uint32_t *made,
		     struct buf *created, struct err *e)
{
	if (create(a, n, dry_run, wait_ms, made, created, e) == 0)
		return 0;
	return dry_run ? -e->no : audit_note_failed(a, AUDIT_INSTANCE_CREATED, NULL, e);
}

int instances_create_template(struct address *a, int wait_ms, struct instance *ret, struct err *e)
{
	cleanup_store struct store ts = STORE_NONE, ps = STORE_NONE;
	struct tenant t;

	if (store_lock(&ts, STORE_TENANT, a, wait_ms, e) < 0 || tenant_load_from(&ts, &t, e) < 0 ||
	    store_lock(&ps, STORE_POOL, a, wait_ms, e) < 0)
		return -e->no;
	a->instance[0] = '\0';
	return make_one(&ps, &t, a, 0, false, ret, e);
}

// A damaged record is removed as well: its removal is the way out, and whoever calls this has seen
// to what the kernel held.
static int check_removable(const struct store *s, const struct address *a, struct err *e)
{
	struct instance i;

	if (instance_load_from(s, a, NULL, &i, e) < 0) {
		if (e->kind != ERR_DAMAGED)
			return -e->no;
		err_clear(e);
		return 0;
	}
	if (i.status == INSTANCE_DESTROYED)
		return 0;
	if (i.status != INSTANCE_RUNNING && i.status != INSTANCE_WARM)
		return instance_op_check(&i, e);
	err_kind(e, ERR_STATE, "is %s", instance_status_names[i.status]);
	err_object(e, "%s", s->name);
	return err_wrap(e, "%s", s->name);
}

static int keep_volumes_of(const struct store *pool, const struct store *s, const struct address *a,
			   struct err *e)
{
	cleanup_fd int kept = -1;

	if (fd_mkdir(pool->dir, "volumes-kept", 0700, e) < 0)
		return -e->no;
	kept = fd_open_dir(pool->dir, "volumes-kept", e);
	if (kept < 0)
		return -e->no;
	if (renameat2(s->dir, "volumes", kept, a->instance, RENAME_NOREPLACE) < 0 &&
	    errno != ENOENT)
		return err_sys(e, "%s: keep volumes", s->name);
	return fd_sync_dir(kept, e);
}

static int remove_locked(const struct store *pool, const struct address *a, bool keep_volumes,
			 int wait_ms, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;

	if (store_lock(&s, STORE_INSTANCE, a, wait_ms, e) < 0 || check_removable(&s, a, e) < 0)
		return -e->no;
	if (keep_volumes && keep_volumes_of(pool, &s, a, e) < 0)
		return -e->no;
	audit_note(a, AUDIT_INSTANCE_DESTROYED, NULL, "%s", keep_volumes ? "volumes kept" : "");
	if (store_remove(pool, "instances", a->instance, e) < 0)
		return err_wrap(e, "%s", s.name);
	return 0;
}

// A removal that died after the record went has only the claim to give back.
static int finish_removal(const struct address *a, struct err *e)
{
	struct err missing = *e;
	struct address claimed;

	if (e->kind != ERR_MISSING)
		return -e->no;
	if (alloc_find(a->instance, &claimed, NULL, e) == 0 && str_eq(claimed.tenant, a->tenant) &&
	    str_eq(claimed.pool, a->pool))
		return alloc_release(a->instance, e);
	*e = missing;
	return -e->no;
}

static int remove_instance(const struct address *a, bool keep_volumes, int wait_ms, struct err *e)
{
	cleanup_store struct store ts = STORE_NONE, ps = STORE_NONE;

	if (store_lock(&ts, STORE_TENANT, a, wait_ms, e) < 0 ||
	    store_lock(&ps, STORE_POOL, a, wait_ms, e) < 0)
		return -e->no;
	if (remove_locked(&ps, a, keep_volumes, wait_ms, e) < 0)
		return finish_removal(a, e);
	return alloc_release(a->instance, e);
}

int instances_remove(const struct address *a, bool keep_volumes, int wait_ms, struct err *e)
{
	if (remove_instance(a, keep_volumes, wait_ms, e) == 0)
		return 0;
	return audit_note_failed(a, AUDIT_INSTANCE_DESTROYED, NULL, e);
}

int instances_remove_locked(const struct store *pool, const struct address *a, int wait_ms,
			    struct err *e)
{
	if (remove_locked(pool, a, false, wait_ms, e) < 0)
		return -e->no;
	return alloc_release(a->instance, e);
}

int instances_resolve(const char *word, struct address *ret, struct err *e)
{
	struct err ignored = { 0 };

	if (!strchr(word, '/') && name_check_instance(word, &ignored) == 0)
		return alloc_find(word, ret, NULL, e);
	return address_parse(word, ADDRESS_INSTANCE, ADDRESS_INSTANCE, ret, e);
}
