// SPDX-License-Identifier: MIT
#include "life/capture.h"

#include "base/fault.h"
#include "base/log.h"
#include "life/held.h"
#include "snap/list.h"
#include "snap/packer.h"
#include "state/usage.h"

bool capture_there(const struct address *a)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };
	snap_ref ref = "";

	if (fault_point("life-capture-look"))
		(void)err_sys(&e, "fault");
	else if (store_open(&s, STORE_INSTANCE, a, &e) == 0 && snap_current(&s, ref, &e) == 0 &&
		 (!ref[0] || snap_gen_open(&s, ref, SNAP_UNLOCKED, 0, &g, &e) == 0))
		return ref[0] && !g.m.spent;
	return e.kind != ERR_MISSING && e.kind != ERR_DAMAGED && e.kind != ERR_CONFLICT;
}

int capture_disk_mib(const struct store *s, uint64_t *ret, struct err *e)
{
	uint64_t bytes = 0;

	if (usage_captures(s, &bytes, e) < 0)
		return -e->no;
	*ret = (bytes + MIB - 1) / MIB;
	return 0;
}

// What cannot be removed now is looked at again by the next gc.
static void sweep(struct held *h)
{
	struct codec_list rows = { 0 };
	struct err e = { 0 };

	if (snap_gc(&h->store, NULL, false, &rows, &e) < 0 ||
	    capture_disk_mib(&h->store, &h->i.capture_mib, &e) < 0)
		log_warn(h->address, "%s", e.msg);
	codec_free_list(gc_row_fields, sizeof(struct gc_row), &rows);
}

static bool has_capture(struct held *h, snap_ref ref)
{
	struct err damaged = { 0 };

	// A link that leads nowhere known goes as well.
	return snap_current(&h->store, ref, &damaged) < 0 || ref[0] || h->i.diff_base.ref[0] ||
	       h->i.capture_mib;
}

int capture_drop_held(struct held *h, struct err *e)
{
	snap_ref ref = "";

	if (!has_capture(h, ref))
		return 0;
	if (fault_point("life-capture-drop"))
		return err_sys(e, "fault");
	if (snap_set_current(&h->store, "", e) < 0)
		return -e->no;
	snap_base_after(SNAP_EV_ENDED, NULL, &h->i.diff_base);
	if (held_save(h, e) < 0)
		return -e->no;
	return capture_sweep_held(h, e);
}

int capture_sweep_held(struct held *h, struct err *e)
{
	uint64_t before = h->i.capture_mib;

	sweep(h);
	return before == h->i.capture_mib ? 0 : held_save(h, e);
}

void capture_stop_packing(const struct address *a, int wait_ms)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };
	snap_ref ref = "";

	if (store_open(&s, STORE_INSTANCE, a, &e) < 0 || snap_current(&s, ref, &e) < 0 || !ref[0])
		return;
	if (snap_packer_end(&s, ref, &e) < 0 ||
	    snap_gen_open(&s, ref, SNAP_EXCLUSIVE, wait_ms, &g, &e) < 0)
		log_info(a->instance, "%s", e.msg);
}

int capture_drop(const struct address *a, int wait_ms, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	if (held_open(&h, a, wait_ms, e) < 0)
		return -e->no;
	return capture_drop_held(&h, e);
}
