// SPDX-License-Identifier: MIT
#include "fc/resolve.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fd.h"

static int open_in_root(int root_fd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? 0600 : 0,
		.resolve = root_fd == AT_FDCWD ? 0 : RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	// openat2 refuses what open would ignore.
	if (!(flags & O_PATH))
		how.flags |= O_NONBLOCK | O_NOCTTY;
	// EAGAIN: a rename somewhere raced with a ".." of this path; the call asks to be repeated.
	for (int tries = 0; tries < 32; tries++) {
		fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return (int)fd;
}

int qemu_resolve(int root_fd, const char *path, int flags, struct err *e)
{
	int fd = open_in_root(root_fd, path, flags);

	return fd >= 0 ? fd : err_sys(e, "open %s", path);
}

int qemu_resolve_dir(int root_fd, const char *path, const char **ret_name, struct err *e)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char dir[PATH_MAX];
	size_t len = (size_t)(name - path);
	int fd;

	if (!*name || str_eq(name, ".") || str_eq(name, ".."))
		return err_set(e, EINVAL, "%s: not the name of a file", path);
	if (len >= sizeof(dir))
		return err_set(e, ENAMETOOLONG, "open %.64s...", path);
	memcpy(dir, path, len);
	dir[len] = '\0';
	fd = open_in_root(root_fd, len ? dir : ".", O_PATH | O_DIRECTORY);
	if (fd < 0)
		return err_sys(e, "open %s", len ? dir : ".");
	*ret_name = name;
	return fd;
}

int qemu_resolve_file(int root_fd, const char *path, int flags, struct err *e)
{
	cleanup_fd int fd = qemu_resolve(root_fd, path, flags, e);
	struct stat st;

	if (fd < 0)
		return -e->no;
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s: not a file", path);
	return steal_fd(&fd);
}
