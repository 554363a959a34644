// SPDX-License-Identifier: MIT
// A base is taken: a template is made, started by the same steps as any instance, brought to rest,
// captured and destroyed. All templates of a tenant have the same address, so template.lock beside
// tenant.json is held for all of that; whoever has it may destroy those that are there.
#include <fcntl.h>
#include <sys/stat.h>

#include "audit/audit.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "life/base_impl.h"
#include "life/capture.h"
#include "life/verbs.h"
#include "life/vm.h"
#include "snap/list.h"
#include "state/instances.h"

#define TEMPLATE_LOCK "template.lock"
#define REST_MS	      30000

struct take {
	const struct base *b;
	int wait_ms;
	struct address a; // the template's
	struct vm vm;
	struct snap_draft draft;
	struct snap_manifest m;
};

int base_destroy(const struct address *a, int wait_ms, struct err *e)
{
	struct instance i = { 0 };
	bool changed;

	if (instance_load(a, NULL, &i, e) < 0) {
		if (e->kind == ERR_MISSING)
			err_clear(e); // its maker was quicker
		return e->no ? -e->no : 0;
	}
	// It stands still, so nobody could ask its guest; and nothing of it is worth that.
	if (instance_has_vmm(&i) && verb_stop(a, true, wait_ms, &changed, e) < 0)
		return -e->no;
	return verb_destroy(a, false, wait_ms, &changed, e);
}

static int destroy_left(void *arg, const struct address *a, const struct instance *i,
			const struct err *why, struct err *e)
{
	const int *wait_ms = arg;

	(void)why;
	if (!i || i->role != INSTANCE_ROLE_TEMPLATE)
		return 0;
	log_warn(a->instance, "a template that was left behind is destroyed");
	return base_destroy(a, *wait_ms, e);
}

int base_sweep(const struct address *pool, int wait_ms, struct err *e)
{
	struct address tenant = *pool;

	tenant.pool[0] = '\0';
	return instances_each(&tenant, destroy_left, &wait_ms, e);
}

int base_lock(const struct address *pool, int wait_ms, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	int fd;

	if (store_open(&s, STORE_TENANT, pool, e) < 0)
		return -e->no;
	fd = fd_lock(s.dir, TEMPLATE_LOCK, true, wait_ms, e);
	return fd < 0 ? err_wrap(e, "a base of tenant %s is being taken", pool->tenant) : fd;
}

// What runs has to be what the base is going to be named by.
static int check_same(const struct take *t, struct err *e)
{
	const struct instance *i = &t->vm.i;
	const struct snap_machine *m = &t->b->machine;

	if (i->vmm == m->vmm && str_eq(i->vmm_version, m->vmm_version) &&
	    str_eq(i->revision_hash, m->revision_hash))
		return 0;
	return err_kind(e, ERR_UNAVAILABLE, "the pool's image or the VMM became another meanwhile");
}

static int start(struct take *t, struct err *e)
{
	bool changed;

	if (verb_start(&t->a, false, t->wait_ms, &changed, e) < 0 ||
	    vm_open(&t->vm, &t->a, e) < 0 || check_same(t, e) < 0)
		return -e->no;
	if (fault_point("base-started"))
		return err_sys(e, "fault");
	if (vm_leave(&t->vm, REST_MS, e) < 0)
		return err_wrap(e, "bring the template to rest");
	if (vm_pause(&t->vm, e) < 0)
		return err_wrap(e, "pause the template");
	return fault_point("base-paused") ? err_sys(e, "fault") : 0;
}

static int begin(struct take *t, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;

	if (store_lock(&s, STORE_POOL, &t->a, t->wait_ms, e) < 0)
		return -e->no;
	return snap_draft_begin(&s, SNAP_BASE, t->b->ref, NULL, &t->draft, e);
}

static int create(struct take *t, struct err *e)
{
	static const char *const names[] = { SNAP_VMSTATE, SNAP_MEM };

	if (vm_drop_files(&t->vm, e) < 0)
		return -e->no;
	if (vm_create(&t->vm, FC_SNAPSHOT_FULL, names[0], names[1], t->b->machine.mem_mib, e) < 0)
		return err_wrap(e, "capture the template");
	for (size_t i = 0; i < COUNT(names); i++)
		if (snap_draft_take(&t->draft, t->vm.jail.snap, names[i], t->vm.uid, names[i], e) <
		    0)
			return -e->no;
	return fault_point("base-taken") ? err_sys(e, "fault") : 0;
}

static int seal(struct take *t, struct err *e)
{
	const struct pages_cancel never = { .fd = -1 };
	int r;

	if (base_guest(t->b, &t->a, &t->m.guest, e) < 0)
		return -e->no;
	t->m.machine = t->b->machine; // borrowed
	t->m.quiesced = true;	      // else start has failed
	r = capture_emulator(t->draft.draft.dir, &t->m.machine, e);
	if (r == 0 && !str_eq(t->m.machine.emulator, t->b->machine.emulator))
		r = err_kind(e, ERR_UNAVAILABLE, "QEMU became another meanwhile");
	if (r == 0)
		r = snap_draft_seal(&t->draft, &t->m, &never, e);
	t->m.machine = (struct snap_machine){ 0 };
	return r;
}

// Those that nobody needs any more go, now that there is another.
static void sweep_bases(const struct store *s, const char *here)
{
	struct codec_list rows = { 0 };
	struct err e = { 0 };

	if (snap_gc_bases(s, here, false, &rows, &e) < 0)
		log_warn(s->name, "%s", e.msg);
	codec_free_list(gc_row_fields, sizeof(struct gc_row), &rows);
}

static int commit(struct take *t, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;

	if (store_lock(&s, STORE_POOL, &t->a, t->wait_ms, e) < 0)
		return -e->no;
	audit_note(&t->b->pool, AUDIT_SNAPSHOT_CREATED, NULL, "%s of revision %s, from template %s",
		   t->b->ref, t->b->machine.revision_hash, t->a.instance);
	if (snap_draft_commit(&s, &t->draft, e) < 0)
		return audit_note_failed(&t->b->pool, AUDIT_SNAPSHOT_CREATED, NULL, e);
	if (fault_point("base-committed"))
		return err_sys(e, "fault");
	sweep_bases(&s, t->b->ref);
	return 0;
}

static int run(struct take *t, struct err *e)
{
	struct instance i = { 0 };
	struct err later = { 0 };
	int r;

	if (instances_create_template(&t->a, t->wait_ms, &i, e) < 0)
		return -e->no;
	r = start(t, e);
	if (r == 0 && (begin(t, e) < 0 || create(t, e) < 0 || seal(t, e) < 0))
		r = -e->no;
	// Its disks are nobody's: what was captured is good without it.
	if (base_destroy(&t->a, t->wait_ms, &later) < 0)
		log_warn(t->a.instance, "%s", later.msg);
	return r < 0 ? r : commit(t, e);
}

int base_take(const struct base *b, int wait_ms, struct err *e)
{
	struct take t = {
		.b = b, .wait_ms = wait_ms, .a = b->pool, .vm = VM_NONE, .draft = SNAP_DRAFT_NONE
	};
	int r = run(&t, e);

	snap_draft_drop(&t.draft);
	snap_manifest_free(&t.m);
	vm_close(&t.vm);
	return r < 0 ? err_wrap(e, "template of %s/%s", b->pool.tenant, b->pool.pool) : 0;
}
