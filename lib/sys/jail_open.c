// SPDX-License-Identifier: MIT
// The hostile half of jail.h: what a VMM that was taken over may have put into its directories.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "sys/jail.h"

static int open_own_dir(int root, const char *name, uint32_t uid, int *ret, struct err *e)
{
	cleanup_fd int fd = fd_open_dir(root, name, e);
	struct stat st;

	if (fd < 0)
		return -e->no;
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat %s", name);
	if (st.st_uid != uid)
		return err_kind(e, ERR_DENIED, "%s belongs to uid %u, not %u", name, st.st_uid,
				uid);
	*ret = steal_fd(&fd);
	return 0;
}

int jail_open(const char *vmm, const char *instance, uint32_t uid, struct jail *ret, struct err *e)
{
	cleanup_jail struct jail j = JAIL_NONE;
	path_text path;

	if (name_check(vmm, e) < 0 || name_check_instance(instance, e) < 0)
		return -e->no;
	path_jail(vmm, instance, path);
	path_join(j.path, path, "root");
	j.root = fd_open_dir(AT_FDCWD, j.path, e);
	if (j.root < 0 || open_own_dir(j.root, "run", uid, &j.run, e) < 0 ||
	    open_own_dir(j.root, "snap", uid, &j.snap, e) < 0)
		return err_wrap(e, "the jail of %s", instance);
	j.uid = uid;
	*ret = j;
	j = (struct jail)JAIL_NONE;
	return 0;
}

// The descriptor stands for the inode that was checked, whatever takes its name afterwards.
static int open_checked(int dir, const char *name, mode_t type, const char *what, uint32_t uid,
			struct err *e)
{
	cleanup_fd int fd = -1;
	struct stat st;

	if (!name[0] || strchr(name, '/'))
		return err_set(e, EINVAL, "'%s' is not a plain name", name);
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open %s", name);
	if ((st.st_mode & S_IFMT) != type)
		return err_kind(e, ERR_DENIED, "%s is not a %s", name, what);
	if (st.st_uid != uid)
		return err_kind(e, ERR_DENIED, "%s belongs to uid %u, not %u", name, st.st_uid,
				uid);
	if (st.st_nlink != 1)
		return err_kind(e, ERR_DENIED, "%s has %ju links", name, (uintmax_t)st.st_nlink);
	return steal_fd(&fd);
}

int jail_open_socket(int dir, const char *name, uint32_t uid, struct err *e)
{
	return open_checked(dir, name, S_IFSOCK, "socket", uid, e);
}

int jail_open_file(int dir, const char *name, uint32_t uid, struct err *e)
{
	return open_checked(dir, name, S_IFREG, "regular file", uid, e);
}

int jail_open_fifo(int dir, const char *name, uint32_t uid, struct err *e)
{
	return open_checked(dir, name, S_IFIFO, "FIFO", uid, e);
}

int jail_check_peer(int sock, uint32_t uid, struct err *e)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return err_sys(e, "look up the peer");
	if (peer.uid != uid)
		return err_kind(e, ERR_DENIED, "the peer has uid %u, not %u", peer.uid, uid);
	return 0;
}

// Non-blocking while connecting: a full backlog, which the VMM may arrange, would hold us.
int jail_connect(int dir, const char *name, uint32_t uid, struct err *e)
{
	cleanup_fd int file = jail_open_socket(dir, name, uid, e);
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	cleanup_fd int sock = -1;
	fd_path path;

	if (file < 0)
		return -e->no;
	jail_fd_path(file, path);
	memcpy(sun.sun_path, path, sizeof(path));
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0)
		return err_sys(e, "socket");
	if (connect(sock, (const struct sockaddr *)&sun, sizeof(sun)) < 0)
		return err_sys(e, "connect to %s", name);
	if (jail_check_peer(sock, uid, e) < 0)
		return err_wrap(e, "%s", name);
	if (fd_set_nonblock(sock, false, e) < 0)
		return -e->no;
	return steal_fd(&sock);
}
