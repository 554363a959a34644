// SPDX-License-Identifier: MIT
// A guest's agent for tests of the tools: binds DIR/v.sock as a VMM would, answers CONNECT, and
// serves what is asked as a process of UID. It is ready from the start.
//	guest-peer DIR UID WORKER-FILE [silent]
// silent: says hello and then nothing more.
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/num.h"
#include "base/sig.h"
#include "guest/agent.h"
#include "guest/hook.h"

struct peer {
	struct loop *loop;
	struct agent *agent;
	int listener, signals;
	bool silent;
};

static int on_welcome(void *arg, const struct guest_welcome *w, struct guest_info *ret,
		      struct err *e)
{
	(void)arg;
	(void)w;
	(void)ret;
	(void)e;
	return 0;
}

static void on_down(void *arg, const struct guest_down *d)
{
	struct peer *p = arg;

	(void)d;
	loop_stop(p->loop);
}

static void on_dial_ended(void *arg, bool taken)
{
	(void)arg;
	(void)taken;
}

static int on_around(void *arg, uint8_t type, const struct guest_hook *h, struct guest_steps *steps,
		     struct err *e)
{
	(void)arg;
	(void)h;
	(void)e;
	guest_step(steps, "stand-in %u", type);
	return 0;
}

static void say_hello(int fd)
{
	const struct guest_hello hello = { GUEST_VERSION, GUEST_VERSION, "guest-peer" };
	cleanup_buf struct buf b = BUF_INIT, frame = BUF_INIT;
	struct err e = { 0 };

	guest_hello_put(&b, &hello);
	guest_frame_put(&frame, GUEST_HELLO, 0, b.data, b.len);
	if (fd_write_all(fd, frame.data, frame.len, &e) < 0)
		log_error("", "%s", e.msg);
}

static void on_connect(void *arg, uint32_t events)
{
	struct peer *p = arg;
	int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
	char line[32] = "";
	size_t n = 0;

	(void)events;
	while (fd >= 0 && n < sizeof(line) - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
		n++;
	if (fd < 0 || write(fd, "OK 77\n", 6) != 6)
		return;
	if (p->silent)
		say_hello(fd); // and left open
	else
		agent_take(p->agent, fd);
}

static void on_signal(void *arg, uint32_t events)
{
	struct peer *p = arg;
	int status;
	pid_t pid;

	(void)events;
	while (sig_read(p->signals) != 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		agent_child(p->agent, pid, status);
}

// The host's half of a boot, by a socket pair: only who was welcomed is ready.
static int make_ready(struct peer *p, struct err *e)
{
	const struct guest_hello hello = { GUEST_VERSION, GUEST_VERSION, "guest-peer" };
	struct guest_welcome w = { 0 };
	cleanup_buf struct buf b = BUF_INIT, frames = BUF_INIT;
	int pair[2];

	guest_hello_put(&b, &hello);
	guest_frame_put(&frames, GUEST_HELLO, 0, b.data, b.len);
	buf_clear(&b);
	guest_welcome_put(&b, &w);
	guest_frame_put(&frames, GUEST_WELCOME, 0, b.data, b.len);
	guest_frame_put(&frames, GUEST_OK, 0, NULL, 0);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socketpair");
	if (fd_write_all(pair[1], frames.data, frames.len, e) < 0)
		return -e->no;
	agent_dialled(p->agent, pair[0]); // pair[1] stays open
	return 0;
}

static int run(struct peer *p, const char *dir, uid_t uid, const char *worker, struct err *e)
{
	const struct agent_hooks hooks = { .welcome = on_welcome,
					   .down = on_down,
					   .dial_ended = on_dial_ended,
					   .around = on_around,
					   .worker_file = worker };
	cleanup_fd int fd = fd_open_dir(AT_FDCWD, dir, e);

	if (fd < 0)
		return -e->no;
	if (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0)
		return err_sys(e, "become %u", uid);
	(void)signal(SIGPIPE, SIG_IGN);
	p->signals = sig_open(e, SIGCHLD, 0);
	if (p->signals < 0 || loop_new(&p->loop, e) < 0 ||
	    agent_new(p->loop, &hooks, p, &p->agent, e) < 0 || make_ready(p, e) < 0 ||
	    loop_add_fd(p->loop, p->signals, EPOLLIN, on_signal, p, NULL, e) < 0)
		return -e->no;
	p->listener = fd_unix_listen(fd, "v.sock", 0600, 16, e);
	if (p->listener < 0 ||
	    loop_add_fd(p->loop, p->listener, EPOLLIN, on_connect, p, NULL, e) < 0)
		return -e->no;
	return loop_run(p->loop, e);
}

int main(int argc, char **argv)
{
	struct peer p = { .silent = argc == 5 && str_eq(argv[4], "silent") };
	uint64_t uid = 0;
	struct err e = { 0 };

	fd_sanitize();
	sig_save_mask();
	log_open("guest-peer");
	if (argc < 4 || num_u64(argv[2], 1, UINT32_MAX - 1, &uid, &e) < 0) {
		(void)fputs("usage: guest-peer DIR UID WORKER-FILE [silent]\n", stderr);
		return 2;
	}
	if (run(&p, argv[1], (uid_t)uid, argv[3], &e) < 0)
		log_error("", "%s", e.msg);
	return e.no ? 1 : 0;
}
