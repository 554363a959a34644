// SPDX-License-Identifier: MIT
// Reading, writing, flags; files and directories are in fd_file.c, sockets in fd_unix.c.
#include "base/fd.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/syscall.h>

#include "base/clock.h"

// A non-blocking descriptor may be handed to us: wait instead of spinning.
static int wait_for(int fd, short events, int64_t deadline_ms, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		int64_t left = deadline_ms ? clock_left(deadline_ms) : -1;
		int n = poll(&p, 1, (int)MIN(left, 3600000));

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (deadline_ms && clock_left(deadline_ms) == 0)
			return err_kind(e, ERR_TIMEOUT, "timed out");
	}
}

int fd_write_all(int fd, const void *data, size_t len, struct err *e)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (wait_for(fd, POLLOUT, 0, e) < 0)
				return -e->no;
			continue;
		}
		if (n < 0)
			return err_sys(e, "write");
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int fd_read_all(int fd, size_t max, struct buf *out, struct err *e)
{
	char piece[16384];
	size_t total = 0;

	for (;;) {
		ssize_t n = read(fd, piece, sizeof(piece));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (wait_for(fd, POLLIN, 0, e) < 0)
				return -e->no;
			continue;
		}
		if (n < 0)
			return err_sys(e, "read");
		if (n == 0)
			return 0;
		if ((size_t)n > max - total) {
			(void)err_set(e, EFBIG, "larger than %zu bytes", max);
			e->kind = ERR_USAGE;
			return -EFBIG;
		}
		buf_add(out, piece, (size_t)n);
		total += (size_t)n;
	}
}

int fd_read_exact(int fd, void *out, size_t len, int64_t deadline_ms, struct err *e)
{
	char *p = out;

	while (len > 0) {
		if (deadline_ms && wait_for(fd, POLLIN, deadline_ms, e) < 0)
			return -e->no;
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (wait_for(fd, POLLIN, deadline_ms, e) < 0)
				return -e->no;
			continue;
		}
		if (n < 0)
			return err_sys(e, "read");
		if (n == 0)
			return err_set(e, ENODATA, "ended %zu bytes early", len);
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int fd_set_nonblock(int fd, bool on, struct err *e)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
		return err_sys(e, "set O_NONBLOCK");
	return 0;
}

void fd_sanitize(void)
{
	// open() takes the lowest free number, so this fills exactly the gaps.
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", O_RDWR) != fd) // NOLINT(android-cloexec-open)
			abort();
	(void)syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
}
