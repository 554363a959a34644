// SPDX-License-Identifier: MIT
#include "life/convert.h"

#include <signal.h>

#include "base/sig.h"
#include "life/capture.h"
#include "life/held.h"
#include "snap/compose.h"
#include "snap/list.h"
#include "snap/pack.h"
#include "snap/packer.h"

const struct field convert_result_fields[] = {
	{ FIELD_SLOT(struct convert_result, schema_version, uint32_t), .kind = KIND_UINT },
	{ FIELD_SLOT(struct convert_result, ref, snap_ref), .kind = KIND_TEXT },
	{ FIELD_SLOT(struct convert_result, changed, bool), .kind = KIND_BOOL },
	{ FIELD_SLOT(struct convert_result, form, int), .kind = KIND_ENUM,
	  .names = snap_form_names },
	{ FIELD_SLOT(struct convert_result, compression, int), .kind = KIND_ENUM,
	  .names = pool_compression_names },
	{ FIELD_SLOT(struct convert_result, composed_from, snap_ref), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE },
	{ FIELD_SLOT(struct convert_result, parent_removed, bool), .kind = KIND_BOOL },
	{ FIELD_SLOT(struct convert_result, cloned, bool), .kind = KIND_BOOL },
	{ FIELD_SLOT(struct convert_result, delta_bytes, uint64_t), .kind = KIND_UINT },
	{ FIELD_SLOT(struct convert_result, packed_bytes, uint64_t), .kind = KIND_UINT },
	{ FIELD_SLOT(struct convert_result, took_ms, uint64_t), .kind = KIND_UINT },
	FIELD_END
};

struct work {
	const struct address *a;
	const struct convert *what;
	struct store s;
	struct snap_gen g;
	struct pages_cancel cancel;
	struct convert_result *r;
};

static int begin(struct work *w, struct err *e)
{
	snap_ref ref;

	w->cancel.fd = sig_open(e, SIGTERM, SIGINT, 0);
	if (w->cancel.fd < 0 || store_open(&w->s, STORE_INSTANCE, w->a, e) < 0 ||
	    snap_pick(&w->s, w->what->ref, ref, e) < 0)
		return -e->no;
	return snap_gen_open(&w->s, ref, SNAP_EXCLUSIVE, w->what->wait_ms, &w->g, e);
}

static void end(struct work *w)
{
	w->r->schema_version = 1;
	w->r->form = w->g.m.memory.form;
	w->r->compression = w->g.m.compression;
	w->r->packed_bytes = w->g.m.memory.pack.bytes;
	memcpy(w->r->ref, w->g.ref, sizeof(w->r->ref));
	base_closep(&w->cancel.fd);
	snap_gen_close(&w->g);
	store_close(&w->s);
}

// The locks of an instance come before that of a generation.
static void unlock(struct work *w)
{
	(void)close(w->g.lock);
	w->g.lock = -1;
}

// --- composed

static int drop_parent(struct work *w, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct codec_list rows = { 0 };
	const struct gc_row *row;
	int r;

	if (!snap_ref_number(w->r->composed_from))
		return 0;
	unlock(w);
	if (store_lock(&s, STORE_INSTANCE, w->a, w->what->wait_ms, e) < 0)
		return -e->no;
	r = snap_gc(&s, w->r->composed_from, false, &rows, e);
	row = rows.items;
	w->r->parent_removed = r == 0 && rows.len && row->removed;
	codec_free_list(gc_row_fields, sizeof(struct gc_row), &rows);
	return r;
}

static int compose(struct work *w, struct err *e)
{
	struct compose_result c;

	if (snap_compose(&w->s, &w->g, w->what->wait_ms, &w->cancel, &c, e) < 0)
		return -e->no;
	w->r->changed = c.changed;
	w->r->cloned = c.cloned;
	w->r->delta_bytes = c.delta_bytes;
	w->r->took_ms = c.took_ms;
	memcpy(w->r->composed_from, c.composed_from, sizeof(w->r->composed_from));
	if (drop_parent(w, e) < 0)
		return err_prefix(e, "composed, but its parent stays: ");
	return 0;
}

// --- packed, unpacked

// What it takes on the disk counts for the tenant's quota.
static int count_again(struct work *w, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	unlock(w);
	return held_open(&h, w->a, w->what->wait_ms, e) < 0 ? -e->no : capture_sweep_held(&h, e);
}

// A wake may end it while it is at work.
static int repack(struct work *w, int compression, struct err *e)
{
	int64_t began = clock_ms();
	int r;

	if (snap_packer_begin(&w->g, e) < 0)
		return -e->no;
	r = compression == POOL_COMPRESSION_NONE
		    ? snap_unpack(&w->g, &w->cancel, &w->r->changed, e)
		    : snap_pack(&w->s, &w->g, compression, &w->cancel, &w->r->changed, e);
	snap_packer_done(&w->g);
	w->r->took_ms = (uint64_t)(clock_ms() - began);
	return r < 0 || !w->r->changed ? r : count_again(w, e);
}

static int compression_of(const struct work *w, struct err *e)
{
	cleanup_pool struct pool p = { 0 };

	if (w->what->what != CONVERT_PACK)
		return POOL_COMPRESSION_NONE;
	if (w->what->compression >= 0)
		return w->what->compression;
	return pool_load(w->a->tenant, w->a->pool, &p, e) < 0 ? -e->no : p.snapshot_compression;
}

static int run(struct work *w, struct err *e)
{
	bool packs = w->what->what == CONVERT_PACK;
	int compression = compression_of(w, e);

	if (compression < 0 || begin(w, e) < 0)
		return -e->no;
	if (w->what->what == CONVERT_COMPOSE)
		return compose(w, e);
	// A pool that packs nothing.
	return packs && compression == POOL_COMPRESSION_NONE ? 0 : repack(w, compression, e);
}

int convert_run(const struct address *a, const struct convert *what, struct convert_result *ret,
		struct err *e)
{
	struct work w = { .a = a,
			  .what = what,
			  .s = STORE_NONE,
			  .g = SNAP_GEN_NONE,
			  .cancel = { .fd = -1 },
			  .r = ret };
	int r = run(&w, e);

	end(&w);
	return r;
}
