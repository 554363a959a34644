// SPDX-License-Identifier: MIT
// A capture's memory, packed and unpacked. What counts is the manifest: until it is replaced the
// capture is what it was, from then on what it should become; the rest is settled afterwards.
#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/fd.h"
#include "snap/pack.h"
#include "state/pool.h"
#include "state/transition.h"

// Reads every chunk; writes it when out is a descriptor.
static int read_all(const struct pack *p, int out, const struct pages_cancel *c, struct err *e)
{
	cleanup_free struct pages_chunk *chunk = base_alloc(1, sizeof(*chunk));

	for (size_t i = 0; i < p->count; i++) {
		if (pages_cancelled(c, e) < 0 || pack_read(p, i, chunk, e) < 0)
			return -e->no;
		if (out < 0)
			continue;
		if (fault_point("unpack-write"))
			return err_sys(e, "write " SNAP_MEM);
		if (pages_write(out, chunk, e) < 0)
			return -e->no;
	}
	return 0;
}

static int open_pack(int dir, const struct snap_manifest *m, struct pack *ret, struct err *e)
{
	int fd = openat(dir, SNAP_PACK, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	digest_text now;

	if (fd < 0 || fstat(fd, &st) < 0) {
		(void)err_sys(e, "open");
		e->kind = ERR_DAMAGED;
		return -e->no;
	}
	if ((uint64_t)st.st_size != m->memory.pack.bytes)
		(void)err_kind(e, ERR_DAMAGED, "has %llu bytes in place of %llu",
			       (unsigned long long)st.st_size,
			       (unsigned long long)m->memory.pack.bytes);
	else if (pack_open(fd, m->memory.bytes, ret, e) == 0) {
		pack_digest(ret, now);
		if (!str_eq(now, m->memory.sha256))
			(void)err_kind(e, ERR_DAMAGED, "is the pack of another memory");
		else if (ret->compression != m->compression)
			(void)err_kind(e, ERR_DAMAGED, "is of another compression");
	}
	if (!e->no)
		return 0;
	pack_close(ret);
	(void)close(fd);
	return -e->no;
}

int snap_pack_verify(int dir, const struct snap_manifest *m, const struct pages_cancel *c,
		     struct err *e)
{
	cleanup_pack struct pack p = PACK_NONE;
	cleanup_fd int fd = -1;
	digest_text whole;

	if (open_pack(dir, m, &p, e) < 0)
		return -e->no;
	fd = p.fd;
	if (read_all(&p, -1, c, e) < 0)
		return -e->no;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(e, "read");
	if (digest_fd(fd, whole, e) < 0)
		return -e->no;
	return str_eq(whole, m->memory.pack.sha256)
		       ? 0
		       : err_kind(e, ERR_DAMAGED, "its digest does not fit");
}

static int create(int dir, const char *name, struct err *e)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = fault_point("snap-create") ? -1 : openat(dir, name, flags, 0600);

	return fd < 0 ? err_sys(e, "create %s", name) : fd;
}

// From the new file to the capture that consists of it.
static int put_in_place(struct snap_gen *g, const char *aside, const char *name,
			const struct snap_manifest *m, struct err *e)
{
	struct snap_manifest next = *m; // its lists stay g's

	if (fault_point("snap-aside-rename") || renameat(g->dir, aside, g->dir, name) < 0)
		return err_sys(e, "rename %s", aside);
	if (fd_sync_dir(g->dir, e) < 0)
		return -e->no;
	if (fault_point("snap-manifest"))
		return err_sys(e, "write " SNAP_MANIFEST);
	if (snap_manifest_save(g->dir, &next, e) < 0)
		return -e->no;
	g->m = next;
	return 0;
}

// A wake writes down what it is about before it looks for whom it has to end, and lets the
// capture's lock go between its steps: whoever says first that he packs, and then looks at the
// record, never takes the memory away from one. A named one is loaded from elsewhere.
static int not_in_use(const struct instance *i, const struct snap_gen *g, struct err *e)
{
	if (str_eq(i->diff_base.ref, g->ref))
		return err_kind(e, ERR_STATE, "the guest runs on it");
	if (g->m.kind == SNAP_NAMED)
		return 0;
	if (instance_op_check(i, e) < 0)
		return -e->no;
	if (instance_has_op(i))
		return err_kind(e, ERR_UNAVAILABLE, "busy: %s is %s", action_names[i->op.verb],
				op_stage_names[i->op.stage]);
	if (i->status != INSTANCE_SLEEPING)
		return err_kind(e, ERR_STATE, "it is packed while its instance sleeps: that is %s",
				instance_status_names[i->status]);
	return 0;
}

static int may_pack(const struct store *s, const struct snap_gen *g, struct err *e)
{
	struct instance i = { 0 };
	struct address a;

	if (g->m.kind == SNAP_BASE)
		return err_kind(e, ERR_STATE, "a base is mapped by guests and stays as it is");
	if (g->m.memory.form == SNAP_FORM_DELTA)
		return err_kind(e, ERR_STATE, "a delta has to be composed before it is packed");
	if (address_parse(s->name, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0 ||
	    instance_load_from(s, &a, NULL, &i, e) < 0)
		return -e->no;
	return not_in_use(&i, g, e);
}

static int pack_aside(struct snap_gen *g, int compression, const struct pages_cancel *c,
		      struct snap_manifest *next, struct err *e)
{
	cleanup_fd int mem = openat(g->dir, SNAP_MEM, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_fd int out = -1;
	digest_text now;
	struct stat st;

	if (mem < 0)
		return err_sys(e, "open " SNAP_MEM);
	out = create(g->dir, SNAP_PACK ".new", e);
	if (out < 0 || pack_make(mem, out, g->m.memory.bytes, compression, c, now, e) < 0)
		return -e->no;
	if (!str_eq(now, g->m.memory.sha256))
		return err_kind(e, ERR_DAMAGED, SNAP_MEM ": its digest does not fit");
	if (fault_point("snap-aside-sync") || fsync(out) < 0 || fstat(out, &st) < 0)
		return err_sys(e, "sync " SNAP_PACK);
	next->memory.form = SNAP_FORM_PACK;
	next->memory.pack.bytes = (uint64_t)st.st_size;
	next->compression = compression;
	if (lseek(out, 0, SEEK_SET) < 0)
		return err_sys(e, "read " SNAP_PACK);
	return digest_fd(out, next->memory.pack.sha256, e);
}

// A failure leaves no half of a large file behind: where the disk is full, that is what filled it.
static int failed(struct snap_gen *g, const char *aside, struct err *e)
{
	(void)unlinkat(g->dir, aside, 0);
	return err_wrap(e, "%s", g->ref);
}

int snap_pack(const struct store *s, struct snap_gen *g, int compression,
	      const struct pages_cancel *c, bool *changed, struct err *e)
{
	struct snap_manifest next = g->m; // its lists stay g's

	assert(g->lock >= 0);
	*changed = false;
	if (compression == POOL_COMPRESSION_NONE)
		return err_usage(e, "a pack is compressed by lz4 or zstd");
	if (g->m.memory.form == SNAP_FORM_PACK && g->m.compression == compression)
		return snap_gen_settle(g, e);
	if (g->m.memory.form == SNAP_FORM_PACK)
		return err_kind(e, ERR_CONFLICT, "%s: packed by %s; unpack it first", g->ref,
				pool_compression_names[g->m.compression]);
	if (may_pack(s, g, e) < 0)
		return err_wrap(e, "%s", g->ref);
	if (snap_gen_settle(g, e) < 0)
		return -e->no;
	if (pack_aside(g, compression, c, &next, e) < 0 ||
	    put_in_place(g, SNAP_PACK ".new", SNAP_PACK, &next, e) < 0)
		return failed(g, SNAP_PACK ".new", e);
	*changed = true;
	return snap_gen_settle(g, e);
}

static int unpack_aside(struct snap_gen *g, const struct pages_cancel *c,
			struct snap_manifest *next, struct err *e)
{
	cleanup_pack struct pack p = PACK_NONE;
	cleanup_fd int fd = -1, out = -1;

	if (open_pack(g->dir, &g->m, &p, e) < 0)
		return err_wrap(e, SNAP_PACK);
	fd = p.fd;
	out = create(g->dir, SNAP_MEM ".new", e);
	if (out < 0)
		return -e->no;
	if (ftruncate(out, (off_t)g->m.memory.bytes) < 0)
		return err_sys(e, "size of " SNAP_MEM);
	// Each chunk is compared with its digest, and all of them made the memory's.
	if (read_all(&p, out, c, e) < 0)
		return err_wrap(e, SNAP_PACK);
	if (fault_point("snap-aside-sync") || fsync(out) < 0)
		return err_sys(e, "sync " SNAP_MEM);
	next->memory.form = SNAP_FORM_MEM;
	next->memory.pack = (struct snap_file){ 0 };
	next->compression = POOL_COMPRESSION_NONE;
	return snap_memory_seen(out, &next->memory, e);
}

int snap_unpack(struct snap_gen *g, const struct pages_cancel *c, bool *changed, struct err *e)
{
	struct snap_manifest next = g->m; // its lists stay g's

	assert(g->lock >= 0);
	*changed = false;
	if (snap_gen_settle(g, e) < 0)
		return -e->no;
	if (g->m.memory.form == SNAP_FORM_DELTA)
		return err_kind(e, ERR_STATE, "%s: is a delta; it has to be composed", g->ref);
	if (g->m.memory.form == SNAP_FORM_MEM)
		return 0;
	if (unpack_aside(g, c, &next, e) < 0 ||
	    put_in_place(g, SNAP_MEM ".new", SNAP_MEM, &next, e) < 0)
		return failed(g, SNAP_MEM ".new", e);
	*changed = true;
	return snap_gen_settle(g, e);
}
