// SPDX-License-Identifier: MIT
// Making, filling and removing a jail; what is opened in a used one is in jail_open.c.
#include "sys/jail.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include "base/fault.h"
#include "base/fd.h"
#include "sys/mounts.h"

void jail_close(struct jail *j)
{
	base_closep(&j->root);
	base_closep(&j->run);
	base_closep(&j->snap);
	*j = (struct jail)JAIL_NONE;
}

void jail_fd_path(int fd, fd_path out)
{
	(void)snprintf(out, sizeof(fd_path), "/proc/self/fd/%d", fd);
}

static int check_names(const char *vmm, const char *instance, struct err *e)
{
	if (name_check(vmm, e) < 0 || name_check_instance(instance, e) < 0)
		return -e->no;
	return 0;
}

// A directory of the VM's own, below the root directory that is still ours alone.
static int make_own(int root, const char *name, uint32_t uid, int *ret, struct err *e)
{
	cleanup_fd int fd = -1;

	if (fd_mkdir(root, name, 0700, e) < 0)
		return -e->no;
	fd = fd_open_dir(root, name, e);
	if (fd < 0)
		return -e->no;
	if (fchown(fd, uid, uid) < 0)
		return err_sys(e, "give %s to uid %u", name, uid);
	*ret = steal_fd(&fd);
	return 0;
}

static int make_tree(const char *vmm, const char *instance, uint32_t uid, struct jail *j,
		     struct err *e)
{
	path_text path;

	path_jail(vmm, instance, path);
	path_join(j->path, path, "root");
	if (fd_mkdirs(path, 0700, e) < 0)
		return -e->no;
	if (fault_point("jail-made"))
		return err_sys(e, "make %s", j->path);
	if (fd_mkdir(AT_FDCWD, j->path, 0755, e) < 0)
		return -e->no;
	j->root = fd_open_dir(AT_FDCWD, j->path, e);
	if (j->root < 0)
		return -e->no;
	j->uid = uid;
	if (make_own(j->root, "run", uid, &j->run, e) < 0 ||
	    make_own(j->root, "snap", uid, &j->snap, e) < 0)
		return -e->no;
	return 0;
}

int jail_make(const char *vmm, const char *instance, uint32_t uid, struct jail *ret, struct err *e)
{
	cleanup_jail struct jail j = JAIL_NONE;

	if (uid < VM_UID_BASE)
		return err_set(e, EINVAL, "uid %u is not one of a VM", uid);
	if (jail_remove(vmm, instance, e) < 0)
		return -e->no;
	if (make_tree(vmm, instance, uid, &j, e) < 0)
		return err_wrap(e, "make the jail of %s", instance);
	*ret = j;
	j = (struct jail)JAIL_NONE;
	return 0;
}

// The real path, as mountinfo shows it, whatever links lead to the state directory.
static int drop_mounts(int parent, const char *instance, struct err *e)
{
	cleanup_fd int fd = openat(parent, instance, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	path_text real;
	fd_path link;
	ssize_t n;

	if (fd < 0) // gone, or a file that is simply removed
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
			       ? 0
			       : err_sys(e, "open %s", instance);
	jail_fd_path(fd, link);
	n = readlink(link, real, sizeof(real) - 1);
	if (n < 0 || (size_t)n == sizeof(real) - 1)
		return err_set(e, n < 0 ? errno : ENAMETOOLONG, "path of the jail of %s", instance);
	real[n] = '\0';
	return mounts_drop_below(real, e);
}

int jail_remove(const char *vmm, const char *instance, struct err *e)
{
	cleanup_fd int parent = -1;
	path_text path;

	if (check_names(vmm, instance, e) < 0)
		return -e->no;
	path_join(path, path_state(), "jails");
	path_join(path, path, vmm);
	parent = fd_open_dir(AT_FDCWD, path, e);
	if (parent < 0)
		return parent == -ENOENT ? 0 : parent;
	if (drop_mounts(parent, instance, e) < 0 || fd_remove_tree(parent, instance, e) < 0)
		return err_wrap(e, "remove the jail of %s", instance);
	return 0;
}

static int check_shared(const struct stat *st, struct err *e)
{
	if (st->st_uid != 0 || st->st_gid != 0 || (st->st_mode & 07777) != 0444)
		return err_kind(e, ERR_DENIED, "is %u:%u %04o, a shared file has to be 0:0 0444",
				st->st_uid, st->st_gid, st->st_mode & 07777);
	return 0;
}

// Another VM's file is never taken over: its owner may have it open.
static int make_private(int fd, const struct stat *st, uint32_t uid, struct err *e)
{
	fd_path path;

	if (st->st_uid != 0 && st->st_uid != uid)
		return err_kind(e, ERR_DENIED, "belongs to uid %u", st->st_uid);
	jail_fd_path(fd, path);
	if (chmod(path, 0600) < 0)
		return err_sys(e, "set the mode");
	if (fchownat(fd, "", uid, uid, AT_EMPTY_PATH) < 0)
		return err_sys(e, "give it to uid %u", uid);
	return 0;
}

static int link_fd(int fd, int into, const char *name, struct err *e)
{
	fd_path path;

	jail_fd_path(fd, path);
	if (!fault_point("jail-link") && linkat(AT_FDCWD, path, into, name, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	(void)err_sys(e, "link into the jail");
	if (e->no == EXDEV)
		return err_hint(e, "the jails and the artifacts have to lie on one file system");
	return -e->no;
}

int jail_link(const struct jail *j, int src_dir, const char *src, int into, const char *name,
	      enum jail_file kind, struct err *e)
{
	cleanup_fd int fd = openat(src_dir, src, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int ok;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open %s", src);
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s is not a regular file", src);
	ok = kind == JAIL_SHARED ? check_shared(&st, e) : make_private(fd, &st, j->uid, e);
	if (ok < 0 || link_fd(fd, into, name, e) < 0)
		return err_wrap(e, "%s", src);
	return 0;
}

int jail_unshare_mounts(struct err *e)
{
	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, "unshare the mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_sys(e, "make the mounts private");
	return 0;
}

// What is mounted over: a file for a file, a directory for a directory.
static int bind_target(int into, const char *name, bool directory, struct err *e)
{
	int fd;

	if (directory) {
		if (mkdirat(into, name, 0555) < 0 && errno != EEXIST)
			return err_sys(e, "make %s", name);
	} else {
		fd = openat(into, name, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
		if (fd < 0 && errno != EEXIST)
			return err_sys(e, "make %s", name);
		base_closep(&fd);
	}
	fd = openat(into, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open %s", name) : fd;
}

int jail_bind(int src, int into, const char *name, bool read_only, struct err *e)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
			    (read_only ? MOUNT_ATTR_RDONLY : 0u),
	};
	cleanup_fd int tree = -1, target = -1;
	struct stat from, to;

	if (strchr(name, '/') || fstat(src, &from) < 0)
		return err_set(e, EINVAL, "bind %s", name);
	target = bind_target(into, name, S_ISDIR(from.st_mode), e);
	if (target < 0)
		return -e->no;
	if (fstat(target, &to) < 0 || S_ISLNK(to.st_mode) ||
	    S_ISDIR(to.st_mode) != S_ISDIR(from.st_mode))
		return err_kind(e, ERR_DENIED, "%s: something else is there", name);
	tree = open_tree(src, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ||
	    move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, "bind %s", name);
	return 0;
}
