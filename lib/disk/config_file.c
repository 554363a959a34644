// SPDX-License-Identifier: MIT
// Versions on disk.
#include <fcntl.h>
#include <inttypes.h>

#include "audit/audit.h"
#include "base/fault.h"
#include "base/fd.h"
#include "disk/config.h"
#include "disk/numbered.h"
#include "state/rows.h"

#define DIR_NAME "config"
#define FIRST	 1u // the version of a tenant whose configuration was never set

struct stored {
	uint32_t schema_version; // 1
	uint64_t config_version;
	time_text changed_at;
	char *values;
};
static const struct field stored_fields[] = {
	{ FIELD_SLOT(struct stored, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct stored, config_version, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .doc = "which version it is" },
	{ FIELD_SLOT(struct stored, changed_at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_time, .doc = "since when" },
	{ FIELD_SLOT(struct stored, values, char *), .kind = KIND_RAW, .flags = FIELD_REQUIRED,
	  .max = 2 * CONFIG_BYTES, .doc = "keys and JSON values" },
	FIELD_END
};
const struct field config_report_fields[] = {
	{ FIELD_SLOT(struct config_report, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct config_report, tenant_id, name_text), .kind = KIND_TEXT,
	  .doc = "whose it is" },
	{ FIELD_SLOT(struct config_report, config_version, uint64_t), .kind = KIND_UINT,
	  .doc = "which version it is" },
	{ FIELD_SLOT(struct config_report, changed_at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "since when, null when it was never set" },
	{ FIELD_SLOT(struct config_report, values, char *), .kind = KIND_RAW,
	  .max = 2 * CONFIG_BYTES, .doc = "keys and JSON values" },
	{ FIELD_SLOT(struct config_report, changed, bool), .kind = KIND_BOOL,
	  .doc = "something was not so before" },
	{ FIELD_SLOT(struct config_report, dry_run, bool), .kind = KIND_BOOL,
	  .doc = "nothing was changed" },
	FIELD_END
};

static void file_name(uint64_t version, char out[64])
{
	base_cut(out, 64, DIR_NAME "/%" PRIu64 ".json", version);
}

static int find(const char *tenant, struct store *s, struct tenant *t, struct err *e)
{
	struct address a = { 0 };

	if (name_check(tenant, e) < 0 || COPY(a.tenant, tenant) < 0)
		return err_wrap(e, "tenant");
	if (store_open(s, STORE_TENANT, &a, e) < 0 || tenant_load_from(s, t, e) < 0)
		return -e->no;
	return 0;
}

static int read_version(const struct store *s, uint64_t version, struct config *c, time_text at,
			struct err *e)
{
	struct stored file = { 0 };
	bool changed = false;
	char name[64];
	int r;

	at[0] = '\0';
	file_name(version, name);
	if (store_load(s, name, stored_fields, &file, e) < 0) {
		if (e->kind != ERR_MISSING || version != FIRST)
			return -e->no;
		err_clear(e);
		return 0;
	}
	r = config_merge(c, file.values, strlen(file.values), &changed, e);
	if (r == 0 && file.config_version != version)
		r = err_usage(e, "config_version: not that of its name");
	memcpy(at, file.changed_at, sizeof(file.changed_at));
	codec_free(stored_fields, &file);
	return r < 0 ? store_damaged(s, name, e) : 0;
}

static int load(const struct store *s, const struct tenant *t, uint64_t version, struct config *c,
		time_text at, struct err *e)
{
	char name[64];

	if (read_version(s, version, c, at, e) == 0)
		return 0;
	if (e->kind != ERR_MISSING)
		return -e->no;
	err_clear(e);
	if (version == t->config_version) {
		file_name(version, name);
		(void)err_kind(e, ERR_DAMAGED, "the file is missing");
		return store_damaged(s, name, e);
	}
	(void)err_kind(e, ERR_MISSING, "%s: configuration %" PRIu64 " is not there, or not kept",
		       t->tenant_id, version);
	return err_object(e, "%s", t->tenant_id);
}

int config_load(const char *tenant, uint64_t version, struct config_read *ret, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct tenant t = { 0 };

	if (find(tenant, &s, &t, e) < 0)
		return -e->no;
	ret->version = version ? version : t.config_version;
	return load(&s, &t, ret->version, &ret->values, ret->changed_at, e);
}

static int save_version(const struct store *s, const struct address *a, struct tenant *t,
			const struct config *c, time_text at, struct err *e)
{
	struct stored file = { .schema_version = 1, .config_version = t->config_version + 1 };
	cleanup_buf struct buf values = BUF_INIT, text = BUF_INIT;
	cleanup_fd int dir = -1;
	char name[64];

	config_print(c, &values);
	file.values = values.data;
	clock_utc(file.changed_at);
	memcpy(at, file.changed_at, sizeof(file.changed_at));
	codec_print(stored_fields, &file, &text);
	buf_char(&text, '\n');
	if (fd_mkdir(s->dir, DIR_NAME, STORE_DIR_MODE, e) < 0)
		return -e->no;
	dir = fd_open_dir(s->dir, DIR_NAME, e);
	if (dir < 0)
		return -e->no;
	file_name(file.config_version, name);
	if (fd_replace_file(dir, name + strlen(DIR_NAME "/"), text.data, text.len, STORE_FILE_MODE,
			    e) < 0)
		return -e->no;
	t->config_version++;
	if (fault_point("config-written"))
		return err_sys(e, "%s: store the version", t->tenant_id);
	audit_note(a, AUDIT_CONFIG_CHANGED, NULL, "version %" PRIu64, t->config_version);
	if (tenant_save(s, t, e) < 0)
		return -e->no;
	numbered_prune(s, DIR_NAME, ".json", t->config_version, CONFIG_KEPT);
	return 0;
}

static int check_total(const struct config *c, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	config_print(c, &text);
	if (text.len > CONFIG_BYTES)
		return err_kind(e, ERR_QUOTA, "%zu bytes of keys and values are more than %lu",
				text.len, CONFIG_BYTES);
	return 0;
}

static int change(const struct address *a, config_fn fn, void *arg, int wait_ms,
		  struct config_report *ret, struct err *e)
{
	cleanup_config struct config c = CONFIG_NONE;
	cleanup_store struct store s = STORE_NONE;
	cleanup_buf struct buf values = BUF_INIT;
	struct tenant t = { 0 };

	if (store_lock(&s, STORE_TENANT, a, wait_ms, e) < 0 || tenant_load_from(&s, &t, e) < 0 ||
	    load(&s, &t, t.config_version, &c, ret->changed_at, e) < 0 ||
	    fn(arg, &c, &ret->changed, e) < 0 || check_total(&c, e) < 0 ||
	    (ret->changed && !ret->dry_run && save_version(&s, a, &t, &c, ret->changed_at, e) < 0))
		return err_object(e, "%s", a->tenant);
	memcpy(ret->tenant_id, a->tenant, sizeof(ret->tenant_id));
	ret->config_version = t.config_version;
	config_print(&c, &values);
	ret->values = buf_steal(&values);
	return 0;
}

int config_change(const char *tenant, config_fn fn, void *arg, bool dry_run, int wait_ms,
		  struct config_report *ret, struct err *e)
{
	struct address a = { 0 };

	*ret = (struct config_report){ .schema_version = 1, .dry_run = dry_run };
	if (name_check(tenant, e) < 0 || COPY(a.tenant, tenant) < 0)
		return err_wrap(e, "tenant");
	if (change(&a, fn, arg, wait_ms, ret, e) == 0)
		return 0;
	return dry_run ? -e->no : audit_note_failed(&a, AUDIT_CONFIG_CHANGED, NULL, e);
}

static int add_row(const struct store *s, const struct tenant *t, uint64_t version, struct buf *out,
		   struct err *e)
{
	cleanup_config struct config c = CONFIG_NONE;
	time_text at;

	if (read_version(s, version, &c, at, e) < 0) {
		if (e->kind != ERR_MISSING || version == t->config_version)
			return -e->no;
		err_clear(e); // not kept any more
		return 0;
	}
	rows_next(out);
	buf_str(out, "{\"schema_version\":1");
	rows_text(out, "tenant_id", t->tenant_id);
	buf_fmt(out, ",\"config_version\":%" PRIu64 ",\"changed_at\":", version);
	buf_fmt(out, at[0] ? "\"%s\"" : "null", at);
	buf_str(out, ",\"values\":");
	config_print(&c, out);
	buf_char(out, '}');
	return 0;
}

int config_history(const char *tenant, struct buf *out, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct tenant t = { 0 };

	if (find(tenant, &s, &t, e) < 0)
		return -e->no;
	buf_char(out, '[');
	for (uint64_t n = 0; n < CONFIG_KEPT && n < t.config_version; n++)
		if (add_row(&s, &t, t.config_version - n, out, e) < 0)
			return -e->no;
	buf_char(out, ']');
	return 0;
}
