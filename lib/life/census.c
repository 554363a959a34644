// SPDX-License-Identifier: MIT
// The records, the comparison and the output; what looks at the machine is in census_*.c.
#include "life/census.h"

#include <dirent.h>
#include <fcntl.h>

#include "base/fd.h"
#include "life/census_impl.h"
#include "state/alloc.h"
#include "state/instances.h"

static const char *const kind_names[] = { "tap",   "bridge",  "table",	 "cgroup",   "jail",
					  "mount", "process", "unit",	 "property", "socket",
					  "draft", "claim",   "run-dir", "drives",   NULL };

const struct field census_row_fields[] = {
	{ FIELD_SLOT(struct census_row, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct census_row, kind, int), .kind = KIND_ENUM, .names = kind_names,
	  .doc = "what it is" },
	{ FIELD_SLOT(struct census_row, name, char *), .kind = KIND_STRING, .max = PATH_LEN,
	  .doc = "its path, or the name the kernel or systemd knows it by" },
	{ FIELD_SLOT(struct census_row, address, address_text), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "whose it is, null when it does not tell" },
	{ FIELD_SLOT(struct census_row, owned, bool), .kind = KIND_BOOL,
	  .doc = "a record of this node should have it" },
	{ FIELD_SLOT(struct census_row, foreign, bool), .kind = KIND_BOOL,
	  .doc = "another node on this machine made it" },
	{ FIELD_SLOT(struct census_row, reason, char[160]), .kind = KIND_TEXT, .doc = "why" },
	FIELD_END
};

void census_free(struct census *c)
{
	codec_free_list(census_row_fields, sizeof(struct census_row), &c->rows);
	free(c->wants.items);
	free(c->tenants.items);
	*c = (struct census)CENSUS_NONE;
}

const struct census_tenant *census_tenant(const struct census *c, const char *id)
{
	const struct census_tenant *t = c->tenants.items;

	for (size_t i = 0; i < c->tenants.len; i++)
		if (str_eq(t[i].id, id))
			return &t[i];
	return NULL;
}

static const struct census_want *find_id(const struct census *c, const char *instance)
{
	const struct census_want *w = c->wants.items;

	for (size_t i = 0; i < c->wants.len; i++)
		if (w[i].a.instance[0] && str_eq(w[i].a.instance, instance))
			return &w[i];
	return NULL;
}

// Above a damaged tenant or pool nothing below can be told: a row without an instance stands for
// all of them.
static const struct census_want *find_scope(const struct census *c, const struct address *a)
{
	const struct census_want *w = c->wants.items;

	for (size_t i = 0; i < c->wants.len; i++)
		if (!w[i].a.instance[0] && str_eq(w[i].a.tenant, a->tenant) &&
		    (!w[i].a.pool[0] || str_eq(w[i].a.pool, a->pool)))
			return &w[i];
	return NULL;
}

const struct census_want *census_by_address(const struct census *c, const struct address *a)
{
	const struct census_want *w = find_id(c, a->instance);

	if (w && str_eq(w->a.tenant, a->tenant) && str_eq(w->a.pool, a->pool))
		return w;
	return find_scope(c, a);
}

const struct census_want *census_by_id(const struct census *c, const char *instance)
{
	const struct census_want *w = find_id(c, instance);
	struct err why = { 0 };
	struct address a;

	if (w || name_check_instance(instance, &why) < 0 ||
	    alloc_find(instance, &a, NULL, &why) < 0)
		return w;
	return find_scope(c, &a);
}

// Templates of one tenant share offset 0 and so the uid: the one that lives is meant.
const struct census_want *census_by_uid(const struct census *c, uint32_t uid)
{
	const struct census_want *w = c->wants.items, *found = NULL, *scope = NULL;
	uint32_t net_id = (uid - VM_UID_BASE) >> 16;

	for (size_t i = 0; i < c->wants.len; i++) {
		const struct census_tenant *t = census_tenant(c, w[i].a.tenant);

		if (!w[i].a.instance[0] && (!t || !t->net_id || t->net_id == net_id))
			scope = &w[i];
		else if (w[i].uid == uid && (!found || w[i].live))
			found = &w[i];
	}
	return found ? found : scope;
}

struct census_row *census_add(struct census *c, enum census_kind kind, const char *name,
			      const struct address *a)
{
	struct census_row *r = codec_list_add(&c->rows, sizeof(*r));

	r->schema_version = 1;
	r->kind = (int)kind;
	r->name = base_strdup(name);
	if (a)
		address_print(a, r->address);
	return r;
}

void census_own(struct census_row *r, const char *reason)
{
	r->owned = true;
	(void)snprintf(r->reason, sizeof(r->reason), "%s", reason);
}

void census_stray(struct census_row *r, const char *reason)
{
	r->owned = false;
	(void)snprintf(r->reason, sizeof(r->reason), "%s", reason);
}

void census_foreign(struct census_row *r, const char *node_id)
{
	r->foreign = true;
	if (node_id[0])
		(void)snprintf(r->reason, sizeof(r->reason), "of node %s", node_id);
	else
		(void)snprintf(r->reason, sizeof(r->reason), "lives in another network namespace");
}

static void name_owner(struct census_row *r, const struct census_want *w)
{
	if (w && (w->a.instance[0] || !r->address[0]))
		address_print(&w->a, r->address);
}

void census_judge_live(struct census_row *r, const struct census_want *w)
{
	char why[80];

	name_owner(r, w);
	if (!w) {
		census_stray(r, "no such instance");
	} else if (w->damaged) {
		census_own(r, w->a.instance[0] ? "the instance's record is damaged"
					       : "the record above it is damaged");
	} else {
		(void)snprintf(why, sizeof(why), "the instance is %s",
			       instance_status_names[w->status]);
		if (w->live)
			census_own(r, why);
		else
			census_stray(r, why);
	}
}

void census_judge_record(struct census_row *r, const struct census_want *w)
{
	name_owner(r, w);
	if (w)
		census_own(r, "of an instance");
	else
		census_stray(r, "no such instance");
}

int census_each(struct census *c, const char *path, census_entry_fn fn, struct err *e)
{
	int fd = fd_open_dir(AT_FDCWD, path, e);
	cleanup_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	if (!dir)
		return err_sys(e, "list %s", path);
	while ((d = readdir(dir)))
		if (!str_eq(d->d_name, ".") && !str_eq(d->d_name, "..") &&
		    fn(c, dirfd(dir), path, d->d_name, e) < 0)
			return -e->no;
	return 0;
}

// A damaged record's uid comes from its claim, as far as that is whole.
static uint32_t damaged_uid(const struct census *c, const struct address *a)
{
	const struct census_tenant *t = census_tenant(c, a->tenant);
	struct err why = { 0 };
	struct address owner;
	uint32_t offset;

	if (!t || !t->net_id || alloc_find(a->instance, &owner, &offset, &why) < 0)
		return 0;
	return name_uid(t->net_id, offset);
}

static int take_want(void *arg, const struct address *a, const struct instance *i,
		     const struct err *why, struct err *e)
{
	struct census *c = arg;
	const struct census_tenant *t = census_tenant(c, a->tenant);
	struct census_want *w = codec_list_add(&c->wants, sizeof(*w));

	(void)why;
	(void)e;
	w->a = *a;
	if (!i) {
		w->damaged = true;
		w->uid = a->instance[0] ? damaged_uid(c, a) : 0;
		return 0;
	}
	w->uid = t && t->net_id ? name_uid(t->net_id, i->net.offset) : 0;
	w->vmm = i->vmm;
	w->status = i->status;
	w->live = instance_has_vmm(i) || instance_has_op(i);
	return 0;
}

static int read_records(struct census *c, struct err *e)
{
	cleanup_names struct store_names tenants = STORE_NAMES_NONE;

	if (store_list_tenants(&tenants, e) < 0)
		return -e->no;
	for (size_t i = 0; i < tenants.len; i++) {
		struct tenant t = { 0 };
		struct err why = { 0 };
		struct census_tenant *row;

		if (tenant_load(tenants.items[i], &t, &why) < 0 && why.kind == ERR_MISSING)
			continue; // destroyed meanwhile
		row = codec_list_add(&c->tenants, sizeof(*row));
		memcpy(row->id, tenants.items[i], sizeof(row->id));
		row->net_id = t.net.tenant_net_id;
	}
	return instances_each(NULL, take_want, c, e);
}

int census_take(struct census *c, int wait_ms, struct err *e)
{
	if (!store_exists(STORE_NODE, NULL))
		c->node_id[0] = '\0';
	else if (node_id_load(c->node_id, e) < 0 && e->kind != ERR_MISSING)
		return -e->no;
	else if (read_records(c, e) < 0)
		return err_wrap(e, "read the records");
	err_clear(e);
	if (census_net(c, e) < 0 || census_groups(c, e) < 0 || census_jails(c, e) < 0 ||
	    census_processes(c, e) < 0 || census_units(c, e) < 0 || census_run_dirs(c, e) < 0 ||
	    census_files(c, wait_ms, e) < 0)
		return -e->no;
	return 0;
}

size_t census_print(const struct census *c, bool strays, struct buf *out)
{
	const struct census_row *r = c->rows.items;
	size_t found = 0;
	const char *comma = "";

	buf_char(out, '[');
	for (size_t i = 0; i < c->rows.len; i++) {
		bool stray = !r[i].owned && !r[i].foreign;

		found += stray;
		if (strays && !stray)
			continue;
		buf_str(out, comma);
		codec_print(census_row_fields, &r[i], out);
		comma = ",";
	}
	buf_char(out, ']');
	return found;
}
