// SPDX-License-Identifier: MIT
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"

int fd_read_file(int dirfd, const char *name, size_t max, struct buf *out, struct err *e)
{
	cleanup_fd int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return err_sys(e, "open %s", name);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat %s", name);
	if (!S_ISREG(st.st_mode)) // a FIFO would hold us up for ever
		return err_set(e, EINVAL, "%s: not a regular file", name);
	if (fd_read_all(fd, max, out, e) < 0)
		return err_wrap(e, "%s", name);
	return 0;
}

int fd_sync_dir(int dirfd, struct err *e)
{
	if (fsync(dirfd) < 0)
		return err_sys(e, "sync directory");
	return 0;
}

static int write_aside(int dirfd, const char *aside, const void *data, size_t len, mode_t mode,
		       struct err *e)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	cleanup_fd int fd = -1;

	if (fault_point("replace-open") || (fd = openat(dirfd, aside, flags, 0600)) < 0)
		return err_sys(e, "create %s", aside);
	if (fault_point("replace-write"))
		return err_sys(e, "write %s", aside);
	if (fd_write_all(fd, data, len, e) < 0)
		return err_wrap(e, "%s", aside);
	if (fchmod(fd, mode) < 0) // open's mode is cut by the umask
		return err_sys(e, "set mode of %s", aside);
	if (fault_point("replace-fsync") || fsync(fd) < 0)
		return err_sys(e, "sync %s", aside);
	return 0;
}

int fd_replace_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
		    struct err *e)
{
	char aside[NAME_MAX + 1];

	if (strchr(name, '/') || base_fmt(aside, sizeof(aside), ".new-%s", name) < 0)
		return err_set(e, EINVAL, "%s: not a plain file name", name);
	if (unlinkat(dirfd, aside, 0) < 0 && errno != ENOENT) // what a crash left
		return err_sys(e, "remove %s", aside);
	if (write_aside(dirfd, aside, data, len, mode, e) < 0) {
		(void)unlinkat(dirfd, aside, 0);
		return -e->no;
	}
	if (fault_point("replace-rename") || renameat(dirfd, aside, dirfd, name) < 0) {
		(void)err_sys(e, "rename %s", aside);
		(void)unlinkat(dirfd, aside, 0);
		return -e->no;
	}
	if (fault_point("replace-dirsync") || fsync(dirfd) < 0)
		return err_sys(e, "sync directory of %s", name);
	return 0;
}

int fd_open_dir(int dirfd, const char *name, struct err *e)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "open %s", name);
	return fd;
}

int fd_mkdir(int dirfd, const char *name, mode_t mode, struct err *e)
{
	bool made = mkdirat(dirfd, name, 0700) == 0;
	cleanup_fd int fd = -1;

	if (!made && errno != EEXIST)
		return err_sys(e, "make %s", name);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
		return err_set(e, EEXIST, "%s: exists and is not a directory", name);
	if (fd < 0 && made)
		return err_sys(e, "open %s", name);
	if (made && fchmod(fd, mode) < 0) // whatever the umask
		return err_sys(e, "set mode of %s", name);
	return 0;
}

int fd_mkdirs(const char *path, mode_t mode, struct err *e)
{
	cleanup_free char *part = base_strdup(path);

	for (char *p = part + 1; *part && *p; p++) {
		if (*p != '/' || p[-1] == '/')
			continue;
		*p = '\0';
		// Above the last one a link is fine (/var/run): the next step fails if it is no
		// directory.
		if (mkdir(part, mode) == 0 ? chmod(part, mode) < 0 : errno != EEXIST)
			return err_sys(e, "make %s", part);
		*p = '/';
	}
	for (size_t len = strlen(part); len > 1 && part[len - 1] == '/'; len--)
		part[len - 1] = '\0';
	return fd_mkdir(AT_FDCWD, part, mode, e);
}

// Deeper directories are moved up to the top, so that a hostile depth costs neither stack nor
// descriptors.
#define TREE_DEPTH 32
#define TREE_NAMES (1u << 20) // tried for the place at the top before we give up

struct tree {
	int top; // the directory being removed, where too deep ones go
	unsigned moved;
	bool again; // the top has new entries
};

static int remove_entry(struct tree *t, int parent, const char *name, int depth, struct err *e);

static int remove_children(struct tree *t, DIR *d, int depth, struct err *e)
{
	const struct dirent *entry;

	do {
		if (depth == 0)
			t->again = false;
		rewinddir(d);
		while ((entry = readdir(d)) != NULL) {
			if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
				continue;
			if (remove_entry(t, dirfd(d), entry->d_name, depth + 1, e) < 0)
				return -e->no;
		}
	} while (depth == 0 && t->again);
	return 0;
}

static int remove_dir(struct tree *t, int parent, const char *name, int depth, struct err *e)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};
	cleanup_fd int fd = (int)syscall(SYS_openat2, parent, name, &how, sizeof(how));
	cleanup_dir DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && errno == ENOENT)
		return 0;
	if (!d && errno == EXDEV)
		return err_set(e, EBUSY, "remove %s: something is mounted there", name);
	if (!d)
		return err_sys(e, "remove %s", name);
	(void)steal_fd(&fd); // d has it
	if (depth == 0)
		t->top = dirfd(d);
	if (remove_children(t, d, depth, e) < 0)
		return err_wrap(e, "%s", name);
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, "remove %s", name);
	return 0;
}

// Out of the depth, under a name that nothing has yet: whoever filled the tree may have guessed
// ours.
static int move_to_top(struct tree *t, int parent, const char *name, struct err *e)
{
	char away[32];

	while (t->moved < TREE_NAMES) {
		base_cut(away, sizeof(away), ".deep-%u", t->moved++);
		if (syscall(SYS_renameat2, parent, name, t->top, away, RENAME_NOREPLACE) == 0) {
			t->again = true;
			return 0;
		}
		if (errno != EEXIST)
			break;
	}
	return err_sys(e, "remove %s", name);
}

// A directory or something else: the kernel decides at the unlink, no stat before it can be fooled.
static int remove_entry(struct tree *t, int parent, const char *name, int depth, struct err *e)
{
	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno == EBUSY)
		return err_set(e, EBUSY, "remove %s: something is mounted there", name);
	if (errno != EISDIR)
		return err_sys(e, "remove %s", name);
	return depth < TREE_DEPTH ? remove_dir(t, parent, name, depth, e)
				  : move_to_top(t, parent, name, e);
}

int fd_remove_tree(int dirfd, const char *name, struct err *e)
{
	struct tree t = { .top = -1 };
	const char *slash = strrchr(name, '/');
	cleanup_free char *above = NULL;
	cleanup_fd int parent = -1;

	if (!slash)
		return remove_entry(&t, dirfd, name, 0, e);
	if (!slash[1])
		return err_set(e, EINVAL, "remove %s: not a name", name);
	// The way to it may cross mounts, what lies below it may not.
	above = base_printf("%.*s", (int)(slash - name + 1), name);
	parent = openat(dirfd, above, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open %s", above);
	return remove_entry(&t, parent, slash + 1, 0, e);
}
