// SPDX-License-Identifier: MIT
// What lies on a drive, copied: files and directories, within bounds, with the owner and the modes
// of its kind.
#include "guest/machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"

#define COPY_DEPTH 8

static int copy_file(int from, int to_dir, const char *name, struct drive_copy *c, struct err *e)
{
	cleanup_fd int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
	char bytes[16384];
	ssize_t n;

	if (to < 0)
		return err_sys(e, "make %s", name);
	while ((n = read(from, bytes, sizeof(bytes))) > 0) {
		if ((uint64_t)n > c->left)
			return err_set(e, EFBIG, "%s: the drive holds too much", name);
		c->left -= (uint64_t)n;
		if (fd_write_all(to, bytes, (size_t)n, e) < 0)
			return err_wrap(e, "%s", name);
	}
	if (n < 0)
		return err_sys(e, "read %s", name);
	return fchmod(to, c->secret ? 0400 : 0444) < 0 ? err_sys(e, "mode of %s", name) : 0;
}

static int copy_entry(int from_dir, int to_dir, const char *name, struct drive_copy *c,
		      struct err *e)
{
	cleanup_fd int from =
		openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	cleanup_fd int to = -1;
	struct stat st;

	if (from < 0 && (errno == ELOOP || errno == ENXIO))
		return 0; // links and sockets have no business there
	if (from < 0 || fstat(from, &st) < 0)
		return err_sys(e, "open %s", name);
	if (S_ISREG(st.st_mode)) {
		if (copy_file(from, to_dir, name, c, e) < 0)
			return -e->no;
	} else if (S_ISDIR(st.st_mode) && c->depth < COPY_DEPTH) {
		if (mkdirat(to_dir, name, 0700) < 0)
			return err_sys(e, "make %s", name);
		to = fd_open_dir(to_dir, name, e);
		c->depth++;
		if (to < 0 || drive_copy(from, to, c, e) < 0)
			return err_wrap(e, "%s", name);
		c->depth--;
		if (fchmod(to, c->secret ? 0500 : 0555) < 0)
			return err_sys(e, "%s", name);
	} else {
		return 0;
	}
	if (fchownat(to_dir, name, c->uid, c->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "owner of %s", name);
	return 0;
}

int drive_copy(int from_dir, int to_dir, struct drive_copy *c, struct err *e)
{
	int own = fcntl(from_dir, F_DUPFD_CLOEXEC, 3);
	cleanup_dir DIR *d = own < 0 ? NULL : fdopendir(own);

	if (!d)
		return err_sys(e, "read directory");
	for (struct dirent *it; (it = readdir(d)) != NULL;) {
		if (str_eq(it->d_name, ".") || str_eq(it->d_name, "..") ||
		    str_eq(it->d_name, "lost+found"))
			continue;
		if (copy_entry(from_dir, to_dir, it->d_name, c, e) < 0)
			return -e->no;
	}
	return 0;
}
