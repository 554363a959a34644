// SPDX-License-Identifier: MIT
#include "guest/host.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/host_conn.h"

#define LOG_WAIT_MS 20000      // for all of a log
#define LOG_MAX	    (16 * MIB) // what is kept, each byte of it a line with its time, in frames

static int check_peer(int fd, uint32_t uid, struct err *e)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return err_sys(e, "peer");
	if (uid != GUEST_ANY_UID && peer.uid != uid)
		return err_kind(e, ERR_DENIED, "the peer is uid %u and not %u", peer.uid, uid);
	return 0;
}

// The name may have become anything: it is opened once, looked at, and then reached by descriptor.
static int connect_place(const struct guest_place *at, int64_t deadline_ms, struct err *e)
{
	cleanup_fd int path = openat(at->dirfd, at->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int64_t left = clock_left(deadline_ms);
	struct timeval wait = { left / 1000, left % 1000 * 1000 + 1 };
	struct stat st;

	if (path < 0 || fd < 0 || fstat(path, &st) < 0)
		return err_kind(e, ERR_UNAVAILABLE, "open %s: %s", at->name, strerror(errno));
	if (!S_ISSOCK(st.st_mode) || (at->uid != GUEST_ANY_UID && st.st_uid != at->uid))
		return err_kind(e, ERR_DENIED, "%s: not a socket of uid %u", at->name, at->uid);
	if (base_fmt(un.sun_path, sizeof(un.sun_path), "/proc/self/fd/%d", path) < 0)
		return err_set(e, ENAMETOOLONG, "%s", at->name);
	// A full backlog would hold the connect for ever.
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0)
		return err_sys(e, "socket");
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		return err_kind(e, ERR_UNAVAILABLE, "connect to %s: %s", at->name, strerror(errno));
	if (check_peer(fd, at->uid, e) < 0 || fd_set_nonblock(fd, true, e) < 0)
		return err_wrap(e, "%s", at->name);
	return steal_fd(&fd);
}

// "OK <number>\n", byte by byte: what follows is the guest's.
static int read_ok(int fd, const struct guest_place *at, int64_t deadline_ms, struct err *e)
{
	char line[32] = "";
	size_t n = 0;

	while (n == 0 || line[n - 1] != '\n') {
		ssize_t got;

		if (host_wait(fd, POLLIN, at->gone_fd, deadline_ms, e) < 0)
			return -e->no;
		got = read(fd, line + n, 1);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			return err_kind(e, ERR_UNAVAILABLE, "nobody listens in the guest");
		if (++n == sizeof(line))
			break;
	}
	if (strncmp(line, "OK ", 3) != 0)
		return err_kind(e, ERR_FAILED, "the VMM did not say OK");
	return 0;
}

int guest_dial(const struct guest_place *at, uint32_t port, int64_t deadline_ms, struct err *e)
{
	cleanup_fd int fd = connect_place(at, deadline_ms, e);
	char line[32];

	if (fd < 0)
		return -e->no;
	if (base_fmt(line, sizeof(line), "CONNECT %u\n", port) < 0)
		return err_set(e, EINVAL, "port %u", port);
	if (fd_write_all(fd, line, strlen(line), e) < 0 || read_ok(fd, at, deadline_ms, e) < 0)
		return -e->no;
	return steal_fd(&fd);
}

int guest_open(const struct guest_place *at, int64_t deadline_ms, struct guest_conn **ret,
	       struct err *e)
{
	int fd = guest_dial(at, GUEST_PORT_AGENT, deadline_ms, e);

	if (fd < 0)
		return -e->no;
	*ret = host_conn_new(fd, at->gone_fd, deadline_ms);
	return 0;
}

int guest_greet(struct guest_conn *c, struct err *e)
{
	return host_conn_greet(c, e);
}

int guest_open_fd(int fd, int64_t deadline_ms, struct guest_conn **ret, struct err *e)
{
	if (fd_set_nonblock(fd, true, e) < 0) {
		(void)close(fd);
		return -e->no;
	}
	*ret = host_conn_new(fd, -1, deadline_ms);
	return 0;
}

// A request and the frame that answers it.
static int ask(struct guest_conn *c, enum guest_type type, const struct buf *b, uint8_t want,
	       int64_t deadline_ms, struct guest_head *h, const uint8_t **p, struct err *e)
{
	guest_frame_put(&c->out, type, 0, b->data, b->len);
	if (host_conn_flush(c, deadline_ms, e) < 0 || host_conn_read(c, deadline_ms, h, p, e) < 0)
		return -e->no;
	return h->type == want ? 0 : host_conn_refused(h, *p, e);
}

int guest_ask_health(struct guest_conn *c, int64_t deadline_ms, struct guest_health *ret,
		     struct err *e)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;

	guest_u32_put(&b, 1); // we understand the longer answer
	if (ask(c, GUEST_HEALTH, &b, GUEST_HEALTH, deadline_ms, &h, &p, e) < 0)
		return -e->no;
	return guest_health_get(p, h.len, ret, e);
}

int guest_ask_shutdown(struct guest_conn *c, const struct guest_down *down, int64_t deadline_ms,
		       struct err *e)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;

	guest_down_put(&b, down);
	return ask(c, GUEST_SHUTDOWN, &b, GUEST_OK, deadline_ms, &h, &p, e);
}

// A log that is followed may stay silent for as long as it likes, and is as long as it likes.
int guest_ask_logs(struct guest_conn *c, const struct guest_logs *what, int out_fd, struct err *e)
{
	cleanup_buf struct buf b = BUF_INIT, more = BUF_INIT;
	int64_t left = LOG_WAIT_MS; // time of our own reader does not count
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;
	size_t all = 0;

	guest_logs_put(&b, what);
	guest_frame_put(&c->out, GUEST_LOGS, 0, b.data, b.len);
	for (;;) {
		int64_t begun = clock_ms();

		if (host_conn_flush(c, begun + left, e) < 0 ||
		    host_conn_read(c, what->follow ? 0 : begun + left, &h, &p, e) < 0)
			return -e->no;
		if (h.type == GUEST_EOF)
			return 0;
		if (h.type != GUEST_DATA)
			return host_conn_refused(&h, p, e);
		left = what->follow ? LOG_WAIT_MS : left - (clock_ms() - begun);
		all += h.len + GUEST_HEADER;
		if (!what->follow && all > LOG_MAX)
			return err_kind(e, ERR_FAILED,
					"the guest's agent: a log that does not end");
		if (fd_write_all(out_fd, p, h.len, e) < 0)
			return -e->no;
		if (!h.len)
			continue;
		buf_clear(&more);
		guest_u32_put(&more, h.len);
		guest_frame_put(&c->out, GUEST_WINDOW_ADD, GUEST_STDOUT, more.data, more.len);
	}
}
