// SPDX-License-Identifier: MIT
#include "meta/publish.h"

#include <fcntl.h>

#include "base/fault.h"
#include "base/fd.h"
#include "meta/metad.h"

const struct field meta_report_fields[] = {
	{ FIELD_SLOT(struct meta_report, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct meta_report, address, address_text), .kind = KIND_TEXT,
	  .doc = "what it is about" },
	{ FIELD_SLOT(struct meta_report, published, uint32_t), .kind = KIND_UINT,
	  .doc = "documents that were written" },
	{ FIELD_SLOT(struct meta_report, dry_run, bool), .kind = KIND_BOOL,
	  .doc = "nothing was changed" },
	{ FIELD_SLOT(struct meta_report, changed, bool), .kind = KIND_BOOL,
	  .doc = "something was not so before" },
	FIELD_END
};

static void begin(const struct address *a, const struct meta_call *c, struct meta_report *r)
{
	*r = (struct meta_report){ .schema_version = 1, .dry_run = c->dry_run };
	address_print(a, r->address);
}

static int read_values(const struct store *s, char **ret, struct err *e)
{
	cleanup_values struct meta_values v = META_VALUES_NONE;
	cleanup_buf struct buf text = BUF_INIT;

	if (meta_values_load(s, &v, e) < 0)
		return -e->no;
	meta_values_print(&v, &text);
	*ret = buf_steal(&text);
	return 0;
}

static void take_facts(struct meta_facts *f, const struct instance *i)
{
	memcpy(f->instance_id, i->instance_id, sizeof(f->instance_id));
	memcpy(f->hostname, i->instance_id, sizeof(f->hostname));
	memcpy(f->tenant, i->tenant_id, sizeof(f->tenant));
	memcpy(f->pool, i->pool_id, sizeof(f->pool));
	memcpy(f->local_ipv4, i->net.guest_ip, sizeof(f->local_ipv4));
	memcpy(f->gateway, i->net.gateway_ip, sizeof(f->gateway));
	memcpy(f->mac, i->net.mac, sizeof(f->mac));
	memcpy(f->revision, i->revision_hash, sizeof(f->revision));
	memcpy(f->created_at, i->created_at, sizeof(f->created_at));
	f->prefix = i->net.cidr;
}

static int make_document(const struct store *s, const struct address *a, struct meta_document *d,
			 struct err *e)
{
	cleanup_store struct store above = STORE_NONE;
	struct instance i = { 0 };
	struct tenant t = { 0 };

	if (store_open(&above, STORE_TENANT, a, e) < 0 || tenant_load_from(&above, &t, e) < 0 ||
	    instance_load_from(s, a, &t, &i, e) < 0)
		return -e->no;
	if (i.role == INSTANCE_ROLE_TEMPLATE)
		return err_kind(e, ERR_STATE, "a template has no address to ask from");
	d->schema_version = 1;
	address_print(a, d->address);
	take_facts(&d->meta_data, &i);
	if (node_id_load(d->meta_data.node_id, e) < 0 || read_values(s, &d->user_data, e) < 0)
		return -e->no;
	return read_values(&above, &d->tenant_data, e);
}

// The documents are replaced only when they differ, so that a repeated publish writes nothing.
static int put(const struct meta_document *d, bool dry_run, bool *changed, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT, old = BUF_INIT;
	struct err why = { 0 };
	cleanup_fd int dir = -1;
	char name[32];

	codec_print(meta_document_fields, d, &text);
	buf_char(&text, '\n');
	meta_document_name(d->meta_data.local_ipv4, name);
	dir = meta_dir_open(d->meta_data.tenant, !dry_run, NULL, e);
	if (dir < 0 && !(dry_run && e->kind == ERR_MISSING))
		return -e->no;
	if (dir >= 0 && fd_read_file(dir, name, META_DOCUMENT_MAX, &old, &why) == 0 &&
	    old.len == text.len && memcmp(old.data, text.data, old.len) == 0)
		return 0;
	*changed = true;
	if (fault_point("meta-publish"))
		return err_sys(e, "write %s", name);
	return dry_run ? 0 : meta_document_write(dir, name, &text, e);
}

static int publish_locked(const struct store *s, const struct address *a, bool dry_run,
			  bool *changed, struct err *e)
{
	cleanup_document struct meta_document d = { 0 };

	if (make_document(s, a, &d, e) < 0)
		return -e->no;
	return put(&d, dry_run, changed, e);
}

int meta_publish(const struct address *a, const struct meta_call *c, struct meta_report *ret,
		 struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_pool struct pool pool = { 0 };

	begin(a, c, ret);
	if (store_lock(&s, STORE_INSTANCE, a, c->wait_ms, e) < 0 ||
	    pool_load(a->tenant, a->pool, &pool, e) < 0)
		return -e->no;
	if (!pool.metadata_enabled) {
		(void)err_kind(e, ERR_STATE, "the pool does not let its guests ask for metadata");
		return err_hint(e, "make the pool with --metadata");
	}
	if (publish_locked(&s, a, c->dry_run, &ret->changed, e) < 0)
		return err_wrap(e, "%s", ret->address);
	ret->published = ret->changed;
	return 0;
}

typedef int (*document_fn)(const void *arg, int dir, const char *name,
			   const struct meta_document *d, struct err *e);

// Every document of a tenant that says whose it is; one that does not is nobody's to change here.
static int each_document(const char *tenant, document_fn fn, const void *arg, struct err *e)
{
	cleanup_fd int fd = meta_dir_open(tenant, false, NULL, e);
	cleanup_dir DIR *all = NULL;
	const struct dirent *entry;
	int r = 0;

	if (fd < 0)
		return e->kind == ERR_MISSING ? (err_clear(e), 0) : -e->no;
	all = fdopendir(fd);
	if (!all)
		return err_sys(e, "list the documents of %s", tenant);
	(void)steal_fd(&fd); // all has it
	while (r == 0 && (entry = readdir(all))) {
		cleanup_document struct meta_document d = { 0 };
		struct err why = { 0 };

		if (entry->d_name[0] != '.' && str_ends(entry->d_name, ".json") &&
		    meta_document_read(dirfd(all), entry->d_name, &d, &why) == 0)
			r = fn(arg, dirfd(all), entry->d_name, &d, e);
	}
	return r;
}

struct retract {
	const char *address;
	bool dry_run, *changed;
};

static int retract_one(const void *arg, int dir, const char *name, const struct meta_document *d,
		       struct err *e)
{
	const struct retract *r = arg;

	if (!str_eq(d->address, r->address))
		return 0;
	*r->changed = true;
	if (!r->dry_run && unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove %s", name);
	return 0;
}

// The short way: the record says which file it is. It may be somebody else's by now.
static int retract_by_record(const struct address *a, const struct retract *r, struct err *e)
{
	cleanup_document struct meta_document d = { 0 };
	struct instance i = { 0 };
	struct err why = { 0 };
	char name[32];

	if (instance_load(a, NULL, &i, &why) < 0)
		return each_document(a->tenant, retract_one, r, e);
	cleanup_fd int dir = meta_dir_open(a->tenant, false, NULL, e);

	if (dir < 0)
		return e->kind == ERR_MISSING ? (err_clear(e), 0) : -e->no;
	meta_document_name(i.net.guest_ip, name);
	if (meta_document_read(dir, name, &d, &why) == 0)
		return retract_one(r, dir, name, &d, e);
	if (why.kind == ERR_MISSING)
		return 0;
	*r->changed = true; // damaged, and at our address
	if (!r->dry_run && unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove %s", name);
	return 0;
}

int meta_retract(const struct address *a, const struct meta_call *c, struct meta_report *ret,
		 struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	const struct retract r = { .address = ret->address,
				   .dry_run = c->dry_run,
				   .changed = &ret->changed };

	begin(a, c, ret);
	if (store_lock(&s, STORE_INSTANCE, a, c->wait_ms, e) < 0) {
		if (e->kind != ERR_MISSING)
			return -e->no;
		err_clear(e);
	}
	if (retract_by_record(a, &r, e) < 0)
		return err_wrap(e, "%s", ret->address);
	return 0;
}

int meta_forget(const char *tenant, const struct meta_call *c, struct meta_report *ret,
		struct err *e)
{
	cleanup_fd int parent = -1, lock = -1;
	struct address a = { 0 };
	char file[80];
	path_text path;

	base_cut(a.tenant, sizeof(a.tenant), "%s", tenant); // a checked name
	begin(&a, c, ret);
	path_join(path, path_run(), "metadata");
	parent = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (parent < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open %s", path);
	metad_lock_name(tenant, file);
	ret->changed = faccessat(parent, tenant, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
		       faccessat(parent, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	if (!ret->changed || c->dry_run)
		return 0;
	lock = fd_lock(parent, file, true, c->wait_ms, e);
	if (lock < 0)
		return err_wrap(e, "the metadata server of %s", tenant);
	if (fd_remove_tree(parent, tenant, e) < 0)
		return -e->no;
	metad_log_name(tenant, path);
	if (unlinkat(parent, path, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove %s", path);
	return unlinkat(parent, file, 0) < 0 ? err_sys(e, "remove %s", file) : 0;
}

static enum store_level level_of(const struct address *a)
{
	return a->instance[0] ? STORE_INSTANCE : STORE_TENANT;
}

int meta_get(const struct address *a, struct meta_values *ret, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;

	if (store_open(&s, level_of(a), a, e) < 0)
		return -e->no;
	return meta_values_load(&s, ret, e);
}

static int change_file(const struct address *a, meta_change_fn fn, void *arg,
		       const struct meta_call *c, bool *changed, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_values struct meta_values v = META_VALUES_NONE;

	if (store_lock(&s, level_of(a), a, c->wait_ms, e) < 0 || meta_values_load(&s, &v, e) < 0 ||
	    fn(arg, &v, changed, e) < 0 || meta_values_check_total(&v, e) < 0)
		return -e->no;
	return !*changed || c->dry_run ? 0 : meta_values_save(&s, &v, e);
}

struct again {
	const struct address *a; // of whom
	int wait_ms;
	uint32_t *published;
};

static int publish_again(const void *arg, int dir, const char *name, const struct meta_document *d,
			 struct err *e)
{
	const struct again *g = arg;
	cleanup_store struct store s = STORE_NONE;
	bool changed = false;
	struct address a;

	if (address_parse(d->address, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0)
		return err_wrap(e, "%s", name);
	if (g->a->instance[0] && !str_eq(g->a->instance, a.instance))
		return 0;
	if (store_lock(&s, STORE_INSTANCE, &a, g->wait_ms, e) < 0) {
		// the record went, its retract comes
		return e->kind == ERR_MISSING ? (err_clear(e), 0) : -e->no;
	}
	// retracted while we waited for the lock
	if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (publish_locked(&s, &a, false, &changed, e) < 0)
		return err_wrap(e, "%s: stored, but not published", d->address);
	*g->published += changed;
	return 0;
}

int meta_change(const struct address *a, meta_change_fn fn, void *arg, const struct meta_call *c,
		struct meta_report *ret, struct err *e)
{
	struct again g = { .a = a, .wait_ms = c->wait_ms, .published = &ret->published };

	begin(a, c, ret);
	if (change_file(a, fn, arg, c, &ret->changed, e) < 0)
		return -e->no;
	if (c->dry_run)
		return 0;
	if (fault_point("meta-changed"))
		return err_sys(e, "publish");
	return each_document(a->tenant, publish_again, &g, e);
}
