// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/proc.h"

// State letter and start time from /proc/PID/stat. The name in field 2 may hold anything, so the
// count begins behind the last ')', where field 3 follows.
static int read_stat(pid_t pid, char *state, uint64_t *start, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err why = { 0 };
	char path[64], *end;

	base_cut(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (fd_read_file(AT_FDCWD, path, 4096, &text, e) < 0) {
		if (e->no != ENOENT && e->no != ESRCH)
			return -e->no;
		return err_set(e, ESRCH, "pid %d: no such process", (int)pid);
	}
	char *p = text.len ? strrchr(text.data, ')') : NULL;
	if (p && p[1] == ' ')
		*state = p[2];
	for (int i = 3; p && i <= 22; i++)
		p = strchr(p + 1, ' ');
	end = p ? strchr(p + 1, ' ') : NULL;
	if (end)
		*end = '\0';
	if (!end || num_u64(p + 1, 0, UINT64_MAX, start, &why) < 0)
		return err_set(e, EIO, "%s: not in the known form", path);
	return 0;
}

int proc_id_get(pid_t pid, struct proc_id *ret, struct err *e)
{
	uint64_t start = 0;
	char state = 0;

	if (read_stat(pid, &state, &start, e) < 0)
		return -e->no;
	*ret = (struct proc_id){ .pid = pid, .start = start };
	return 0;
}

bool proc_id_alive(const struct proc_id *id)
{
	struct err ignored = { 0 };
	uint64_t start = 0;
	char state = 0;

	return id->pid > 0 && read_stat(id->pid, &state, &start, &ignored) == 0 &&
	       start == id->start && state != 'Z' && state != 'X';
}

int proc_id_open(const struct proc_id *id, struct err *e)
{
	cleanup_fd int fd = -1;

	// First the descriptor, then the comparison: a pid that is reused in between is noticed.
	if (id->pid > 0)
		fd = (int)syscall(SYS_pidfd_open, id->pid, 0);
	if (id->pid > 0 && fd < 0 && errno != ESRCH)
		return err_sys(e, "pidfd of %d", (int)id->pid);
	if (fd < 0 || !proc_id_alive(id))
		return err_set(e, ESRCH, "pid %d: no such process", (int)id->pid);
	return steal_fd(&fd);
}

int proc_kill(int pidfd, int sig, struct err *e)
{
	if (syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 && errno != ESRCH)
		return err_sys(e, "signal %d", sig);
	return 0;
}

int proc_wait_gone(int pidfd, int timeout_ms, struct err *e)
{
	int64_t deadline = clock_ms() + MAX(timeout_ms, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	for (;;) {
		int n = poll(&p, 1, timeout_ms < 0 ? -1 : (int)clock_left(deadline));

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (timeout_ms >= 0 && clock_left(deadline) == 0)
			return err_kind(e, ERR_TIMEOUT, "still running after %d ms", timeout_ms);
	}
}

int proc_die_with_parent(int sock, struct err *e)
{
	struct pollfd p = { .fd = sock };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return err_sys(e, "PR_SET_PDEATHSIG");
	// getppid() is 0 in a new PID namespace. A dying process closes its descriptors before the
	// death signals are sent: one that died too early for the line above shows here.
	if (poll(&p, 1, 0) < 0)
		return err_sys(e, "poll");
	if (p.revents & (POLLHUP | POLLERR | POLLNVAL))
		return err_set(e, ESRCH, "the parent is gone");
	return 0;
}

#define INIT_FLAGS (CLONE_NEWPID | CLONE_PIDFD)

// Without CLONE_VM these are fork(2) with a namespace. The library's fork() would run its atfork
// handlers; there are no threads and none of ours registers any.
static long clone_init(int *fd)
{
	return syscall(SYS_clone, INIT_FLAGS | SIGCHLD, NULL, fd, NULL, NULL);
}

// Its flags lie in memory, so that a unit's RestrictNamespaces= cannot look at them and refuses it.
static long clone_init_into(int group, int *fd)
{
	struct clone_args args = { .flags = INIT_FLAGS | CLONE_INTO_CGROUP,
				   .pidfd = (uint64_t)(uintptr_t)fd,
				   .exit_signal = SIGCHLD,
				   .cgroup = (uint64_t)group };

	return syscall(SYS_clone3, &args, sizeof(args));
}

pid_t proc_fork_init(int *group, int *pidfd, int *sock, struct err *e)
{
	cleanup_fd int ours = -1, theirs = -1;
	int pair[2], fd = -1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socketpair");
	ours = pair[0];
	theirs = pair[1];
	(void)fflush(NULL); // else the child would write what we have buffered once more
	long pid = group && *group >= 0 ? clone_init_into(*group, &fd) : -1;
	if (pid >= 0)
		*group = -1;
	else
		pid = clone_init(&fd);
	if (pid < 0)
		return err_sys(e, "clone into a PID namespace");
	if (pid == 0) {
		(void)close(steal_fd(&ours)); // or we would keep the parent's end open ourselves
		if (proc_die_with_parent(theirs, e) < 0)
			_exit(1);
		*pidfd = -1;
		*sock = steal_fd(&theirs);
		return 0;
	}
	*pidfd = fd;
	*sock = steal_fd(&ours);
	return (pid_t)pid;
}
