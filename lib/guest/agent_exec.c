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

// The end of a session's output is told behind its tape.
static void finish_stream(struct exec *x, int s)
{
	close_stream(x, s);
	if (!x->session || s == GUEST_STDIN)
		send_frame(x, GUEST_EOF, s);
}

static void finish_exec(struct exec *x)
{
	struct conn *c = x->conn;

	if (!x->ended || x->fd[GUEST_STDOUT] >= 0 || x->fd[GUEST_STDERR] >= 0)
		return;
	close_stream(x, GUEST_STDIN);
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
static void watch_all(struct exec *x)
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

int agent_exec_frame(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	return agent_exec_take(c->exec, h, p, e);
}

void agent_exec_signal(struct exec *x, int sig)
{
	if (x->ended) // until it is reaped the number is its own
		return;
	if (x->tty)
		agent_pty_signal(x->fd[GUEST_STDOUT], x->pid, sig);
	else
		(void)kill(-x->pid, sig);
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
	watch_all(x);
	finish_exec(x);
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
	const uint32_t known = GUEST_EXEC_TTY | GUEST_EXEC_NO_STDIN | GUEST_EXEC_SHELL;

	if (x->flags & ~known)
		return err_set(e, EOPNOTSUPP, "no such way to run a command (flags %#x)", x->flags);
	if (!a->ready)
		return err_kind(e, ERR_UNAVAILABLE, "the guest is not ready");
	return 0;
}

// Pipes and process; our ends are closed by exec_free.
static int spawn_piped(struct exec *x, struct spawn *s, struct err *e)
{
	int r = 0;

	for (int i = 0; i < GUEST_STREAMS && r == 0; i++)
		r = agent_spawn_pipe(i == GUEST_STDIN, &x->fd[i], &s->fd[i], e);
	if (r == 0)
		r = agent_spawn_run(s, &x->pid, e);
	for (int i = 0; i < GUEST_STREAMS; i++)
		base_closep(&s->fd[i]);
	return r;
}

static int launch(struct exec *x, const struct guest_exec *want, const struct guest_size *size,
		  struct err *e)
{
	struct spawn s = { .argv = &want->argv,
			   .env_base = &x->a->welcome.env,
			   .env = &want->env,
			   .cwd = want->cwd,
			   .user = want->user,
			   .tty = x->tty,
			   .shell = want->flags & GUEST_EXEC_SHELL,
			   .fd = { -1, -1, -1 } };
	cleanup_fd int slave = -1;

	if (!x->tty)
		return spawn_piped(x, &s, e);
	if (agent_pty_open(size, x->fd, &slave, e) < 0)
		return -e->no;
	for (int i = 0; i < GUEST_STREAMS; i++)
		s.fd[i] = slave;
	return agent_spawn_run(&s, &x->pid, e);
}

int agent_exec_new(struct agent *a, const struct guest_exec *want, const struct guest_size *size,
		   struct exec **ret, struct err *e)
{
	struct exec *x;
	int r = check(a, want, e);

	if (r < 0)
		return r;
	x = base_alloc(1, sizeof(*x));
	*x = (struct exec){ .a = a,
			    .tty = want->flags & GUEST_EXEC_TTY,
			    .ended = true,
			    .fd = { -1, -1, -1 },
			    .window = { 0, GUEST_WINDOW, GUEST_WINDOW },
			    .left = { -1, -1, -1 } };
	r = launch(x, want, size, e);
	if (r < 0) {
		agent_exec_free(x);
		return r;
	}
	x->ended = false;
	if (want->flags & GUEST_EXEC_NO_STDIN)
		close_stream(x, GUEST_STDIN);
	*ret = x;
	return 0;
}

static int check_count(const struct agent *a, struct err *e)
{
	if (a->exec_count >= GUEST_EXECS)
		return err_kind(e, ERR_QUOTA, "%u commands are running", GUEST_EXECS);
	return 0;
}

static void serve(struct conn *c, struct exec *x)
{
	struct agent *a = c->a;

	x->conn = c;
	x->next = a->execs;
	a->execs = x;
	a->exec_count++;
	c->exec = x;
	c->state = CONN_EXEC;
	agent_conn_send_u32(c, GUEST_STARTED, 0, (uint32_t)x->pid);
	watch_all(x);
}

int agent_exec_start(struct conn *c, const struct guest_exec *want, struct err *e)
{
	struct exec *x = NULL;

	if (check_count(c->a, e) < 0 || agent_exec_new(c->a, want, &c->size, &x, e) < 0)
		return -e->no;
	serve(c, x);
	return 0;
}

int agent_exec_work(struct conn *c, const char *user, int (*work)(const void *arg), const void *arg,
		    struct err *e)
{
	static const struct guest_words none = GUEST_WORDS_INIT;
	struct spawn s = { .argv = &none,
			   .env_base = &none,
			   .cwd = "",
			   .user = user,
			   .work = work,
			   .work_arg = arg,
			   .fd = { -1, -1, -1 } };
	struct exec *x;
	int r;

	if (check_count(c->a, e) < 0)
		return -e->no;
	x = base_alloc(1, sizeof(*x));
	*x = (struct exec){
		.a = c->a, .ended = true, .fd = { -1, -1, -1 }, .left = { -1, -1, -1 }
	};
	x->window[GUEST_STDOUT] = x->window[GUEST_STDERR] = GUEST_WINDOW;
	r = spawn_piped(x, &s, e);
	if (r < 0) {
		agent_exec_free(x);
		return r;
	}
	x->ended = false;
	serve(c, x);
	return 0;
}
