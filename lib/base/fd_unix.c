// SPDX-License-Identifier: MIT
// Sockets and what is passed through them.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/fd.h"

#define SEND_MAX 253 // SCM_MAX_FD of the kernel

union control {
	struct cmsghdr align;
	char space[CMSG_SPACE(SEND_MAX * sizeof(int))];
};

static ssize_t send_retry(int sock, const struct msghdr *msg)
{
	for (;;) {
		ssize_t n = sendmsg(sock, msg, MSG_NOSIGNAL);
		struct pollfd p = { .fd = sock, .events = POLLOUT };

		if (n >= 0 || (errno != EINTR && errno != EAGAIN))
			return n;
		if (errno == EAGAIN && poll(&p, 1, -1) < 0 && errno != EINTR)
			return -1;
	}
}

int fd_send(int sock, const int *fds, size_t n, const void *data, size_t len, struct err *e)
{
	char nothing = 0;
	struct iovec io = { .iov_base = &nothing, .iov_len = len };
	union control control = { 0 };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1 };

	if (n > SEND_MAX)
		return err_set(e, EINVAL, "more than %d descriptors", SEND_MAX);
	if (n > 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = (socklen_t)CMSG_SPACE(n * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = (socklen_t)CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	if (len)
		memcpy(&io.iov_base, &data, sizeof(data)); // sendmsg does not write to it
	ssize_t sent = send_retry(sock, &msg);
	if (sent < 0)
		return err_sys(e, "send");
	if ((size_t)sent < len) // a stream took a part, and the descriptors with it
		return fd_write_all(sock, (const char *)data + sent, len - (size_t)sent, e);
	return 0;
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)close(fds[i]);
}

// Keeps up to max of the descriptors that came, closes the rest; false when there were more.
static bool take_fds(struct msghdr *msg, int *fds, size_t max, size_t *ret_n)
{
	bool fit = true;

	*ret_n = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0);
		     at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
			if (*ret_n < max) {
				fds[(*ret_n)++] = fd;
			} else {
				(void)close(fd);
				fit = false;
			}
		}
	}
	return fit;
}

int fd_recv(int sock, int *fds, size_t max, size_t *ret_n, void *data, size_t size, size_t *ret_len,
	    struct err *e)
{
	struct iovec io = { .iov_base = data, .iov_len = size };
	union control control = { 0 };
	struct msghdr msg = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	ssize_t len;
	size_t n;

	do
		len = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (len < 0 && errno == EINTR);
	if (len < 0)
		return err_sys(e, "receive");
	bool fit = take_fds(&msg, fds, max, &n);
	if (!fit || msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) {
		close_all(fds, n);
		return err_set(e, EMSGSIZE, "receive: more than %zu bytes or %zu descriptors", size,
			       max);
	}
	*ret_n = n;
	*ret_len = (size_t)len;
	return 0;
}

static int unix_address(int dirfd, const char *name, struct sockaddr_un *out, struct err *e)
{
	int n = dirfd == AT_FDCWD ? snprintf(out->sun_path, sizeof(out->sun_path), "%s", name)
				  : snprintf(out->sun_path, sizeof(out->sun_path),
					     "/proc/self/fd/%d/%s", dirfd, name);

	if (n < 0 || (size_t)n >= sizeof(out->sun_path))
		return err_set(e, ENAMETOOLONG, "%s: name of a socket too long", name);
	out->sun_family = AF_UNIX;
	return 0;
}

// The socket's own inode, whatever name is put in its place later.
static int open_socket_file(int dirfd, const char *name, struct err *e)
{
	cleanup_fd int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open %s", name);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, ENOTSOCK, "%s: not a socket", name);
	return steal_fd(&fd);
}

int fd_unix_connect(int dirfd, const char *name, struct err *e)
{
	struct sockaddr_un sun = { 0 };
	cleanup_fd int file = open_socket_file(dirfd, name, e);
	cleanup_fd int sock = -1;

	if (file < 0)
		return -e->no;
	sun.sun_family = AF_UNIX;
	base_cut(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d", file);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return err_sys(e, "socket");
	if (connect(sock, (const struct sockaddr *)&sun, sizeof(sun)) < 0)
		return err_sys(e, "connect to %s", name);
	return steal_fd(&sock);
}

// A socket that nobody listens on was left by a process that died.
static int remove_stale(int dirfd, const char *name, struct err *e)
{
	struct err why = { 0 };
	int fd = fd_unix_connect(dirfd, name, &why);

	if (fd >= 0) {
		(void)close(fd);
		return err_kind(e, ERR_CONFLICT, "%s: somebody listens there", name);
	}
	if (why.no != ECONNREFUSED) {
		*e = why;
		return -e->no;
	}
	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove %s", name);
	return 0;
}

static int set_socket_mode(int dirfd, const char *name, mode_t mode, struct err *e)
{
	cleanup_fd int file = open_socket_file(dirfd, name, e);
	char path[64];

	if (file < 0)
		return -e->no;
	base_cut(path, sizeof(path), "/proc/self/fd/%d", file);
	if (chmod(path, mode) < 0)
		return err_sys(e, "set mode of %s", name);
	return 0;
}

int fd_unix_listen(int dirfd, const char *name, mode_t mode, int backlog, struct err *e)
{
	struct sockaddr_un sun = { 0 };
	cleanup_fd int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return err_sys(e, "socket");
	if (unix_address(dirfd, name, &sun, e) < 0)
		return -e->no;
	(void)fchmod(sock, mode); // what bind makes never has more than this
	int bound = bind(sock, (const struct sockaddr *)&sun, sizeof(sun));
	if (bound < 0 && errno == EADDRINUSE) {
		if (remove_stale(dirfd, name, e) < 0)
			return -e->no;
		bound = bind(sock, (const struct sockaddr *)&sun, sizeof(sun));
	}
	if (bound < 0)
		return err_sys(e, "bind %s", name);
	if (set_socket_mode(dirfd, name, mode, e) < 0)
		return -e->no;
	if (listen(sock, backlog) < 0)
		return err_sys(e, "listen on %s", name);
	return steal_fd(&sock);
}
