// SPDX-License-Identifier: MIT
#include "guest/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"

#define CHUNK 65536u // files up to this size are read before their header is written

struct pack {
	int fd;
	dev_t dev;
	struct buf out;
	struct files_count *count;
	struct tar_entry en;
	char bytes[CHUNK];
};

static void pack_freep(struct pack **p)
{
	if (*p)
		buf_free(&(*p)->out);
	free(*p);
}

int files_fail(struct err *e, const char *what, const char *path)
{
	int no = errno;

	(void)err_set(e, no, "%s %.300s: %s", what, path, strerror(no));
	if (no == ENOSPC || no == EDQUOT || no == EFBIG)
		e->kind = ERR_QUOTA;
	else if (no == ELOOP || no == EXDEV || no == EROFS)
		e->kind = ERR_DENIED;
	else if (no == EISDIR || no == ENOTDIR || no == ENOTEMPTY)
		e->kind = ERR_CONFLICT;
	return -e->no;
}

int files_name(const char *path, char out[256], struct err *e)
{
	size_t end = strlen(path), start;

	while (end && path[end - 1] == '/')
		end--;
	for (start = end; start && path[start - 1] != '/';)
		start--;
	if (base_fmt(out, 256, "%.*s", (int)MIN(end - start, 256), path + start) < 0)
		return err_usage(e, "%.64s...: too long a name", path);
	if (str_eq(out, "..") || !path[0])
		return err_usage(e, "'%.300s' has no name to copy it under", path);
	if (str_eq(out, "."))
		out[0] = '\0';
	return 0;
}

static int flush(struct pack *p, size_t least, struct err *e)
{
	if (p->out.len < least || !p->out.len)
		return 0;
	if (fd_write_all(p->fd, p->out.data, p->out.len, e) < 0)
		return -e->no;
	buf_clear(&p->out);
	return 0;
}

static void describe(struct pack *p, enum tar_type type, const struct stat *st)
{
	p->en.type = type;
	p->en.mode = (uint32_t)st->st_mode & 07777;
	p->en.uid = st->st_uid;
	p->en.gid = st->st_gid;
	p->en.size = 0;
	p->en.mtime_s = st->st_mtim.tv_sec;
	p->en.mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
}

// Reads until len bytes are there or the file ends.
static ssize_t fill(int fd, char *out, size_t len)
{
	size_t n = 0;

	while (n < len) {
		ssize_t got = read(fd, out + n, len - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

// The header has said how much comes: no more is sent, and less is a failure.
static int send_rest(struct pack *p, int fd, uint64_t left, struct err *e)
{
	while (left) {
		ssize_t n = fill(fd, p->bytes, (size_t)MIN(left, sizeof(p->bytes)));

		if (n < 0)
			return files_fail(e, "read", p->en.path);
		if (n == 0)
			return err_kind(e, ERR_FAILED, "%.300s became shorter while it was read",
					p->en.path);
		buf_add(&p->out, p->bytes, (size_t)n);
		left -= (uint64_t)n;
		if (flush(p, 1, e) < 0)
			return -e->no;
	}
	return 0;
}

// A small file's size is what is read of it: those of /proc say 0, those of /sys too much.
static int pack_file(struct pack *p, int fd, const struct stat *st, struct err *e)
{
	bool small = st->st_size < (off_t)CHUNK;
	ssize_t n = 0;

	describe(p, TAR_FILE, st);
	p->en.size = (uint64_t)st->st_size;
	if (small) {
		n = fill(fd, p->bytes, sizeof(p->bytes));
		if (n < 0)
			return files_fail(e, "read", p->en.path);
		p->en.size = (uint64_t)n;
	}
	tar_put_header(&p->out, &p->en);
	if (small)
		buf_add(&p->out, p->bytes, (size_t)n);
	else if (send_rest(p, fd, p->en.size, e) < 0)
		return -e->no;
	tar_put_pad(&p->out, p->en.size);
	p->count->files++;
	p->count->bytes += p->en.size;
	return flush(p, CHUNK, e);
}

static int pack_link(struct pack *p, int dir, const char *name, const struct stat *st,
		     struct err *e)
{
	ssize_t n;

	describe(p, TAR_SYMLINK, st);
	n = readlinkat(dir, name, p->en.link, sizeof(p->en.link) - 1);
	if (n < 0)
		return files_fail(e, "read the link", p->en.path);
	p->en.link[n] = '\0';
	tar_put_header(&p->out, &p->en);
	p->en.link[0] = '\0';
	p->count->links++;
	return flush(p, CHUNK, e);
}

static int pack_dir(struct pack *p, int fd, const struct stat *st, unsigned depth, struct err *e);

// What went away since it was listed was not there.
static int pack_opened(struct pack *p, int dir, const char *name, bool is_dir, unsigned depth,
		       struct err *e)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (is_dir ? O_DIRECTORY : 0);
	cleanup_fd int fd = openat(dir, name, flags);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return files_fail(e, "open", p->en.path);
	if (is_dir)
		return pack_dir(p, fd, &st, depth + 1, e);
	return S_ISREG(st.st_mode) ? pack_file(p, fd, &st, e) : 0;
}

static int pack_member(struct pack *p, int dir, const char *name, unsigned depth, struct err *e)
{
	size_t len = strlen(p->en.path);
	struct stat st;
	int r = 0;

	if (len + strlen(name) + 2 > sizeof(p->en.path) || depth >= TAR_DEPTH)
		return err_kind(e, ERR_FAILED, "%.300s: too deep", p->en.path);
	(void)snprintf(p->en.path + len, sizeof(p->en.path) - len, "%s%s", len ? "/" : "", name);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = errno == ENOENT ? 0 : files_fail(e, "look at", p->en.path);
	else if (S_ISLNK(st.st_mode))
		r = pack_link(p, dir, name, &st, e);
	else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
		r = pack_opened(p, dir, name, S_ISDIR(st.st_mode), depth, e);
	else
		p->count->skipped++;
	p->en.path[len] = '\0';
	return r;
}

// Another file system below is shown as the empty directory that it is mounted on.
static int pack_dir(struct pack *p, int fd, const struct stat *st, unsigned depth, struct err *e)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3), r = 0;
	DIR *d = copy < 0 ? NULL : fdopendir(copy);

	if (!d) {
		base_closep(&copy);
		return files_fail(e, "read", p->en.path);
	}
	describe(p, TAR_DIRECTORY, st);
	tar_put_header(&p->out, &p->en);
	p->count->directories++;
	for (struct dirent *it; r == 0 && st->st_dev == p->dev && (it = readdir(d)) != NULL;)
		if (!str_eq(it->d_name, ".") && !str_eq(it->d_name, ".."))
			r = pack_member(p, fd, it->d_name, depth, e);
	(void)closedir(d);
	return r < 0 ? r : flush(p, CHUNK, e);
}

int files_pack(const char *path, const char *name, int fd, struct files_count *count, struct err *e)
{
	cleanup_fd int from = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	cleanup(pack_freep) struct pack *p = base_alloc(1, sizeof(*p));
	struct stat st;
	int r;

	if (from < 0 || fstat(from, &st) < 0)
		return files_fail(e, "open", path);
	if (COPY(p->en.path, name) < 0)
		return err_usage(e, "%.64s...: too long a name", name);
	p->fd = fd;
	p->dev = st.st_dev;
	p->count = count;
	if (S_ISDIR(st.st_mode))
		r = pack_dir(p, from, &st, 1, e);
	else if (S_ISREG(st.st_mode) && name[0])
		r = pack_file(p, from, &st, e);
	else
		return err_usage(e, "%.300s: not a file or a directory", path);
	if (r < 0)
		return r;
	tar_put_end(&p->out);
	return flush(p, 1, e);
}
