// SPDX-License-Identifier: MIT
#include "life/left.h"

#include "base/fault.h"
#include "base/log.h"
#include "life/base_impl.h"
#include "life/capture.h"
#include "life/held.h"
#include "life/verbs.h"
#include "state/instances.h"

struct sweep {
	bool dry_run;
	int wait_ms;
	struct codec_list *found;
};

static void tell(const struct sweep *s, const struct address *a, const char *ref, const char *why)
{
	struct left *l = codec_list_add(s->found, sizeof(*l));

	l->a = *a;
	l->why = why;
	base_cut(l->ref, sizeof(l->ref), "%s", ref);
}

// Somebody is at it: then it is not left.
static int unless_busy(struct err *e)
{
	if (e->kind != ERR_UNAVAILABLE && e->kind != ERR_STATE && e->kind != ERR_MISSING)
		return -e->no;
	err_clear(e);
	return 0;
}

static int end_template(const struct sweep *s, const struct address *a, struct err *e)
{
	cleanup_fd int lock = base_lock(a, 0, e);

	if (lock < 0)
		return e->kind == ERR_UNAVAILABLE ? unless_busy(e) : -e->no;
	if (!s->dry_run && base_destroy(a, s->wait_ms, e) < 0)
		return -e->no;
	tell(s, a, "", "template");
	return 0;
}

// Whoever starts it meanwhile has it.
static int end_clone(const struct sweep *s, const struct address *a, struct err *e)
{
	bool changed = s->dry_run;

	if (fault_point("life-left-clone"))
		return err_sys(e, "fault");
	if (!s->dry_run && verb_destroy_idle(a, s->wait_ms, &changed, e) < 0)
		return unless_busy(e);
	if (changed)
		tell(s, a, "", "clone");
	return 0;
}

// The lock of its instance is needed to remove it only.
static int drop_capture(const struct sweep *s, const struct address *a, const char *ref,
			struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	if (s->dry_run)
		tell(s, a, ref, "clone");
	if (s->dry_run)
		return 0;
	if (held_open(&h, a, s->wait_ms, e) < 0 || capture_sweep_held(&h, e) < 0)
		return -e->no;
	if (!snap_there(&h.store, ref))
		tell(s, a, ref, "clone");
	return 0;
}

static int drop_captures(const struct sweep *s, const struct address *a, struct err *e)
{
	cleanup_store struct store store = STORE_NONE;
	struct codec_list rows = { 0 };
	const struct snap_row *r;
	int done = store_open(&store, STORE_INSTANCE, a, e);

	if (done == 0)
		done = snap_list(&store, &rows, e);
	r = rows.items;
	for (size_t i = 0; done == 0 && i < rows.len; i++)
		if (r[i].left)
			done = drop_capture(s, a, r[i].ref, e);
	codec_free_list(snap_row_fields, sizeof(*r), &rows);
	return done < 0 ? unless_busy(e) : 0;
}

static int each(void *arg, const struct address *a, const struct instance *i, const struct err *why,
		struct err *e)
{
	const struct sweep *s = arg;
	address_text address;
	int r = 0;

	(void)why;
	if (!i)
		return 0;
	if (i->role == INSTANCE_ROLE_TEMPLATE)
		r = end_template(s, a, e);
	else if (instance_is_left(i))
		r = end_clone(s, a, e);
	else
		r = drop_captures(s, a, e);
	address_print(a, address);
	return r < 0 ? err_wrap(e, "what is left of %s", address) : 0;
}

int left_sweep(const struct address *tenant, bool dry_run, int wait_ms, struct codec_list *found,
	       struct err *e)
{
	struct sweep s = { .dry_run = dry_run, .wait_ms = wait_ms, .found = found };
	struct address scope = { .tenant = "" };

	if (tenant)
		memcpy(scope.tenant, tenant->tenant, sizeof(scope.tenant));
	return instances_each(tenant ? &scope : NULL, each, &s, e);
}

// --- gc

static int gc_tenant(const struct address *a, bool dry_run, int wait_ms, struct codec_list *rows,
		     struct err *e)
{
	struct codec_list found = { 0 };
	int r = left_sweep(a, dry_run, wait_ms, &found, e);
	const struct left *l = found.items;

	for (size_t i = 0; r == 0 && i < found.len; i++) {
		struct gc_row *row = codec_list_add(rows, sizeof(*row));

		row->schema_version = 1;
		row->removed = !dry_run;
		base_cut(row->ref, sizeof(row->ref), "%s%s%s", l[i].a.instance,
			 l[i].ref[0] ? "/" : "", l[i].ref);
		base_cut(row->why, sizeof(row->why), "%s", l[i].why);
	}
	free(found.items);
	return r;
}

int left_gc(const struct address *a, bool dry_run, int wait_ms, struct codec_list *rows,
	    struct err *e)
{
	enum store_level level = a->instance[0] ? STORE_INSTANCE : STORE_POOL;
	cleanup_store struct store s = STORE_NONE;

	if (level == STORE_POOL && gc_tenant(a, dry_run, wait_ms, rows, e) < 0)
		return -e->no;
	return store_lock(&s, level, a, wait_ms, e) < 0 ? -e->no : base_gc(&s, dry_run, rows, e);
}
