// SPDX-License-Identifier: MIT
// A command of the host, from its start to what becomes of it when the host goes away. Its streams
// are in agent_stream.c.
#include "guest/agent_core.h"

#include <fcntl.h>
#include <signal.h>

#include "base/clock.h"

void agent_exec_signal(struct exec *x, int sig)
{
	if (x->ended) // until it is reaped the number is its own
		return;
	if (x->tty)
		agent_pty_signal(x->fd[GUEST_STDOUT], x->pid, sig);
	else
		(void)kill(-x->pid, sig);
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
		agent_exec_close(x, s);
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
		agent_exec_close(x, s);
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

// Pipes and process; our ends are closed by exec_free. A stdin that there is already stays.
static int spawn_piped(struct exec *x, struct spawn *s, struct err *e)
{
	int r = 0;

	for (int i = 0; i < GUEST_STREAMS && r == 0; i++)
		if (s->fd[i] < 0)
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

	if (!x->tty) {
		if (want->flags & GUEST_EXEC_NO_STDIN) // without a /dev a pipe will do
			s.fd[GUEST_STDIN] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		return spawn_piped(x, &s, e);
	}
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
		agent_exec_close(x, GUEST_STDIN);
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
	agent_exec_watch_all(x);
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
