// SPDX-License-Identifier: MIT
// A command of the host and its three streams. Each stream has a window of its own, so that one
// which nobody reads holds up neither the others nor the agent. Our end of a pipe is watched only
// while there is something to do with it: a hang-up would otherwise be reported for ever.
#include "guest/agent_core.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"

static void close_stream(struct exec *x, int s)
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

static void finish_stream(struct exec *x, int s)
{
	close_stream(x, s);
	send_frame(x, GUEST_EOF, s);
}

static void finish_exec(struct exec *x)
{
	struct conn *c = x->conn;

	if (!x->ended || !c || x->fd[GUEST_STDOUT] >= 0 || x->fd[GUEST_STDERR] >= 0)
		return;
	close_stream(x, GUEST_STDIN);
	agent_conn_send_u32(c, GUEST_EXIT, 0, (uint32_t)x->status);
	agent_conn_finish(c);
	c->exec = NULL;
	x->conn = NULL;
}

static void on_output(struct exec *x, int s)
{
	char bytes[GUEST_DATA_MAX];
	size_t want = MIN(sizeof(bytes), x->window[s]);
	ssize_t n;

	if (x->left[s] >= 0)
		want = MIN(want, (size_t)x->left[s]);
	n = read(x->fd[s], bytes, want);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		if (x->conn)
			agent_conn_send(x->conn, GUEST_DATA, (uint16_t)s, bytes, (size_t)n);
		x->window[s] -= (uint32_t)n;
		if (x->left[s] >= 0)
			x->left[s] -= n;
	}
	if (n <= 0 || x->left[s] == 0)
		finish_stream(x, s);
}

// What the command has taken is granted again, in pieces worth a frame.
static void grant(struct exec *x)
{
	if (x->in_owed && x->conn && (x->in_owed >= GUEST_WINDOW / 4 || !x->in.len)) {
		agent_conn_send_u32(x->conn, GUEST_WINDOW_ADD, GUEST_STDIN, x->in_owed);
		x->in_owed = 0;
	}
}

static void write_input(struct exec *x)
{
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
		x->in_owed += (uint32_t)n;
	}
	grant(x);
	if (!x->in.len && x->in_eof)
		close_stream(x, GUEST_STDIN);
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

static void watch(struct exec *x, int s)
{
	static const loop_fd_fn fns[] = { on_stdin, on_stdout, on_stderr };
	bool wanted = x->fd[s] >= 0 && (s == GUEST_STDIN ? x->in.len > 0 : x->window[s] > 0);
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

static void watch_all(struct exec *x)
{
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
	watch_all(x);
	finish_exec(x);
	agent_settle(a);
}

static int take_data(struct exec *x, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	if (h->stream != GUEST_STDIN || x->in_eof)
		return err_kind(e, ERR_FAILED, "data for stream %u", h->stream);
	if (x->fd[GUEST_STDIN] < 0) // was under way when the command closed it
		return 0;
	if (x->in.len + x->in_owed + h->len > GUEST_WINDOW)
		return err_kind(e, ERR_FAILED, "more data than the window allows");
	buf_add(&x->in, p, h->len);
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
	if (!x->ended) // until it is reaped the number is its own
		(void)kill(-x->pid, (int)sig);
	return 0;
}

int agent_exec_frame(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	struct exec *x = c->exec;
	int r = 0;

	if (h->type == GUEST_DATA)
		r = take_data(x, h, p, e);
	else if (h->type == GUEST_WINDOW_ADD)
		r = take_window(x, h, p, e);
	else if (h->type == GUEST_SIGNAL)
		r = take_signal(x, h, p, e);
	else if (h->type == GUEST_EOF && h->stream == GUEST_STDIN)
		x->in_eof = true;
	else
		r = err_kind(e, ERR_FAILED, "%s frame for a command", guest_type_name(h->type));
	if (x->in_eof)
		write_input(x);
	watch_all(x);
	return r;
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
		if (x->conn && ioctl(x->fd[s], FIONREAD, &left) == 0 && left > 0)
			x->left[s] = left;
		else
			finish_stream(x, s);
	}
	watch_all(x);
	finish_exec(x);
}

static void on_kill(void *arg)
{
	struct exec *x = arg;

	if (!x->ended)
		(void)kill(-x->pid, SIGKILL);
}

// A command goes with the host that asked for it, as with a terminal that is hung up.
void agent_exec_orphan(struct exec *x)
{
	struct err e = { 0 };

	x->conn = NULL;
	for (int s = 0; s < GUEST_STREAMS; s++)
		close_stream(x, s);
	buf_free(&x->in);
	if (x->ended)
		return;
	(void)kill(-x->pid, SIGHUP);
	if (loop_add_timer(x->a->loop, clock_ms() + AGENT_KILL_MS, on_kill, x, &x->kill_timer, &e) <
	    0)
		(void)kill(-x->pid, SIGKILL);
}

void agent_exec_free(struct exec *x)
{
	for (int s = 0; s < GUEST_STREAMS; s++)
		close_stream(x, s);
	loop_remove(x->kill_timer);
	if (!x->ended)
		(void)kill(-x->pid, SIGKILL);
	buf_free(&x->in);
	free(x);
}

static int check(const struct agent *a, const struct guest_exec *x, struct err *e)
{
	if (x->flags & ~(uint32_t)GUEST_EXEC_NO_STDIN)
		return err_set(e, EOPNOTSUPP, "no such way to run a command (flags %#x)", x->flags);
	if (!a->ready)
		return err_kind(e, ERR_UNAVAILABLE, "the guest is not ready");
	if (a->exec_count >= GUEST_EXECS)
		return err_kind(e, ERR_QUOTA, "%u commands are running", GUEST_EXECS);
	return 0;
}

// Pipes and process; what was opened is closed by exec_free, or by the caller (theirs).
static int launch(struct exec *x, const struct guest_exec *want, struct err *e)
{
	struct spawn s = { .argv = &want->argv,
			   .env_base = &x->a->welcome.env,
			   .env = &want->env,
			   .cwd = want->cwd,
			   .user = want->user,
			   .fd = { -1, -1, -1 } };
	int r = 0;

	for (int i = 0; i < GUEST_STREAMS && r == 0; i++)
		r = agent_spawn_pipe(i == GUEST_STDIN, &x->fd[i], &s.fd[i], e);
	if (r == 0)
		r = agent_spawn_run(&s, &x->pid, e);
	for (int i = 0; i < GUEST_STREAMS; i++)
		base_closep(&s.fd[i]);
	return r;
}

int agent_exec_start(struct conn *c, const struct guest_exec *want, struct err *e)
{
	struct agent *a = c->a;
	struct exec *x;

	if (check(a, want, e) < 0)
		return -e->no;
	x = base_alloc(1, sizeof(*x));
	*x = (struct exec){ .a = a,
			    .conn = c,
			    .ended = true,
			    .fd = { -1, -1, -1 },
			    .window = { 0, GUEST_WINDOW, GUEST_WINDOW },
			    .left = { -1, -1, -1 } };
	if (launch(x, want, e) < 0) {
		agent_exec_free(x);
		return -e->no;
	}
	x->ended = false;
	x->next = a->execs;
	a->execs = x;
	a->exec_count++;
	c->exec = x;
	c->state = CONN_EXEC;
	agent_conn_send_u32(c, GUEST_STARTED, 0, (uint32_t)x->pid);
	if (want->flags & GUEST_EXEC_NO_STDIN)
		close_stream(x, GUEST_STDIN);
	watch_all(x);
	return 0;
}
