// SPDX-License-Identifier: MIT
#include "life/named.h"

#include <fcntl.h>

#include "audit/audit.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "disk/data.h"
#include "life/ask.h"
#include "life/capture.h"
#include "life/held.h"
#include "life/take.h"
#include "snap/list.h"
#include "snap/packer.h"

const struct field named_row_fields[] = {
	{ FIELD_SLOT(struct named_row, schema_version, uint32_t), .kind = KIND_UINT, .doc = "1" },
	{ FIELD_SLOT(struct named_row, name, name_text), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "what it is called" },
	{ FIELD_SLOT(struct named_row, ref, snap_ref), .kind = KIND_TEXT,
	  .doc = "its directory, for mvm-snap" },
	{ FIELD_SLOT(struct named_row, created_at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "when" },
	{ FIELD_SLOT(struct named_row, quiesced, bool), .kind = KIND_BOOL,
	  .doc = "its guest was at rest; else no clone is made of it" },
	{ FIELD_SLOT(struct named_row, revision_hash, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "its image" },
	{ FIELD_SLOT(struct named_row, mem_bytes, uint64_t), .kind = KIND_UINT,
	  .doc = "size of the memory" },
	{ FIELD_SLOT(struct named_row, data_bytes, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_NULLABLE, .doc = "size of its data disk" },
	{ FIELD_SLOT(struct named_row, allocated, uint64_t), .kind = KIND_UINT,
	  .doc = "bytes on the disk" },
	{ FIELD_SLOT(struct named_row, left, bool), .kind = KIND_BOOL,
	  .doc = "taken for a clone that was killed: gc removes it" },
	{ FIELD_SLOT(struct named_row, error, char[256]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "why its manifest is no good" },
	FIELD_END
};

const struct field named_created_fields[] = {
	{ FIELD_SLOT(struct named_created, schema_version, uint32_t), .kind = KIND_UINT,
	  .doc = "1" },
	{ FIELD_SLOT(struct named_created, changed, bool), .kind = KIND_BOOL, .doc = "true" },
	{ FIELD_SLOT(struct named_created, name, name_text), .kind = KIND_TEXT,
	  .doc = "what it is called" },
	TAKEN_ROWS(struct named_created),
	FIELD_END
};

void named_created_free(struct named_created *r)
{
	codec_free(named_created_fields, r);
}

// --- list

static void describe(const struct store *s, const struct snap_row *from, struct named_row *r)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err gone = { 0 };

	r->schema_version = 1;
	r->mem_bytes = from->bytes;
	r->allocated = from->allocated;
	r->left = from->left;
	memcpy(r->name, from->name, sizeof(r->name));
	memcpy(r->ref, from->ref, sizeof(r->ref));
	memcpy(r->created_at, from->created_at, sizeof(r->created_at));
	memcpy(r->revision_hash, from->revision_hash, sizeof(r->revision_hash));
	memcpy(r->error, from->error, sizeof(r->error));
	if (snap_gen_open(s, from->ref, SNAP_UNLOCKED, 0, &g, &gone) == 0)
		r->data_bytes = g.m.data.bytes;
	r->quiesced = g.m.quiesced;
}

int named_list(const struct address *a, struct codec_list *rows, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct codec_list all = { 0 };
	const struct snap_row *r;

	if (store_open(&s, STORE_INSTANCE, a, e) < 0 || snap_list(&s, &all, e) < 0)
		return -e->no;
	r = all.items;
	for (size_t i = 0; i < all.len; i++)
		if (r[i].error[0] || r[i].kind == SNAP_NAMED)
			describe(&s, &r[i], codec_list_add(rows, sizeof(struct named_row)));
	codec_free_list(snap_row_fields, sizeof(*r), &all);
	return 0;
}

// --- create

struct work {
	struct take t;
	const char *name;
	bool own;
};

static int begin(struct work *w, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct instance i = { 0 };

	if (take_lock(&w->t, &s, &i, e) < 0 || snap_named_room(&s, w->name, e) < 0)
		return -e->no;
	if (snap_draft_begin(&s, SNAP_NAMED, "", NULL, &w->t.draft, e) < 0)
		return -e->no;
	return w->own ? snap_own(&w->t.draft, e) : 0;
}

// In the same pause as its memory: the two are of one moment.
static int keep_data(struct work *w, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_fd int disk = -1;

	if (store_open(&s, STORE_INSTANCE, w->t.a, e) < 0)
		return -e->no;
	disk = openat(s.dir, "volumes/" DATA_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (disk < 0 && errno == ENOENT)
		return 0;
	if (disk < 0)
		return err_sys(e, "open the data disk");
	return snap_data_keep(&w->t.draft, disk, e);
}

static int capture(struct work *w, struct err *e)
{
	struct take *t = &w->t;

	if (fault_point("life-named-asked"))
		return err_sys(e, "fault");
	if (take_open(t, e) < 0 || begin(w, e) < 0 || take_stage(t, "begun", "draft", e) < 0 ||
	    take_stand_still(t, e) < 0 || take_memory(t, false, e) < 0 || keep_data(w, e) < 0)
		return -e->no;
	return take_stage(t, "copied", "copied", e);
}

static int commit(struct work *w, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	if (held_open(&h, w->t.a, w->t.wait_ms, e) < 0 || snap_named_room(&h.store, w->name, e) < 0)
		return -e->no;
	audit_note(w->t.a, AUDIT_SNAPSHOT_CREATED, NULL, "%s%s", w->name,
		   w->t.quiesced ? "" : ", of a guest that was not at rest");
	if (snap_draft_commit(&h.store, &w->t.draft, e) < 0 ||
	    take_stage(&w->t, "committed", "committed", e) < 0)
		return -e->no;
	return capture_sweep_held(&h, e);
}

// The guest goes on by now.
static int keep(struct work *w, struct err *e)
{
	const struct pages_cancel never = { .fd = -1 };
	struct take *t = &w->t;

	base_cut(t->m.name, sizeof(t->m.name), "%s", w->name);
	if (snap_data_seal(&t->draft, &t->m, &never, e) < 0 ||
	    snap_draft_seal(&t->draft, &t->m, &never, e) < 0 ||
	    take_stage(t, "sealed", "sealed", e) < 0)
		return -e->no;
	return commit(w, e);
}

static int create(struct work *w, struct err *e)
{
	struct err later = { 0 };
	int r = capture(w, e);

	if (r < 0)
		take_drop(&w->t);
	if (ask_undo(w->t.a, &w->t.i, w->t.wait_ms, &later) < 0) {
		if (r == 0)
			*e = later;
		else
			log_warn(w->t.a->instance, "%s", later.msg);
		return -e->no;
	}
	take_goes_on(&w->t);
	return r < 0 || take_stage(&w->t, "goes-on", "goes-on", e) < 0 ? -e->no : keep(w, e);
}

static void tell(struct work *w, struct named_created *ret)
{
	*ret = (struct named_created){ .schema_version = 1, .changed = true };
	take_tell(&w->t, &ret->taken);
	base_cut(ret->name, sizeof(ret->name), "%s", w->name);
}

static int check_room(const struct address *a, const char *name, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;

	return store_open(&s, STORE_INSTANCE, a, e) < 0 ? -e->no : snap_named_room(&s, name, e);
}

int named_create(const struct address *a, const char *name, bool force, bool own, int wait_ms,
		 struct named_created *ret, struct err *e)
{
	const struct ask q = { .verb = DO_SNAPSHOT, .stage = OP_WORKING };
	struct work w = { .t = TAKE_NONE, .name = name, .own = own };
	address_text address;
	bool changed;
	int r;

	w.t.a = a;
	w.t.what = "named";
	w.t.verb = "snapshot create";
	w.t.wait_ms = wait_ms;
	w.t.force = force;
	w.t.begun = clock_ms();
	if (name_check(name, e) < 0 || ask_settle(a, false, wait_ms, e) < 0 ||
	    take_check_release(a, e) < 0 || check_room(a, name, e) < 0 ||
	    ask_op(a, &q, wait_ms, &w.t.i, &changed, e) < 0)
		return -e->no;
	r = create(&w, e);
	if (r == 0)
		tell(&w, ret);
	take_close(&w.t);
	if (r == 0)
		return 0;
	address_print(a, address);
	(void)err_object(e, "%s", address);
	(void)err_wrap(e, "%s", address);
	return audit_note_failed(a, AUDIT_SNAPSHOT_CREATED, NULL, e);
}

// --- rm

static int remove_held(struct held *h, const char *name, bool *ret_changed, struct err *e)
{
	snap_ref ref;

	*ret_changed = false;
	if (snap_named_find(&h->store, name, ref, e) < 0) {
		if (e->kind != ERR_MISSING)
			return -e->no;
		err_clear(e);
		return 0;
	}
	audit_note(&h->a, AUDIT_SNAPSHOT_DELETED, NULL, "%s", name);
	if (snap_named_remove(&h->store, name, ret_changed, e) < 0)
		return audit_note_failed(&h->a, AUDIT_SNAPSHOT_DELETED, NULL, e);
	return capture_sweep_held(h, e);
}

int named_remove(const struct address *a, const char *name, int wait_ms, bool *ret_changed,
		 struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	if (name_check(name, e) < 0 || held_open(&h, a, wait_ms, e) < 0)
		return -e->no;
	return remove_held(&h, name, ret_changed, e) < 0 ? err_object(e, "%s", h.address) : 0;
}
