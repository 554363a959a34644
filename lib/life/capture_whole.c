// SPDX-License-Identifier: MIT
// A capture whose memory is a delta or packed is made whole before it is loaded. That reads and
// writes all of it, and begins anew when it is ended: so a verb does it before it asks the backend,
// which has no patience for it.
#include "life/capture.h"
#include "snap/compose.h"
#include "snap/pack.h"
#include "snap/packer.h"

#define PARENT_WAIT_MS 120000  // for who reads the parent just now
#define OTHERS_WAIT_MS 3600000 // for who makes it whole just now
#define PACKER_WAIT_MS 10000   // for who packs it, and leaves off between two MiB

int capture_make_whole(const struct store *s, struct snap_gen *g, struct err *e)
{
	const struct pages_cancel never = { .fd = -1 };
	struct compose_result done;
	bool changed;

	if (g->m.memory.form == SNAP_FORM_DELTA &&
	    snap_compose(s, g, PARENT_WAIT_MS, &never, &done, e) < 0)
		return -e->no;
	if (g->m.memory.form == SNAP_FORM_PACK && snap_unpack(g, &never, &changed, e) < 0)
		return -e->no;
	return 0;
}

// What a wake would load.
static bool find(const struct store *s, snap_ref ref, int *ret_form)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err ignored = { 0 };

	if (snap_current(s, ref, &ignored) < 0 || !ref[0] ||
	    snap_gen_open(s, ref, SNAP_UNLOCKED, 0, &g, &ignored) < 0)
		return false;
	*ret_form = g.m.memory.form;
	return !g.m.spent;
}

// What is wrong with it, or with the disk, prepare finds as well, and knows what follows from it.
void capture_make_whole_ahead(const struct address *a)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err untold = { 0 };
	int form, wait_ms = OTHERS_WAIT_MS;
	snap_ref ref;

	if (store_open(&s, STORE_INSTANCE, a, &untold) < 0 || !find(&s, ref, &form))
		return;
	if (form == SNAP_FORM_MEM) {
		if (snap_packer_end(&s, ref, &untold) < 0)
			return;
		wait_ms = PACKER_WAIT_MS;
	}
	if (snap_gen_open(&s, ref, SNAP_EXCLUSIVE, wait_ms, &g, &untold) == 0)
		(void)!capture_make_whole(&s, &g, &untold);
}

const char *capture_verb_to_whole(const struct address *a)
{
	cleanup_store struct store s = STORE_NONE;
	struct err ignored = { 0 };
	snap_ref ref;
	int form;

	if (store_open(&s, STORE_INSTANCE, a, &ignored) < 0 || !find(&s, ref, &form) ||
	    form == SNAP_FORM_MEM)
		return NULL;
	return form == SNAP_FORM_DELTA ? "compose" : "unpack";
}
