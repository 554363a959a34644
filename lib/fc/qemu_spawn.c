// SPDX-License-Identifier: MIT
// QEMU's process. Confined, there is a starter between us and it: root, because QEMU needs that to
// change its root directory and its user, and init of a PID namespace, because then QEMU cannot
// outlive it. Messages on the socketpair, one byte first:
//	to the starter	'j' job: argv as NUL-ended strings, with descriptors; [0] is stderr
//			's' QEMU answers, so nothing needs root any more · 'k' end QEMU
//	from it		's' has given up root · 'e' QEMU has ended, with its wait status
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"
#include "fc/qemu_confine.h"
#include "fc/qemu_parts.h"

#define JOB_MAX		65536
#define STARTER_END_MS	5000
#define STARTER_LOOK_MS 5
#define SETTLE_MS	5000

static int pidfd_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static bool readable(int fd, int timeout_ms)
{
	int64_t deadline = clock_ms() + timeout_ms;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n;

	do
		n = poll(&p, 1, (int)clock_left(deadline));
	while (n < 0 && errno == EINTR);
	return n > 0;
}

int qemu_spawn_init(struct qemu_spawn *s, const struct qemu_confined *c, const char *empty,
		    struct err *e)
{
	*s = (struct qemu_spawn){
		.confined = *c, .starter_pidfd = -1, .starter_sock = -1, .pidfd = -1
	};
	if (!c->on)
		return 0;
	s->starter = proc_fork_init(NULL, &s->starter_pidfd, &s->starter_sock, e);
	if (s->starter == 0)
		qemu_starter_main(s->starter_sock, c, empty);
	return s->starter < 0 ? err_wrap(e, "starter") : 0;
}

// Runs in the child. Messages go to err_fd: that is where the parent looks for the reason.
static void run_direct(const struct qemu_args *a, int err_fd, pid_t parent)
{
	int fds[1 + COUNT(a->fds)];

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || !qemu_shed_rights(false))
		_exit(127);
	fds[0] = err_fd;
	memcpy(fds + 1, a->fds, a->fd_count * sizeof(fds[0]));
	qemu_exec(a->argv.items, fds, a->fd_count + 1, NULL);
}

static int send_job(struct qemu_spawn *s, const struct qemu_args *a, int err_fd, struct err *e)
{
	cleanup_buf struct buf job = BUF_INIT;
	int fds[1 + COUNT(a->fds)];
	char *const *argv = a->argv.items;

	buf_char(&job, 'j');
	for (size_t i = 0; i < a->argv.len; i++)
		buf_add(&job, argv[i], strlen(argv[i]) + 1);
	if (job.len > JOB_MAX)
		return err_set(e, E2BIG, "QEMU's arguments");
	fds[0] = err_fd;
	memcpy(fds + 1, a->fds, a->fd_count * sizeof(fds[0]));
	return fd_send(s->starter_sock, fds, a->fd_count + 1, job.data, job.len, e);
}

int qemu_spawn_run(struct qemu_spawn *s, const struct qemu_args *a, int err_fd, struct err *e)
{
	pid_t parent = getpid();

	if (s->confined.on) {
		if (send_job(s, a, err_fd, e) < 0)
			return err_wrap(e, "starter");
		s->running = true;
		return 0;
	}
	s->pid = fork();
	if (s->pid < 0)
		return err_sys(e, "fork");
	if (s->pid == 0)
		run_direct(a, err_fd, parent);
	s->pidfd = pidfd_of(s->pid);
	if (s->pidfd < 0) {
		(void)err_sys(e, "pidfd");
		qemu_spawn_kill(s);
		return -e->no;
	}
	return 0;
}

int qemu_spawn_settle(struct qemu_spawn *s, struct err *e)
{
	char c = 0;

	if (!s->confined.on)
		return 0;
	if (fd_send(s->starter_sock, NULL, 0, "s", 1, e) < 0)
		return err_wrap(e, "starter");
	if (!readable(s->starter_sock, SETTLE_MS) ||
	    recv(s->starter_sock, &c, 1, MSG_DONTWAIT) != 1)
		c = 0;
	s->running = c != 'e';
	if (c != 's')
		return err_set(e, EIO, "the starter could not give up its rights");
	return 0;
}

int qemu_spawn_watch(const struct qemu_spawn *s)
{
	return s->confined.on ? s->starter_sock : s->pidfd;
}

static int shell_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// The signal that ended it, which is left to be waited for. It is its namespace's init, whose end
// comes after QEMU's, and that takes its time to give the guest's memory back. And who traces it is
// told before us, though its pidfd is readable at once.
static int end_of_starter(const struct qemu_spawn *s)
{
	int64_t deadline = clock_ms() + STARTER_END_MS;
	siginfo_t si = { 0 };

	while (waitid(P_PID, (id_t)s->starter, &si, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       si.si_pid == 0 && clock_left(deadline) > 0)
		clock_sleep_ms(STARTER_LOOK_MS);
	return si.si_pid && si.si_code != CLD_EXITED ? si.si_status : SIGKILL;
}

static bool starter_says(struct qemu_spawn *s, int *ret_status)
{
	char message[1 + sizeof(int)];
	ssize_t n = recv(s->starter_sock, message, sizeof(message), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	s->running = false;
	*ret_status = 128 + end_of_starter(s); // and QEMU with it
	if (n == (ssize_t)sizeof(message) && message[0] == 'e') {
		int status;

		memcpy(&status, message + 1, sizeof(status));
		*ret_status = shell_status(status);
	}
	return true;
}

bool qemu_spawn_ended(struct qemu_spawn *s, int timeout_ms, int *ret_status)
{
	int status;

	if (s->confined.on)
		return !s->running ||
		       (readable(s->starter_sock, timeout_ms) && starter_says(s, ret_status));
	if (s->pid <= 0)
		return true;
	if (!readable(s->pidfd, timeout_ms) || waitpid(s->pid, &status, WNOHANG) != s->pid)
		return false;
	s->pid = 0;
	base_closep(&s->pidfd);
	s->pidfd = -1;
	*ret_status = shell_status(status);
	return true;
}

// A starter that is still root is out of our reach, but it ends by itself when the socket closes,
// and the kernel ends with it what runs in its namespace.
static void end_starter(struct qemu_spawn *s)
{
	if (s->starter <= 0)
		return;
	base_closep(&s->starter_sock);
	s->starter_sock = -1;
	s->running = false;
	if (!readable(s->starter_pidfd, 500))
		(void)kill(s->starter, SIGKILL);
	if (readable(s->starter_pidfd, 5000))
		(void)waitpid(s->starter, NULL, 0);
	base_closep(&s->starter_pidfd);
	s->starter_pidfd = -1;
	s->starter = 0;
}

void qemu_spawn_kill(struct qemu_spawn *s)
{
	int status;

	if (s->confined.on) {
		end_starter(s);
	} else if (s->pid > 0) {
		(void)kill(s->pid, SIGKILL);
		while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR)
			;
		s->pid = 0;
		base_closep(&s->pidfd);
		s->pidfd = -1;
	}
}

// Ends a QEMU that did not come up. The starter stays: it is needed for the next try.
void qemu_spawn_abort(struct qemu_spawn *s)
{
	struct err e = { 0 };
	int status;

	if (!s->confined.on)
		qemu_spawn_kill(s);
	else if (s->running && (fd_send(s->starter_sock, NULL, 0, "k", 1, &e) < 0 ||
				!qemu_spawn_ended(s, SETTLE_MS, &status)))
		end_starter(s);
}
