// SPDX-License-Identifier: MIT
#include <dirent.h>
#include <fcntl.h>

#include "base/fd.h"
#include "state/store.h"

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

void store_names_free(struct store_names *n)
{
	free(n->items);
	*n = (struct store_names)STORE_NAMES_NONE;
}

static void names_add(struct store_names *n, const char *name)
{
	if ((n->len & (n->len + 1)) == 0) // full at 1, 3, 7, ...
		n->items = base_grow(n->items, 2 * n->len + 1, sizeof(*n->items));
	// A name that is too long is none of ours; cut it still shows up, and its check fails.
	base_cut(n->items[n->len++], sizeof(*n->items), "%s", name);
}

int store_list(const struct store *s, const char *sub, struct store_names *ret, struct err *e)
{
	cleanup_names struct store_names n = STORE_NAMES_NONE;
	cleanup_dir DIR *d = NULL;
	const struct dirent *entry;

	int fd = fd_open_dir(s->dir, sub[0] ? sub : ".", e);
	if (fd < 0 && e->no == ENOENT) {
		*ret = n;
		return 0;
	}
	if (fd < 0)
		return err_wrap(e, "%s", s->path);
	d = fdopendir(fd);
	if (!d) {
		(void)close(fd);
		return err_sys(e, "list %s/%s", s->path, sub);
	}
	for (errno = 0; (entry = readdir(d)) != NULL; errno = 0)
		if (entry->d_name[0] != '.')
			names_add(&n, entry->d_name);
	if (errno)
		return err_sys(e, "list %s/%s", s->path, sub);
	if (n.len)
		qsort(n.items, n.len, sizeof(*n.items), by_name);
	*ret = n;
	n = (struct store_names)STORE_NAMES_NONE;
	return 0;
}

int store_list_tenants(struct store_names *ret, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;

	*ret = (struct store_names)STORE_NAMES_NONE;
	if (store_open(&s, STORE_NODE, NULL, e) < 0) {
		if (e->kind != ERR_MISSING) // a node that nobody has used yet has no tenants
			return -e->no;
		err_clear(e);
		return 0;
	}
	return store_list(&s, "tenants", ret, e);
}

int store_list_pools(const char *tenant, struct store_names *ret, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct address a = { 0 };

	if (name_check(tenant, e) < 0 || COPY(a.tenant, tenant) < 0 ||
	    store_open(&s, STORE_TENANT, &a, e) < 0)
		return -e->no;
	return store_list(&s, "pools", ret, e);
}

int store_list_instances(const char *tenant, const char *pool, struct store_names *ret,
			 struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct address a = { 0 };

	if (name_check(tenant, e) < 0 || name_check(pool, e) < 0 || COPY(a.tenant, tenant) < 0 ||
	    COPY(a.pool, pool) < 0 ||
	    store_open(&s, store_exists(STORE_TENANT, &a) ? STORE_POOL : STORE_TENANT, &a, e) < 0)
		return -e->no;
	return store_list(&s, "instances", ret, e);
}
