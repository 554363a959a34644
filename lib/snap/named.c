// SPDX-License-Identifier: MIT
#include "snap/named.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/fd.h"
#include "snap/list.h"
#include "snap/rules.h"

// --- the copy of the data disk

static int copy_disk(int from, int to, struct err *e)
{
	const struct pages_cancel never = { .fd = -1 };
	struct timespec times[2];
	struct stat st;

	if (fstat(from, &st) < 0)
		return err_sys(e, "stat the data disk");
	if (pages_copy(from, to, (uint64_t)st.st_size, &never, NULL, e) < 0)
		return -e->no;
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	return futimens(to, times) < 0 ? err_sys(e, "time of the copy") : 0;
}

int snap_data_keep(struct snap_draft *d, int disk, struct err *e)
{
	cleanup_fd int to = openat(d->draft.dir, SNAP_DATA,
				   O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (to < 0 || fchmod(to, 0600) < 0)
		return err_sys(e, "make the copy of the data disk");
	if (fault_point("snap-data-copy"))
		return err_sys(e, "copy the data disk");
	return copy_disk(disk, to, e) < 0 ? err_wrap(e, "copy the data disk") : 0;
}

static int open_data(int dir, struct err *e)
{
	int fd = openat(dir, SNAP_DATA, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "open " SNAP_DATA) : fd;
}

int snap_data_seal(struct snap_draft *d, struct snap_manifest *m, const struct pages_cancel *c,
		   struct err *e)
{
	cleanup_fd int fd = open_data(d->draft.dir, e);
	struct stat st;

	m->data = (struct snap_file){ 0 };
	if (fd == -ENOENT) {
		err_clear(e);
		return 0;
	}
	if (fd < 0)
		return -e->no;
	if (fault_point("snap-data-sync") || fsync(fd) < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "sync " SNAP_DATA);
	m->data.bytes = (uint64_t)st.st_size;
	if (pages_digest(fd, PAGES_CONTENT, m->data.bytes, c, m->data.sha256, e) < 0)
		return err_wrap(e, SNAP_DATA);
	return 0;
}

static int verify(const struct snap_gen *g, const struct pages_cancel *c, struct err *e)
{
	cleanup_fd int fd = open_data(g->dir, e);
	digest_text now;

	if (fd < 0) {
		e->kind = ERR_DAMAGED;
		return -e->no;
	}
	if (pages_digest(fd, PAGES_CONTENT, g->m.data.bytes, c, now, e) < 0)
		return -e->no;
	return str_eq(now, g->m.data.sha256) ? 0
					     : err_kind(e, ERR_DAMAGED, "its digest does not fit");
}

int snap_data_verify(const struct snap_gen *g, const struct pages_cancel *c, struct err *e)
{
	if (!g->m.data.bytes || verify(g, c, e) == 0)
		return 0;
	return err_wrap(e, "%s: " SNAP_DATA, g->ref);
}

// --- by their names

int snap_named_find(const struct store *s, const char *name, snap_ref ret, struct err *e)
{
	struct codec_list rows = { 0 };
	const struct snap_row *r;

	ret[0] = '\0';
	if (snap_list(s, &rows, e) < 0)
		return -e->no;
	r = rows.items;
	for (size_t i = 0; i < rows.len; i++)
		if (r[i].kind == SNAP_NAMED && str_eq(r[i].name, name))
			memcpy(ret, r[i].ref, sizeof(snap_ref));
	codec_free_list(snap_row_fields, sizeof(*r), &rows);
	return ret[0] ? 0 : err_kind(e, ERR_MISSING, "no snapshot %s", name);
}

int snap_named_room(const struct store *s, const char *name, struct err *e)
{
	struct codec_list rows = { 0 };
	const struct snap_row *r;
	size_t named = 0;
	bool there = false;

	if (snap_list(s, &rows, e) < 0)
		return -e->no;
	r = rows.items;
	for (size_t i = 0; i < rows.len; i++) {
		bool counts = r[i].kind == SNAP_NAMED;

		named += counts;
		there |= counts && str_eq(r[i].name, name);
	}
	codec_free_list(snap_row_fields, sizeof(*r), &rows);
	if (there) {
		(void)err_kind(e, ERR_CONFLICT, "there is a snapshot %s", name);
		return err_hint(e, "remove it first, or choose another name");
	}
	if (named < SNAP_NAMES_MAX)
		return 0;
	(void)err_kind(e, ERR_QUOTA, "an instance has at most %u snapshots", SNAP_NAMES_MAX);
	return err_hint(e, "remove one: mvm instance snapshot rm");
}

int snap_named_remove(const struct store *s, const char *name, bool *ret_removed, struct err *e)
{
	cleanup_fd int lock = -1;
	snap_ref ref;

	assert(s->lock >= 0);
	*ret_removed = false;
	if (snap_named_find(s, name, ref, e) < 0) {
		if (e->kind != ERR_MISSING)
			return -e->no;
		err_clear(e);
		return 0;
	}
	lock = snap_gen_lock(s, ref, 0, e);
	if (lock < 0)
		return -e->no;
	if (fault_point("snap-named-remove"))
		return err_sys(e, "remove %s", ref);
	if (store_remove(s, SNAP_DIR, ref, e) < 0)
		return -e->no;
	*ret_removed = true;
	return 0;
}

// --- shared

// Root's alone and 0444: readable by each VM that it is bound for, written by none.
static int link_part(const struct snap_draft *d, const struct snap_gen *g, const char *name,
		     struct err *e)
{
	if (fault_point("snap-share") || linkat(g->dir, name, d->draft.dir, name, 0) < 0)
		return err_sys(e, "link %s", name);
	if (fchownat(d->draft.dir, name, 0, 0, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(d->draft.dir, name, 0444, 0) < 0)
		return err_sys(e, "mode of %s", name);
	return 0;
}

static int copy_data(struct snap_draft *d, const struct snap_gen *g, struct err *e)
{
	cleanup_fd int from = -1, to = -1;

	if (!g->m.data.bytes)
		return 0;
	from = open_data(g->dir, e);
	if (from < 0 || snap_data_keep(d, from, e) < 0)
		return -e->no;
	to = open_data(d->draft.dir, e);
	if (to < 0 || fsync(to) < 0)
		return e->no ? -e->no : err_sys(e, "sync " SNAP_DATA);
	return 0;
}

// A copy of the manifest shares its lists with it: nothing of it is freed.
static int describe(struct snap_draft *d, const struct snap_gen *g, const struct snap_guest *as,
		    const char *cloned_from, struct err *e)
{
	struct snap_manifest m = g->m;
	struct codec_list disks = m.guest.disks;

	m.kind = SNAP_FULL;
	m.name[0] = '\0';
	m.data = (struct snap_file){ 0 };
	m.guest = *as;
	m.guest.disks = disks;
	base_cut(m.cloned_from, sizeof(m.cloned_from), "%s", cloned_from);
	if (fault_point("snap-share-seal"))
		return err_sys(e, "%s", d->ref);
	return snap_manifest_save(d->draft.dir, &m, e);
}

int snap_share(struct snap_draft *d, const struct snap_gen *g, const struct snap_guest *as,
	       const char *cloned_from, const struct pages_cancel *c, struct err *e)
{
	assert(g->lock >= 0 && d->mark.kind == SNAP_FULL);
	if (g->m.kind != SNAP_NAMED || g->m.memory.form != SNAP_FORM_MEM)
		return err_kind(e, ERR_STATE, "%s: no snapshot that can be gone on from", g->ref);
	if (!str_eq(as->instance_id, g->m.guest.instance_id) && snap_may_share(&g->m, e) < 0)
		return err_wrap(e, "%s", g->ref);
	if (pages_cancelled(c, e) < 0 || link_part(d, g, SNAP_VMSTATE, e) < 0 ||
	    link_part(d, g, SNAP_MEM, e) < 0 || copy_data(d, g, e) < 0 ||
	    describe(d, g, as, cloned_from, e) < 0)
		return err_wrap(e, "%s", d->ref);
	if (unlinkat(d->draft.dir, SNAP_MARK, 0) < 0)
		return err_sys(e, "%s: remove " SNAP_MARK, d->ref);
	return 0;
}

bool snap_shares(const struct snap_gen *a, const struct snap_gen *b)
{
	struct stat x, y;

	return fstatat(a->dir, SNAP_MEM, &x, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstatat(b->dir, SNAP_MEM, &y, AT_SYMLINK_NOFOLLOW) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}
