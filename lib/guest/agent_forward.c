// SPDX-License-Identifier: MIT
// One TCP connection inside the guest for one of the host's. Each direction ends by itself, with an
// EOF frame; when both have, EXIT. The socket is watched only while there is something to do with
// it: a hang-up would otherwise be reported for ever.
#include "guest/agent_core.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "guest/transfer.h"

struct forward {
	struct conn *c;
	int fd;
	struct loop_source *source, *timer; // timer: to connect
	bool connected, in_eof, in_done, out_done;
	struct buf in;
	uint32_t in_owed, window;
};

static void settle(struct forward *f);

static void fail(struct forward *f, int no)
{
	struct err e = { 0 };

	loop_remove(f->source);
	f->source = NULL;
	(void)err_kind(&e, ERR_UNAVAILABLE, "connect in the guest: %s", strerror(no));
	agent_conn_fail(f->c, &e);
}

static void on_timer(void *arg)
{
	struct forward *f = arg;
	struct agent *a = f->c->a;

	if (!f->connected)
		fail(f, ETIMEDOUT);
	agent_settle(a);
}

static void finish_connect(struct forward *f)
{
	int no = 0;
	socklen_t len = sizeof(no);

	if (getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &no, &len) < 0)
		no = errno;
	if (no) {
		fail(f, no);
		return;
	}
	f->connected = true;
	loop_remove(f->timer);
	f->timer = NULL;
	agent_conn_send_u32(f->c, GUEST_STARTED, 0, 0);
}

static void end_output(struct forward *f)
{
	if (!f->out_done)
		agent_conn_send(f->c, GUEST_EOF, GUEST_STDOUT, NULL, 0);
	f->out_done = true;
}

static void read_output(struct forward *f)
{
	char bytes[GUEST_DATA_MAX];
	ssize_t n = recv(f->fd, bytes, MIN(sizeof(bytes), f->window), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		agent_conn_send(f->c, GUEST_DATA, GUEST_STDOUT, bytes, (size_t)n);
		f->window -= (uint32_t)n;
		return;
	}
	end_output(f);
	if (n < 0) // reset: nobody reads either
		f->in_done = true;
}

static void end_input(struct forward *f)
{
	if (!f->in_eof)
		agent_conn_send(f->c, GUEST_EOF, GUEST_STDIN, NULL, 0);
	buf_clear(&f->in);
	f->in_done = true;
}

static void write_input(struct forward *f)
{
	while (f->in.len && !f->in_done) {
		ssize_t n = send(f->fd, f->in.data, f->in.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			end_input(f);
			return;
		}
		buf_drop(&f->in, (size_t)n);
		f->in_owed += (uint32_t)n;
	}
	if (f->in_owed && (f->in_owed >= GUEST_WINDOW / 4 || !f->in.len)) {
		agent_conn_send_u32(f->c, GUEST_WINDOW_ADD, GUEST_STDIN, f->in_owed);
		f->in_owed = 0;
	}
	if (f->in_eof && !f->in.len && !f->in_done) {
		(void)shutdown(f->fd, SHUT_WR);
		f->in_done = true;
	}
}

static void on_event(void *arg, uint32_t events)
{
	struct forward *f = arg;
	struct agent *a = f->c->a;

	if (f->c->closing)
		;
	else if (!f->connected)
		finish_connect(f);
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !f->out_done && f->window)
		read_output(f);
	if (f->connected && !f->c->closing)
		write_input(f);
	settle(f);
	agent_settle(a);
}

// Watches for what can be done next, and ends the connection when nothing can.
static void settle(struct forward *f)
{
	uint32_t events = 0;
	struct err e = { 0 };

	if (!f->c->closing && f->in_done && f->out_done) {
		agent_conn_send_u32(f->c, GUEST_EXIT, 0, 0);
		agent_conn_finish(f->c);
	} else if (!f->c->closing && !f->connected) {
		events = EPOLLOUT;
	} else if (!f->c->closing) {
		events = !f->out_done && f->window ? EPOLLIN : 0;
		events |= f->in.len ? EPOLLOUT : 0;
	}
	if (!events) {
		loop_remove(f->source);
		f->source = NULL;
	} else if ((f->source ? loop_set_events(f->source, events, &e)
			      : loop_add_fd(f->c->a->loop, f->fd, events, on_event, f, &f->source,
					    &e)) < 0) {
		agent_conn_fail(f->c, &e);
	}
}

int agent_forward_start(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct guest_forward want;
	struct forward *f;

	if (guest_forward_get(p, h->len, &want, e) < 0)
		return -e->no;
	to.sin_addr.s_addr = htonl(want.address ? want.address : INADDR_LOOPBACK);
	to.sin_port = htons(want.port);
	f = base_alloc(1, sizeof(*f));
	*f = (struct forward){ .c = c, .fd = -1, .window = GUEST_WINDOW };
	c->forward = f;
	c->state = CONN_FORWARD;
	agent_conn_set_timer(c, 0);
	f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0)
		return err_sys(e, "socket");
	if (connect(f->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		return err_kind(e, ERR_UNAVAILABLE, "connect in the guest: %s", strerror(errno));
	if (loop_add_timer(c->a->loop, clock_ms() + AGENT_CONNECT_MS, on_timer, f, &f->timer, e) <
	    0)
		return -e->no;
	settle(f);
	return 0;
}

int agent_forward_frame(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	struct forward *f = c->forward;
	uint32_t more;

	if (h->type == GUEST_DATA && h->stream == GUEST_STDIN && !f->in_eof) {
		if (f->in.len + f->in_owed + h->len > GUEST_WINDOW)
			return err_kind(e, ERR_FAILED, "more data than the window allows");
		if (!f->in_done)
			buf_add(&f->in, p, h->len);
	} else if (h->type == GUEST_EOF && h->stream == GUEST_STDIN) {
		f->in_eof = true;
	} else if (h->type == GUEST_WINDOW_ADD && h->stream == GUEST_STDOUT) {
		if (guest_u32_get(p, h->len, &more, e) < 0)
			return -e->no;
		if (more > GUEST_WINDOW - f->window)
			return err_kind(e, ERR_FAILED, "window beyond its limit");
		f->window += more;
	} else {
		return err_kind(e, ERR_FAILED, "%s frame for a forwarded connection",
				guest_type_name(h->type));
	}
	if (f->connected)
		write_input(f);
	settle(f);
	return 0;
}

void agent_forward_free(struct forward *f)
{
	if (!f)
		return;
	loop_remove(f->source);
	loop_remove(f->timer);
	base_closep(&f->fd);
	buf_free(&f->in);
	free(f);
}
