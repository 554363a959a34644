// SPDX-License-Identifier: MIT
// A command in the guest with the streams of a process here. Our descriptors may block, so each is
// written only when poll says so, and then at most PIPE_BUF bytes.
#include "guest/host.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>

#include "base/clock.h"
#include "base/sig.h"
#include "guest/host_conn.h"

#define KILL_MS 2000 // between TERM and KILL, and from there to giving up

struct run {
	struct guest_conn *conn;
	const struct guest_io *io;
	int fd[GUEST_STREAMS]; // -1: ended, or none
	struct buf pending[GUEST_STREAMS];
	uint32_t room[GUEST_STREAMS]; // stdin: what the guest takes; else what it may send
	bool started, exited;
	int status;
	int64_t deadline; // of what is waited for now, 0: none
	int ends;	  // signals sent because of the deadline: TERM, KILL
};

static void send_u32(struct run *r, enum guest_type type, int stream, uint32_t v)
{
	cleanup_buf struct buf b = BUF_INIT;

	guest_u32_put(&b, v);
	guest_frame_put(&r->conn->out, type, (uint16_t)stream, b.data, b.len);
}

static void read_input(struct run *r)
{
	char bytes[GUEST_DATA_MAX];
	ssize_t n = read(r->fd[GUEST_STDIN], bytes, MIN(sizeof(bytes), r->room[GUEST_STDIN]));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		guest_frame_put(&r->conn->out, GUEST_DATA, GUEST_STDIN, bytes, (size_t)n);
		r->room[GUEST_STDIN] -= (uint32_t)n;
		return;
	}
	r->fd[GUEST_STDIN] = -1;
	guest_frame_put(&r->conn->out, GUEST_EOF, GUEST_STDIN, NULL, 0);
}

// A reader of ours that went away is to the command what it is in a pipe on one machine.
static void lose_output(struct run *r, int s)
{
	r->fd[s] = -1;
	buf_clear(&r->pending[s]);
	if (!r->exited)
		send_u32(r, GUEST_SIGNAL, 0, SIGPIPE);
}

static void write_output(struct run *r, int s)
{
	struct buf *b = &r->pending[s];
	ssize_t n = write(r->fd[s], b->data, MIN(b->len, (size_t)PIPE_BUF));

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		lose_output(r, s);
	if (n <= 0)
		return;
	buf_drop(b, (size_t)n);
	r->room[s] += (uint32_t)n;
	if (!r->exited)
		send_u32(r, GUEST_WINDOW_ADD, s, (uint32_t)n);
}

static int take_output(struct run *r, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	int s = h->stream;

	if (s == GUEST_STDIN || h->len > r->room[s])
		return err_kind(e, ERR_FAILED, "the guest's agent: more output than asked for");
	if (r->fd[s] < 0) { // thrown away, and granted again
		send_u32(r, GUEST_WINDOW_ADD, s, h->len);
		return 0;
	}
	r->room[s] -= h->len;
	buf_add(&r->pending[s], p, h->len);
	return 0;
}

static int take_frame(struct run *r, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	uint32_t v = 0;

	if (!r->started) {
		if (h->type != GUEST_STARTED)
			return host_conn_refused(h, p, e);
		r->started = true;
		r->deadline = r->io->deadline_ms;
		return 0;
	}
	if (h->type == GUEST_DATA)
		return take_output(r, h, p, e);
	if (h->type == GUEST_EOF) {
		if (h->stream == GUEST_STDIN)
			r->fd[GUEST_STDIN] = -1; // nobody reads it any more
		return 0;
	}
	if (h->type != GUEST_WINDOW_ADD && h->type != GUEST_EXIT)
		return host_conn_refused(h, p, e);
	if (guest_u32_get(p, h->len, &v, e) < 0)
		return -e->no;
	if (h->type == GUEST_EXIT) {
		r->exited = true;
		r->status = (int)(v & 0xffff);
	} else if (h->stream != GUEST_STDIN || v > GUEST_WINDOW - r->room[GUEST_STDIN]) {
		return err_kind(e, ERR_FAILED, "the guest's agent: window beyond its limit");
	} else {
		r->room[GUEST_STDIN] += v;
	}
	return 0;
}

static int take_frames(struct run *r, struct err *e)
{
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;
	int n = 0;

	while (!r->exited && (n = host_conn_next(r->conn, &h, &p, e)) == 1)
		if (take_frame(r, &h, p, e) < 0)
			return -e->no;
	return n < 0 ? n : 0;
}

// The end of the connection counts after what came before it.
static int take_all(struct run *r, struct err *e)
{
	struct err end = { 0 };
	int n = host_conn_fill(r->conn, &end);

	if (take_frames(r, e) < 0)
		return -e->no;
	if (n < 0 && !r->exited) {
		*e = end;
		return -e->no;
	}
	return 0;
}

static int on_deadline(struct run *r, struct err *e)
{
	if (!r->started || r->ends == 2)
		return err_kind(e, ERR_TIMEOUT,
				r->started ? "the command did not end when killed"
					   : "the command was not started in time");
	send_u32(r, GUEST_SIGNAL, 0, r->ends++ == 0 ? SIGTERM : SIGKILL);
	r->deadline = clock_ms() + KILL_MS;
	return 0;
}

static void prepare_poll(const struct run *r, struct pollfd p[6])
{
	bool idle = r->conn->out.len < GUEST_WINDOW;

	p[GUEST_STDIN] = (struct pollfd){ .fd = -1, .events = POLLIN };
	if (r->started && !r->exited && idle && r->room[GUEST_STDIN])
		p[GUEST_STDIN].fd = r->fd[GUEST_STDIN];
	for (int s = GUEST_STDOUT; s <= GUEST_STDERR; s++)
		p[s] = (struct pollfd){ .fd = r->pending[s].len ? r->fd[s] : -1,
					.events = POLLOUT };
	p[3] = (struct pollfd){ .fd = r->exited ? -1 : r->conn->fd, .events = POLLIN };
	if (r->conn->out.len)
		p[3].events |= POLLOUT;
	p[4] = (struct pollfd){ .fd = r->started && !r->exited ? r->io->signals : -1,
				.events = POLLIN };
	p[5] = (struct pollfd){ .fd = r->exited ? -1 : r->conn->gone_fd, .events = POLLIN };
}

static int handle(struct run *r, const struct pollfd p[6], struct err *e)
{
	int sig;

	if (p[GUEST_STDIN].revents)
		read_input(r);
	for (int s = GUEST_STDOUT; s <= GUEST_STDERR; s++)
		if (p[s].revents)
			write_output(r, s);
	while (p[4].revents && (sig = sig_read(r->io->signals)) != 0)
		send_u32(r, GUEST_SIGNAL, 0, (uint32_t)sig);
	if (p[3].revents && take_all(r, e) < 0)
		return -e->no;
	if (p[5].revents && !p[3].revents)
		return err_kind(e, ERR_UNAVAILABLE, "the VMM has ended");
	return r->exited ? 0 : host_conn_push(r->conn, e);
}

static bool finished(const struct run *r)
{
	return r->exited && !r->pending[GUEST_STDOUT].len && !r->pending[GUEST_STDERR].len;
}

static int loop(struct run *r, struct err *e)
{
	if (take_frames(r, e) < 0) // what came together with the hello
		return -e->no;
	while (!finished(r)) {
		struct pollfd p[6];
		int64_t left = r->deadline && !r->exited ? clock_left(r->deadline) : -1;
		int n;

		prepare_poll(r, p);
		n = poll(p, COUNT(p), (int)MIN(left, 3600000));
		if (n < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (n > 0 && handle(r, p, e) < 0)
			return -e->no;
		if (!r->exited && r->deadline && clock_left(r->deadline) == 0 &&
		    on_deadline(r, e) < 0)
			return -e->no;
	}
	return 0;
}

int guest_run(struct guest_conn *c, const struct guest_exec *x, const struct guest_io *io,
	      int *ret_wait_status, struct err *e)
{
	struct run r = { .conn = c,
			 .io = io,
			 .fd = { io->in, io->out, io->err },
			 .room = { GUEST_WINDOW, GUEST_WINDOW, GUEST_WINDOW },
			 .deadline = io->start_deadline_ms };
	cleanup_buf struct buf b = BUF_INIT;
	int n;

	guest_exec_put(&b, x);
	guest_frame_put(&c->out, GUEST_EXEC, 0, b.data, b.len);
	if (io->in < 0) // the same as an empty one
		guest_frame_put(&c->out, GUEST_EOF, GUEST_STDIN, NULL, 0);
	n = loop(&r, e);
	for (int s = 0; s < GUEST_STREAMS; s++)
		buf_free(&r.pending[s]);
	if (n == 0 && r.ends)
		return err_kind(e, ERR_TIMEOUT, "the command was ended: it took too long");
	if (n < 0 && r.started && e->kind != ERR_TIMEOUT) {
		e->kind = ERR_EXEC_LOST;
		return err_wrap(e, "the command was lost");
	}
	*ret_wait_status = r.status;
	return n;
}
