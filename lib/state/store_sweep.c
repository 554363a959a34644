// SPDX-License-Identifier: MIT
// What killed creators and removers left. Each directory is looked at under the lock that its
// creators hold: what is half done there is nobody's.
#include "state/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>

#include "base/fd.h"
#include "state/alloc.h"

struct sweep {
	bool dry_run;
	int wait_ms;
	struct buf *found;
	struct err first; // one failure does not stop the rest
};

static void keep(struct sweep *w, const struct err *e)
{
	if (!w->first.no)
		w->first = *e;
}

// An aside of ids/ has no lock of a parent: its writer holds one on the file itself.
static bool writer_lives(int dir, const char *name)
{
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
}

static void sweep_dir(struct sweep *w, const struct store *s, const char *sub, bool claims)
{
	cleanup_dir DIR *d = NULL;
	const struct dirent *entry;
	struct err e = { 0 };

	int fd = fd_open_dir(s->dir, sub, &e);
	if (fd < 0) {
		if (e.no != ENOENT)
			keep(w, &e);
		return;
	}
	d = fdopendir(fd);
	if (!d) {
		(void)close(fd);
		err_sys(&e, "list %s/%s", s->path, sub);
		keep(w, &e);
		return;
	}
	while ((entry = readdir(d)) != NULL) {
		const char *name = entry->d_name;

		if (!str_starts(name, STORE_NEW) && !str_starts(name, STORE_OLD))
			continue;
		if (claims && writer_lives(dirfd(d), name))
			continue;
		buf_fmt(w->found, "%s/%s/%s\n", s->path + strlen(path_state()), sub, name);
		if (!w->dry_run && fd_remove_tree(dirfd(d), name, &e) < 0)
			keep(w, &e);
	}
}

static void sweep_level(struct sweep *w, enum store_level level, const struct address *a,
			const char *sub)
{
	cleanup_store struct store s = STORE_NONE;
	struct err e = { 0 };

	if (store_lock(&s, level, a, w->wait_ms, &e) == 0)
		sweep_dir(w, &s, sub, false);
	else if (e.kind != ERR_MISSING)
		keep(w, &e);
}

// A killed build leaves a revision, or the link to one, unfinished.
static void sweep_pool(struct sweep *w, const struct address *a)
{
	static const char *const subs[] = { "instances", "artifacts", "artifacts/revisions" };

	for (size_t i = 0; i < COUNT(subs); i++)
		sweep_level(w, STORE_POOL, a, subs[i]);
}

static void sweep_tenant(struct sweep *w, const char *tenant)
{
	cleanup_names struct store_names pools = STORE_NAMES_NONE;
	struct address a = { 0 };
	struct err e = { 0 };

	if (name_check(tenant, &e) < 0 || COPY(a.tenant, tenant) < 0) {
		keep(w, &e);
		return;
	}
	sweep_level(w, STORE_TENANT, &a, "pools");
	if (store_list_pools(tenant, &pools, &e) < 0) {
		if (e.kind != ERR_MISSING)
			keep(w, &e);
		return;
	}
	for (size_t p = 0; p < pools.len; p++)
		if (name_check(pools.items[p], &e) < 0)
			keep(w, &e);
		else if (COPY(a.pool, pools.items[p]) == 0)
			sweep_pool(w, &a);
}

// A creator claims, then makes, and holds the tenant's lock meanwhile.
static void sweep_claim(struct sweep *w, const char *id)
{
	cleanup_store struct store lock = STORE_NONE;
	struct address a;
	struct err e = { 0 };

	if (alloc_find(id, &a, NULL, &e) < 0) {
		if (e.kind != ERR_MISSING)
			keep(w, &e);
		return;
	}
	if (store_exists(STORE_INSTANCE, &a))
		return;
	if (store_lock(&lock, store_exists(STORE_TENANT, &a) ? STORE_TENANT : STORE_NODE, &a,
		       w->wait_ms, &e) < 0) {
		keep(w, &e);
		return;
	}
	if (store_exists(STORE_INSTANCE, &a))
		return;
	buf_fmt(w->found, "/ids/%s\n", id);
	if (!w->dry_run && alloc_release(id, &e) < 0)
		keep(w, &e);
}

int store_sweep(bool dry_run, int wait_ms, struct buf *found, struct err *e)
{
	cleanup_names struct store_names tenants = STORE_NAMES_NONE, ids = STORE_NAMES_NONE;
	struct sweep w = { .dry_run = dry_run, .wait_ms = wait_ms, .found = found };

	if (!store_exists(STORE_NODE, NULL)) // nobody was here yet
		return 0;
	sweep_level(&w, STORE_NODE, NULL, "tenants");
	sweep_level(&w, STORE_NODE, NULL, "archive");
	if (store_list_tenants(&tenants, e) < 0)
		return -e->no;
	for (size_t t = 0; t < tenants.len; t++)
		sweep_tenant(&w, tenants.items[t]);

	cleanup_store struct store node = STORE_NONE;
	if (store_open(&node, STORE_NODE, NULL, e) < 0)
		return -e->no;
	sweep_dir(&w, &node, "ids", true);
	if (store_list(&node, "ids", &ids, e) < 0)
		return -e->no;
	for (size_t i = 0; i < ids.len; i++)
		sweep_claim(&w, ids.items[i]);
	if (!w.first.no)
		return 0;
	*e = w.first;
	return -e->no;
}
