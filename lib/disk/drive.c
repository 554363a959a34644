// SPDX-License-Identifier: MIT
#include "disk/drive.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/fd.h"
#include "disk/content.h"

const char *const drive_names[] = { "data", "secrets", "config", NULL };
const char *const drive_labels[] = { DATA_LABEL, "mvm-secrets", "mvm-config", NULL };
const char *const drive_files[] = { DATA_FILE, "secrets.img", "config.img", NULL };

const struct field drive_row_fields[] = {
	{ FIELD_SLOT(struct drive_row, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct drive_row, instance_path, address_text), .kind = KIND_TEXT,
	  .doc = "whose it is" },
	{ FIELD_SLOT(struct drive_row, drive, int), .kind = KIND_ENUM, .names = drive_names,
	  .doc = "which one" },
	{ FIELD_SLOT(struct drive_row, present, bool), .kind = KIND_BOOL, .doc = "it is there" },
	{ FIELD_SLOT(struct drive_row, path, char *), .kind = KIND_STRING, .flags = FIELD_NULLABLE,
	  .max = PATH_LEN, .doc = "its file, null when there is none" },
	{ FIELD_SLOT(struct drive_row, bytes, uint64_t), .kind = KIND_UINT, .doc = "its size" },
	{ FIELD_SLOT(struct drive_row, allocated, uint64_t), .kind = KIND_UINT,
	  .doc = "what of it is in use" },
	{ FIELD_SLOT(struct drive_row, number, uint64_t), .kind = KIND_UINT,
	  .doc = "epoch of the secrets, version of the configuration in it" },
	{ FIELD_SLOT(struct drive_row, changed, bool), .kind = KIND_BOOL,
	  .doc = "it was not so before" },
	{ FIELD_SLOT(struct drive_row, dry_run, bool), .kind = KIND_BOOL,
	  .doc = "nothing was changed" },
	FIELD_END
};

void drive_rows_free(struct codec_list *rows)
{
	codec_free_list(drive_row_fields, sizeof(struct drive_row), rows);
}

static struct drive_row *add_row(struct codec_list *rows, const struct address *a,
				 enum drive_kind kind)
{
	struct drive_row *r = codec_list_add(rows, sizeof(*r));

	r->schema_version = 1;
	r->drive = (int)kind;
	address_print(a, r->instance_path);
	return r;
}

// What a row says of the file that is open.
static void take_trailer(struct drive_row *r, int fd, const struct trailer *t)
{
	struct stat st;

	r->present = true;
	r->bytes = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	r->allocated = t->used + TRAILER_SIZE;
	r->number = t->number;
}

// Root's, and readable by the VM's user alone.
static int give(int fd, uint32_t uid, struct err *e)
{
	if (fchown(fd, 0, uid) < 0 || fchmod(fd, 0440) < 0)
		return err_sys(e, "owner of the drive");
	return 0;
}

static int make_image(int dir, const char *file, const struct content *c, uint32_t uid,
		      struct trailer *ret, struct err *e)
{
	const struct image_drive drive = { .size = c->size, .number = c->number, .fresh = true };
	cleanup_fd int fd = -1;
	char draft[32];

	base_cut(draft, sizeof(draft), ".new-%s", file);
	if (unlinkat(dir, draft, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove %s", draft);
	fd = openat(dir, draft, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)c->size) < 0)
		return err_sys(e, "make %s", draft);
	if (image_write(fd, &drive, &c->image, ret, e) < 0 || give(fd, uid, e) < 0)
		return -e->no;
	if (fault_point("drive-rename") || renameat(dir, draft, dir, file) < 0)
		return err_sys(e, "rename %s", draft);
	return 0;
}

// The same inode: the guest has it open.
static int rewrite_image(int dir, const char *file, const struct content *c, struct trailer *ret,
			 bool *rewritten, struct err *e)
{
	const struct image_drive drive = { .size = c->size, .number = c->number };
	cleanup_fd int fd = openat(dir, file, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct trailer want = { .used = c->image.len, .number = c->number };
	uint8_t block[TRAILER_SIZE];
	struct err ignored = { 0 };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open %s", file);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != c->size)
		return err_kind(e, ERR_STATE, "%s has %llu bytes and the pool asks for %llu", file,
				(unsigned long long)st.st_size, (unsigned long long)c->size);
	trailer_make(&want, c->image.data, block);
	if (trailer_check(fd, ret, &ignored) == 0 &&
	    memcmp(ret->digest, want.digest, sizeof(want.digest)) == 0)
		return 0;
	*rewritten = true;
	return image_write(fd, &drive, &c->image, ret, e);
}

int drive_refresh(const struct store *s, const struct address *a, enum drive_kind kind,
		  struct trailer *ret, bool *rewritten, struct err *e)
{
	cleanup_content struct content c = CONTENT_NONE;
	cleanup_fd int dir = place_open_instance(a->instance, e);

	if (dir < 0 || content_make(s, a, kind, &c, e) < 0)
		return -e->no;
	return rewrite_image(dir, drive_files[kind], &c, ret, rewritten, e);
}

struct work { // one call of drive_ensure
	const struct address *a;
	const struct drive_call *c;
	struct store s;
	struct instance i;
	struct tenant t;
	struct pool p;
	struct codec_list *rows;
};

static int ensure_data(struct work *w, struct err *e)
{
	struct drive_row *r = add_row(w->rows, w->a, DRIVE_DATA);
	struct data_state d;
	path_text path;

	r->dry_run = w->c->dry_run;
	if (data_ensure(&w->s, w->p.instance_resources.data_disk_mib, w->c->seed, w->c->dry_run, &d,
			e) < 0)
		return -e->no;
	r->present = d.present;
	r->bytes = d.bytes;
	r->allocated = d.allocated;
	r->changed = d.changed;
	if (d.present) {
		path_join(path, w->s.path, "volumes/" DATA_FILE);
		r->path = base_strdup(path);
	}
	return 0;
}

static int ensure_image(struct work *w, enum drive_kind kind, struct err *e)
{
	uint32_t uid = name_uid(w->t.net.tenant_net_id, w->i.net.offset);
	struct drive_row *r = add_row(w->rows, w->a, kind);
	cleanup_content struct content c = CONTENT_NONE;
	struct trailer t = { 0 };
	cleanup_fd int dir = -1;
	path_text path;
	int ok;

	r->changed = r->dry_run = w->c->dry_run;
	if (content_make(&w->s, w->a, kind, &c, e) < 0)
		return err_wrap(e, "drive %s", drive_names[kind]);
	if (w->c->dry_run)
		return 0;
	dir = place_make_instance(w->a->instance, e);
	if (dir < 0)
		return -e->no;
	r->changed = !instance_has_vmm(&w->i);
	ok = instance_has_vmm(&w->i) ? rewrite_image(dir, drive_files[kind], &c, &t, &r->changed, e)
				     : make_image(dir, drive_files[kind], &c, uid, &t, e);
	if (ok < 0)
		return err_wrap(e, "drive %s", drive_names[kind]);
	r->present = true;
	r->bytes = c.size;
	r->allocated = t.used + TRAILER_SIZE;
	r->number = t.number;
	place_path(w->a->instance, drive_files[kind], path);
	r->path = base_strdup(path);
	return 0;
}

// A guest that runs is told by a push, which records what it took.
static int record(struct work *w, struct err *e)
{
	struct drive_row *r = w->rows->items;
	bool changed = false;

	for (size_t i = 0; i < w->rows->len; i++) {
		uint64_t *slot = r[i].drive == DRIVE_SECRETS  ? &w->i.secrets_epoch
				 : r[i].drive == DRIVE_CONFIG ? &w->i.config_version
							      : NULL;

		if (slot && r[i].present && *slot != r[i].number) {
			*slot = r[i].number;
			changed = true;
		}
	}
	if (!changed || instance_has_vmm(&w->i))
		return 0;
	return instance_save(&w->s, &w->i, e);
}

static int ensure_all(struct work *w, struct err *e)
{
	if (w->c->which & 1u << DRIVE_DATA && ensure_data(w, e) < 0)
		return -e->no;
	for (enum drive_kind k = DRIVE_SECRETS; k < DRIVES; k++)
		if (w->c->which & 1u << k && ensure_image(w, k, e) < 0)
			return -e->no;
	return w->c->dry_run ? 0 : record(w, e);
}

int drive_ensure(const struct address *a, const struct drive_call *c, struct codec_list *rows,
		 struct err *e)
{
	struct work w = { .a = a, .c = c, .s = STORE_NONE, .rows = rows };
	int r = 0;

	if (tenant_load(a->tenant, &w.t, e) < 0 || pool_load(a->tenant, a->pool, &w.p, e) < 0)
		r = -e->no;
	else if (store_lock(&w.s, STORE_INSTANCE, a, c->wait_ms, e) < 0 ||
		 instance_load_from(&w.s, a, &w.t, &w.i, e) < 0 || ensure_all(&w, e) < 0)
		r = err_object(e, "%s", w.s.name);
	store_close(&w.s);
	pool_free(&w.p);
	return r;
}

// Open for the caller to close.
static int open_image(const char *instance, enum drive_kind kind, struct trailer *ret,
		      struct err *e)
{
	cleanup_fd int dir = place_open_instance(instance, e), fd = -1;

	if (dir < 0)
		return -e->no;
	fd = openat(dir, drive_files[kind], O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", drive_files[kind]);
	if (trailer_check(fd, ret, e) < 0)
		return err_wrap(e, "drive %s", drive_names[kind]);
	return steal_fd(&fd);
}

int drive_look(const char *instance, enum drive_kind kind, struct trailer *ret, struct err *e)
{
	cleanup_fd int fd = open_image(instance, kind, ret, e);

	return fd < 0 ? -e->no : 0;
}

static int list_image(const struct address *a, enum drive_kind kind, struct codec_list *rows,
		      struct err *e)
{
	struct drive_row *r = add_row(rows, a, kind);
	struct trailer t = { 0 };
	cleanup_fd int fd = open_image(a->instance, kind, &t, e);
	path_text path;

	if (fd < 0 && e->kind != ERR_MISSING)
		return -e->no;
	if (fd < 0) {
		err_clear(e);
		return 0;
	}
	take_trailer(r, fd, &t);
	place_path(a->instance, drive_files[kind], path);
	r->path = base_strdup(path);
	return 0;
}

int drive_list(const struct address *a, struct codec_list *rows, struct err *e)
{
	struct drive_row *r = add_row(rows, a, DRIVE_DATA);
	cleanup_store struct store s = STORE_NONE;
	struct data_state d;
	path_text path;

	if (store_open(&s, STORE_INSTANCE, a, e) < 0 || data_look(&s, &d, e) < 0)
		return -e->no;
	r->present = d.present;
	r->bytes = d.bytes;
	r->allocated = d.allocated;
	if (d.present) {
		path_join(path, s.path, "volumes/" DATA_FILE);
		r->path = base_strdup(path);
	}
	if (list_image(a, DRIVE_SECRETS, rows, e) < 0)
		return -e->no;
	return list_image(a, DRIVE_CONFIG, rows, e);
}

int drive_release(const struct address *a, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;

	if (place_remove(a->instance, e) < 0 || store_open(&s, STORE_INSTANCE, a, e) < 0)
		return -e->no;
	return data_release(&s, e);
}
