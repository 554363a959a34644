// SPDX-License-Identifier: MIT
#include "audit/files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/path.h"

#define FILE_MAX (2 * TRAIL_MAX) // of a file, unpacked

static int take(struct audit_files *f, int dir, const char *name, struct err *e)
{
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return err_sys(e, "open %s/%s", f->path, name);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat %s/%s", f->path, name);
	if (!S_ISREG(st.st_mode))
		return err_kind(e, ERR_DAMAGED, "%s/%s: not a regular file", f->path, name);
	f->items[f->len++] =
		(struct audit_file){ name, str_ends(name, ".gz"), steal_fd(&fd), st.st_size };
	return 0;
}

static bool has(const struct audit_files *f, const char *name)
{
	return f->len && str_eq(f->items[f->len - 1].name, name);
}

int files_open_at(const char *path, const char *tenant, bool live, struct audit_files *ret,
		  struct err *e)
{
	cleanup_files struct audit_files f = FILES_NONE;
	cleanup_fd int lock = -1, dir = -1;
	struct stat st;

	f.live = live;
	if (COPY(f.path, path) < 0 || COPY(f.tenant, tenant) < 0)
		return err_set(e, ENAMETOOLONG, "%.160s", path);
	dir = fd_open_dir(AT_FDCWD, path, e);
	if (dir < 0)
		return -e->no;
	// Who never wrote has no lock, and a reader makes none.
	if (fstatat(dir, AUDIT_LOCK, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		lock = trail_lock(dir, false, e);
		if (lock < 0)
			return -e->no;
	}
	for (size_t i = 0; trail_files[i]; i++)
		if (!(str_eq(trail_files[i], AUDIT_LOG ".1") && has(&f, AUDIT_LOG ".1.gz")) &&
		    take(&f, dir, trail_files[i], e) < 0)
			return -e->no;
	*ret = f;
	f = (struct audit_files)FILES_NONE;
	return 0;
}

int files_open(const char *tenant, struct audit_files *ret, struct err *e)
{
	path_text path;

	if (name_check(tenant, e) < 0)
		return err_wrap(e, "tenant");
	path_tenant(tenant, path);
	if (files_open_at(path, tenant, true, ret, e) == 0)
		return 0;
	if (e->no != ENOENT || e->kind != ERR_MISSING)
		return -e->no;
	(void)err_kind(e, ERR_MISSING, "%s: no such tenant", tenant);
	(void)err_object(e, "%s", tenant);
	return err_hint(e, "--archived shows what was done to destroyed ones");
}

void files_close(struct audit_files *f)
{
	for (size_t i = 0; i < f->len; i++)
		(void)close(f->items[i].fd);
	f->len = 0;
}

static int read_plain(const struct audit_file *file, struct buf *out, struct err *e)
{
	cleanup_free char *block = base_alloc(1, MIB);
	int64_t at = 0;

	if ((uint64_t)file->size > FILE_MAX)
		return err_set(e, EBADMSG, "holds more than %llu bytes",
			       (unsigned long long)FILE_MAX);
	while (at < file->size) {
		ssize_t n = pread(file->fd, block, (size_t)MIN((int64_t)MIB, file->size - at), at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read");
		if (n == 0)
			break;
		buf_add(out, block, (size_t)n);
		at += n;
	}
	return 0;
}

int files_read(const struct audit_files *f, size_t i, struct buf *out, size_t *ret_torn,
	       struct err *e)
{
	const struct audit_file *file = &f->items[i];
	int r = file->packed ? (lseek(file->fd, 0, SEEK_SET),
				trail_pack_read(file->fd, FILE_MAX, out, e))
			     : read_plain(file, out, e);

	if (r < 0) {
		if (e->no == EBADMSG)
			e->kind = ERR_DAMAGED;
		(void)err_object(e, "%s", f->tenant);
		return err_wrap(e, "%s/%s", f->path, file->name);
	}
	const char *end = out->len ? memrchr(out->data, '\n', out->len) : NULL;
	size_t whole = end ? (size_t)(end + 1 - out->data) : 0;

	*ret_torn = out->len - whole;
	out->len = whole;
	return 0;
}

// <tenant>-<time>: the time has no dash, so that the last one ends the name.
static bool is_archive_of(const char *name, const char *tenant)
{
	const char *dash = strrchr(name, '-');
	size_t len = strlen(tenant);

	return dash && (size_t)(dash - name) == len && memcmp(name, tenant, len) == 0 && dash[1] &&
	       strspn(dash + 1, "0123456789TZ.") == strlen(dash + 1);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

int archives_find(const char *tenant, struct audit_archives *ret, struct err *e)
{
	cleanup_archives struct audit_archives a = ARCHIVES_NONE;
	cleanup_dir DIR *d = NULL;
	const struct dirent *entry;
	path_text path;

	if (name_check(tenant, e) < 0)
		return err_wrap(e, "tenant");
	path_join(path, path_state(), "archive");
	d = opendir(path);
	if (!d && errno != ENOENT)
		return err_sys(e, "open %s", path);
	while (d && (entry = readdir(d)) != NULL) {
		if (!is_archive_of(entry->d_name, tenant))
			continue;
		a.names = base_grow(a.names, a.len + 1, sizeof(a.names[0]));
		if (COPY(a.names[a.len], entry->d_name) == 0)
			a.len++;
	}
	if (a.len == 0) {
		(void)err_kind(e, ERR_MISSING, "%s: no archive of a tenant of that name", tenant);
		return err_object(e, "%s", tenant);
	}
	qsort(a.names, a.len, sizeof(a.names[0]), by_name);
	*ret = a;
	a = (struct audit_archives)ARCHIVES_NONE;
	return 0;
}

int archives_open(const struct audit_archives *a, size_t i, const char *tenant,
		  struct audit_files *ret, struct err *e)
{
	path_text dir, path;

	path_join(dir, path_state(), "archive");
	path_join(path, dir, a->names[i]);
	return files_open_at(path, tenant, false, ret, e);
}

void archives_free(struct audit_archives *a)
{
	free(a->names);
	*a = (struct audit_archives)ARCHIVES_NONE;
}
