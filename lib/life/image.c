// SPDX-License-Identifier: MIT
#include "life/image.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "audit/audit.h"
#include "base/fault.h"
#include "base/fd.h"
#include "life/image_part.h"
#include "state/pool.h"
#include "sys/digest.h"
#include "json/lines.h"

#define BUILDS_FILE "builds.jsonl"
#define BUILDS_MAX  (16 * MIB)

static const char *const action_names[] = { "build", "rollback", NULL };
const struct field image_record_fields[] = {
	{ FIELD_SLOT(struct image_record, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "1" },
	{ FIELD_SLOT(struct image_record, at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "when" },
	{ FIELD_SLOT(struct image_record, action, int), .kind = KIND_ENUM, .names = action_names,
	  .doc = "what was done" },
	{ FIELD_SLOT(struct image_record, tenant_id, name_text), .kind = KIND_TEXT,
	  .doc = "tenant" },
	{ FIELD_SLOT(struct image_record, pool_id, name_text), .kind = KIND_TEXT, .doc = "pool" },
	{ FIELD_SLOT(struct image_record, revision_hash, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "what is current now" },
	{ FIELD_SLOT(struct image_record, previous_hash, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "what was current before" },
	{ FIELD_SLOT(struct image_record, source, char[512]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "directory it was taken from" },
	{ FIELD_SLOT(struct image_record, profile, char[41]), .kind = KIND_TEXT,
	  .doc = "of the image" },
	{ FIELD_SLOT(struct image_record, kernel_release, char[65]), .kind = KIND_TEXT,
	  .doc = "of the image" },
	{ FIELD_SLOT(struct image_record, size_bytes, uint64_t), .kind = KIND_UINT,
	  .max = UINT64_MAX, .doc = "of its files together" },
	{ FIELD_SLOT(struct image_record, changed, bool), .kind = KIND_BOOL,
	  .doc = "another revision became current" },
	FIELD_END
};

// The directory artifacts/ of a pool.
static int open_artifacts(const struct store *s, struct err *e)
{
	if (fd_mkdir(s->dir, "artifacts", 0700, e) < 0)
		return -e->no;
	cleanup_fd int dir = fd_open_dir(s->dir, "artifacts", e);

	if (dir < 0 || fd_mkdir(dir, "revisions", 0700, e) < 0)
		return -e->no;
	return steal_fd(&dir);
}

// Readers see the old or the new revision, never none.
static int switch_current(int artifacts, const char *hash, struct err *e)
{
	char target[80];

	if (base_fmt(target, sizeof(target), "revisions/%s", hash) < 0)
		return err_set(e, ENAMETOOLONG, "%s", hash);
	if (unlinkat(artifacts, ".new-current", 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove .new-current");
	if (symlinkat(target, artifacts, ".new-current") < 0)
		return err_sys(e, "link .new-current");
	if (fault_point("image-current") ||
	    renameat(artifacts, ".new-current", artifacts, "current") < 0)
		return err_sys(e, "rename .new-current");
	return fd_sync_dir(artifacts, e);
}

static int load_manifest(int artifacts, const char *hash, struct image_manifest *m, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	char path[96];

	if (strlen(hash) != IMAGE_HASH || hash[strspn(hash, "0123456789abcdef")])
		return err_usage(e, "'%.64s' is not a revision", hash);
	if (base_fmt(path, sizeof(path), "revisions/%s", hash) < 0)
		return err_set(e, ENAMETOOLONG, "%s", hash);
	cleanup_fd int dir = fd_open_dir(artifacts, path, e);
	if (dir < 0)
		return err_kind(e, ERR_MISSING, "no revision %s", hash);
	if (fd_read_file(dir, "manifest.json", CODEC_MAX, &text, e) < 0)
		return err_wrap(e, "%s", path);
	if (codec_parse(image_manifest_fields, buf_text(&text), text.len, m, e) < 0) {
		e->kind = ERR_DAMAGED;
		return err_wrap(e, "%s/manifest.json", path);
	}
	return 0;
}

static void manifest_free(struct image_manifest *m)
{
	codec_free(image_manifest_fields, m);
}

// All files of the source are there as they were taken; a revision that was damaged is made again.
static bool is_whole(int artifacts, const struct image_source *s)
{
	cleanup(manifest_free) struct image_manifest m = { 0 };
	const struct image_file *f = s->manifest.files.items;
	struct err why = { 0 };
	char path[96];

	if (load_manifest(artifacts, s->manifest.revision_hash, &m, &why) < 0 ||
	    base_fmt(path, sizeof(path), "revisions/%s", s->manifest.revision_hash) < 0)
		return false;
	cleanup_fd int dir = fd_open_dir(artifacts, path, &why);

	for (size_t i = 0; dir >= 0 && i < s->manifest.files.len; i++) {
		digest_text digest;

		if (digest_file(dir, f[i].name, digest, &why) < 0 || !str_eq(digest, f[i].sha256))
			return false;
	}
	return dir >= 0;
}

static int write_revision(int revisions, struct image_source *s, const char *aside, bool damaged,
			  struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_fd int dir = -1;

	if (fd_remove_tree(revisions, aside, e) < 0 || fd_mkdir(revisions, aside, 0700, e) < 0)
		return -e->no;
	dir = fd_open_dir(revisions, aside, e);
	if (dir < 0 || image_source_copy(s, dir, e) < 0)
		return -e->no;
	clock_utc(s->manifest.built_at);
	codec_print(image_manifest_fields, &s->manifest, &text);
	buf_char(&text, '\n');
	if (fd_replace_file(dir, "manifest.json", text.data, text.len, 0444, e) < 0)
		return -e->no;
	if (fault_point("image-rename") ||
	    renameat2(revisions, aside, revisions, s->manifest.revision_hash,
		      damaged ? RENAME_EXCHANGE : RENAME_NOREPLACE) < 0)
		return err_sys(e, "rename %s", aside);
	if (damaged && fd_remove_tree(revisions, aside, e) < 0)
		return -e->no;
	return fd_sync_dir(revisions, e);
}

static int add_revision(int artifacts, struct image_source *s, struct err *e)
{
	cleanup_fd int revisions = fd_open_dir(artifacts, "revisions", e);
	struct err ignored = { 0 };
	struct stat st;
	bool there;
	char aside[80];

	if (revisions < 0)
		return -e->no;
	there = fstatat(revisions, s->manifest.revision_hash, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (there && is_whole(artifacts, s))
		return 0;
	if (base_fmt(aside, sizeof(aside), STORE_NEW "%s", s->manifest.revision_hash) < 0)
		return err_set(e, ENAMETOOLONG, "%s", s->manifest.revision_hash);
	if (write_revision(revisions, s, aside, there, e) == 0)
		return 0;
	// A full disk should not stay full for our sake.
	if (fd_remove_tree(revisions, aside, &ignored) < 0)
		err_clear(&ignored);
	return err_wrap(e, "revision %s", s->manifest.revision_hash);
}

// Half a line, which a crash or a full disk left, would take the next one along.
static int drop_torn_line(int fd, struct err *e)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char byte;

	while (size > 0 && pread(fd, &byte, 1, size - 1) == 1 && byte != '\n')
		size--;
	return size < 0 || ftruncate(fd, size) < 0 ? err_sys(e, "cut " BUILDS_FILE) : 0;
}

static int append_record(const struct store *s, const struct image_record *r, struct err *e)
{
	cleanup_fd int fd = openat(s->dir, BUILDS_FILE,
				   O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);

	if (fd < 0)
		return err_sys(e, "open " BUILDS_FILE);
	if (drop_torn_line(fd, e) < 0)
		return -e->no;
	if (lines_append(fd, image_record_fields, r, e) < 0)
		return err_wrap(e, BUILDS_FILE);
	return fsync(fd) < 0 ? err_sys(e, "sync " BUILDS_FILE) : 0;
}

static int make_current(const struct address *a, const struct store *s, int artifacts,
			const struct image_record *r, struct err *e)
{
	if (!r->changed)
		return 0;
	// The history first: a crash between the two shows as a build that is done again.
	if (append_record(s, r, e) < 0)
		return -e->no;
	audit_note(a, r->action == IMAGE_BUILD ? AUDIT_POOL_BUILT : AUDIT_POOL_ROLLED_BACK, NULL,
		   "revision %s, before %s, profile %s, from %s", r->revision_hash,
		   r->previous_hash[0] ? r->previous_hash : "none", r->profile,
		   r->source[0] ? r->source : "the history");
	return switch_current(artifacts, r->revision_hash, e);
}

static int begin(const struct address *a, enum image_action action, int wait_ms, struct store *s,
		 struct image_record *r, struct err *e)
{
	*r = (struct image_record){ .schema_version = 1, .action = (int)action };
	clock_utc(r->at);
	if (COPY(r->tenant_id, a->tenant) < 0 || COPY(r->pool_id, a->pool) < 0)
		return err_set(e, ENAMETOOLONG, "address");
	if (store_lock(s, STORE_POOL, a, wait_ms, e) < 0)
		return -e->no;
	return pool_revision(a->tenant, a->pool, r->previous_hash, e);
}

static int describe(struct image_record *r, const struct image_manifest *m, struct err *e)
{
	const struct image_file *f = m->files.items;

	for (size_t i = 0; i < m->files.len; i++)
		r->size_bytes += f[i].size_bytes;
	if (COPY(r->revision_hash, m->revision_hash) < 0 || COPY(r->profile, m->profile) < 0 ||
	    COPY(r->kernel_release, m->kernel_release) < 0)
		return err_set(e, ENAMETOOLONG, "manifest");
	r->changed = !str_eq(r->previous_hash, r->revision_hash);
	return 0;
}

static int import(const struct address *a, const char *dir, bool dry_run, int wait_ms,
		  struct image_record *ret, struct err *e)
{
	cleanup_source struct image_source source = IMAGE_SOURCE_NONE;
	cleanup_store struct store s = STORE_NONE;
	cleanup_fd int artifacts = -1;

	// Reading it takes a while and needs no lock.
	if (image_source_open(dir, &source, e) < 0 ||
	    begin(a, IMAGE_BUILD, wait_ms, &s, ret, e) < 0 ||
	    describe(ret, &source.manifest, e) < 0)
		return -e->no;
	if (COPY(ret->source, dir) < 0)
		return err_usage(e, "%.64s...: too long", dir);
	if (dry_run)
		return 0;
	artifacts = open_artifacts(&s, e);
	if (artifacts < 0 || add_revision(artifacts, &source, e) < 0)
		return err_wrap(e, "%s", s.name);
	return make_current(a, &s, artifacts, ret, e) < 0 ? err_wrap(e, "%s", s.name) : 0;
}

int image_import(const struct address *a, const char *dir, bool dry_run, int wait_ms,
		 struct image_record *ret, struct err *e)
{
	if (import(a, dir, dry_run, wait_ms, ret, e) == 0)
		return 0;
	return dry_run ? -e->no : audit_note_failed(a, AUDIT_POOL_BUILT, NULL, e);
}

struct before {
	const char *now;
	char hash[65];
};

// The last switch to what is current now says what it replaced.
static int find_before(void *arg, void *rec, struct err *e)
{
	struct before *b = arg;
	const struct image_record *r = rec;

	(void)e;
	if (str_eq(r->revision_hash, b->now) && r->previous_hash[0])
		memcpy(b->hash, r->previous_hash, sizeof(b->hash));
	return 0;
}

static int read_builds(const struct store *s, struct buf *text, struct err *e)
{
	int r = fd_read_file(s->dir, BUILDS_FILE, BUILDS_MAX, text, e);

	if (r == -ENOENT) {
		err_clear(e);
		return 0;
	}
	return r;
}

static int before_current(const struct store *s, const char *now, char out[65], struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct before b = { .now = now };
	bool torn;

	if (read_builds(s, &text, e) < 0)
		return -e->no;
	if (lines_each(image_record_fields, sizeof(struct image_record), buf_text(&text), text.len,
		       find_before, &b, &torn, e) < 0) {
		e->kind = ERR_DAMAGED;
		return err_wrap(e, BUILDS_FILE);
	}
	if (!b.hash[0])
		return err_kind(e, ERR_STATE, "no revision before the present one");
	memcpy(out, b.hash, sizeof(b.hash));
	return 0;
}

static int rollback(const struct address *a, const char *hash, bool dry_run, int wait_ms,
		    struct image_record *ret, struct err *e)
{
	cleanup(manifest_free) struct image_manifest m = { 0 };
	cleanup_store struct store s = STORE_NONE;
	cleanup_fd int artifacts = -1;
	char before[65] = "";

	if (begin(a, IMAGE_ROLLBACK, wait_ms, &s, ret, e) < 0)
		return -e->no;
	if (!ret->previous_hash[0])
		return err_kind(e, ERR_STATE, "%s: has no image", s.name);
	artifacts = open_artifacts(&s, e);
	if (artifacts < 0)
		return err_wrap(e, "%s", s.name);
	if (!hash[0] && before_current(&s, ret->previous_hash, before, e) < 0)
		return err_wrap(e, "%s", s.name);
	if (load_manifest(artifacts, hash[0] ? hash : before, &m, e) < 0 ||
	    describe(ret, &m, e) < 0)
		return err_wrap(e, "%s", s.name);
	if (dry_run)
		return 0;
	return make_current(a, &s, artifacts, ret, e) < 0 ? err_wrap(e, "%s", s.name) : 0;
}

int image_rollback(const struct address *a, const char *hash, bool dry_run, int wait_ms,
		   struct image_record *ret, struct err *e)
{
	if (rollback(a, hash, dry_run, wait_ms, ret, e) == 0)
		return 0;
	return dry_run ? -e->no : audit_note_failed(a, AUDIT_POOL_ROLLED_BACK, NULL, e);
}

static int print_line(void *arg, void *rec, struct err *e)
{
	struct buf *out = arg;

	(void)e;
	if (out->data[out->len - 1] != '[')
		buf_char(out, ',');
	codec_print(image_record_fields, rec, out);
	return 0;
}

int image_history(const struct address *a, struct buf *out, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_buf struct buf text = BUF_INIT;
	bool torn;

	if (store_open(&s, STORE_POOL, a, e) < 0 || read_builds(&s, &text, e) < 0)
		return -e->no;
	buf_char(out, '[');
	if (lines_each(image_record_fields, sizeof(struct image_record), buf_text(&text), text.len,
		       print_line, out, &torn, e) < 0) {
		e->kind = ERR_DAMAGED;
		return err_wrap(e, "%s: %s", s.name, BUILDS_FILE);
	}
	buf_char(out, ']');
	return 0;
}
