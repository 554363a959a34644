// SPDX-License-Identifier: MIT
#include "guest/files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fd.h"
#include "base/num.h"

struct kept_dir { // gets its mode and times when all in it is there
	char *path;
	struct tar_entry meta;
};

struct unpack {
	const struct files_target *target;
	const struct files_rules *rules;
	struct tar_reader reader;
	struct files_count *count;
	uint64_t left; // of the size that is allowed
	uint32_t entries;
	bool single; // a file is all there is
	struct tar_entry en;
	char place[TAR_PATH + 256];
	struct kept_dir dirs[TAR_DEPTH + 1];
	size_t dir_count;
	char bytes[65536];
};

static void unpack_freep(struct unpack **u)
{
	for (size_t i = 0; *u && i < (*u)->dir_count; i++)
		free((*u)->dirs[i].path);
	free(*u);
}

ssize_t files_read_fd(void *arg, void *out, size_t len, struct err *e)
{
	ssize_t n;

	do {
		n = read(*(int *)arg, out, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? err_sys(e, "read the tar stream") : n;
}

void files_target_close(struct files_target *t)
{
	base_closep(&t->dir);
}

static int aim_below(const char *path, const char *name, struct files_target *t, struct err *e)
{
	size_t len = strlen(path) - strlen(strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	cleanup_free char *parent = base_printf("%.*s", (int)len, path);

	t->dir = open(len ? parent : ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (t->dir < 0)
		return files_fail(e, "open", len ? parent : ".");
	if (COPY(t->root, name) < 0 || COPY(t->as, path + len) < 0)
		return err_usage(e, "%.64s...: too long a name", path);
	return 0;
}

int files_aim(const char *path, const char *name, bool stream, struct files_target *ret,
	      struct err *e)
{
	cleanup_target struct files_target t = FILES_TARGET_NONE;
	size_t len = strlen(path);
	const char *last = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	bool dir = stream || !last[0] || str_eq(last, ".") || str_eq(last, "..");

	if (!len)
		return err_usage(e, "an empty path");
	t.dir = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (t.dir < 0 && (dir || (errno != ENOENT && errno != ENOTDIR)))
		return files_fail(e, "open", path);
	if (t.dir >= 0) {
		if (COPY(t.root, name) < 0 || COPY(t.as, name) < 0)
			return err_usage(e, "%.64s...: too long a name", name);
	} else if (aim_below(path, name, &t, e) < 0) {
		return -e->no;
	}
	*ret = t;
	t.dir = -1;
	return 0;
}

// The entry's path here. The stream has one root where one is expected: another beside it is a
// trick.
static int find_place(const struct files_target *t, const char *path, char *out, size_t size,
		      struct err *e)
{
	size_t len = strlen(t->root);

	if (len && (strncmp(path, t->root, len) != 0 || (path[len] && path[len] != '/')))
		return err_kind(e, ERR_DENIED, "the tar stream: %.200s is not below %s", path,
				t->root);
	path += len;
	path += *path == '/';
	if (base_fmt(out, size, "%s%s%s", t->as, t->as[0] && path[0] ? "/" : "", path) < 0)
		return err_kind(e, ERR_DENIED, "the tar stream: too long a path");
	return 0;
}

static int open_beneath(int dir, const char *path, int flags)
{
	const struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
				      .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, dir, path[0] ? path : ".", &how, sizeof(how));
}

// The directory that path lies in, made with those above it when missing; *name: its last word.
// As deep as a path may be.
static int open_parent(int dir, const char *path, const char **name, struct err *e)
{
	const char *slash = strrchr(path, '/'), *last;
	cleanup_free char *above = base_printf("%.*s", slash ? (int)(slash - path) : 0, path);
	int fd = open_beneath(dir, above, O_PATH | O_DIRECTORY);
	cleanup_fd int parent = -1;

	*name = slash ? slash + 1 : path;
	if (fd < 0 && errno == ENOENT && above[0]) {
		parent = open_parent(dir, above, &last, e);
		if (parent < 0)
			return -e->no;
		if (mkdirat(parent, last, 0755) < 0 && errno != EEXIST)
			return files_fail(e, "make", above);
		fd = open_beneath(dir, above, O_PATH | O_DIRECTORY);
	}
	return fd < 0 ? files_fail(e, "open", above[0] ? above : "the target") : fd;
}

static void temp_name(char out[32])
{
	uint64_t r = 0;
	char hex[17];

	(void)!getrandom(&r, sizeof(r), 0);
	num_to_hex((const uint8_t *)&r, sizeof(r), hex);
	(void)snprintf(out, 32, ".mvm-cp-%s", hex);
}

// Puts what lies at temp in the place of name, or removes it.
static int settle(const struct unpack *u, int dir, const char *temp, const char *name,
		  struct err *e)
{
	int r = 0;

	if (renameat(dir, temp, dir, name) < 0)
		r = files_fail(e, "put in place", u->place);
	// Renaming one of two names of a file over the other leaves both.
	if (r < 0 || u->en.type == TAR_HARDLINK)
		(void)unlinkat(dir, temp, 0);
	return r;
}

static uint32_t allowed_mode(const struct unpack *u, const struct tar_entry *en)
{
	bool all = u->rules->archive && u->rules->set_ids;

	return en->mode & (all ? 07777 : en->type == TAR_DIRECTORY ? 01777 : 0777);
}

// Owner first: a change of owner clears set-id bits.
static int set_meta(const struct unpack *u, int fd, const struct tar_entry *en, struct err *e)
{
	const struct timespec times[] = { { .tv_nsec = UTIME_OMIT },
					  { (time_t)en->mtime_s, (long)en->mtime_ns } };

	if (u->rules->archive && fchown(fd, en->uid, en->gid) < 0)
		return files_fail(e, "set the owner of", u->place);
	if (fchmod(fd, allowed_mode(u, en)) < 0)
		return files_fail(e, "set the mode of", u->place);
	if (futimens(fd, times) < 0)
		return files_fail(e, "set the time of", u->place);
	return 0;
}

static int write_content(struct unpack *u, int fd, struct err *e)
{
	for (;;) {
		ssize_t n = tar_data(&u->reader, u->bytes, sizeof(u->bytes), e);

		if (n <= 0)
			return (int)n;
		for (ssize_t done = 0; done < n;) {
			ssize_t wrote = write(fd, u->bytes + done, (size_t)(n - done));

			if (wrote < 0 && errno != EINTR)
				return files_fail(e, "write", u->place);
			done += MAX(wrote, 0);
		}
		u->count->bytes += (uint64_t)n;
	}
}

// A file without a name while it is written, where the file system has such: then a process that
// is killed leaves nothing behind.
static int open_temp(int dir, const char *temp, bool *named)
{
	int fd = openat(dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

	*named = fd < 0;
	if (fd < 0)
		fd = openat(dir, temp, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0600);
	return fd;
}

static int name_temp(const struct unpack *u, int fd, int dir, const char *temp, struct err *e)
{
	char self[40];

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, self, dir, temp, AT_SYMLINK_FOLLOW) < 0)
		return files_fail(e, "name", u->place);
	return 0;
}

// The one file of a copy is on the disk before it gets its name; those of a tree all at its end.
static int sync_single(struct unpack *u, int fd, struct err *e)
{
	u->single = u->target->root[0] && str_eq(u->place, u->target->as);
	return u->single && fsync(fd) < 0 ? files_fail(e, "write", u->place) : 0;
}

static int unpack_file(struct unpack *u, int dir, const char *name, struct err *e)
{
	char temp[32];
	bool named;

	temp_name(temp);
	cleanup_fd int fd = open_temp(dir, temp, &named);

	if (fd < 0)
		return files_fail(e, "make", u->place);
	if (write_content(u, fd, e) < 0 || set_meta(u, fd, &u->en, e) < 0 ||
	    sync_single(u, fd, e) < 0 || (!named && name_temp(u, fd, dir, temp, e) < 0)) {
		if (named)
			(void)unlinkat(dir, temp, 0);
		return -e->no;
	}
	u->count->files++;
	return settle(u, dir, temp, name, e);
}

static int unpack_symlink(struct unpack *u, int dir, const char *name, struct err *e)
{
	const struct timespec times[] = { { .tv_nsec = UTIME_OMIT },
					  { (time_t)u->en.mtime_s, (long)u->en.mtime_ns } };
	char temp[32];

	temp_name(temp);
	if (symlinkat(u->en.link, dir, temp) < 0)
		return files_fail(e, "make", u->place);
	if ((u->rules->archive &&
	     fchownat(dir, temp, u->en.uid, u->en.gid, AT_SYMLINK_NOFOLLOW) < 0) ||
	    utimensat(dir, temp, times, AT_SYMLINK_NOFOLLOW) < 0) {
		int r = files_fail(e, "set the owner of", u->place);

		(void)unlinkat(dir, temp, 0);
		return r;
	}
	u->count->links++;
	return settle(u, dir, temp, name, e);
}

// Another name of a file that lies in the target as well; never of what a link there points to.
static int unpack_hardlink(struct unpack *u, int dir, const char *name, struct err *e)
{
	cleanup_free char *place = base_alloc(1, sizeof(u->place));
	cleanup_fd int from = -1;
	const char *last;
	struct stat st;
	char temp[32];

	temp_name(temp);
	if (find_place(u->target, u->en.link, place, sizeof(u->place), e) < 0)
		return -e->no;
	from = open_parent(u->target->dir, place, &last, e);
	if (from < 0)
		return -e->no;
	if (fstatat(from, last, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return files_fail(e, "link to", place);
	if (!S_ISREG(st.st_mode))
		return err_kind(e, ERR_DENIED, "link to %.300s: not a file", place);
	if (linkat(from, last, dir, temp, 0) < 0)
		return files_fail(e, "link to", place);
	u->count->links++;
	return settle(u, dir, temp, name, e);
}

static int finish_dir(struct unpack *u, struct err *e)
{
	struct kept_dir *d = &u->dirs[--u->dir_count];
	cleanup_free char *path = d->path;
	cleanup_fd int fd = open_beneath(u->target->dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);

	if (fd < 0)
		return files_fail(e, "open", path);
	return set_meta(u, fd, &d->meta, e);
}

// Directories that the next entry is not in are done.
static int finish_dirs(struct unpack *u, const char *next, struct err *e)
{
	while (u->dir_count) {
		const char *path = u->dirs[u->dir_count - 1].path;
		size_t len = strlen(path);

		if (next && (!len || (strncmp(next, path, len) == 0 && next[len] == '/')))
			return 0;
		if (finish_dir(u, e) < 0)
			return -e->no;
	}
	return 0;
}

// One that was there already keeps its mode and owner, but for an archive.
static int unpack_dir(struct unpack *u, int dir, const char *name, struct err *e)
{
	struct kept_dir *keep = &u->dirs[u->dir_count];
	bool made = true;

	if (u->place[0] && mkdirat(dir, name, 0700) < 0) {
		cleanup_fd int there = -1;

		if (errno != EEXIST)
			return files_fail(e, "make", u->place);
		there = open_beneath(u->target->dir, u->place, O_PATH | O_DIRECTORY);
		if (there < 0)
			return files_fail(e, "make", u->place);
		made = false;
	}
	u->count->directories++;
	if (!u->place[0] || (!made && !u->rules->archive) || u->dir_count == COUNT(u->dirs))
		return 0;
	*keep = (struct kept_dir){ base_printf("%s", u->place), u->en };
	u->dir_count++;
	return 0;
}

static int charge(struct unpack *u, struct err *e)
{
	uint64_t size = u->en.size + TAR_BLOCK;

	if (size > u->left || ++u->entries > FILES_ENTRIES)
		return err_kind(e, ERR_QUOTA,
				"more than the %llu bytes that are allowed (--max-size)",
				(unsigned long long)u->rules->max_size);
	u->left -= size;
	return 0;
}

static int unpack_entry(struct unpack *u, struct err *e)
{
	cleanup_fd int dir = -1;
	const char *name;

	if (charge(u, e) < 0 ||
	    find_place(u->target, u->en.path, u->place, sizeof(u->place), e) < 0 ||
	    finish_dirs(u, u->place, e) < 0)
		return -e->no;
	dir = open_parent(u->target->dir, u->place, &name, e);
	if (dir < 0)
		return -e->no;
	switch (u->en.type) {
	case TAR_FILE:
		return unpack_file(u, dir, name, e);
	case TAR_DIRECTORY:
		return unpack_dir(u, dir, name, e);
	case TAR_SYMLINK:
		return unpack_symlink(u, dir, name, e);
	case TAR_HARDLINK:
		return unpack_hardlink(u, dir, name, e);
	}
	return err_set(e, EINVAL, "entry of type %d", (int)u->en.type);
}

int files_unpack(const struct files_target *t, const struct files_rules *rules, tar_source source,
		 void *arg, struct files_count *count, struct err *e)
{
	cleanup(unpack_freep) struct unpack *u = base_alloc(1, sizeof(*u));
	int n;

	u->target = t;
	u->rules = rules;
	u->count = count;
	u->left = rules->max_size;
	tar_open(&u->reader, source, arg);
	while ((n = tar_next(&u->reader, &u->en, e)) == 1)
		if (unpack_entry(u, e) < 0)
			return -e->no;
	if (n < 0 || tar_drain(&u->reader, e) < 0 || finish_dirs(u, NULL, e) < 0)
		return -e->no;
	// What was renamed into place is on the disk when we say that it is.
	return (u->single ? fsync(t->dir) : syncfs(t->dir)) < 0
		       ? files_fail(e, "write", "the target")
		       : 0;
}
