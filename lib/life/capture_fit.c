// SPDX-License-Identifier: MIT
// The question of a load, asked without one.
#include "life/capture.h"
#include "life/prepare.h"

// As the step of a wake finds it (prepare_load.c): the image and the VMM of the record, what this
// machine is, and the disks as they are now.
static int wanted_here(struct plan *p, struct snap_wanted *ret, struct err *e)
{
	const struct capture_of of = { .a = &p->a,
				       .i = &p->i,
				       .tenant = &p->tenant,
				       .pool = &p->pool,
				       .revision = &p->revision,
				       .vmm = &p->vmm };

	if (tenant_load(p->a.tenant, &p->tenant, e) < 0 ||
	    pool_load(p->a.tenant, p->a.pool, &p->pool, e) < 0 ||
	    instance_load(&p->a, &p->tenant, &p->i, e) < 0 || vmm_choose(&p->vmm, e) < 0 ||
	    prepare_of_capture(p, e) < 0)
		return -e->no;
	return capture_machine(&of, ret, e);
}

int capture_fits(const struct address *a, const char *ref, struct snap_gen *ret, struct err *e)
{
	struct plan p = { .a = *a, .revision = REVISION_NONE };
	cleanup_store struct store s = STORE_NONE;
	struct snap_wanted wanted = { 0 };
	int r = store_open(&s, STORE_INSTANCE, a, e);

	if (r == 0)
		r = wanted_here(&p, &wanted, e);
	if (r == 0)
		r = snap_gen_open_as(&s, ref, SNAP_UNLOCKED, 0, &wanted, ret, e);
	capture_machine_free(&wanted);
	revision_close(&p.revision);
	pool_free(&p.pool);
	return r < 0 ? -e->no : 0;
}
