// SPDX-License-Identifier: MIT
#include "snap/compose.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"

#define ASIDE SNAP_MEM ".new"

// The delta's data over what is there, its digest taken from the same bytes.
static int lay_over(int delta, int out, uint64_t size, const struct pages_cancel *cancel,
		    digest_text ret_digest, uint64_t *ret_bytes, struct err *e)
{
	cleanup_free struct pages_chunk *c = base_alloc(1, sizeof(*c));
	struct pages_hash h;
	struct pages_scan s = { .fd = -1 };
	uint8_t sha[32];
	int more;

	if (pages_open(&s, delta, PAGES_DATA, size, e) < 0)
		return -e->no;
	pages_hash_begin(&h, size);
	while ((more = pages_next(&s, c, e)) > 0) {
		if (pages_cancelled(cancel, e) < 0 || pages_sha(c->raw, c->len, sha, e) < 0)
			return -e->no;
		if (fault_point("compose-write"))
			return err_sys(e, "write");
		if (pages_write(out, c, e) < 0)
			return -e->no;
		pages_hash_add(&h, c->number, sha);
		*ret_bytes += c->len - PAGES_MAP;
	}
	if (more < 0)
		return more;
	pages_hash_end(&h, ret_digest);
	return 0;
}

static int open_delta(const struct snap_gen *g, struct err *e)
{
	int fd = openat(g->dir, SNAP_DELTA, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	(void)err_sys(e, "open");
	e->kind = ERR_DAMAGED;
	return err_wrap(e, SNAP_DELTA);
}

static int copy_parent(const struct snap_gen *parent, int out, uint64_t size,
		       const struct pages_cancel *c, bool *cloned, struct err *e)
{
	cleanup_fd int mem = openat(parent->dir, SNAP_MEM, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (mem < 0)
		return err_sys(e, "open " SNAP_MEM " of %s", parent->ref);
	if (pages_copy(mem, out, size, c, cloned, e) < 0)
		return err_wrap(e, SNAP_MEM " of %s", parent->ref);
	return fault_point("compose-copied") ? err_sys(e, "copy") : 0;
}

static int compose_aside(const struct snap_gen *g, const struct snap_gen *parent,
			 const struct pages_cancel *c, struct snap_manifest *next,
			 struct compose_result *ret, struct err *e)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	uint64_t size = g->m.memory.bytes;
	cleanup_fd int delta = open_delta(g, e), out = -1;
	digest_text laid;

	if (delta < 0)
		return -e->no;
	out = fault_point("compose-create") ? -1 : openat(g->dir, ASIDE, flags, 0600);
	if (out < 0)
		return err_sys(e, "create " ASIDE);
	if (copy_parent(parent, out, size, c, &ret->cloned, e) < 0)
		return -e->no;
	if (lay_over(delta, out, size, c, laid, &ret->delta_bytes, e) < 0)
		return err_wrap(e, SNAP_DELTA);
	if (!str_eq(laid, g->m.memory.sha256))
		return err_kind(e, ERR_DAMAGED, SNAP_DELTA ": its digest does not fit");
	if (fault_point("compose-sync") || fsync(out) < 0)
		return err_sys(e, "sync " ASIDE);
	if (pages_digest(out, PAGES_CONTENT, size, c, next->memory.sha256, e) < 0)
		return err_wrap(e, ASIDE);
	next->memory.form = SNAP_FORM_MEM;
	memcpy(next->composed_from, g->m.parent.ref, sizeof(next->composed_from));
	next->parent = (struct snap_parent){ .ref = SNAP_NONE };
	return snap_memory_seen(out, &next->memory, e);
}

static int put_in_place(struct snap_gen *g, const struct snap_manifest *m, struct err *e)
{
	struct snap_manifest next = *m; // its lists stay g's

	if (fault_point("compose-rename") || renameat(g->dir, ASIDE, g->dir, SNAP_MEM) < 0)
		return err_sys(e, "rename " ASIDE);
	if (fault_point("compose-renamed"))
		return err_sys(e, "sync");
	if (fd_sync_dir(g->dir, e) < 0)
		return -e->no;
	if (fault_point("compose-manifest"))
		return err_sys(e, "write " SNAP_MANIFEST);
	if (snap_manifest_save(g->dir, &next, e) < 0)
		return -e->no;
	g->m = next;
	return 0;
}

static int compose(const struct store *s, struct snap_gen *g, int wait_ms,
		   const struct pages_cancel *c, struct compose_result *ret, struct err *e)
{
	cleanup_gen struct snap_gen parent = SNAP_GEN_NONE;
	struct snap_manifest next = g->m; // its lists stay g's

	if (snap_parent_open(s, &g->m.parent, wait_ms, &parent, e) < 0)
		return -e->no;
	if (parent.m.memory.bytes != g->m.memory.bytes)
		return err_kind(e, ERR_CONFLICT, "parent: %s has another size", parent.ref);
	if (snap_memory_verify(&parent, false, c, NULL, e) < 0)
		return err_wrap(e, "parent: %s", parent.ref);
	if (compose_aside(g, &parent, c, &next, ret, e) < 0)
		return -e->no;
	return put_in_place(g, &next, e);
}

int snap_compose(const struct store *s, struct snap_gen *g, int wait_ms,
		 const struct pages_cancel *c, struct compose_result *ret, struct err *e)
{
	int64_t began = clock_ms();

	assert(g->lock >= 0);
	*ret = (struct compose_result){ .changed = false };
	if (snap_gen_settle(g, e) < 0)
		return err_wrap(e, "%s", g->ref);
	if (g->m.memory.form == SNAP_FORM_DELTA) {
		if (compose(s, g, wait_ms, c, ret, e) < 0) {
			(void)unlinkat(g->dir, ASIDE, 0); // as large as the memory
			return err_wrap(e, "%s", g->ref);
		}
		ret->changed = true;
	}
	memcpy(ret->composed_from, g->m.composed_from, sizeof(ret->composed_from));
	ret->took_ms = (uint64_t)(clock_ms() - began);
	return ret->changed ? snap_gen_settle(g, e) : 0;
}
