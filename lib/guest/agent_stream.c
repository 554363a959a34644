// SPDX-License-Identifier: MIT
// The three streams of a command and the frames for it. Each stream has a window of its own, so
// that one which nobody reads holds up neither the others nor the agent. Our end of a pipe is
// watched only while there is something to do with it: a hang-up would otherwise be reported for
// ever.
#include "guest/agent_core.h"

#include <sys/ioctl.h>

void agent_exec_close(struct exec *x, int s)
{
	loop_remove(x->source[s]);
	x->source[s] = NULL;
	if (x->fd[s] >= 0)
		(void)close(steal_fd(&x->fd[s]));
}

static void send_frame(struct exec *x, enum guest_type type, int s)
{
	if (x->conn)
		agent_conn_send(x->conn, type, (uint16_t)s, NULL, 0);
}

// The end of a session's output is told behind its tape.
static void finish_stream(struct exec *x, int s)
{
	agent_exec_close(x, s);
	if (!x->session || s == GUEST_STDIN)
		send_frame(x, GUEST_EOF, s);
}

static void finish_exec(struct exec *x)
{
	struct conn *c = x->conn;

	if (!x->ended || x->fd[GUEST_STDOUT] >= 0 || x->fd[GUEST_STDERR] >= 0)
		return;
	agent_exec_close(x, GUEST_STDIN);
	if (x->session)
		agent_session_done(x->session);
	if (x->session || !c)
		return;
	agent_conn_send_u32(c, GUEST_EXIT, 0, (uint32_t)x->status);
	agent_conn_finish(c);
	c->exec = NULL;
	x->conn = NULL;
}

static void hand_over(struct exec *x, int s, const char *bytes, size_t len)
{
	if (x->session) {
		agent_session_output(x->session, s, bytes, len);
		return;
	}
	if (x->conn)
		agent_conn_send(x->conn, GUEST_DATA, (uint16_t)s, bytes, len);
	x->window[s] -= (uint32_t)len;
}

static void on_output(struct exec *x, int s)
{
	char bytes[GUEST_DATA_MAX];
	size_t want = x->session ? sizeof(bytes) : MIN(sizeof(bytes), x->window[s]);
	ssize_t n;

	if (x->left[s] >= 0)
		want = MIN(want, (size_t)x->left[s]);
	n = read(x->fd[s], bytes, want);
	if (n < 0 && (errno == EAGAIN || errno == EINTR) && !(x->tty && x->ended))
		return;
	if (n > 0) {
		hand_over(x, s, bytes, (size_t)n);
		if (x->left[s] >= 0)
			x->left[s] -= n;
	}
	if (n <= 0 || x->left[s] == 0)
		finish_stream(x, s);
}

// What the command has taken is granted again, in pieces worth a frame.
static void grant(struct exec *x)
{
	if (x->in_owed && x->conn && !x->in_eof && (x->in_owed >= GUEST_WINDOW / 4 || !x->in.len)) {
		agent_conn_send_u32(x->conn, GUEST_WINDOW_ADD, GUEST_STDIN, x->in_owed);
		x->in_owed = 0;
	}
}

static void write_input(struct exec *x)
{
	size_t old;

	while (x->in.len && x->fd[GUEST_STDIN] >= 0) {
		ssize_t n = write(x->fd[GUEST_STDIN], x->in.data, x->in.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) { // nobody reads it any more: the host need not send
			finish_stream(x, GUEST_STDIN);
			buf_clear(&x->in);
			return;
		}
		buf_drop(&x->in, (size_t)n);
		old = MIN((size_t)n, x->in_old);
		x->in_old -= old;
		x->in_owed += (uint32_t)((size_t)n - old);
	}
	grant(x);
	if (!x->in.len && x->in_eof && !x->tty)
		agent_exec_close(x, GUEST_STDIN);
}

static void on_stream(struct exec *x, int s);
static void on_stdin(void *arg, uint32_t events)
{
	(void)events;
	on_stream(arg, GUEST_STDIN);
}

static void on_stdout(void *arg, uint32_t events)
{
	(void)events;
	on_stream(arg, GUEST_STDOUT);
}

static void on_stderr(void *arg, uint32_t events)
{
	(void)events;
	on_stream(arg, GUEST_STDERR);
}

static bool may_read(struct exec *x, int s)
{
	return x->session ? agent_session_may_read(x->session) : x->window[s] > 0;
}

static void watch(struct exec *x, int s)
{
	static const loop_fd_fn fns[] = { on_stdin, on_stdout, on_stderr };
	bool wanted = x->fd[s] >= 0 && (s == GUEST_STDIN ? x->in.len > 0 : may_read(x, s));
	uint32_t events = s == GUEST_STDIN ? EPOLLOUT : EPOLLIN;
	struct err e = { 0 };

	if (!wanted) {
		loop_remove(x->source[s]);
		x->source[s] = NULL;
	} else if (!x->source[s] &&
		   loop_add_fd(x->a->loop, x->fd[s], events, fns[s], x, &x->source[s], &e) < 0) {
		finish_stream(x, s);
	}
}

// What a terminal still holds when its command has ended cannot be counted, and what was left in
// the background may keep it open: it is read until there is no more, or too much.
void agent_exec_watch_all(struct exec *x)
{
	while (x->tty && x->ended && x->fd[GUEST_STDOUT] >= 0 && may_read(x, GUEST_STDOUT))
		on_output(x, GUEST_STDOUT);
	for (int s = 0; s < GUEST_STREAMS; s++)
		watch(x, s);
}

static void on_stream(struct exec *x, int s)
{
	struct agent *a = x->a;

	if (s == GUEST_STDIN)
		write_input(x);
	else
		on_output(x, s);
	agent_exec_watch(x);
	agent_settle(a);
}

static int take_data(struct exec *x, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	if (h->stream != GUEST_STDIN || x->in_eof)
		return err_kind(e, ERR_FAILED, "data for stream %u", h->stream);
	if (x->fd[GUEST_STDIN] < 0) // was under way when the command closed it
		return 0;
	if (x->in.len - x->in_old + x->in_owed + h->len > GUEST_WINDOW)
		return err_kind(e, ERR_FAILED, "more data than the window allows");
	buf_add(&x->in, p, h->len);
	if (h->len)
		x->in_line_begun = p[h->len - 1] != '\n' && p[h->len - 1] != '\r';
	write_input(x);
	return 0;
}

static int take_window(struct exec *x, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	uint32_t more;

	if (guest_u32_get(p, h->len, &more, e) < 0)
		return -e->no;
	if (h->stream == GUEST_STDIN || more > GUEST_WINDOW - x->window[h->stream])
		return err_kind(e, ERR_FAILED, "window of stream %u beyond its limit", h->stream);
	x->window[h->stream] += more;
	return 0;
}

static int take_signal(struct exec *x, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	uint32_t sig;

	if (guest_u32_get(p, h->len, &sig, e) < 0)
		return -e->no;
	if (sig == 0 || sig > 64)
		return err_kind(e, ERR_FAILED, "no signal %u", sig);
	agent_exec_signal(x, (int)sig);
	return 0;
}

static int take_size(struct exec *x, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	struct guest_size size;

	if (guest_size_get(p, h->len, &size, e) < 0)
		return -e->no;
	if (x->tty)
		agent_pty_resize(x->fd[GUEST_STDOUT], &size);
	return 0;
}

static int take_eof(struct exec *x, const struct guest_head *h, struct err *e)
{
	if (h->stream != GUEST_STDIN)
		return err_kind(e, ERR_FAILED, "end of stream %u", h->stream);
	if (x->in_eof)
		return 0;
	x->in_eof = true;
	if (x->tty && x->fd[GUEST_STDIN] >= 0)
		agent_pty_eof(x->fd[GUEST_STDIN], x->in_line_begun, &x->in);
	x->in_line_begun = false;
	return 0;
}

int agent_exec_take(struct exec *x, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	int r = 0;

	if (h->type == GUEST_DATA)
		r = take_data(x, h, p, e);
	else if (h->type == GUEST_WINDOW_ADD)
		r = take_window(x, h, p, e);
	else if (h->type == GUEST_SIGNAL)
		r = take_signal(x, h, p, e);
	else if (h->type == GUEST_TERMINAL)
		r = take_size(x, h, p, e);
	else if (h->type == GUEST_EOF)
		r = take_eof(x, h, e);
	else
		r = err_kind(e, ERR_FAILED, "%s frame for a command", guest_type_name(h->type));
	if (x->in_eof)
		write_input(x);
	agent_exec_watch(x);
	return r;
}

void agent_exec_watch(struct exec *x)
{
	agent_exec_watch_all(x);
	finish_exec(x);
}

int agent_exec_frame(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	return agent_exec_take(c->exec, h, p, e);
}

// The command's own output is in the pipes by now: exactly that much is still sent. What it left in
// the background may keep the pipes open for ever and would otherwise keep the host waiting.
void agent_exec_ended(struct exec *x, int status)
{
	x->ended = true;
	x->status = status;
	for (int s = GUEST_STDOUT; s <= GUEST_STDERR; s++) {
		int left = 0;

		if (x->fd[s] < 0)
			continue;
		if (x->tty && (x->conn || x->session))
			x->left[s] = MIB;
		else if ((x->conn || x->session) && ioctl(x->fd[s], FIONREAD, &left) == 0 &&
			 left > 0)
			x->left[s] = left;
		else
			finish_stream(x, s);
	}
	agent_exec_watch(x);
}
