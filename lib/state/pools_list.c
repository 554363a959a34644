// SPDX-License-Identifier: MIT
#include "state/pools.h"

#include "state/instances.h"
#include "state/rows.h"
#include "state/usage.h"

static int print_pool(const struct tenant *t, const struct pool *p, struct buf *out, struct err *e)
{
	char revision[65], path[2 * NAME_MAX_LEN + 2];
	struct usage u;

	if (pool_revision(p->tenant_id, p->pool_id, revision, e) < 0 ||
	    usage_of_pool(t, p, &u, e) < 0 || usage_share(p->tenant_id, p->pool_id, &u, e) < 0)
		return -e->no;
	base_cut(path, sizeof(path), "%s/%s", p->tenant_id, p->pool_id);
	codec_print(pool_fields, p, out);
	rows_reopen(out);
	rows_text(out, "pool_path", path);
	if (revision[0])
		rows_text(out, "revision", revision);
	else
		buf_str(out, ",\"revision\":null");
	buf_str(out, ",\"usage\":");
	codec_print(usage_fields, &u, out);
	return 0;
}

static int list_one(const struct tenant *t, const char *id, struct buf *out, struct err *e)
{
	cleanup_pool struct pool p = { 0 };
	cleanup_buf struct buf row = BUF_INIT;

	if (pool_load(t->tenant_id, id, &p, e) < 0 || print_pool(t, &p, &row, e) < 0)
		return -e->no;
	rows_next(out);
	buf_add(out, row.data, row.len);
	buf_char(out, '}');
	return 0;
}

int pools_list(const char *tenant, struct buf *out, unsigned *damaged, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	struct tenant t;

	*damaged = 0;
	if (tenant_load(tenant, &t, e) < 0 || store_list_pools(tenant, &names, e) < 0)
		return -e->no;
	buf_char(out, '[');
	for (size_t n = 0; n < names.len; n++) {
		struct address a = { 0 };
		struct err why = { 0 };

		if (list_one(&t, names.items[n], out, &why) == 0 || why.kind == ERR_MISSING)
			continue;
		++*damaged;
		memcpy(a.tenant, t.tenant_id, sizeof(a.tenant));
		if (COPY(a.pool, names.items[n]) < 0)
			abort(); // both hold names
		rows_next(out);
		rows_damaged(out, &a, &why);
	}
	buf_char(out, ']');
	return 0;
}

int pools_info(const char *tenant, const char *id, struct buf *out, struct err *e)
{
	cleanup_pool struct pool p = { 0 };
	struct tenant t;

	if (tenant_load(tenant, &t, e) < 0 || pool_load(tenant, id, &p, e) < 0 ||
	    print_pool(&t, &p, out, e) < 0)
		return -e->no;
	buf_char(out, '}');
	return 0;
}

static int add_path(void *arg, const struct address *a, const struct instance *i,
		    const struct err *why, struct err *e)
{
	address_text text;

	(void)i;
	(void)why;
	(void)e;
	address_print(a, text);
	buf_fmt(arg, "%s\n", text);
	return 0;
}

int pools_contents(const char *tenant, const char *id, struct buf *out, struct err *e)
{
	struct address a = { 0 };

	if (name_check(tenant, e) < 0 || (id && name_check(id, e) < 0) ||
	    COPY(a.tenant, tenant) < 0 || COPY(a.pool, id ? id : "") < 0)
		return -e->no;
	return instances_each(&a, add_path, out, e);
}
