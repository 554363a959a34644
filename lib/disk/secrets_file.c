// SPDX-License-Identifier: MIT
// Epochs on disk.
#include <fcntl.h>

#include "audit/audit.h"
#include "base/fault.h"
#include "base/fd.h"
#include "disk/image.h"
#include "disk/numbered.h"
#include "disk/secrets.h"
#include "state/node.h"
#include "state/pool.h"
#include "state/rows.h"

#define DIR_NAME "secrets"

const struct field secrets_report_fields[] = {
	{ FIELD_SLOT(struct secrets_report, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct secrets_report, tenant_id, name_text), .kind = KIND_TEXT,
	  .doc = "whose they are" },
	{ FIELD_SLOT(struct secrets_report, secrets_epoch, uint64_t), .kind = KIND_UINT,
	  .doc = "the epoch they are of" },
	{ FIELD_SLOT(struct secrets_report, secrets, uint32_t), .kind = KIND_UINT,
	  .doc = "how many there are" },
	{ FIELD_SLOT(struct secrets_report, changed, bool), .kind = KIND_BOOL,
	  .doc = "something was not so before" },
	{ FIELD_SLOT(struct secrets_report, dry_run, bool), .kind = KIND_BOOL,
	  .doc = "nothing was changed" },
	FIELD_END
};

static void file_name(uint64_t epoch, char out[40])
{
	base_cut(out, 40, "%llu.sealed", (unsigned long long)epoch);
}

static int read_sealed(const struct store *s, uint64_t epoch, struct buf *out, struct err *e)
{
	cleanup_fd int dir = fd_open_dir(s->dir, DIR_NAME, e);
	char name[40];

	file_name(epoch, name);
	if (dir < 0 || fd_read_file(dir, name, SEAL_MAX, out, e) < 0)
		return err_wrap(e, "%s/" DIR_NAME, s->path);
	return 0;
}

static int open_sealed(const struct store *s, const struct tenant *t, const struct seal_key *k,
		       const struct buf *sealed, struct secrets *ret, struct err *e)
{
	cleanup_safe struct safe plain = SAFE_NONE;
	node_id_text node;
	const struct seal_place at = { node, t->tenant_id, t->secrets_epoch };
	char name[64];

	if (node_id_load(node, e) < 0)
		return -e->no;
	if (seal_open(k, &at, sealed->data, sealed->len, &plain, e) == 0 &&
	    secrets_parse(ret, &plain, e) == 0)
		return 0;
	base_cut(name, sizeof(name), DIR_NAME "/%llu.sealed", (unsigned long long)t->secrets_epoch);
	if (e->kind == ERR_DAMAGED)
		return store_damaged(s, name, e);
	(void)err_object(e, "%s", t->tenant_id);
	return err_wrap(e, "%s: %s", t->tenant_id, name);
}

// The file of the epoch that tenant.json names is always there: its absence is damage, unless a
// change went by between our two reads (absent, and the record names another one by now).
static int read_present(const struct store *s, struct tenant *t, struct buf *sealed, struct err *e)
{
	struct tenant now = { 0 };
	struct err ignored = { 0 };
	char name[64];

	while (read_sealed(s, t->secrets_epoch, sealed, e) < 0) {
		if (e->kind != ERR_MISSING)
			return -e->no;
		if (tenant_load_from(s, &now, &ignored) == 0 &&
		    now.secrets_epoch != t->secrets_epoch) {
			err_clear(e);
			buf_clear(sealed);
			*t = now;
			continue;
		}
		base_cut(name, sizeof(name), DIR_NAME "/%llu.sealed",
			 (unsigned long long)t->secrets_epoch);
		(void)err_kind(e, ERR_DAMAGED, "the file is missing");
		return store_damaged(s, name, e);
	}
	return 0;
}

static int load(const struct store *s, struct tenant *t, struct seal_key *k, struct secrets *ret,
		struct err *e)
{
	cleanup_buf struct buf sealed = BUF_INIT;

	if (t->secrets_epoch == 0)
		return 0;
	if (seal_key_load(k, false, 0, e) < 0 || read_present(s, t, &sealed, e) < 0)
		return -e->no;
	return open_sealed(s, t, k, &sealed, ret, e);
}

static int find(const char *tenant, struct address *a, struct err *e)
{
	*a = (struct address){ 0 };
	if (name_check(tenant, e) < 0 || COPY(a->tenant, tenant) < 0)
		return err_wrap(e, "tenant");
	return 0;
}

int secrets_load(const char *tenant, struct secrets *ret, uint64_t *epoch, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_key struct seal_key k = { 0 };
	struct tenant t = { 0 };
	struct address a;

	if (find(tenant, &a, e) < 0 || store_open(&s, STORE_TENANT, &a, e) < 0 ||
	    tenant_load_from(&s, &t, e) < 0 || load(&s, &t, &k, ret, e) < 0)
		return -e->no;
	*epoch = t.secrets_epoch;
	return 0;
}

// A set that does not fit into the drives of a pool would keep its instances from starting.
static int check_pools(const char *tenant, const struct secrets *s, struct err *e)
{
	cleanup_names struct store_names pools = STORE_NAMES_NONE;
	uint64_t need = image_of_secrets(s);

	if (store_list_pools(tenant, &pools, e) < 0)
		return -e->no;
	for (size_t i = 0; i < pools.len; i++) {
		cleanup_pool struct pool p = { 0 };
		struct err ignored = { 0 };

		// a damaged pool's instances do not start anyway
		if (pool_load(tenant, pools.items[i], &p, &ignored) == 0 &&
		    image_check_size(need, p.instance_resources.secrets_mib, e) < 0)
			return err_wrap(e, "pool %s/%s", tenant, pools.items[i]);
	}
	return 0;
}

static int write_epoch(const struct store *s, const struct tenant *t, const struct seal_key *k,
		       const struct secrets *set, struct err *e)
{
	cleanup_safe struct safe plain = SAFE_NONE;
	cleanup_buf struct buf sealed = BUF_INIT;
	node_id_text node;
	const struct seal_place at = { node, t->tenant_id, t->secrets_epoch };
	cleanup_fd int dir = -1;
	char name[40];

	if (node_id_load(node, e) < 0 || secrets_print(set, &plain, e) < 0 ||
	    seal_close(k, &at, &plain, &sealed, e) < 0 || fd_mkdir(s->dir, DIR_NAME, 0700, e) < 0)
		return -e->no;
	dir = fd_open_dir(s->dir, DIR_NAME, e);
	if (dir < 0)
		return -e->no;
	file_name(t->secrets_epoch, name);
	return fd_replace_file(dir, name, sealed.data, sealed.len, 0600, e);
}

static int store_set(const struct store *s, const struct address *a, struct tenant *t,
		     struct seal_key *k, const struct secrets *set, struct err *e)
{
	t->secrets_epoch++;
	if (write_epoch(s, t, k, set, e) < 0)
		return -e->no;
	if (fault_point("secrets-sealed"))
		return err_sys(e, "%s: store the epoch", t->tenant_id);
	audit_note(a, AUDIT_SECRETS_ROTATED, NULL, "epoch %llu, %zu secrets",
		   (unsigned long long)t->secrets_epoch, set->len);
	if (tenant_save(s, t, e) < 0)
		return -e->no;
	if (fault_point("secrets-saved"))
		return err_sys(e, "%s: remove former epochs", t->tenant_id);
	numbered_prune(s, DIR_NAME, ".sealed", t->secrets_epoch, SECRETS_KEPT + 1);
	return 0;
}

// The first secret of a tenant may have to make the node's key, under the node's lock and so before
// the tenant's: only for a change that will be made. What is sealed already has its key, or lost
// it.
static int find_key(const struct tenant *t, secrets_fn fn, void *arg, int wait_ms,
		    struct seal_key *k, struct err *e)
{
	cleanup_secrets struct secrets none = SECRETS_NONE;
	bool changed = false;

	if (t->secrets_epoch == 0 && (fn(arg, &none, &changed, e) < 0 ||
				      (changed && check_pools(t->tenant_id, &none, e) < 0)))
		return -e->no;
	return t->secrets_epoch || changed ? seal_key_load(k, changed, wait_ms, e) : 0;
}

static int change(const struct address *a, secrets_fn fn, void *arg, int wait_ms,
		  struct secrets_report *ret, struct err *e)
{
	cleanup_secrets struct secrets set = SECRETS_NONE;
	cleanup_store struct store s = STORE_NONE;
	cleanup_key struct seal_key k = { 0 };
	struct tenant t = { 0 };

	if (tenant_load(a->tenant, &t, e) < 0)
		return -e->no;
	if (!ret->dry_run && find_key(&t, fn, arg, wait_ms, &k, e) < 0)
		return err_object(e, "%s", a->tenant);
	if (store_lock(&s, STORE_TENANT, a, wait_ms, e) < 0 || tenant_load_from(&s, &t, e) < 0 ||
	    load(&s, &t, &k, &set, e) < 0 || fn(arg, &set, &ret->changed, e) < 0 ||
	    (ret->changed && check_pools(a->tenant, &set, e) < 0) ||
	    (ret->changed && !ret->dry_run && store_set(&s, a, &t, &k, &set, e) < 0))
		return err_object(e, "%s", a->tenant);
	memcpy(ret->tenant_id, a->tenant, sizeof(ret->tenant_id));
	ret->secrets_epoch = t.secrets_epoch;
	ret->secrets = (uint32_t)set.len;
	return 0;
}

int secrets_change(const char *tenant, secrets_fn fn, void *arg, bool dry_run, int wait_ms,
		   struct secrets_report *ret, struct err *e)
{
	struct address a;

	*ret = (struct secrets_report){ .schema_version = 1, .dry_run = dry_run };
	if (find(tenant, &a, e) < 0)
		return -e->no;
	if (change(&a, fn, arg, wait_ms, ret, e) == 0)
		return 0;
	return dry_run ? -e->no : audit_note_failed(&a, AUDIT_SECRETS_ROTATED, NULL, e);
}

int secrets_list(const char *tenant, struct buf *out, struct err *e)
{
	cleanup_secrets struct secrets set = SECRETS_NONE;
	uint64_t epoch = 0;

	if (secrets_load(tenant, &set, &epoch, e) < 0)
		return -e->no;
	buf_char(out, '[');
	for (size_t i = 0; i < set.len; i++) {
		rows_next(out);
		buf_str(out, "{\"schema_version\":1");
		rows_text(out, "tenant_id", tenant);
		rows_text(out, "name", set.items[i].name);
		buf_fmt(out, ",\"bytes\":%zu", set.items[i].len);
		rows_text(out, "changed_at", set.items[i].changed_at);
		buf_fmt(out, ",\"secrets_epoch\":%llu}", (unsigned long long)epoch);
	}
	buf_char(out, ']');
	return 0;
}
