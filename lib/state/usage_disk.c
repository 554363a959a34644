// SPDX-License-Identifier: MIT
// What captures take on the disk, by inodes: a restored instance and a clone share the files of a
// named capture by hard links, and what two of them hold is there once.
#include <fcntl.h>
#include <sys/stat.h>

#include "state/usage.h"

#define CAPTURES "snapshots"

struct held_file {
	uint64_t inode, bytes;
	uint32_t holder; // a number for each instance
};
struct files {
	struct held_file *items;
	size_t len, room;
	uint32_t holder;
	bool shared_only;
};

static void files_free(struct files *f)
{
	free(f->items);
}
#define cleanup_files cleanup(files_free)

static void files_add(struct files *f, const struct stat *st)
{
	if (!S_ISREG(st->st_mode) || (f->shared_only && st->st_nlink < 2))
		return;
	if (f->len == f->room) {
		f->room = 2 * f->room + 16;
		f->items = base_grow(f->items, f->room, sizeof(*f->items));
	}
	f->items[f->len++] = (struct held_file){ .inode = st->st_ino,
						 .bytes = (uint64_t)st->st_blocks * 512,
						 .holder = f->holder };
}

// What goes meanwhile takes nothing.
static int add_capture(struct files *f, const struct store *s, const char *ref, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	path_text below, file;
	struct stat st;

	if (base_fmt(below, sizeof(below), CAPTURES "/%s", ref) < 0 ||
	    fstatat(s->dir, below, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	if (store_list(s, below, &names, e) < 0)
		return -e->no;
	for (size_t i = 0; i < names.len; i++)
		if (base_fmt(file, sizeof(file), "%s/%s", below, names.items[i]) == 0 &&
		    fstatat(s->dir, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
			files_add(f, &st);
	return 0;
}

static int add_instance(struct files *f, const struct store *s, struct err *e)
{
	cleanup_names struct store_names refs = STORE_NAMES_NONE;

	f->holder++;
	if (store_list(s, CAPTURES, &refs, e) < 0)
		return -e->no;
	for (size_t i = 0; i < refs.len; i++)
		if (add_capture(f, s, refs.items[i], e) < 0)
			return -e->no;
	return 0;
}

static int add_pool(struct files *f, const char *tenant, const char *pool, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	struct address a = { .tenant = "" };

	if (COPY(a.tenant, tenant) < 0 || COPY(a.pool, pool) < 0 ||
	    store_list_instances(tenant, pool, &names, e) < 0)
		return e->no ? -e->no : err_usage(e, "%.64s/%.64s: no pool", tenant, pool);
	for (size_t i = 0; i < names.len; i++) {
		cleanup_store struct store s = STORE_NONE;
		struct err unseen = { 0 };

		if (COPY(a.instance, names.items[i]) < 0)
			continue; // none of ours
		// What cannot be looked at shares nothing, and counts as a whole.
		if (store_open(&s, STORE_INSTANCE, &a, &unseen) == 0)
			(void)!add_instance(f, &s, &unseen);
	}
	return 0;
}

static int by_inode(const void *a, const void *b)
{
	const struct held_file *x = a, *y = b;

	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return x->holder == y->holder ? 0 : x->holder < y->holder ? -1 : 1;
}

// Each inode once for each holder, or once for all of them.
static uint64_t sum(struct files *f, bool once)
{
	uint64_t bytes = 0;

	if (f->len)
		qsort(f->items, f->len, sizeof(*f->items), by_inode);
	for (size_t i = 0; i < f->len; i++) {
		const struct held_file *it = &f->items[i], *before = i ? it - 1 : NULL;
		bool seen = before && before->inode == it->inode &&
			    (once || before->holder == it->holder);

		bytes += seen ? 0 : it->bytes;
	}
	return bytes;
}

int usage_captures(const struct store *instance, uint64_t *ret_bytes, struct err *e)
{
	cleanup_files struct files f = { 0 };

	if (add_instance(&f, instance, e) < 0)
		return -e->no;
	*ret_bytes = sum(&f, true);
	return 0;
}

int usage_share(const char *tenant, const char *pool, struct usage *u, struct err *e)
{
	cleanup_names struct store_names pools = STORE_NAMES_NONE;
	cleanup_files struct files f = { .shared_only = true };
	uint64_t shared;

	if (pool && add_pool(&f, tenant, pool, e) < 0)
		return -e->no;
	if (!pool && store_list_pools(tenant, &pools, e) < 0)
		return -e->no;
	for (size_t i = 0; i < pools.len; i++)
		if (add_pool(&f, tenant, pools.items[i], e) < 0)
			return -e->no;
	shared = (sum(&f, false) - sum(&f, true)) / MIB;
	u->total_disk_mib -= MIN(shared, u->total_disk_mib);
	return 0;
}
