// SPDX-License-Identifier: MIT
#include "snap/gen.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/fd.h"
#include "snap/pack.h"

void snap_gen_close(struct snap_gen *g)
{
	snap_manifest_free(&g->m);
	if (g->lock >= 0)
		(void)close(g->lock);
	if (g->dir >= 0)
		(void)close(g->dir);
	*g = (struct snap_gen)SNAP_GEN_NONE;
}

static int no_such(const struct store *s, const char *ref, struct err *e)
{
	(void)err_kind(e, ERR_MISSING, "no capture %.64s", ref);
	(void)err_object(e, "%s", s->name);
	return err_wrap(e, "%s", s->name);
}

static int open_ref(const struct store *s, const char *ref, struct err *e)
{
	char path[sizeof(SNAP_DIR) + SNAP_REF + 1];
	int fd;

	if (snap_ref_check(ref, e) < 0)
		return -e->no;
	base_cut(path, sizeof(path), SNAP_DIR "/%s", ref);
	fd = fd_open_dir(s->dir, path, e);
	return fd == -ENOENT ? no_such(s, ref, e) : fd;
}

static int lock_ref(const struct store *s, int dir, const char *ref, bool exclusive, int wait_ms,
		    struct err *e)
{
	int fd = fd_lock(dir, "lock", exclusive, wait_ms, e);

	if (fd == -ENOENT) // removed between open and lock
		return no_such(s, ref, e);
	return fd < 0 ? err_wrap(e, "%s: %s", s->name, ref) : fd;
}

int snap_gen_lock(const struct store *s, const char *ref, int wait_ms, struct err *e)
{
	cleanup_fd int dir = open_ref(s, ref, e);

	return dir < 0 ? -e->no : lock_ref(s, dir, ref, true, wait_ms, e);
}

void snap_gen_name(int dir, name_text out)
{
	char text[sizeof(name_text) + 1] = "";
	ssize_t n = readlinkat(dir, SNAP_NAME, text, sizeof(text) - 1);
	struct err none = { 0 };

	if (n <= 0 || name_check(text, &none) < 0 || base_copy(out, sizeof(name_text), text) < 0)
		out[0] = '\0';
}

// One that was put there by another version has no such link.
static int check_name(const struct snap_gen *g, struct err *e)
{
	name_text name;

	snap_gen_name(g->dir, name);
	if (!name[0] || str_eq(name, g->m.name))
		return 0;
	return err_kind(e, ERR_DAMAGED, SNAP_MANIFEST ": name: '%s', beside it it is called %s",
			g->m.name, name);
}

int snap_gen_open(const struct store *s, const char *ref, enum snap_lock lock, int wait_ms,
		  struct snap_gen *ret, struct err *e)
{
	return snap_gen_open_as(s, ref, lock, wait_ms, NULL, ret, e);
}

int snap_gen_open_as(const struct store *s, const char *ref, enum snap_lock lock, int wait_ms,
		     const struct snap_wanted *wanted, struct snap_gen *ret, struct err *e)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;

	g.dir = open_ref(s, ref, e);
	if (g.dir < 0)
		return -e->no;
	if (lock != SNAP_UNLOCKED)
		g.lock = lock_ref(s, g.dir, ref, lock == SNAP_EXCLUSIVE, wait_ms, e);
	if (lock != SNAP_UNLOCKED && g.lock < 0)
		return -e->no;
	if (COPY(g.ref, ref) < 0 || snap_manifest_load(g.dir, wanted, &g.m, e) < 0 ||
	    check_name(&g, e) < 0) {
		(void)err_object(e, "%s", s->name);
		return err_wrap(e, "%s: %s", s->name, ref);
	}
	*ret = g;
	g = (struct snap_gen)SNAP_GEN_NONE;
	return 0;
}

static int open_base(const struct store *s, const char *ref, int wait_ms, struct snap_gen *ret,
		     struct err *e)
{
	cleanup_store struct store pool = STORE_NONE;
	struct address a;

	if (s->level == STORE_POOL)
		return snap_gen_open(s, ref, SNAP_SHARED, wait_ms, ret, e);
	if (address_parse(s->name, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0 ||
	    store_open(&pool, STORE_POOL, &a, e) < 0)
		return -e->no;
	return snap_gen_open(&pool, ref, SNAP_SHARED, wait_ms, ret, e);
}

int snap_parent_open(const struct store *s, const struct snap_parent *p, int wait_ms,
		     struct snap_gen *ret, struct err *e)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	int r;

	if (snap_ref_check(p->ref, e) < 0)
		return err_wrap(e, "parent: ref");
	r = snap_ref_number(p->ref) ? snap_gen_open(s, p->ref, SNAP_SHARED, wait_ms, &g, e)
				    : open_base(s, p->ref, wait_ms, &g, e);
	if (r < 0 && e->kind == ERR_MISSING)
		e->kind = ERR_DAMAGED; // what refers to it is there
	if (r < 0)
		return err_wrap(e, "parent: ref");
	if (!p->sha256[0] || !str_eq(g.m.memory.sha256, p->sha256))
		return err_kind(e, ERR_CONFLICT,
				"parent: sha256: %s is another memory than the "
				"one that was recorded",
				p->ref);
	if (g.m.memory.form != SNAP_FORM_MEM)
		return err_kind(e, ERR_STATE, "parent: %s is not whole: its memory is in %s",
				p->ref, snap_form_names[g.m.memory.form]);
	*ret = g;
	g = (struct snap_gen)SNAP_GEN_NONE;
	return 0;
}

int snap_current(const struct store *s, snap_ref out, struct err *e)
{
	char target[SNAP_REF + 1] = "";
	ssize_t n = readlinkat(s->dir, SNAP_DIR "/" SNAP_LINK, target, sizeof(target) - 1);

	out[0] = '\0';
	if (n < 0 && errno == ENOENT)
		return 0;
	if (n < 0 && errno != EINVAL)
		return err_sys(e, "read " SNAP_DIR "/" SNAP_LINK);
	if (n < 0 || !snap_ref_number(target) || base_copy(out, sizeof(snap_ref), target) < 0) {
		(void)err_kind(e, ERR_DAMAGED, "it names no generation");
		return store_damaged(s, SNAP_DIR "/" SNAP_LINK, e);
	}
	return 0;
}

int snap_set_current(const struct store *s, const char *ref, struct err *e)
{
	cleanup_fd int dir = fd_open_dir(s->dir, SNAP_DIR, e);

	assert(s->lock >= 0);
	if (dir < 0)
		return -e->no;
	if (unlinkat(dir, STORE_NEW SNAP_LINK, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove " STORE_NEW SNAP_LINK);
	if (!ref[0] && unlinkat(dir, SNAP_LINK, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove " SNAP_LINK);
	if (ref[0] && (fault_point("snap-link") || symlinkat(ref, dir, STORE_NEW SNAP_LINK) < 0))
		return err_sys(e, "link " SNAP_LINK);
	if (ref[0] && (fault_point("snap-link-rename") ||
		       renameat(dir, STORE_NEW SNAP_LINK, dir, SNAP_LINK) < 0))
		return err_sys(e, "rename " STORE_NEW SNAP_LINK);
	if (fault_point("snap-link-sync"))
		return err_sys(e, "sync " SNAP_DIR);
	return fd_sync_dir(dir, e);
}

int snap_spend(struct snap_gen *g, struct err *e)
{
	assert(g->lock >= 0);
	if (g->m.memory.form != SNAP_FORM_MEM)
		return err_kind(e, ERR_STATE, "%s: its memory is in %s yet", g->ref,
				snap_form_names[g->m.memory.form]);
	if (g->m.spent)
		return err_kind(e, ERR_STATE, "%s: spent: it was loaded %s and may not be again",
				g->ref, g->m.spent_at);
	if (g->m.kind == SNAP_BASE || g->m.kind == SNAP_NAMED)
		return 0;
	g->m.spent = true;
	clock_utc(g->m.spent_at);
	if (fault_point("snap-spend") || snap_manifest_save(g->dir, &g->m, e) < 0)
		return e->no ? err_wrap(e, "%s", g->ref) : err_sys(e, "%s", g->ref);
	return 0;
}

int snap_unspend(struct snap_gen *g, struct err *e)
{
	assert(g->lock >= 0);
	if (!g->m.spent)
		return 0;
	g->m.spent = false;
	g->m.spent_at[0] = '\0';
	if (fault_point("snap-unspend") || snap_manifest_save(g->dir, &g->m, e) < 0)
		return e->no ? err_wrap(e, "%s", g->ref) : err_sys(e, "%s", g->ref);
	return 0;
}

int snap_memory_seen(int fd, struct snap_memory *m, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat");
	base_cut(m->seen.inode, sizeof(m->seen.inode), "%" PRIu64, (uint64_t)st.st_ino);
	base_cut(m->seen.mtime, sizeof(m->seen.mtime), "%lld.%09ld", (long long)st.st_mtim.tv_sec,
		 st.st_mtim.tv_nsec);
	return 0;
}

static int verify_vmstate(const struct snap_gen *g, struct err *e)
{
	cleanup_fd int fd =
		openat(g->dir, SNAP_VMSTATE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	digest_text now;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		(void)err_sys(e, "open");
		e->kind = ERR_DAMAGED;
		return -e->no;
	}
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != g->m.vmstate.bytes)
		return err_kind(e, ERR_DAMAGED, "has %llu bytes in place of %llu",
				(unsigned long long)st.st_size,
				(unsigned long long)g->m.vmstate.bytes);
	if (digest_fd(fd, now, e) < 0)
		return -e->no;
	if (!str_eq(now, g->m.vmstate.sha256))
		return err_kind(e, ERR_DAMAGED, "its digest does not fit");
	return 0;
}

static int verify_pages(const struct snap_gen *g, bool all, const struct pages_cancel *c,
			bool *ret_read, struct err *e)
{
	bool delta = g->m.memory.form == SNAP_FORM_DELTA;
	cleanup_fd int fd = openat(g->dir, delta ? SNAP_DELTA : SNAP_MEM,
				   O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct snap_memory now = { .form = SNAP_FORM_MEM };
	struct pages_scan size = { .fd = -1 };
	digest_text digest;

	if (fd < 0) {
		(void)err_sys(e, "open");
		e->kind = ERR_DAMAGED;
		return -e->no;
	}
	if (snap_memory_seen(fd, &now, e) < 0 ||
	    pages_open(&size, fd, PAGES_CONTENT, g->m.memory.bytes, e) < 0)
		return -e->no;
	*ret_read = all || !str_eq(now.seen.inode, g->m.memory.seen.inode) ||
		    !str_eq(now.seen.mtime, g->m.memory.seen.mtime);
	if (!*ret_read)
		return 0;
	if (pages_digest(fd, delta ? PAGES_DATA : PAGES_CONTENT, g->m.memory.bytes, c, digest, e) <
	    0)
		return -e->no;
	if (!str_eq(digest, g->m.memory.sha256))
		return err_kind(e, ERR_DAMAGED, "its digest does not fit");
	return 0;
}

int snap_memory_verify(const struct snap_gen *g, bool all, const struct pages_cancel *c,
		       bool *ret_read, struct err *e)
{
	bool pack = g->m.memory.form == SNAP_FORM_PACK, read_it = pack;
	int r = pack ? snap_pack_verify(g->dir, &g->m, c, e) : verify_pages(g, all, c, &read_it, e);

	if (ret_read)
		*ret_read = read_it;
	return r < 0 ? err_wrap(e, "%s", snap_memory_file(g->m.memory.form)) : 0;
}

int snap_gen_verify(const struct snap_gen *g, bool all, const struct pages_cancel *c,
		    bool *ret_read, struct err *e)
{
	if (verify_vmstate(g, e) < 0)
		(void)err_wrap(e, SNAP_VMSTATE);
	else if (snap_memory_verify(g, all, c, ret_read, e) == 0)
		return 0;
	return err_wrap(e, "%s", g->ref);
}

const char *snap_memory_file(int form)
{
	static const char *const names[] = { SNAP_MEM, SNAP_DELTA, SNAP_PACK };

	return names[form];
}

int snap_gen_settle(const struct snap_gen *g, struct err *e)
{
	static const char *const names[] = { SNAP_MEM, SNAP_DELTA, SNAP_PACK, SNAP_MEM ".new",
					     SNAP_PACK ".new" };

	assert(g->lock >= 0);
	for (size_t i = 0; i < COUNT(names); i++) {
		if (str_eq(names[i], snap_memory_file(g->m.memory.form)))
			continue;
		if (fault_point("snap-settle"))
			return err_sys(e, "remove %s", names[i]);
		if (unlinkat(g->dir, names[i], 0) < 0 && errno != ENOENT)
			return err_sys(e, "remove %s", names[i]);
	}
	return 0; // what a crash brings back, the next one removes
}
