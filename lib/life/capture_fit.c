// SPDX-License-Identifier: MIT
// The question of a load, asked without one.
#include "life/capture.h"
#include "life/prepare.h"

int capture_fits(const struct address *a, const char *ref, struct snap_gen *ret, struct err *e)
{
	struct plan p = { .a = *a, .revision = REVISION_NONE };
	cleanup_store struct store s = STORE_NONE;
	struct snap_wanted wanted = { 0 };
	int r = store_open(&s, STORE_INSTANCE, a, e);

	if (r == 0)
		r = prepare_look(&p, e);
	if (r == 0)
		r = prepare_wanted(&p, NULL, &wanted, e);
	if (r == 0)
		r = snap_gen_open_as(&s, ref, SNAP_UNLOCKED, 0, &wanted, ret, e);
	capture_machine_free(&wanted);
	revision_close(&p.revision);
	pool_free(&p.pool);
	return r < 0 ? -e->no : 0;
}
