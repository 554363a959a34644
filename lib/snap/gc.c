// SPDX-License-Identifier: MIT
// What nobody refers to. The decision is gc_decide's; here is what it is asked about.
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>

#include "base/fault.h"
#include "base/fd.h"
#include "snap/list.h"
#include "state/pool.h"

const struct field gc_row_fields[] = {
	{ FIELD_SLOT(struct gc_row, schema_version, uint32_t), .kind = KIND_UINT, .doc = "1" },
	{ FIELD_SLOT(struct gc_row, ref, char[80]), .kind = KIND_TEXT,
	  .doc = "the capture, or what a crash left" },
	{ FIELD_SLOT(struct gc_row, why, char[16]), .kind = KIND_TEXT,
	  .doc = "why it goes, or stays" },
	{ FIELD_SLOT(struct gc_row, removed, bool), .kind = KIND_BOOL, .doc = "it is gone" },
	{ FIELD_SLOT(struct gc_row, allocated, uint64_t), .kind = KIND_UINT,
	  .doc = "bytes it takes, or took" },
	FIELD_END
};

struct refs {
	snap_ref *items;
	size_t len;
	bool doubt;
	snap_ref current;
};

static void refs_free(struct refs *r)
{
	free(r->items);
}

static void refs_add(struct refs *r, const char *ref)
{
	struct err other = { 0 };

	if (snap_ref_check(ref, &other) < 0) // none
		return;
	r->items = base_grow(r->items, r->len + 1, sizeof(*r->items));
	base_cut(r->items[r->len++], sizeof(*r->items), "%s", ref);
}

// --- drafts

// What the draft in dir, an open directory, is laid over. Its mark goes when its manifest is there.
static int draft_parent(int dir, snap_ref out, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct snap_manifest m = { 0 };
	struct snap_mark mark = { 0 };

	if (fd_read_file(dir, SNAP_MARK, CODEC_MAX, &text, e) == 0) {
		if (codec_parse(snap_mark_fields, buf_text(&text), text.len, &mark, e) < 0)
			return -e->no;
		memcpy(out, mark.parent.ref, sizeof(mark.parent.ref));
		return 0;
	}
	if (e->no != ENOENT)
		return -e->no;
	err_clear(e);
	if (snap_manifest_load(dir, NULL, &m, e) < 0)
		return -e->no;
	memcpy(out, m.parent.ref, sizeof(m.parent.ref));
	snap_manifest_free(&m);
	return 0;
}

// A draft that somebody works on is locked by him.
static bool draft_lives(int snapshots, const char *name, struct refs *r)
{
	struct err e = { 0 };
	cleanup_fd int dir = fd_open_dir(snapshots, name, &e), lock = -1;
	snap_ref parent;

	if (dir < 0)
		return false;
	lock = fd_lock(dir, "lock", true, 0, &e);
	if (lock >= 0 || e.kind != ERR_UNAVAILABLE)
		return false;
	err_clear(&e);
	if (draft_parent(dir, parent, &e) < 0)
		r->doubt = true;
	else
		refs_add(r, parent);
	return true;
}

// Goes through the entries of snapshots/ that begin with a dot.
struct leftovers {
	const struct store *s;
	struct refs *refs;
	struct codec_list *rows; // NULL: only look for references
	bool dry_run;
};

static int leftover(const struct leftovers *l, int dir, const char *name, struct err *e)
{
	struct gc_row *row;
	bool draft = str_starts(name, STORE_NEW);

	if (!draft && !str_starts(name, STORE_OLD))
		return 0;
	if (draft && draft_lives(dir, name, l->refs))
		return 0;
	if (!l->rows)
		return 0;
	row = codec_list_add(l->rows, sizeof(*row));
	row->schema_version = 1;
	base_cut(row->ref, sizeof(row->ref), "%s", name);
	base_cut(row->why, sizeof(row->why), "left-over");
	row->removed = !l->dry_run;
	return l->dry_run ? 0 : fd_remove_tree(dir, name, e);
}

static int each_leftover(const struct leftovers *l, struct err *e)
{
	int fd = fd_open_dir(l->s->dir, SNAP_DIR, e);
	cleanup_dir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *it;

	if (fd < 0 && e->no == ENOENT) {
		err_clear(e);
		return 0;
	}
	if (!d)
		return fd < 0 ? -e->no : err_sys(e, "list " SNAP_DIR);
	while ((it = readdir(d)))
		if (leftover(l, dirfd(d), it->d_name, e) < 0)
			return -e->no;
	return 0;
}

// --- references, in the order in which they are handed on

static int refs_of_drafts(const struct store *s, struct refs *r, struct err *e)
{
	const struct leftovers look = { .s = s, .refs = r };

	return each_leftover(&look, e);
}

static int refs_held(const struct store *s, struct refs *r, struct err *e)
{
	struct instance i = { 0 };
	struct address a;

	if (address_parse(s->name, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0 ||
	    instance_load_from(s, &a, NULL, &i, e) < 0)
		return -e->no;
	refs_add(r, i.diff_base.ref);
	return refs_of_drafts(s, r, e);
}

static int refs_of_rows(const struct store *s, struct refs *r, struct err *e)
{
	struct codec_list rows = { 0 };
	int listed = snap_list(s, &rows, e);

	for (size_t i = 0; listed == 0 && i < rows.len; i++) {
		const struct snap_row *row = (const struct snap_row *)rows.items + i;

		refs_add(r, row->parent);
		r->doubt |= row->error[0] != '\0';
	}
	codec_free_list(snap_row_fields, sizeof(struct snap_row), &rows);
	return listed;
}

typedef int (*refs_fn)(const struct store *s, struct refs *r, struct err *e);

// An instance that cannot be read may refer to any base; one that is gone by now to none.
static int refs_of_pool(const struct store *s, refs_fn first, struct refs *r, struct err *e)
{
	cleanup_names struct store_names ids = STORE_NAMES_NONE;
	struct address a;

	if (address_parse(s->name, ADDRESS_POOL, ADDRESS_POOL, &a, e) < 0 ||
	    store_list_instances(a.tenant, a.pool, &ids, e) < 0)
		return -e->no;
	for (size_t i = 0; i < ids.len; i++) {
		cleanup_store struct store one = STORE_NONE;
		struct err why = { 0 };

		if (COPY(a.instance, ids.items[i]) < 0) {
			r->doubt = true;
			continue;
		}
		if (store_open(&one, STORE_INSTANCE, &a, &why) < 0) {
			r->doubt |= why.kind != ERR_MISSING;
			continue;
		}
		if (first(&one, r, &why) < 0 || refs_of_rows(&one, r, &why) < 0)
			r->doubt = true;
	}
	return 0;
}

// --- decided and done

struct plan {
	struct codec_list rows; // struct snap_row
	struct gc_item *items;
	enum gc_why *why;
	struct refs refs;
};

static void plan_free(struct plan *p)
{
	codec_free_list(snap_row_fields, sizeof(struct snap_row), &p->rows);
	free(p->items);
	free(p->why);
	refs_free(&p->refs);
	*p = (struct plan){ 0 };
}

static int plan_items(const struct store *s, const char *here, struct plan *p, struct err *e)
{
	char image[65] = "";
	struct address a;

	if (s->level == STORE_POOL &&
	    (address_parse(s->name, ADDRESS_POOL, ADDRESS_POOL, &a, e) < 0 ||
	     pool_revision(a.tenant, a.pool, image, e) < 0))
		return -e->no;
	p->items = base_alloc(p->rows.len + 1, sizeof(*p->items));
	p->why = base_alloc(p->rows.len + 1, sizeof(*p->why));
	for (size_t i = 0; i < p->rows.len; i++) {
		const struct snap_row *r = (const struct snap_row *)p->rows.items + i;
		struct gc_item *it = &p->items[i];

		memcpy(it->ref, r->ref, sizeof(it->ref));
		memcpy(it->parent, r->parent, sizeof(it->parent));
		it->kind = r->kind;
		it->damaged = r->error[0] != '\0';
		it->left = r->left;
		it->current_image =
			r->kind == SNAP_BASE && image[0] && str_eq(r->revision_hash, image);
		if (here)
			it->current_image = r->kind == SNAP_BASE && str_eq(r->ref, here);
	}
	return 0;
}

static int plan_make(const struct store *s, const char *here, struct plan *p, struct err *e)
{
	struct gc_refs refs = { .current = p->refs.current }; // filled below
	int r;

	plan_free(p);
	r = s->level == STORE_POOL ? refs_of_pool(s, refs_held, &p->refs, e)
				   : refs_held(s, &p->refs, e);
	if (r == 0 && s->level == STORE_INSTANCE)
		r = snap_current(s, p->refs.current, e);
	if (r < 0 || snap_list(s, &p->rows, e) < 0 || plan_items(s, here, p, e) < 0)
		return -e->no;
	refs.used = (const snap_ref *)p->refs.items;
	refs.used_len = p->refs.len;
	refs.doubt = p->refs.doubt;
	gc_decide(p->items, p->rows.len, &refs, p->why);
	return 0;
}

static enum gc_why why_of(const struct plan *p, const char *ref)
{
	for (size_t i = 0; i < p->rows.len; i++)
		if (str_eq(p->items[i].ref, ref))
			return p->why[i];
	return GC_DOUBT; // it was there a moment ago
}

// Locked, looked at once more, removed.
static int remove_one(const struct store *s, const char *here, struct gc_row *row, struct err *e)
{
	cleanup_fd int lock = snap_gen_lock(s, row->ref, 0, e);
	struct plan again = { 0 };
	int r;

	if (lock < 0 && e->kind == ERR_UNAVAILABLE) {
		err_clear(e);
		base_cut(row->why, sizeof(row->why), "busy");
		return 0;
	}
	r = lock < 0 ? lock : plan_make(s, here, &again, e);
	if (r == 0 && why_of(&again, row->ref) != GC_UNUSED)
		base_cut(row->why, sizeof(row->why), "%s", gc_why_names[why_of(&again, row->ref)]);
	else if (r == 0)
		r = fault_point("snap-gc") ? err_sys(e, "remove %s", row->ref)
					   : store_remove(s, SNAP_DIR, row->ref, e);
	row->removed = r == 0 && str_eq(row->why, gc_why_names[GC_UNUSED]);
	plan_free(&again);
	return r;
}

static int act(const struct store *s, const char *here, const struct plan *p, const char *only,
	       bool dry_run, struct codec_list *rows, struct err *e)
{
	for (size_t i = 0; i < p->rows.len; i++) {
		const struct snap_row *r = (const struct snap_row *)p->rows.items + i;
		struct gc_row *row;

		if (only && !str_eq(only, r->ref))
			continue;
		row = codec_list_add(rows, sizeof(*row));
		row->schema_version = 1;
		base_cut(row->ref, sizeof(row->ref), "%s", r->ref);
		base_cut(row->why, sizeof(row->why), "%s", gc_why_names[p->why[i]]);
		row->allocated = r->allocated;
		if (p->why[i] == GC_UNUSED && !dry_run && remove_one(s, here, row, e) < 0)
			return -e->no;
	}
	return 0;
}

static int collect(const struct store *s, const char *here, const char *only, bool dry_run,
		   struct codec_list *rows, struct err *e)
{
	struct refs ignored = { 0 };
	const struct leftovers sweep = {
		.s = s, .refs = &ignored, .rows = rows, .dry_run = dry_run
	};
	struct plan p = { 0 };
	int r = 0;

	assert(s->lock >= 0);
	if (!only)
		r = each_leftover(&sweep, e);
	refs_free(&ignored);
	if (r == 0)
		r = plan_make(s, here, &p, e);
	if (r == 0)
		r = act(s, here, &p, only, dry_run, rows, e);
	plan_free(&p);
	return r;
}

int snap_gc(const struct store *s, const char *only, bool dry_run, struct codec_list *rows,
	    struct err *e)
{
	return collect(s, NULL, only, dry_run, rows, e);
}

int snap_gc_bases(const struct store *s, const char *here, bool dry_run, struct codec_list *rows,
		  struct err *e)
{
	assert(s->level == STORE_POOL);
	return collect(s, here, NULL, dry_run, rows, e);
}

// --- a base that is no good

// Who was loaded from it goes on without: its next capture is Full. Not so a delta.
static int check_bare(const struct store *s, const char *ref, struct err *e)
{
	struct refs r = { 0 };
	bool used = false;

	if (refs_of_pool(s, refs_of_drafts, &r, e) < 0) {
		refs_free(&r);
		return -e->no;
	}
	for (size_t i = 0; i < r.len; i++)
		used |= str_eq(r.items[i], ref);
	used |= r.doubt;
	refs_free(&r);
	if (!used)
		return 0;
	(void)err_kind(e, ERR_STATE, "%s: %s: a capture may still be laid over it", s->name, ref);
	return err_hint(e, "wake or discard those of the pool's instances that 'mvm-snap list' "
			   "shows with it as parent, or as damaged");
}

int snap_base_remove(const struct store *s, const char *ref, struct err *e)
{
	cleanup_fd int lock = snap_gen_lock(s, ref, 0, e);

	assert(s->lock >= 0 && s->level == STORE_POOL);
	if (lock < 0 || check_bare(s, ref, e) < 0)
		return -e->no;
	return store_remove(s, SNAP_DIR, ref, e);
}
