// SPDX-License-Identifier: MIT
// The host's side of vsock, as upstream has it: who connects to the socket and says "CONNECT port"
// is joined to the guest's listener; when the guest dials port P, it is joined to <uds_path>_P.
#include <fcntl.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/num.h"
#include "fc/qemu_parts.h"
#include "fc/resolve.h"

#define REQUEST_MAX 32 // "CONNECT 4294967295\n"
#define REQUEST_MS  2000
#define FIRST_PORT  (1u << 30)

struct qemu_vsock {
	struct loop *loop;
	struct loop_source *src;
	struct mux *mux;
	int root_fd, listener, port_fd;
	char *path;
	uint32_t next_port;
	uint64_t taken;
	struct caller *callers;
	size_t caller_count;
};

// Somebody who connected to the socket: until the request is whole, then until the guest listens at
// all, then until it answers.
struct caller {
	struct qemu_vsock *v;
	struct caller *next;
	struct loop_source *src, *timer;
	int fd; // the mux's once it was dialled; still good to write to
	bool whole, dialled;
	uint32_t port;
	char line[REQUEST_MAX];
	size_t len;
};

static void caller_free(struct caller *c)
{
	struct caller **at = &c->v->callers;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->v->caller_count--;
	loop_remove(c->src);
	loop_remove(c->timer);
	if (!c->dialled)
		(void)close(c->fd);
	free(c);
}

static void too_late(void *arg)
{
	caller_free(arg);
}

static void answered(void *arg, bool taken)
{
	struct caller *c = arg;
	char text[32];

	if (taken) {
		base_cut(text, sizeof(text), "OK %u\n", c->v->next_port++);
		if (c->v->next_port == 0)
			c->v->next_port = FIRST_PORT;
		c->v->taken++;
		// Fits into an empty socket. If the caller is gone the mux will see it too.
		(void)!send(c->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	caller_free(c);
}

static int parse_request(const char *line, uint32_t *ret_port)
{
	struct err e = { 0 };
	uint64_t port;

	// Upstream takes the word in either case.
	if (strncasecmp(line, "connect ", 8) != 0 ||
	    num_u64(line + 8, 0, UINT32_MAX, &port, &e) < 0)
		return -1;
	*ret_port = (uint32_t)port;
	return 0;
}

// One byte at a time, because what follows the line is for the guest. 0: whole; -1: never will be;
// 1: not yet.
static int take_line(struct caller *c)
{
	while (c->len < sizeof(c->line)) {
		ssize_t n = recv(c->fd, &c->line[c->len], 1, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 1;
		if (n <= 0)
			return -1;
		if (c->line[c->len] == '\n') {
			c->line[c->len] = '\0';
			return 0;
		}
		c->len++;
	}
	return -1;
}

static void dial(struct caller *c)
{
	struct err e = { 0 };

	loop_remove(c->src);
	loop_remove(c->timer);
	c->src = c->timer = NULL;
	c->dialled = true;
	if (mux_dial(c->v->mux, c->port, c->fd, answered, c, &e) < 0)
		caller_free(c);
}

static void went_away(void *arg, uint32_t events)
{
	(void)events;
	caller_free(arg);
}

// A guest that was loaded a moment ago, or boots, has the time that the request has, as upstream.
static void await_guest(struct caller *c)
{
	struct err e = { 0 };

	loop_remove(c->src);
	c->src = NULL;
	// what it may have sent already is for the guest, so only a hang-up is of interest
	if (loop_add_fd(c->v->loop, c->fd, 0, went_away, c, &c->src, &e) < 0)
		caller_free(c);
}

static void request(void *arg, uint32_t events)
{
	struct caller *c = arg;
	int r = take_line(c);

	(void)events;
	if (r > 0)
		return;
	if (r < 0 || parse_request(c->line, &c->port) < 0) {
		caller_free(c);
		return;
	}
	c->whole = true;
	if (mux_is_up(c->v->mux))
		dial(c);
	else
		await_guest(c);
}

static struct caller *first_waiting(const struct qemu_vsock *v)
{
	struct caller *c = v->callers;

	while (c && (!c->whole || c->dialled))
		c = c->next;
	return c;
}

static void guest_listens(void *arg)
{
	struct qemu_vsock *v = arg;
	struct caller *c;

	while ((c = first_waiting(v)))
		dial(c);
}

static void accepted(void *arg, uint32_t events)
{
	struct qemu_vsock *v = arg;
	int fd = accept4(v->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct err e = { 0 };
	struct caller *c;

	(void)events;
	if (fd < 0)
		return;
	// Half-made requests count: they hold descriptors too.
	if (v->caller_count + mux_count(v->mux) >= MUX_CONNS) {
		(void)close(fd);
		return;
	}
	c = base_alloc(1, sizeof(*c));
	*c = (struct caller){ .v = v, .next = v->callers, .fd = fd };
	v->callers = c;
	v->caller_count++;
	if (loop_add_fd(v->loop, fd, EPOLLIN, request, c, &c->src, &e) < 0 ||
	    loop_add_timer(v->loop, clock_ms() + REQUEST_MS, too_late, c, &c->timer, &e) < 0)
		caller_free(c);
}

// The guest dials. The file is opened first, below the root, and connected to by its descriptor, so
// that no link leads elsewhere.
static int dialled(void *arg, uint32_t port)
{
	struct qemu_vsock *v = arg;
	cleanup_free char *path = base_printf("%s_%u", v->path, port);
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct err e = { 0 };
	cleanup_fd int file = qemu_resolve(v->root_fd, path, O_PATH, &e);
	// Never waits: a listener whose queue is full refuses.
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (file < 0 || fd < 0)
		return -ECONNREFUSED;
	base_cut(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d", file);
	if (connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0)
		return -ECONNREFUSED;
	v->taken++;
	return steal_fd(&fd);
}

static int bind_at(int root_fd, const char *path, struct err *e)
{
	cleanup_fd int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	const char *name = NULL;
	cleanup_fd int dir = qemu_resolve_dir(root_fd, path, &name, e);

	if (dir < 0)
		return -e->no;
	if (sock < 0)
		return err_sys(e, "socket");
	if (base_fmt(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d/%s", dir, name) < 0)
		return err_set(e, ENAMETOOLONG, "%s", path);
	if (bind(sock, (const struct sockaddr *)&sun, sizeof(sun)) < 0)
		return err_sys(e, "bind %s", path);
	if (listen(sock, 1024) < 0)
		return err_sys(e, "listen on %s", path);
	return steal_fd(&sock);
}

static const struct mux_ops ops = { .dialled = dialled, .up = guest_listens };

int qemu_vsock_new(struct loop *l, int root_fd, const char *uds_path, int port_fd,
		   struct qemu_vsock **ret, struct err *e)
{
	struct qemu_vsock *v = base_alloc(1, sizeof(*v));

	*v = (struct qemu_vsock){ .loop = l,
				  .root_fd = root_fd,
				  .port_fd = port_fd,
				  .path = base_strdup(uds_path),
				  .next_port = FIRST_PORT };
	v->listener = bind_at(root_fd, uds_path, e);
	if (v->listener < 0) {
		qemu_vsock_free(v);
		return err_wrap(e, "vsock");
	}
	if (mux_new(l, port_fd, MUX_HOST, &ops, v, &v->mux, e) < 0 ||
	    loop_add_fd(l, v->listener, EPOLLIN, accepted, v, &v->src, e) < 0) {
		qemu_vsock_unbind(v);
		qemu_vsock_free(v);
		return err_wrap(e, "vsock");
	}
	*ret = v;
	return 0;
}

void qemu_vsock_counts(const struct qemu_vsock *v, struct qemu_stats *out)
{
	out->vsock_conns = v->taken;
	mux_bytes(v->mux, &out->vsock_tx_bytes, &out->vsock_rx_bytes);
}

void qemu_vsock_unbind(struct qemu_vsock *v)
{
	const char *name = NULL;
	struct err e = { 0 };
	cleanup_fd int dir = qemu_resolve_dir(v->root_fd, v->path, &name, &e);

	if (dir >= 0)
		(void)unlinkat(dir, name, 0);
}

void qemu_vsock_free(struct qemu_vsock *v)
{
	if (!v)
		return;
	mux_free(v->mux); // ends the dials under way, and their callers with them
	while (v->callers)
		caller_free(v->callers);
	loop_remove(v->src);
	base_closep(&v->listener);
	base_closep(&v->port_fd);
	free(v->path);
	free(v);
}
