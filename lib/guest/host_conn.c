// SPDX-License-Identifier: MIT
#include "guest/host_conn.h"

#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

int host_wait(int fd, short events, int gone_fd, int64_t deadline_ms, struct err *e)
{
	struct pollfd p[] = { { .fd = fd, .events = events }, { .fd = gone_fd, .events = POLLIN } };
	int64_t left = deadline_ms ? clock_left(deadline_ms) : -1;
	int n;

	do {
		n = poll(p, COUNT(p), (int)MIN(left, 3600000));
		left = deadline_ms ? clock_left(deadline_ms) : -1;
	} while ((n < 0 && errno == EINTR) || (n == 0 && left != 0));
	if (n < 0)
		return err_sys(e, "poll");
	if (n == 0)
		return err_kind(e, ERR_TIMEOUT, "no answer in time");
	// What the guest said last is still read before its end counts.
	if (!p[0].revents && p[1].revents)
		return err_kind(e, ERR_FAILED, "the VMM has ended");
	return 0;
}

struct guest_conn *host_conn_new(int fd, int gone_fd, int64_t hello_until)
{
	struct guest_hello mine = { GUEST_VERSION, GUEST_VERSION, "mvm" };
	struct guest_conn *c = base_alloc(1, sizeof(*c));
	cleanup_buf struct buf b = BUF_INIT;

	*c = (struct guest_conn){ .fd = fd, .gone_fd = gone_fd, .hello_until = hello_until };
	guest_hello_put(&b, &mine);
	guest_frame_put(&c->out, GUEST_HELLO, 0, b.data, b.len);
	return c;
}

int64_t host_conn_until(const struct guest_conn *c, int64_t deadline_ms)
{
	if (c->greeted)
		return deadline_ms;
	return deadline_ms ? MIN(deadline_ms, c->hello_until) : c->hello_until;
}

bool host_conn_may_read(const struct guest_conn *c)
{
	return c->out.len < HOST_CONN_OUT_MAX;
}

int host_conn_fill(struct guest_conn *c, struct err *e)
{
	char bytes[32768];
	ssize_t n = read(c->fd, bytes, sizeof(bytes));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0; // nothing yet
	if (n < 0)
		return err_kind(e, ERR_UNAVAILABLE, "the guest's agent: %s", strerror(errno));
	if (n == 0)
		return err_kind(e, ERR_UNAVAILABLE, "the guest's agent closed the connection");
	buf_add(&c->in, bytes, (size_t)n);
	return 0;
}

// What was taken is dropped once no whole frame is left: to move the rest up after each would take
// the square of their number, which is the guest's to choose.
static int next_frame(struct guest_conn *c, struct guest_head *h, const uint8_t **payload,
		      struct err *e)
{
	size_t len = c->in.len - c->used;
	const uint8_t *p = len < GUEST_HEADER ? NULL : (const uint8_t *)c->in.data + c->used;

	if (p && guest_head_get(p, h, e) < 0)
		return err_wrap(e, "the guest's agent");
	if (!p || len - GUEST_HEADER < h->len) {
		buf_drop(&c->in, c->used);
		c->used = 0;
		return 0;
	}
	c->used += GUEST_HEADER + h->len;
	*payload = p + GUEST_HEADER;
	return 1;
}

static int take_hello(struct guest_conn *c, const struct guest_head *h, const uint8_t *p,
		      struct err *e)
{
	struct guest_hello theirs;
	uint16_t version;

	if (h->type != GUEST_HELLO)
		return host_conn_refused(h, p, e);
	if (guest_hello_get(p, h->len, &theirs, e) < 0)
		return err_wrap(e, "the guest's agent");
	log_clean(theirs.agent);
	if (guest_hello_agree(&theirs, &version, e) < 0)
		return -e->no;
	c->greeted = true;
	return 0;
}

int host_conn_next(struct guest_conn *c, struct guest_head *h, const uint8_t **payload,
		   struct err *e)
{
	int n = next_frame(c, h, payload, e);

	if (n <= 0 || c->greeted)
		return n;
	return take_hello(c, h, *payload, e) < 0 ? -e->no : next_frame(c, h, payload, e);
}

int host_conn_read(struct guest_conn *c, int64_t deadline_ms, struct guest_head *h,
		   const uint8_t **payload, struct err *e)
{
	for (;;) {
		int r = host_conn_next(c, h, payload, e);

		if (r != 0)
			return r < 0 ? r : 0;
		if (host_wait(c->fd, POLLIN, c->gone_fd, host_conn_until(c, deadline_ms), e) < 0)
			return -e->no;
		r = host_conn_fill(c, e);
		if (r < 0)
			return r;
	}
}

int host_conn_push(struct guest_conn *c, struct err *e)
{
	while (c->out.len) {
		ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return err_kind(e, ERR_UNAVAILABLE, "the guest's agent: %s",
					strerror(errno));
		buf_drop(&c->out, (size_t)n);
	}
	return 0;
}

int host_conn_flush(struct guest_conn *c, int64_t deadline_ms, struct err *e)
{
	for (;;) {
		if (host_conn_push(c, e) < 0)
			return -e->no;
		if (!c->out.len)
			return 0;
		if (host_wait(c->fd, POLLOUT, c->gone_fd, deadline_ms, e) < 0)
			return -e->no;
	}
}

// The words of agents that are out there: what they do not know they refuse so.
static bool too_old(const struct guest_error *wire)
{
	return str_starts(wire->msg, "frame of unknown type ") ||
	       str_starts(wire->msg, "no such way to run a command ");
}

int host_conn_refused(const struct guest_head *h, const uint8_t *payload, struct err *e)
{
	struct guest_error wire;

	if (h->type != GUEST_ERROR)
		return err_kind(e, ERR_FAILED, "the guest's agent: unexpected %s frame",
				guest_type_name(h->type));
	if (guest_error_get(payload, h->len, &wire, e) < 0)
		return -e->no;
	if (too_old(&wire)) {
		(void)err_kind(e, ERR_UNAVAILABLE, "the guest's agent is too old for this");
		return err_hint(e, "build the pool's image again and start the instance anew");
	}
	log_clean(wire.msg); // the guest's words go to a terminal
	(void)guest_error_to(&wire, e);
	return err_wrap(e, "guest");
}

int host_conn_greet(struct guest_conn *c, struct err *e)
{
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;

	if (host_conn_flush(c, c->hello_until, e) < 0)
		return -e->no;
	while (!c->greeted) {
		int n = next_frame(c, &h, &p, e);

		if (n < 0 || (n > 0 && take_hello(c, &h, p, e) < 0))
			return -e->no;
		if (n == 0 && (host_wait(c->fd, POLLIN, c->gone_fd, c->hello_until, e) < 0 ||
			       host_conn_fill(c, e) < 0))
			return -e->no;
	}
	return 0;
}

bool guest_heard(const struct guest_conn *c)
{
	return c->greeted;
}

void guest_close(struct guest_conn *c)
{
	if (!c)
		return;
	(void)close(c->fd);
	buf_free(&c->in);
	buf_free(&c->out);
	free(c);
}

void guest_closep(struct guest_conn **c)
{
	guest_close(*c);
}
