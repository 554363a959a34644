// SPDX-License-Identifier: MIT
#include "fc/http.h"

#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"

struct conn {
	struct http *h;
	int fd; // -1: free slot
	struct http_parse *parse;
	struct buf out;
	struct loop_source *io, *timer;
	bool got_more; // bytes came since the timer was set
};

struct http {
	struct loop *loop;
	struct loop_source *accept;
	int listen_fd;
	size_t max_body;
	http_fn fn;
	void *arg;
	bool busy; // in a handler: it may run the loop, but not a second request
	bool finished;
	struct conn conns[HTTP_CONNS];
};

static void conn_close(struct conn *c)
{
	if (c->fd < 0)
		return;
	loop_remove(c->io);
	loop_remove(c->timer);
	http_parse_free(c->parse);
	buf_free(&c->out);
	(void)close(c->fd);
	*c = (struct conn){ .h = c->h, .fd = -1 };
}

// ---- answers ----

static void answer_add(struct buf *out, const struct http_answer *a)
{
	// Upstream's status line has no reason, only the blank before it.
	buf_fmt(out, "HTTP/1.1 %d \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n",
		a->status);
	if (a->deprecated)
		buf_str(out, "Deprecation: true\r\n");
	if (a->body.len)
		buf_fmt(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
			a->body.len);
	buf_str(out, "\r\n");
	buf_add(out, a->body.data, a->body.len);
}

static void refusal_add(struct buf *out, const char *text)
{
	cleanup_buf struct buf body = BUF_INIT;

	buf_str(&body, "{\"error\":");
	buf_json(&body, text);
	buf_str(&body, "}");
	answer_add(out, &(struct http_answer){ .status = 400, .body = body });
}

static void item_answer(struct conn *c, const struct http_item *it)
{
	struct http_answer a = { .status = 204 };

	switch (it->what) {
	case HTTP_ITEM_REQUEST:
		c->h->busy = true;
		c->h->fn(c->h->arg, it, &a);
		c->h->busy = false;
		answer_add(&c->out, &a);
		buf_free(&a.body);
		break;
	case HTTP_ITEM_CONTINUE:
		answer_add(&c->out, &(struct http_answer){ .status = 100 });
		break;
	case HTTP_ITEM_REFUSED:
		refusal_add(&c->out, it->text);
		break;
	}
}

// ---- reading and writing ----

// false: the connection is gone.
static bool conn_write(struct conn *c)
{
	while (c->out.len) {
		ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return true;
		if (n < 0) {
			conn_close(c);
			return false;
		}
		buf_drop(&c->out, (size_t)n);
	}
	buf_free(&c->out);
	return true;
}

static void conn_hangs(void *arg);

// Waits for what is due next; the timer runs while something is half done.
static void conn_wait(struct conn *c)
{
	bool half = c->out.len || http_parse_is_busy(c->parse);
	struct err e;

	if (loop_set_events(c->io, c->out.len ? EPOLLOUT : EPOLLIN, &e) < 0) {
		conn_close(c);
		return;
	}
	if (!half) {
		loop_remove(c->timer);
		c->timer = NULL;
	} else if (!c->timer) {
		c->got_more = false;
		if (loop_add_timer(c->h->loop, clock_ms() + HTTP_HANG_MS, conn_hangs, c, &c->timer,
				   &e) < 0)
			conn_close(c);
	}
}

// All requests that are whole, in their order.
static bool conn_serve(struct conn *c)
{
	for (struct http_item *it; !c->h->finished && (it = http_parse_take(c->parse));) {
		item_answer(c, it);
		http_item_free(it);
	}
	return conn_write(c);
}

// false: the connection is gone.
static bool conn_read(struct conn *c)
{
	char data[HTTP_READ];
	ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return true;
	if (n <= 0) {
		conn_close(c);
		return false;
	}
	c->got_more = true;
	http_parse_feed(c->parse, data, (size_t)n);
	return conn_serve(c);
}

static void conn_ready(void *arg, uint32_t events)
{
	struct conn *c = arg;

	if (c->h->busy || c->h->finished)
		return;
	if (c->out.len ? !conn_write(c) : !conn_read(c))
		return;
	if (!c->out.len && (events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLIN))
		conn_close(c);
	else
		conn_wait(c);
}

static void conn_hangs(void *arg)
{
	struct conn *c = arg;

	loop_remove(c->timer);
	c->timer = NULL;
	// A long request of another client may have kept us from looking.
	c->got_more = false;
	if (!c->h->busy && !c->out.len && !conn_read(c))
		return;
	if (c->got_more || c->h->busy)
		conn_wait(c);
	else
		conn_close(c);
}

// ---- connections ----

// The first free slot. A client that left may not have been noticed yet: its place is free.
static struct conn *conn_slot(struct http *h)
{
	char byte;

	for (size_t i = 0; i < HTTP_CONNS; i++)
		if (h->conns[i].fd < 0)
			return &h->conns[i];
	for (size_t i = 0; i < HTTP_CONNS; i++) {
		if (recv(h->conns[i].fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0)
			continue;
		conn_close(&h->conns[i]);
		return &h->conns[i];
	}
	return NULL;
}

static void refuse_full(int fd)
{
	static const char says[] = "HTTP/1.1 503 \r\nServer: Firecracker API\r\n"
				   "Connection: close\r\nContent-Type: application/json\r\n"
				   "Content-Length: 40\r\n\r\n"
				   "{ \"error\": \"Too many open connections\" }";
	char data[4096];

	(void)send(fd, says, sizeof(says) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	// Unread bytes would turn the close into a reset.
	(void)!recv(fd, data, sizeof(data), MSG_DONTWAIT);
}

static int conn_open(struct http *h, struct conn *c, int *fd, struct err *e)
{
	if (loop_add_fd(h->loop, *fd, EPOLLIN, conn_ready, c, &c->io, e) < 0)
		return -e->no;
	c->fd = steal_fd(fd);
	c->parse = http_parse_new(h->max_body);
	return 0;
}

static void on_connect(void *arg, uint32_t events)
{
	struct http *h = arg;
	cleanup_fd int fd = -1;
	struct conn *c;
	struct err e;

	(void)events;
	if (h->busy || h->finished)
		return;
	fd = accept4(h->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return; // gone again, or out of descriptors: epoll tells us once more
	c = conn_slot(h);
	if (!c)
		refuse_full(fd);
	else
		(void)conn_open(h, c, &fd, &e); // on failure the client sees the close
}

int http_new(struct loop *l, int listen_fd, size_t max_body, http_fn fn, void *arg,
	     struct http **ret, struct err *e)
{
	struct http *h = base_alloc(1, sizeof(*h));

	*h = (struct http){ .loop = l, .listen_fd = listen_fd, .max_body = max_body };
	h->fn = fn;
	h->arg = arg;
	for (size_t i = 0; i < HTTP_CONNS; i++)
		h->conns[i] = (struct conn){ .h = h, .fd = -1 };
	if (fd_set_nonblock(listen_fd, true, e) < 0 ||
	    loop_add_fd(l, listen_fd, EPOLLIN, on_connect, h, &h->accept, e) < 0) {
		free(h);
		return err_wrap(e, "serve the API");
	}
	*ret = h;
	return 0;
}

void http_stop(struct http *h)
{
	h->finished = true;
}

void http_finish(struct http *h, int ms)
{
	int64_t until = clock_ms() + ms;

	http_stop(h);
	for (size_t i = 0; i < HTTP_CONNS; i++) {
		struct conn *c = &h->conns[i];

		while (c->fd >= 0 && c->out.len) {
			struct pollfd p = { .fd = c->fd, .events = POLLOUT };

			if (poll(&p, 1, (int)clock_left(until)) <= 0 || !conn_write(c))
				break;
		}
	}
}

void http_free(struct http *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < HTTP_CONNS; i++)
		conn_close(&h->conns[i]);
	loop_remove(h->accept);
	free(h);
}
