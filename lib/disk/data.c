// SPDX-License-Identifier: MIT
#include "disk/data.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/proc.h"

#define DIR_NAME "volumes"
#define DRAFT	 ".new-" DATA_FILE
#define TOOL_MS	 300000

int data_look(const struct store *s, struct data_state *ret, struct err *e)
{
	struct stat st;

	*ret = (struct data_state){ .present = false };
	if (fstatat(s->dir, DIR_NAME "/" DATA_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "%s/" DATA_FILE, s->path);
	if (!S_ISREG(st.st_mode))
		return err_kind(e, ERR_DAMAGED, "%s/" DIR_NAME "/" DATA_FILE ": not a file",
				s->path);
	ret->present = true;
	ret->bytes = (uint64_t)st.st_size;
	ret->allocated = (uint64_t)st.st_blocks * 512;
	return 0;
}

// An administrator's PATH may be without the directories of the system's tools.
static const char *find_tool(const char *const *places)
{
	while (places[1] && access(*places, X_OK) < 0)
		places++;
	return *places;
}

static int run_tool(const char *const *argv, struct err *e)
{
	cleanup_proc_result struct proc_result r = { 0 };

	if (proc_capture(argv, NULL, 65536, TOOL_MS, &r, e) < 0) {
		if (e->kind == ERR_MISSING)
			return err_hint(e, "install e2fsprogs");
		return -e->no;
	}
	if (r.status == 0)
		return 0;
	if (strstr(r.last_line, "No space left"))
		return err_set(e, ENOSPC, "%s: %s", argv[0], r.last_line);
	return err_kind(e, ERR_FAILED, "%s ended with %d: %s", argv[0], r.status, r.last_line);
}

static int make_empty(const char *path, struct err *e)
{
	static const char *const places[] = { "/usr/sbin/mke2fs", "/sbin/mke2fs", "mke2fs", NULL };
	// Nothing is written that the guest would not need, so the file stays sparse.
	static const char sparse[] = "lazy_itable_init=1,lazy_journal_init=1,nodiscard,"
				     "root_owner=0:0";
	const char *const argv[] = { find_tool(places),
				     "-q",
				     "-F",
				     "-t",
				     "ext4",
				     "-L",
				     DATA_LABEL,
				     "-m",
				     "0",
				     "-E",
				     sparse,
				     path,
				     NULL };

	return run_tool(argv, e);
}

static int set_label(const char *path, struct err *e)
{
	static const char *const places[] = { "/usr/sbin/tune2fs", "/sbin/tune2fs", "tune2fs",
					      NULL };
	const char *const argv[] = { find_tool(places), "-L", DATA_LABEL, path, NULL };

	return run_tool(argv, e);
}

static int open_seed(const char *seed, uint64_t size, struct err *e)
{
	cleanup_fd int fd = open(seed, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	uint8_t magic[2] = { 0 };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open the seed %s", seed);
	if (!S_ISREG(st.st_mode) || pread(fd, magic, 2, 1080) != 2 || magic[0] != 0x53 ||
	    magic[1] != 0xef)
		return err_usage(e, "the seed %s is not an ext4 image", seed);
	if ((uint64_t)st.st_size > size)
		return err_usage(e, "the seed %s is larger than the data disk (%llu bytes)", seed,
				 (unsigned long long)size);
	return steal_fd(&fd);
}

static int copy_by_hand(int from, int to, off_t at, off_t end, struct err *e)
{
	cleanup_free char *block = base_alloc(1, MIB);

	while (at < end) {
		ssize_t n = pread(from, block, (size_t)MIN((off_t)MIB, end - at), at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read the seed");
		if (n == 0) // it has become shorter
			return 0;
		for (ssize_t done = 0, w; done < n; done += w) {
			w = pwrite(to, block + done, (size_t)(n - done), at + done);
			if (w < 0 && errno == EINTR)
				w = 0;
			if (w < 0)
				return err_sys(e, "copy the seed");
		}
		at += n;
	}
	return 0;
}

static int copy_extent(int from, int to, off_t at, off_t end, struct err *e)
{
	off_t out = at;

	while (at < end) {
		ssize_t n = copy_file_range(from, &at, to, &out, (size_t)(end - at), 0);

		// The kernel copies within a file system, and not on each of them.
		if (n < 0 &&
		    (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS))
			return copy_by_hand(from, to, at, end, e);
		if (n < 0)
			return err_sys(e, "copy the seed");
		if (n == 0) // it has become shorter
			return 0;
	}
	return 0;
}

// A clone where the file system can; else what is data, and no hole.
static int copy_seed(int from, int to, struct err *e)
{
	off_t at = 0, end;

	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
		end = lseek(from, at, SEEK_HOLE);
		if (end < 0)
			break;
		if (copy_extent(from, to, at, end, e) < 0)
			return -e->no;
		at = end;
	}
	return errno == ENXIO ? 0 : err_sys(e, "copy the seed");
}

static int fill(int dir, const char *path, uint64_t size, int seed, struct err *e)
{
	cleanup_fd int fd = -1;

	if (unlinkat(dir, DRAFT, 0) < 0 && errno != ENOENT) // what a crash left
		return err_sys(e, "remove " DRAFT);
	fd = openat(dir, DRAFT, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "make " DRAFT);
	if (fchmod(fd, 0600) < 0 || (seed >= 0 && copy_seed(seed, fd, e) < 0))
		return e->no ? -e->no : err_sys(e, "mode of " DRAFT);
	if (ftruncate(fd, (off_t)size) < 0)
		return err_sys(e, "size of " DRAFT);
	if ((seed >= 0 ? set_label(path, e) : make_empty(path, e)) < 0)
		return -e->no;
	if (fault_point("data-made") || fsync(fd) < 0)
		return err_sys(e, "sync " DRAFT);
	return 0;
}

static int make(const struct store *s, uint64_t size, const char *seed_path, struct err *e)
{
	cleanup_fd int dir = -1, seed = -1;
	path_text volumes, path;

	if (seed_path) {
		seed = open_seed(seed_path, size, e);
		if (seed < 0)
			return -e->no;
	}
	if (fd_mkdir(s->dir, DIR_NAME, 0700, e) < 0)
		return -e->no;
	dir = fd_open_dir(s->dir, DIR_NAME, e);
	if (dir < 0)
		return -e->no;
	path_join(volumes, s->path, DIR_NAME);
	path_join(path, volumes, DRAFT);
	if (fill(dir, path, size, seed, e) < 0) {
		(void)unlinkat(dir, DRAFT, 0);
		return -e->no;
	}
	if (fault_point("data-rename") ||
	    renameat2(dir, DRAFT, dir, DATA_FILE, RENAME_NOREPLACE) < 0) {
		(void)err_sys(e, "rename " DRAFT);
		(void)unlinkat(dir, DRAFT, 0);
		return -e->no;
	}
	return fd_sync_dir(dir, e);
}

static int check_there(const struct data_state *d, uint64_t size, const char *seed, struct err *e)
{
	if (seed)
		return err_kind(e, ERR_CONFLICT,
				"there is a data disk already; a seed is what one begins with");
	if (d->bytes == size)
		return 0;
	return err_kind(
		e, ERR_STATE,
		"the data disk has %llu bytes and the pool asks for %llu: it keeps the size "
		"that it was made with",
		(unsigned long long)d->bytes, (unsigned long long)size);
}

int data_ensure(const struct store *s, uint64_t mib, const char *seed, bool dry_run,
		struct data_state *ret, struct err *e)
{
	uint64_t size = mib * MIB;

	if (data_look(s, ret, e) < 0)
		return -e->no;
	if (!ret->present && mib == 0)
		return seed ? err_kind(e, ERR_STATE, "the pool's instances have no data disk") : 0;
	if (ret->present)
		return check_there(ret, size, seed, e);
	if (!dry_run && (make(s, size, seed, e) < 0 || data_look(s, ret, e) < 0))
		return err_wrap(e, "data disk");
	ret->changed = true;
	return 0;
}

int data_release(const struct store *s, struct err *e)
{
	cleanup_fd int fd = openat(s->dir, DIR_NAME "/" DATA_FILE, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open " DATA_FILE);
	if (S_ISREG(st.st_mode) && st.st_uid != 0 && fchownat(fd, "", 0, 0, AT_EMPTY_PATH) < 0)
		return err_sys(e, "take " DATA_FILE " back");
	return 0;
}
