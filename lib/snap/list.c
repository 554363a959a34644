// SPDX-License-Identifier: MIT
#include "snap/list.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "snap/packer.h"
#include "state/pool.h"

const struct field snap_row_fields[] = {
	{ FIELD_SLOT(struct snap_row, schema_version, uint32_t), .kind = KIND_UINT, .doc = "1" },
	{ FIELD_SLOT(struct snap_row, ref, snap_ref), .kind = KIND_TEXT,
	  .doc = "gen-<n> or base-<hash>" },
	{ FIELD_SLOT(struct snap_row, current, bool), .kind = KIND_BOOL,
	  .doc = "what a wake would load" },
	{ FIELD_SLOT(struct snap_row, kind, int), .kind = KIND_ENUM, .names = snap_kind_names,
	  .doc = "how it was taken" },
	{ FIELD_SLOT(struct snap_row, form, int), .kind = KIND_ENUM, .names = snap_form_names,
	  .doc = "which file holds the memory" },
	{ FIELD_SLOT(struct snap_row, compression, int), .kind = KIND_ENUM,
	  .names = pool_compression_names, .doc = "of the packed memory" },
	{ FIELD_SLOT(struct snap_row, spent, bool), .kind = KIND_BOOL, .doc = "it was loaded" },
	{ FIELD_SLOT(struct snap_row, bytes, uint64_t), .kind = KIND_UINT,
	  .doc = "size of the memory" },
	{ FIELD_SLOT(struct snap_row, allocated, uint64_t), .kind = KIND_UINT,
	  .doc = "bytes on the disk" },
	{ FIELD_SLOT(struct snap_row, parent, snap_ref), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "what a delta is laid over, or none" },
	{ FIELD_SLOT(struct snap_row, name, name_text), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "of a named one" },
	{ FIELD_SLOT(struct snap_row, revision_hash, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "its image" },
	{ FIELD_SLOT(struct snap_row, created_at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "when" },
	{ FIELD_SLOT(struct snap_row, left, bool), .kind = KIND_BOOL,
	  .doc = "taken for a clone that was killed" },
	{ FIELD_SLOT(struct snap_row, error, char[256]), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "why its manifest is no good" },
	FIELD_END
};

static uint64_t allocated(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	uint64_t sum = 0;
	struct stat st;

	for (const struct dirent *it; d && (it = readdir(d));)
		if (fstatat(dir, it->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_blocks * 512;
	return sum;
}

static void describe(const struct store *s, struct snap_row *r)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	char path[sizeof(SNAP_DIR) + SNAP_REF + 1];
	struct err e = { 0 };

	base_cut(path, sizeof(path), SNAP_DIR "/%s", r->ref);
	cleanup_fd int dir = fd_open_dir(s->dir, path, &e);
	r->allocated = dir < 0 ? 0 : allocated(dir);
	if (dir >= 0)
		snap_gen_name(dir, r->name);
	if (r->name[0]) {
		r->kind = SNAP_NAMED;
		r->left = snap_owner_gone(dir);
	}
	err_clear(&e);
	if (snap_gen_open(s, r->ref, SNAP_UNLOCKED, 0, &g, &e) < 0) {
		base_cut(r->error, sizeof(r->error), "%s", e.msg);
		return;
	}
	r->kind = g.m.kind;
	r->form = g.m.memory.form;
	r->compression = g.m.compression;
	r->spent = g.m.spent;
	r->bytes = g.m.memory.bytes;
	memcpy(r->parent, g.m.parent.ref, sizeof(r->parent));
	memcpy(r->name, g.m.name, sizeof(r->name));
	memcpy(r->revision_hash, g.m.machine.revision_hash, sizeof(r->revision_hash));
	memcpy(r->created_at, g.m.created_at, sizeof(r->created_at));
}

static int by_number(const void *a, const void *b)
{
	const struct snap_row *x = a, *y = b;
	uint32_t m = snap_ref_number(x->ref), n = snap_ref_number(y->ref);

	return m == n ? strcmp(x->ref, y->ref) : m < n ? -1 : 1;
}

int snap_list(const struct store *s, struct codec_list *rows, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	snap_ref current = "";

	if (store_list(s, SNAP_DIR, &names, e) < 0)
		return -e->no;
	if (s->level == STORE_INSTANCE && snap_current(s, current, e) < 0)
		return -e->no;
	for (size_t i = 0; i < names.len; i++) {
		struct err other = { 0 };
		struct snap_row *r;

		if (snap_ref_check(names.items[i], &other) < 0)
			continue;
		r = codec_list_add(rows, sizeof(*r));
		r->schema_version = 1;
		if (COPY(r->ref, names.items[i]) < 0) // the check bounds it
			return err_set(e, ENAMETOOLONG, "%s", names.items[i]);
		r->current = str_eq(r->ref, current);
		describe(s, r);
	}
	if (rows->len)
		qsort(rows->items, rows->len, sizeof(struct snap_row), by_number);
	return 0;
}

int snap_pick(const struct store *s, const char *word, snap_ref out, struct err *e)
{
	out[0] = '\0';
	if (word && snap_ref_check(word, e) < 0)
		return -e->no;
	if (word)
		return base_copy(out, sizeof(snap_ref), word) < 0
			       ? err_usage(e, "'%.64s': too long", word)
			       : 0;
	if (s->level == STORE_POOL)
		return err_usage(e, "a pool has several bases: name one");
	if (snap_current(s, out, e) < 0)
		return -e->no;
	return out[0] ? 0 : err_kind(e, ERR_MISSING, "%s: has no snapshot", s->name);
}

bool snap_there(const struct store *s, const char *ref)
{
	char path[sizeof(SNAP_DIR) + SNAP_REF + 1];
	struct stat st;

	base_cut(path, sizeof(path), SNAP_DIR "/%s", ref);
	return fstatat(s->dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}
