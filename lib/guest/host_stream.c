// SPDX-License-Identifier: MIT
#include "guest/host_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"

static void send_u32(struct stream *s, enum guest_type type, int stream, uint32_t v)
{
	cleanup_buf struct buf b = BUF_INIT;

	guest_u32_put(&b, v);
	guest_frame_put(&s->conn->out, type, (uint16_t)stream, b.data, b.len);
}

static void end_input(struct stream *s)
{
	if (!s->in_ended)
		guest_frame_put(&s->conn->out, GUEST_EOF, GUEST_STDIN, NULL, 0);
	s->in_ended = true;
}

static int read_input(struct stream *s, struct err *e)
{
	char bytes[GUEST_DATA_MAX];
	ssize_t n = read(s->in, bytes, MIN(sizeof(bytes), s->room_in));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0 && errno != ECONNRESET)
		return err_sys(e, "read");
	s->moved = clock_ms();
	if (n <= 0) {
		end_input(s);
		return 0;
	}
	guest_frame_put(&s->conn->out, GUEST_DATA, GUEST_STDIN, bytes, (size_t)n);
	s->room_in -= (uint32_t)n;
	return 0;
}

static int write_output(struct stream *s, struct err *e)
{
	ssize_t n = write(s->out, s->pending.data, s->pending.len);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0) {
		s->out_lost = true;
		return err_set(e, EPIPE, "write: %s", strerror(errno));
	}
	buf_drop(&s->pending, (size_t)n);
	s->moved = clock_ms();
	s->owed += (uint32_t)n;
	if (!s->exited && (s->owed >= GUEST_WINDOW / 4 || !s->pending.len)) {
		send_u32(s, GUEST_WINDOW_ADD, GUEST_STDOUT, s->owed);
		s->room_out += s->owed;
		s->owed = 0;
	}
	return 0;
}

static int take_data(struct stream *s, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	s->moved = h->len ? clock_ms() : s->moved;
	if (h->stream == GUEST_STDOUT && h->len <= s->room_out) {
		s->room_out -= h->len;
		buf_add(&s->pending, p, s->out < 0 ? 0 : h->len);
		return 0;
	}
	if (h->stream == GUEST_STDERR && s->words.len + h->len <= GUEST_FILES_DONE_MAX) {
		buf_add(&s->words, p, h->len);
		return 0;
	}
	return err_kind(e, ERR_FAILED, "the guest's agent: more output than asked for");
}

// The end of a socket's output goes on once what came before it is written.
static void pass_end(struct stream *s)
{
	if (!s->out_ended || s->pending.len || !s->out_socket)
		return;
	(void)shutdown(s->out, SHUT_WR);
	s->out_socket = false;
}

static int take_frame(struct stream *s, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	uint32_t v = 0;

	if (!s->started) {
		s->moved = clock_ms();
		if (h->type != GUEST_STARTED)
			return host_conn_refused(h, p, e);
		s->started = guest_u32_get(p, h->len, &v, e) == 0;
		return s->started ? 0 : -e->no;
	}
	if (h->type == GUEST_DATA)
		return take_data(s, h, p, e);
	if (h->type == GUEST_EOF) {
		if (h->stream == GUEST_STDIN)
			s->in_ended = true; // nobody reads it any more
		else
			s->out_ended |= h->stream == GUEST_STDOUT;
		return 0;
	}
	if (h->type != GUEST_WINDOW_ADD && h->type != GUEST_EXIT)
		return host_conn_refused(h, p, e);
	if (guest_u32_get(p, h->len, &v, e) < 0)
		return -e->no;
	if (h->type == GUEST_EXIT) {
		s->exited = true;
		s->status = (int)(v & 0xffff);
	} else if (h->stream != GUEST_STDIN || v > GUEST_WINDOW - s->room_in) {
		return err_kind(e, ERR_FAILED, "the guest's agent: window beyond its limit");
	} else {
		s->room_in += v;
		s->moved = v ? clock_ms() : s->moved;
	}
	return 0;
}

static int take_frames(struct stream *s, struct err *e)
{
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;
	int n = 0;

	while (!s->exited && (n = host_conn_next(s->conn, &h, &p, e)) == 1)
		if (take_frame(s, &h, p, e) < 0)
			return -e->no;
	return n < 0 ? n : 0;
}

// The end of the connection counts after what came before it.
static int take_all(struct stream *s, struct err *e)
{
	struct err end = { 0 };
	int n = host_conn_fill(s->conn, &end);

	if (take_frames(s, e) < 0)
		return -e->no;
	if (n < 0 && !s->exited) {
		*e = end;
		return -e->no;
	}
	return 0;
}

enum { POLL_IN, POLL_OUT, POLL_CONN, POLL_GONE, POLLS };

static void prepare_poll(const struct stream *s, struct pollfd p[POLLS])
{
	bool may_read = s->started && !s->exited && !s->in_ended && s->room_in &&
			s->conn->out.len < GUEST_WINDOW;

	p[POLL_IN] = (struct pollfd){ .fd = may_read ? s->in : -1, .events = POLLIN };
	p[POLL_OUT] = (struct pollfd){ .fd = s->pending.len ? s->out : -1, .events = POLLOUT };
	p[POLL_CONN] = (struct pollfd){ .fd = s->exited ? -1 : s->conn->fd,
					.events = host_conn_may_read(s->conn) ? POLLIN : 0 };
	if (s->conn->out.len)
		p[POLL_CONN].events |= POLLOUT;
	p[POLL_GONE] = (struct pollfd){ .fd = s->exited ? -1 : s->conn->gone_fd, .events = POLLIN };
}

// Until when the guest must have moved something, 0: it is not the guest that is waited for.
static int64_t limit(const struct stream *s)
{
	if (!s->started)
		return host_conn_until(s->conn, s->start_ms);
	if (!s->idle_ms || s->pending.len || s->exited)
		return 0;
	if (!s->in_ended && s->room_in && !s->conn->out.len)
		return 0; // our own side has nothing to send
	return s->moved + s->idle_ms;
}

static int handle(struct stream *s, const struct pollfd p[POLLS], struct err *e)
{
	if (p[POLL_IN].revents && read_input(s, e) < 0)
		return -e->no;
	if (p[POLL_OUT].revents && write_output(s, e) < 0)
		return -e->no;
	if (p[POLL_CONN].revents & ~POLLOUT && take_all(s, e) < 0)
		return -e->no;
	if (p[POLL_GONE].revents && !p[POLL_CONN].revents)
		return err_kind(e, ERR_UNAVAILABLE, "the VMM has ended");
	pass_end(s);
	return s->exited ? 0 : host_conn_push(s->conn, e);
}

int host_stream_run(struct stream *s, struct err *e)
{
	s->room_in = s->room_out = GUEST_WINDOW;
	s->moved = clock_ms();
	if (s->in < 0)
		end_input(s);
	if (take_frames(s, e) < 0 || host_conn_push(s->conn, e) < 0)
		return -e->no;
	while (!s->exited || s->pending.len) {
		int64_t until = limit(s), left = until ? clock_left(until) : -1;
		struct pollfd p[POLLS];
		int n;

		if (left == 0)
			return err_kind(e, ERR_TIMEOUT, "the guest's agent does not answer");
		prepare_poll(s, p);
		n = poll(p, COUNT(p), (int)MIN(left, 3600000));
		if (n < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (n > 0 && handle(s, p, e) < 0)
			return -e->no;
	}
	return 0;
}

void host_stream_clear(struct stream *s)
{
	buf_free(&s->pending);
	buf_free(&s->words);
}
