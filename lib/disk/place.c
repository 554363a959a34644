// SPDX-License-Identifier: MIT
#include "disk/place.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/trailer.h"
#include "sys/mounts.h"

#define DIR_NAME  "secrets"
#define LOCK_NAME "secrets.lock"
#define SOURCE	  "mvm-secrets" // of a mount that we have made
#define WAIT_MS	  10000

void place_path(const char *instance, const char *file, path_text out)
{
	path_text dir;

	path_join(dir, path_run(), DIR_NAME);
	path_join(dir, dir, instance);
	path_join(out, dir, file);
}

static int open_ramfs(int run, struct err *e)
{
	cleanup_fd int fd = fd_open_dir(run, DIR_NAME, e);
	struct statfs fs;
	struct stat st;

	if (fd < 0)
		return -e->no;
	if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "%s/" DIR_NAME, path_run());
	if (fs.f_type != RAMFS_MAGIC)
		return err_kind(e, ERR_MISSING, "%s/" DIR_NAME " is no ramfs", path_run());
	if (st.st_uid != 0 || st.st_mode & 077)
		return err_kind(e, ERR_DENIED, "%s/" DIR_NAME " is open to others than root",
				path_run());
	return steal_fd(&fd);
}

static int mount_ramfs(int run, struct err *e)
{
	path_text path;

	if (fd_mkdir(run, DIR_NAME, 0700, e) < 0)
		return -e->no;
	if (fault_point("place-mount"))
		return err_sys(e, "mount a ramfs");
	path_join(path, path_run(), DIR_NAME);
	if (mount(SOURCE, path, "ramfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		return err_sys(e, "mount a ramfs on %s", path);
	return 0;
}

int place_open(struct err *e)
{
	cleanup_fd int run = open(path_run(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return run < 0 ? err_sys(e, "open %s", path_run()) : open_ramfs(run, e);
}

// Held while the place is made, gets a directory, or goes: two mounts would hide each other, and so
// would an end what a start has just put there.
static int lock_place(int *run, struct err *e)
{
	*run = open(path_run(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *run < 0 ? err_sys(e, "open %s", path_run())
			: fd_lock(*run, LOCK_NAME, true, WAIT_MS, e);
}

int place_make_instance(const char *instance, struct err *e)
{
	cleanup_fd int run = -1, lock = -1, place = -1;

	if (name_check_instance(instance, e) < 0 || fd_mkdirs(path_run(), 0755, e) < 0)
		return -e->no;
	lock = lock_place(&run, e);
	if (lock < 0)
		return -e->no;
	place = open_ramfs(run, e);
	if (place < 0 && e->kind == ERR_MISSING) {
		err_clear(e);
		place = mount_ramfs(run, e) < 0 ? -1 : open_ramfs(run, e);
	}
	if (place < 0 || fd_mkdir(place, instance, 0700, e) < 0)
		return -e->no;
	return fd_open_dir(place, instance, e);
}

int place_open_instance(const char *instance, struct err *e)
{
	cleanup_fd int place = -1;

	if (name_check_instance(instance, e) < 0)
		return -e->no;
	place = place_open(e);
	return place < 0 ? -e->no : fd_open_dir(place, instance, e);
}

// A page that is given back is not cleared before somebody else gets it. Where no trailer tells
// what is in use, all may be.
static int wipe(int dir, const char *name, struct err *e)
{
	static const uint8_t zeros[65536];
	cleanup_fd int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct trailer t = { 0 };
	struct err ignored = { 0 };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open %s", name);
	if (S_ISREG(st.st_mode) && trailer_check(fd, &t, &ignored) < 0)
		t.used = (uint64_t)st.st_size;
	for (uint64_t at = 0; at < t.used; at += sizeof(zeros))
		if (pwrite(fd, zeros, MIN(t.used - at, sizeof(zeros)), (off_t)at) < 0)
			return err_sys(e, "overwrite %s", name);
	return unlinkat(dir, name, 0) < 0 ? err_sys(e, "remove %s", name) : 0;
}

// Not systemd's, which run-mvm-secrets.mount has made.
static bool is_our_mount(const char *path)
{
	cleanup_mounts struct mounts m = MOUNTS_INIT;
	struct err ignored = { 0 };
	char real[PATH_MAX];
	const struct mount_row *row;

	if (!realpath(path, real) || mounts_read(&m, &ignored) < 0)
		return false;
	row = mounts_of(&m, real);
	return row && str_eq(row->point, real) && str_eq(row->source, SOURCE);
}

// The last one takes the mount along, as far as nobody is in it.
static void drop_empty(void)
{
	cleanup_fd int run = -1, lock = -1;
	struct err ignored = { 0 };
	cleanup_dir DIR *d = NULL;
	bool empty = true;
	path_text path;

	lock = lock_place(&run, &ignored);
	if (lock < 0)
		return;
	int fd = open_ramfs(run, &ignored);

	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return;
	for (const struct dirent *it; (it = readdir(d));)
		empty = empty && (str_eq(it->d_name, ".") || str_eq(it->d_name, ".."));
	(void)closedir(steal_ptr(&d));
	path_join(path, path_run(), DIR_NAME);
	if (empty && is_our_mount(path))
		(void)umount2(path, UMOUNT_NOFOLLOW);
}

static int wipe_all(int place, const char *instance, struct err *e)
{
	int fd = fd_open_dir(place, instance, e);
	cleanup_dir DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (fd < 0)
		return -e->no;
	if (!d)
		return err_sys(e, "list the drives of %s", instance);
	for (const struct dirent *it; (it = readdir(d));)
		if (!str_eq(it->d_name, ".") && !str_eq(it->d_name, "..") &&
		    wipe(fd, it->d_name, e) < 0)
			return -e->no;
	if (unlinkat(place, instance, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, "remove the drives of %s", instance);
	return 0;
}

int place_remove(const char *instance, struct err *e)
{
	int place = place_open(e), r;

	if (place >= 0) {
		r = wipe_all(place, instance, e);
		(void)close(place); // or it would keep the mount
		if (r == 0)
			drop_empty();
	}
	if (e->no && e->kind == ERR_MISSING)
		err_clear(e);
	return e->no ? -e->no : 0;
}
