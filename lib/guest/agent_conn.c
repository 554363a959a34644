// SPDX-License-Identifier: MIT
// One connection: bytes in, frames out. Hello first, then agent_request has each frame.
#include "guest/agent_core.h"

#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"

#ifndef MVM_VERSION
#define MVM_VERSION "0"
#endif

void agent_conn_send(struct conn *c, enum guest_type type, uint16_t stream, const void *p,
		     size_t len)
{
	if (!c->dead && !c->closing)
		guest_frame_put(&c->out, type, stream, p, len);
}

void agent_conn_send_u32(struct conn *c, enum guest_type type, uint16_t stream, uint32_t v)
{
	cleanup_buf struct buf b = BUF_INIT;

	guest_u32_put(&b, v);
	agent_conn_send(c, type, stream, b.data, b.len);
}

void agent_conn_finish(struct conn *c)
{
	c->closing = true;
}

void agent_conn_fail(struct conn *c, const struct err *e)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct guest_error wire;

	guest_error_from(e, &wire);
	guest_error_put(&b, &wire);
	agent_conn_send(c, GUEST_ERROR, 0, b.data, b.len);
	agent_conn_finish(c);
}

static int take_hello(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	struct guest_hello hello;
	uint16_t version;

	if (h->type != GUEST_HELLO)
		return err_kind(e, ERR_FAILED, "%s frame before hello", guest_type_name(h->type));
	if (guest_hello_get(p, h->len, &hello, e) < 0 || guest_hello_agree(&hello, &version, e) < 0)
		return -e->no;
	c->state = c->ours ? CONN_WELCOME : CONN_IDLE;
	return 0;
}

// Whole frames at the front of c->in, one after the other.
static int parse(struct conn *c, struct err *e)
{
	size_t at = 0;

	while (!c->dead && !c->closing && c->in.len - at >= GUEST_HEADER) {
		const uint8_t *p = (const uint8_t *)c->in.data + at;
		struct guest_head h;
		int r;

		if (guest_head_get(p, &h, e) < 0)
			return -e->no;
		if (c->in.len - at - GUEST_HEADER < h.len)
			break;
		r = c->state == CONN_HELLO ? take_hello(c, &h, p + GUEST_HEADER, e)
					   : agent_request(c, &h, p + GUEST_HEADER, e);
		if (r < 0)
			return r;
		at += GUEST_HEADER + h.len;
	}
	buf_drop(&c->in, c->closing ? c->in.len : at);
	return 0;
}

static void on_input(struct conn *c)
{
	char bytes[32768];
	ssize_t n = read(c->fd, bytes, sizeof(bytes));
	struct err e = { 0 };

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		c->dead = true;
		return;
	}
	if (c->closing)
		return; // what still comes is of no interest
	buf_add(&c->in, bytes, (size_t)n);
	if (parse(c, &e) < 0)
		agent_conn_fail(c, &e);
}

static void on_event(void *arg, uint32_t events)
{
	struct conn *c = arg;
	struct agent *a = c->a;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		on_input(c);
	agent_settle(a);
}

static void on_timer(void *arg)
{
	struct conn *c = arg;

	c->dead = true;
	agent_settle(c->a);
}

void agent_conn_set_timer(struct conn *c, int64_t ms)
{
	struct err e = { 0 };

	loop_remove(c->timer);
	c->timer = NULL;
	if (ms && loop_add_timer(c->a->loop, clock_ms() + ms, on_timer, c, &c->timer, &e) < 0)
		c->dead = true;
}

void agent_conn_add(struct agent *a, int fd, bool ours)
{
	struct guest_hello hello = { GUEST_VERSION, GUEST_VERSION, "mvm-guestd " MVM_VERSION };
	cleanup_buf struct buf b = BUF_INIT;
	struct conn *c;
	struct err e = { 0 };

	if (a->conn_count >= GUEST_CONNS || fd_set_nonblock(fd, true, &e) < 0) {
		(void)close(fd);
		if (ours)
			a->hooks.dial_ended(a->arg, false);
		return;
	}
	c = base_alloc(1, sizeof(*c));
	*c = (struct conn){ .a = a, .fd = fd, .ours = ours, .next = a->conns };
	a->conns = c;
	a->conn_count++;
	if (loop_add_fd(a->loop, fd, EPOLLIN, on_event, c, &c->source, &e) < 0) {
		c->dead = true;
		return;
	}
	agent_conn_set_timer(c, AGENT_IDLE_MS);
	guest_hello_put(&b, &hello);
	agent_conn_send(c, GUEST_HELLO, 0, b.data, b.len);
}

static void flush(struct conn *c)
{
	while (c->out.len && !c->dead) {
		ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			c->dead = true;
		else
			buf_drop(&c->out, (size_t)n);
	}
}

// The last frame may still be under way to the host when we close, and a close with unread input
// would overtake it: so half-close, and wait for the host's own end.
static void linger(struct conn *c)
{
	c->state = CONN_LINGER;
	(void)shutdown(c->fd, SHUT_WR);
	agent_conn_set_timer(c, c->down ? AGENT_DOWN_MS : AGENT_LINGER_MS);
}

void agent_conn_settle(struct conn *c)
{
	struct err e = { 0 };

	if (c->dead)
		return;
	flush(c);
	if (c->dead)
		return;
	if (c->closing && !c->out.len && c->state != CONN_LINGER)
		linger(c);
	if (loop_set_events(c->source, c->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN, &e) < 0)
		c->dead = true;
}

void agent_conn_free(struct conn *c)
{
	loop_remove(c->source);
	loop_remove(c->timer);
	agent_forward_free(c->forward);
	(void)close(c->fd);
	buf_free(&c->in);
	buf_free(&c->out);
	free(c);
}
