// SPDX-License-Identifier: MIT
// A command in the guest with the streams of a process here. Our descriptors may block, so each is
// written only when poll says so, and then at most PIPE_BUF bytes.
#include "guest/host_run.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sig.h"

#define KILL_MS	  2000 // between TERM and KILL, and from there to giving up
#define FLUSH_MS  1000
#define INSIST	  3 // signals that ask for the end, no more than so long apart
#define INSIST_MS 1000

static void send_u32(struct host_run *r, enum guest_type type, int stream, uint32_t v)
{
	cleanup_buf struct buf b = BUF_INIT;

	guest_u32_put(&b, v);
	guest_frame_put(&r->conn->out, type, (uint16_t)stream, b.data, b.len);
}

// A reader of ours that went away is to the command what it is in a pipe on one machine.
static void lose_output(struct host_run *r, int s)
{
	r->fd[s] = -1;
	buf_clear(&r->pending[s]);
	if (r->session)
		r->left = SIGPIPE; // somebody else may read it
	else if (!r->exited)
		send_u32(r, GUEST_SIGNAL, 0, SIGPIPE);
}

static void write_output(struct host_run *r, int s)
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

static int take_output(struct host_run *r, const struct guest_head *h, const uint8_t *p,
		       struct err *e)
{
	int s = h->stream, other = GUEST_STDOUT + GUEST_STDERR - s;

	if (s == GUEST_STDIN || h->len > r->room[s])
		return err_kind(e, ERR_FAILED, "the guest's agent: more output than asked for");
	if (r->fd[s] < 0) { // thrown away, and granted again
		send_u32(r, GUEST_WINDOW_ADD, s, h->len);
		return 0;
	}
	r->room[s] -= h->len;
	r->older = r->pending[other].len ? other : s;
	buf_add(&r->pending[s], p, h->len);
	return 0;
}

static int take_first(struct host_run *r, const struct guest_head *h, const uint8_t *p,
		      struct err *e)
{
	struct guest_session about;
	uint32_t pid; // of the guest: nothing to us
	bool tty = true;

	if (h->type != r->answer)
		return host_conn_refused(h, p, e);
	if (h->type == GUEST_STARTED && guest_u32_get(p, h->len, &pid, e) < 0)
		return -e->no;
	if (h->type == GUEST_SESSION) {
		if (guest_session_get(p, h->len, &about, e) < 0)
			return -e->no;
		tty = about.tty;
		guest_session_clear(&about);
	}
	r->started = true;
	r->deadline = r->io->deadline_ms;
	return tty && r->seat.term ? guest_term_raw(r->seat.term, e) : 0;
}

// A line for the user in the middle of a command's output.
static int say(struct host_run *r, const char *text, struct err *e)
{
	bool raw = r->seat.term && r->seat.term->raw;

	if (raw)
		guest_term_restore(r->seat.term);
	log_warn("", "%s", text);
	return raw ? guest_term_raw(r->seat.term, e) : 0;
}

static int take_note(struct host_run *r, const struct guest_head *h, const uint8_t *p,
		     struct err *e)
{
	uint64_t skipped;
	char text[96];

	if (!r->session)
		return host_conn_refused(h, p, e);
	if (h->type == GUEST_INPUT_TAKEN) {
		if (r->fd[GUEST_STDIN] < 0)
			return 0;
		r->fd[GUEST_STDIN] = -1;
		return say(r, "another client has the input now", e);
	}
	if (guest_u64_get(p, h->len, &skipped, e) < 0)
		return -e->no;
	base_cut(text, sizeof(text), "%llu bytes of output are left out: they were read too slowly",
		 (unsigned long long)skipped);
	return say(r, text, e);
}

static int take_number(struct host_run *r, const struct guest_head *h, const uint8_t *p,
		       struct err *e)
{
	uint32_t v = 0;

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

static int take_frame(struct host_run *r, const struct guest_head *h, const uint8_t *p,
		      struct err *e)
{
	if (!r->started)
		return take_first(r, h, p, e);
	switch (h->type) {
	case GUEST_DATA:
		return take_output(r, h, p, e);
	case GUEST_EOF:
		if (h->stream == GUEST_STDIN)
			r->fd[GUEST_STDIN] = -1; // nobody reads it any more
		return 0;
	case GUEST_WINDOW_ADD:
	case GUEST_EXIT:
		return take_number(r, h, p, e);
	case GUEST_INPUT_TAKEN:
	case GUEST_SKIPPED:
		return take_note(r, h, p, e);
	default:
		return host_conn_refused(h, p, e);
	}
}

// A session's streams keep their order, also where both go to one place: while some of each waits
// to be written, nothing more is taken.
static bool is_full(const struct host_run *r)
{
	return r->session && r->pending[GUEST_STDOUT].len && r->pending[GUEST_STDERR].len;
}

static int take_frames(struct host_run *r, struct err *e)
{
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;
	int n = 0;

	while (!r->exited && !is_full(r) && (n = host_conn_next(r->conn, &h, &p, e)) == 1)
		if (take_frame(r, &h, p, e) < 0)
			return -e->no;
	return n < 0 ? n : 0;
}

// The end of the connection counts after what came before it.
static int take_all(struct host_run *r, struct err *e)
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

static int on_deadline(struct host_run *r, struct err *e)
{
	if (!r->started || r->ends == 2)
		return err_kind(e, ERR_TIMEOUT,
				r->started ? "the command did not end when killed"
					   : "the command was not started in time");
	send_u32(r, GUEST_SIGNAL, 0, r->ends++ == 0 ? SIGTERM : SIGKILL);
	r->deadline = clock_ms() + KILL_MS;
	return 0;
}

static void prepare_poll(const struct host_run *r, struct pollfd p[6])
{
	bool idle = r->conn->out.len < GUEST_WINDOW;

	p[GUEST_STDIN] = (struct pollfd){ .fd = -1, .events = POLLIN };
	if (r->started && !r->exited && idle && r->room[GUEST_STDIN] > r->keys)
		p[GUEST_STDIN].fd = r->fd[GUEST_STDIN];
	for (int s = GUEST_STDOUT; s <= GUEST_STDERR; s++)
		p[s] = (struct pollfd){ .fd = r->pending[s].len ? r->fd[s] : -1,
					.events = POLLOUT };
	if (is_full(r))
		p[GUEST_STDOUT + GUEST_STDERR - r->older].fd = -1;
	p[3] = (struct pollfd){ .fd = r->exited || is_full(r) ? -1 : r->conn->fd,
				.events = host_conn_may_read(r->conn) ? POLLIN : 0 };
	if (r->conn->out.len)
		p[3].events |= POLLOUT;
	p[4] = (struct pollfd){ .fd = r->started && !r->exited ? r->io->signals : -1,
				.events = POLLIN };
	p[5] = (struct pollfd){ .fd = r->exited ? -1 : r->conn->gone_fd, .events = POLLIN };
}

// Who asks for the end again and again, and has none, is let go without the guest's consent.
static void pass_signal(struct host_run *r, int sig)
{
	int64_t now = clock_ms();

	send_u32(r, GUEST_SIGNAL, 0, (uint32_t)sig);
	if (sig != SIGINT && sig != SIGTERM && sig != SIGHUP && sig != SIGQUIT)
		return;
	if (now - r->asked_ms > INSIST_MS)
		r->asked = 0;
	r->asked_ms = now;
	if (++r->asked == INSIST)
		r->left = sig;
}

static void take_signal(struct host_run *r, int sig)
{
	bool watches = r->session && r->io->in < 0, keyboard = sig == SIGINT || sig == SIGQUIT;
	bool end = sig == SIGTERM || sig == SIGHUP;

	if (sig == SIGWINCH)
		host_run_size(r);
	else if ((end && (r->session || r->seat.term)) || (keyboard && watches))
		r->left = sig;
	else if (sig != SIGTTOU) // it is blocked only, so that a terminal can always be restored
		pass_signal(r, sig);
}

static int handle(struct host_run *r, const struct pollfd p[6], struct err *e)
{
	int sig;

	while (p[4].revents && (sig = sig_read(r->io->signals)) != 0)
		take_signal(r, sig);
	if (p[GUEST_STDIN].revents && !r->left)
		host_run_input(r);
	for (int s = GUEST_STDOUT; s <= GUEST_STDERR; s++)
		if (p[s].revents)
			write_output(r, s);
	if (take_frames(r, e) < 0) // what had to wait for that
		return -e->no;
	if (p[3].revents & ~POLLOUT && take_all(r, e) < 0)
		return -e->no;
	if (p[5].revents && !p[3].revents)
		return err_kind(e, ERR_UNAVAILABLE, "the VMM has ended");
	return r->exited ? 0 : host_conn_push(r->conn, e);
}

static bool finished(const struct host_run *r)
{
	if (r->detached || r->left)
		return true;
	return r->exited && !r->pending[GUEST_STDOUT].len && !r->pending[GUEST_STDERR].len;
}

static int loop(struct host_run *r, struct err *e)
{
	if (take_frames(r, e) < 0) // what came together with the hello
		return -e->no;
	while (!finished(r)) {
		struct pollfd p[6];
		int64_t until = host_conn_until(r->conn, r->exited ? 0 : r->deadline);
		int64_t left = until ? clock_left(until) : -1;
		int n;

		prepare_poll(r, p);
		n = poll(p, COUNT(p), (int)MIN(left, 3600000));
		if (n < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (n > 0 && handle(r, p, e) < 0)
			return -e->no;
		if (!r->exited && until && clock_left(until) == 0 && on_deadline(r, e) < 0)
			return -e->no;
	}
	return 0;
}

int host_run_all(struct host_run *r, struct err *e)
{
	struct err ignored = { 0 };
	int n = loop(r, e);

	for (int s = 0; s < GUEST_STREAMS; s++)
		buf_free(&r->pending[s]);
	if (r->seat.term)
		guest_term_restore(r->seat.term);
	if (n == 0 && r->detached && host_conn_flush(r->conn, clock_ms() + FLUSH_MS, &ignored) < 0)
		err_clear(&ignored); // what was typed before the keys may be lost
	return n;
}

int guest_run(struct guest_conn *c, const struct guest_exec *x, const struct guest_io *io,
	      int *ret_wait_status, struct err *e)
{
	const struct guest_seat none = { NULL, NULL };

	return guest_run_seated(c, x, io, &none, ret_wait_status, e);
}

int guest_run_seated(struct guest_conn *c, const struct guest_exec *x, const struct guest_io *io,
		     const struct guest_seat *seat, int *ret_wait_status, struct err *e)
{
	struct host_run r = { .conn = c,
			      .io = io,
			      .seat = *seat,
			      .answer = GUEST_STARTED,
			      .fd = { io->in, io->out, io->err },
			      .room = { GUEST_WINDOW, GUEST_WINDOW, GUEST_WINDOW },
			      .deadline = io->start_deadline_ms };
	cleanup_buf struct buf b = BUF_INIT;
	struct guest_exec own = *x; // borrows the words
	int n;

	if (io->in < 0 && !(x->flags & GUEST_EXEC_TTY))
		own.flags |= GUEST_EXEC_NO_STDIN;
	host_run_size(&r);
	guest_exec_put(&b, &own);
	guest_frame_put(&c->out, GUEST_EXEC, 0, b.data, b.len);
	if (io->in < 0 && (x->flags & GUEST_EXEC_TTY)) // the same as an empty one
		guest_frame_put(&c->out, GUEST_EOF, GUEST_STDIN, NULL, 0);
	n = host_run_all(&r, e);
	if (n == 0 && r.ends)
		return err_kind(e, ERR_TIMEOUT, "the command was ended: it took too long");
	if (n < 0 && r.started && e->kind != ERR_TIMEOUT) {
		e->kind = ERR_EXEC_LOST;
		return err_wrap(e, "the command was lost");
	}
	// As if the signal had been the command's, which gets its own when we are gone.
	*ret_wait_status = r.left ? r.left : r.status;
	return n;
}
