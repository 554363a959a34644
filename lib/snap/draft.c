// SPDX-License-Identifier: MIT
// A capture in the making.
#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/proc.h"
#include "snap/gen.h"
#include "state/pool.h"

static const struct field mark_parent_fields[] = {
	{ FIELD_SLOT(struct snap_parent, ref, snap_ref), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .doc = "base-<hash>, gen-<n> or none" },
	{ FIELD_SLOT(struct snap_parent, sha256, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "digest of its memory" },
	FIELD_END
};

const struct field snap_mark_fields[] = {
	{ FIELD_SLOT(struct snap_mark, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "1" },
	{ FIELD_SLOT(struct snap_mark, kind, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = snap_kind_names, .doc = "what is being taken" },
	{ FIELD_SLOT(struct snap_mark, parent, struct snap_parent), .kind = KIND_RECORD,
	  .flags = FIELD_REQUIRED, .sub = mark_parent_fields, .doc = "over what" },
	{ FIELD_SLOT(struct snap_mark, since, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "since when" },
	{ FIELD_SLOT(struct snap_mark, boot_id, char[37]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "boot of the host" },
	{ FIELD_SLOT(struct snap_mark, pid, uint32_t), .kind = KIND_UINT, .flags = FIELD_REQUIRED,
	  .doc = "who takes it" },
	{ FIELD_SLOT(struct snap_mark, pid_start, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .doc = "when that process began" },
	FIELD_END
};

void snap_draft_drop(struct snap_draft *d)
{
	store_draft_drop(&d->draft);
	if (d->lock >= 0)
		(void)close(d->lock);
	d->lock = -1;
}

// Above all that are there or in the making, so that no number is given twice at a time.
static int next_number(const struct store *s, snap_ref out, struct err *e)
{
	int fd = fd_open_dir(s->dir, SNAP_DIR, e);
	cleanup_dir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	uint32_t top = 0;

	if (fd < 0 && e->no != ENOENT)
		return -e->no;
	err_clear(e);
	for (errno = 0; d && (entry = readdir(d));) {
		const char *name = entry->d_name;

		if (str_starts(name, STORE_NEW) || str_starts(name, STORE_OLD))
			name += strlen(STORE_NEW);
		top = MAX(top, snap_ref_number(name));
	}
	if (errno && errno != ENOENT)
		return err_sys(e, "list " SNAP_DIR);
	base_cut(out, sizeof(snap_ref), "gen-%u", top + 1);
	return snap_ref_number(out) ? 0 : err_kind(e, ERR_QUOTA, "no number is left");
}

static int mark_fill(struct snap_mark *m, struct err *e)
{
	struct proc_id self;

	if (proc_id_get(getpid(), &self, e) < 0)
		return -e->no;
	m->schema_version = 1;
	m->pid = (uint32_t)self.pid;
	m->pid_start = self.start;
	clock_utc(m->since);
	return clock_boot_id(m->boot_id, e);
}

static int check_asked(const struct store *s, enum snap_kind kind, const char *ref,
		       const struct snap_parent *parent, struct err *e)
{
	bool has_parent = parent && !str_eq(parent->ref, SNAP_NONE);
	struct snap_gen g = SNAP_GEN_NONE;

	if ((kind == SNAP_BASE) != (ref[0] != '\0') || (ref[0] && snap_ref_check(ref, e) < 0) ||
	    (kind == SNAP_BASE) != (s->level == STORE_POOL))
		return e->no ? -e->no : err_usage(e, "a base belongs to a pool");
	if (kind == SNAP_DIFF && !has_parent)
		return err_usage(e, "a delta has a parent");
	if (has_parent && kind != SNAP_DIFF && kind != SNAP_NAMED)
		return err_usage(e, "only a delta has a parent");
	if (has_parent && snap_parent_open(s, parent, 0, &g, e) < 0)
		return -e->no;
	snap_gen_close(&g);
	return 0;
}

int snap_draft_begin(const struct store *s, enum snap_kind kind, const char *ref,
		     const struct snap_parent *parent, struct snap_draft *ret, struct err *e)
{
	cleanup_snap_draft struct snap_draft d = SNAP_DRAFT_NONE;

	assert(s->lock >= 0);
	if (check_asked(s, kind, ref, parent, e) < 0)
		return -e->no;
	if (!ref[0] ? next_number(s, d.ref, e) < 0 : COPY(d.ref, ref) < 0)
		return e->no ? -e->no : err_usage(e, "'%.64s': too long", ref);
	d.mark = (struct snap_mark){ .kind = (int)kind, .parent = { .ref = SNAP_NONE } };
	if (parent)
		d.mark.parent = *parent;
	if (mark_fill(&d.mark, e) < 0 || store_draft_begin(s, SNAP_DIR, d.ref, &d.draft, e) < 0)
		return -e->no;
	// A gc that looks whether somebody has it needs a moment.
	d.lock = fd_lock(d.draft.dir, "lock", true, 1000, e);
	if (d.lock < 0 || fchmod(d.draft.dir, 0700) < 0)
		return e->no ? -e->no : err_sys(e, "mode of %s", d.draft.name);
	if (d.mark.parent.sha256[0] && pages_probe(d.draft.dir, e) < 0)
		return -e->no;
	if (store_draft_save(&d.draft, SNAP_MARK, snap_mark_fields, &d.mark, e) < 0 ||
	    fd_sync_dir(d.draft.dir, e) < 0 || fd_sync_dir(d.draft.parent, e) < 0)
		return -e->no;
	if (fault_point("snap-mark"))
		return err_sys(e, "begin %s", d.ref);
	*ret = d;
	d = (struct snap_draft)SNAP_DRAFT_NONE;
	return 0;
}

int snap_draft_take(struct snap_draft *d, int dir, const char *from, uid_t uid, const char *as,
		    struct err *e)
{
	cleanup_fd int fd = openat(dir, from, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char self[32];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open %s", from);
	if (!S_ISREG(st.st_mode) || st.st_uid != uid || st.st_nlink != 1)
		return err_kind(e, ERR_DENIED, "%s: not a file of user %u alone", from,
				(unsigned)uid);
	base_cut(self, sizeof(self), "/proc/self/fd/%d", fd);
	// That very file, whatever its name stands for by now.
	if (fault_point("snap-take") ||
	    linkat(AT_FDCWD, self, d->draft.dir, as, AT_SYMLINK_FOLLOW) < 0)
		return err_sys(e, "take %s", from);
	if (fchownat(d->draft.dir, as, 0, 0, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(d->draft.dir, as, 0600, 0) < 0)
		return err_sys(e, "take %s", from);
	if (unlinkat(dir, from, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove %s", from);
	return 0;
}

// --- sealed

static int open_part(int dir, const char *name, mode_t mode, uint64_t *ret_bytes, struct err *e)
{
	cleanup_fd int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open %s", name);
	if (!S_ISREG(st.st_mode))
		return err_kind(e, ERR_DAMAGED, "%s: not a file", name);
	if (fchmod(fd, mode) < 0)
		return err_sys(e, "mode of %s", name);
	*ret_bytes = (uint64_t)st.st_size;
	return steal_fd(&fd);
}

// What many are loaded from. A sleep's capture is loaded once, by the guest whose VMM has written
// it, and that VMM has ended by then: it may stay the file that it was.
static bool is_for_many(const struct snap_draft *d)
{
	return d->mark.kind == SNAP_BASE || d->mark.kind == SNAP_NAMED;
}

static int copy_fresh(int from, int dir, const char *as, const struct pages_cancel *c,
		      struct err *e)
{
	cleanup_fd int to =
		openat(dir, as, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct stat st;

	if (to < 0 || fstat(from, &st) < 0)
		return err_sys(e, "create %s", as);
	return pages_copy(from, to, (uint64_t)st.st_size, c, NULL, e);
}

// The VMM that wrote a file may have it open, and write on: its mode and owner are asked at an open
// only. So what is sealed is another file, which never was anybody's but root's. The former one has
// no name then, and its blocks would be there for as long as that VMM lives.
static int own_memory(struct snap_draft *d, const struct pages_cancel *c, struct err *e)
{
	int dir = d->draft.dir;
	uint64_t bytes;
	cleanup_fd int from = open_part(dir, SNAP_MEM, 0600, &bytes, e);

	if (from < 0)
		return -e->no;
	if (fault_point("snap-own"))
		return err_sys(e, "copy " SNAP_MEM);
	if (copy_fresh(from, dir, SNAP_MEM ".new", c, e) < 0)
		return err_wrap(e, "copy " SNAP_MEM);
	if (fault_point("snap-own-rename") || renameat(dir, SNAP_MEM ".new", dir, SNAP_MEM) < 0)
		return err_sys(e, "rename " SNAP_MEM ".new");
	return ftruncate(from, 0) < 0 ? err_sys(e, "empty the former " SNAP_MEM) : 0;
}

static int own_vmstate(struct snap_draft *d, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (fd_read_file(d->draft.dir, SNAP_VMSTATE, SNAP_STATE_MAX, &text, e) < 0)
		return -e->no;
	return fd_replace_file(d->draft.dir, SNAP_VMSTATE, text.data, text.len, 0600, e);
}

// A delta of many is none yet: who composes it makes its memory, a file of root's.
static int own_files(struct snap_draft *d, const struct pages_cancel *c, struct err *e)
{
	bool delta = d->mark.parent.sha256[0] != '\0';

	if (!is_for_many(d))
		return 0;
	return own_vmstate(d, e) < 0 || (!delta && own_memory(d, c, e) < 0) ? -e->no : 0;
}

static int seal_vmstate(struct snap_draft *d, mode_t mode, struct snap_file *ret, struct err *e)
{
	cleanup_fd int fd = open_part(d->draft.dir, SNAP_VMSTATE, mode, &ret->bytes, e);

	if (fd < 0)
		return -e->no;
	if (ret->bytes == 0 || ret->bytes > SNAP_STATE_MAX)
		return err_kind(e, ERR_FAILED, SNAP_VMSTATE ": has %llu bytes",
				(unsigned long long)ret->bytes);
	if (fault_point("snap-sync-vmstate") || fsync(fd) < 0)
		return err_sys(e, "sync " SNAP_VMSTATE);
	return digest_fd(fd, ret->sha256, e);
}

static int seal_memory(struct snap_draft *d, mode_t mode, const struct pages_cancel *c,
		       struct snap_manifest *m, struct err *e)
{
	bool delta = d->mark.parent.sha256[0] != '\0';
	const char *name = delta ? SNAP_DELTA : SNAP_MEM;
	uint64_t want = m->machine.mem_mib * MIB, bytes, freed;
	cleanup_fd int fd = open_part(d->draft.dir, name, mode, &bytes, e);

	if (fd < 0)
		return -e->no;
	m->memory = (struct snap_memory){ .form = delta ? SNAP_FORM_DELTA : SNAP_FORM_MEM,
					  .bytes = want };
	if (!delta && pages_punch(fd, want, &freed, e) < 0)
		return err_wrap(e, "%s", name);
	if (fault_point("snap-sync-memory") || fsync(fd) < 0)
		return err_sys(e, "sync %s", name);
	if (pages_digest(fd, delta ? PAGES_DATA : PAGES_CONTENT, want, c, m->memory.sha256, e) < 0)
		return err_wrap(e, "%s", name);
	return snap_memory_seen(fd, &m->memory, e);
}

int snap_draft_seal(struct snap_draft *d, struct snap_manifest *m, const struct pages_cancel *c,
		    struct err *e)
{
	mode_t mode = is_for_many(d) ? 0444 : 0600;
	struct snap_parent *p = &m->parent;
	struct snap_manifest again = { 0 };

	m->schema_version = 1;
	m->kind = d->mark.kind;
	m->compression = POOL_COMPRESSION_NONE;
	m->composed_from[0] = m->spent_at[0] = '\0';
	m->spent = false;
	*p = d->mark.parent;
	clock_utc(m->created_at);
	if (own_files(d, c, e) < 0 || seal_vmstate(d, mode, &m->vmstate, e) < 0 ||
	    seal_memory(d, mode, c, m, e) < 0)
		return err_wrap(e, "%s", d->ref);
	if (m->name[0] && symlinkat(m->name, d->draft.dir, SNAP_NAME) < 0)
		return err_sys(e, "%s: " SNAP_NAME, d->ref);
	if (fault_point("snap-seal") || snap_manifest_save(d->draft.dir, m, e) < 0)
		return e->no ? err_wrap(e, "%s", d->ref) : err_sys(e, "%s", d->ref);
	// One that nobody could read again is no capture.
	if (snap_manifest_load(d->draft.dir, NULL, &again, e) < 0)
		return err_wrap(e, "%s", d->ref);
	snap_manifest_free(&again);
	if (unlinkat(d->draft.dir, SNAP_MARK, 0) < 0)
		return err_sys(e, "%s: remove " SNAP_MARK, d->ref);
	return 0;
}

int snap_draft_commit(const struct store *s, struct snap_draft *d, struct err *e)
{
	bool linked = d->mark.kind == SNAP_DIFF || d->mark.kind == SNAP_FULL;

	assert(s->lock >= 0);
	if (store_draft_commit(&d->draft, e) < 0)
		return err_wrap(e, "%s", d->ref);
	if (linked && snap_set_current(s, d->ref, e) < 0)
		return err_wrap(e, "%s", d->ref);
	if (d->lock >= 0)
		(void)close(d->lock);
	d->lock = -1;
	return 0;
}
