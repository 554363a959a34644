// SPDX-License-Identifier: MIT
// Both ends of the guest protocol, for real: the agent runs as an ordinary process behind a socket
// that answers CONNECT as a VMM does, and the host's calls talk to it. For test_agent*.c.
#pragma once
#include "guest/agent.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sig.h"
#include "guest/host.h"
#include "tap.h"

#define WAIT_MS 20000

struct world {
	struct loop *loop;
	struct agent *agent;
	int dir, listener, signals;
	int welcome_fails; // the first welcomes fail that often
	bool drop_dial;	   // the first dial breaks before hello
	int (*around)(void *arg, uint8_t type, const struct guest_hook *h,
		      struct guest_steps *steps, struct err *e);
	bool (*at_once)(void *arg, uint8_t type, const struct guest_hook *h);
	int (*owed)(void *arg, struct err *e);
	int (*changed)(void *arg, enum guest_drive which, const char *user,
		       const uint8_t digest[GUEST_DIGEST], struct err *e);
	const char *worker_file;
};

static inline int on_welcome(void *arg, const struct guest_welcome *w, struct guest_info *ret,
			     struct err *e)
{
	struct world *g = arg;

	(void)w;
	ret->drives = GUEST_DRIVE_DATA;
	if (g->welcome_fails-- > 0)
		return err_kind(e, ERR_FAILED, "drive mvm-data: no such luck");
	return 0;
}

static inline void on_down(void *arg, const struct guest_down *d)
{
	struct world *g = arg;
	struct err e = { 0 };

	CHECK(fd_replace_file(g->dir, "down", d->reason, strlen(d->reason), 0600, &e) == 0);
}

static inline void on_dial_ended(void *arg, bool taken)
{
	struct world *g = arg;
	struct err e = { 0 };

	CHECK(fd_replace_file(g->dir, "dial-ended", taken ? "1" : "0", 1, 0600, &e) == 0);
}

static inline void on_listener(void *arg, uint32_t events)
{
	struct world *g = arg;
	int fd = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC);
	char line[32] = "";
	size_t n = 0;

	(void)events;
	while (n < sizeof(line) - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
		n++;
	CHECK_STR(line, "CONNECT 1025\n");
	CHECK(write(fd, "OK 77\n", 6) == 6);
	agent_take(g->agent, fd);
}

static inline void on_signal(void *arg, uint32_t events)
{
	struct world *g = arg;
	int status;
	pid_t pid;

	(void)events;
	while (sig_read(g->signals) != 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		agent_child(g->agent, pid, status);
}

static inline int dial(struct world *g)
{
	struct err e = { 0 };
	int fd;

	do {
		err_clear(&e);
		fd = fd_unix_connect(g->dir, "v.sock_1024", &e);
	} while (fd < 0 && usleep(5000) == 0);
	return fd;
}

static inline void agent_process(struct world *g)
{
	struct agent_hooks hooks = { .welcome = on_welcome,
				     .down = on_down,
				     .dial_ended = on_dial_ended,
				     .around = g->around,
				     .at_once = g->at_once,
				     .owed = g->owed,
				     .changed = g->changed,
				     .worker_file = g->worker_file };
	struct err e = { 0 };

	(void)signal(SIGPIPE, SIG_IGN);
	g->signals = sig_open(&e, SIGCHLD, 0);
	if (loop_new(&g->loop, &e) < 0 || agent_new(g->loop, &hooks, g, &g->agent, &e) < 0 ||
	    loop_add_fd(g->loop, g->signals, EPOLLIN, on_signal, g, NULL, &e) < 0 ||
	    loop_add_fd(g->loop, g->listener, EPOLLIN, on_listener, g, NULL, &e) < 0)
		tap_fail(__FILE__, __LINE__, "%s", e.msg);
	if (g->drop_dial)
		(void)close(dial(g));
	agent_dialled(g->agent, dial(g));
	if (loop_run(g->loop, &e) < 0)
		tap_fail(__FILE__, __LINE__, "%s", e.msg);
	_exit(0);
}

// Starts an agent and serves its boot; returns what guest_serve_ready did. It dies with the case.
static inline int boot(struct world *g, const struct guest_welcome *w, struct guest_info *info,
		       struct err *e)
{
	int ready;

	(void)signal(SIGPIPE, SIG_IGN);
	g->dir = open(tap_dir(), O_DIRECTORY | O_CLOEXEC);
	g->listener = fd_unix_listen(g->dir, "v.sock", 0600, 128, e);
	ready = fd_unix_listen(g->dir, "v.sock_1024", 0600, 16, e);
	CHECK(g->listener >= 0 && ready >= 0);
	if (fork() == 0)
		agent_process(g);
	return guest_serve_ready(ready, getuid(), -1, w, clock_ms() + WAIT_MS, info, e);
}

static inline struct world up(void)
{
	struct world g = { 0 };
	struct guest_welcome w = { 0 };
	struct guest_info info;
	struct err e = { 0 };

	CHECK(guest_words_add(&w.env, "FROM=welcome", &e) == 0);
	if (boot(&g, &w, &info, &e) < 0)
		tap_fail(__FILE__, __LINE__, "not ready: %s", e.msg);
	guest_welcome_clear(&w);
	return g;
}

static inline struct guest_conn *reach(const struct world *g)
{
	const struct guest_place at = { g->dir, "v.sock", getuid(), -1 };
	struct guest_conn *c = NULL;
	struct err e = { 0 };

	if (guest_open(&at, clock_ms() + WAIT_MS, &c, &e) < 0)
		tap_fail(__FILE__, __LINE__, "open: %s", e.msg);
	return c;
}

struct ran {
	int r, status;
	struct buf out, err;
	struct err e;
};

static inline void ran_free(struct ran *r)
{
	buf_free(&r->out);
	buf_free(&r->err);
}

static inline int temp(void)
{
	int fd = open(tap_dir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	return fd;
}

static inline void take(int fd, struct buf *out)
{
	struct err e = { 0 };

	CHECK(lseek(fd, 0, SEEK_SET) == 0);
	CHECK(fd_read_all(fd, 64 * MIB, out, &e) == 0);
}

static inline void run_spec(const struct world *g, const struct guest_exec *x, int in,
			    int64_t limit_ms, struct ran *r)
{
	cleanup_guest struct guest_conn *c = reach(g);
	cleanup_fd int out = temp(), err = temp();
	const struct guest_io io = {
		in, out, err, -1, clock_ms() + WAIT_MS, limit_ms ? clock_ms() + limit_ms : 0
	};

	*r = (struct ran){ .r = -1 };
	r->r = guest_run(c, x, &io, &r->status, &r->e);
	take(out, &r->out);
	take(err, &r->err);
}

static inline void run_sh(const struct world *g, const char *script, int in, struct ran *r)
{
	struct guest_exec x = { 0 };
	struct err e = { 0 };

	CHECK(guest_words_add(&x.argv, "sh", &e) == 0 && guest_words_add(&x.argv, "-c", &e) == 0 &&
	      guest_words_add(&x.argv, script, &e) == 0);
	run_spec(g, &x, in, 0, r);
	guest_exec_clear(&x);
}
#define cleanup_ran cleanup(ran_free)
