// SPDX-License-Identifier: MIT
// Start and wait. What runs a child to its end is in proc_run.c, what knows processes by number in
// proc_id.c.
#include "base/proc.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/sig.h"

#define WAIT_PIDFD ((idtype_t)3) // P_PIDFD: musl and glibc disagree on where it is declared

// What the child does with its three descriptors: ours is the parent's end.
struct stdio {
	int child[3], ours[3];
};

static void stdio_close(struct stdio *s)
{
	for (int i = 0; i < 3; i++) {
		base_closep(&s->child[i]);
		base_closep(&s->ours[i]);
	}
}

static int stdio_open(const int want[3], struct stdio *s, struct err *e)
{
	for (int i = 0; i < 3; i++) {
		int pair[2] = { -1, -1 };

		if (want[i] == PROC_PIPE) {
			if (pipe2(pair, O_CLOEXEC) < 0)
				return err_sys(e, "pipe");
			s->child[i] = pair[i == 0 ? 0 : 1];
			s->ours[i] = pair[i == 0 ? 1 : 0];
		} else if (want[i] == PROC_NULL) {
			s->child[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
		} else {
			// A copy above 2, so that the child's dup2 calls cannot overwrite each
			// other's source.
			s->child[i] =
				fcntl(want[i] == PROC_INHERIT ? i : want[i], F_DUPFD_CLOEXEC, 3);
		}
		if (s->child[i] < 0)
			return err_sys(e, "descriptor %d of the child", i);
	}
	return 0;
}

struct failure { // the child's last word when exec did not happen
	char step[24];
	int no;
};

static _Noreturn void child_fails(int report, const char *step)
{
	struct failure f = { .no = errno };

	memcpy(f.step, step, MIN(strlen(step), sizeof(f.step) - 1));
	(void)!write(report, &f, sizeof(f));
	_exit(127);
}

static void default_signals(void)
{
	const struct sigaction def = { .sa_handler = SIG_DFL };

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &def, NULL); // KILL, STOP and libc's own refuse
	(void)sigprocmask(SIG_SETMASK, sig_saved_mask(), NULL);
}

// Only async-signal-safe calls from here to exec.
static _Noreturn void child_main(const struct proc_spec *spec, const struct stdio *s, int report,
				 pid_t parent, const char *path)
{
	default_signals();
	if (spec->death_signal && prctl(PR_SET_PDEATHSIG, (unsigned long)spec->death_signal) < 0)
		child_fails(report, "PR_SET_PDEATHSIG");
	if (spec->death_signal && getppid() != parent)
		_exit(127); // it died before the line above
	if (spec->new_session && setsid() < 0)
		child_fails(report, "setsid");
	for (int i = 0; i < 3; i++)
		if (dup2(s->child[i], i) < 0)
			child_fails(report, "dup2");
	// All of ours have it from birth; this is for what a library opened.
	(void)syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
	for (size_t i = 0; i < spec->keep_count; i++)
		if (fcntl(spec->keep_fds[i], F_SETFD, 0) < 0)
			child_fails(report, "keep descriptor");
	// exec takes pointers to non-const for historical reasons only.
	char *const *argv, *const *env;
	memcpy(&argv, &spec->argv, sizeof(argv));
	memcpy(&env, &spec->env, sizeof(env));
	(void)execve(path, argv, env ? env : environ);
	child_fails(report, "exec");
}

// PATH is searched before the fork. A name that is found nowhere is left to exec to complain about.
static char *find_program(const char *name)
{
	const char *list = getenv("PATH");

	if (strchr(name, '/'))
		return base_strdup(name);
	for (const char *p = list ? list : "/usr/sbin:/usr/bin:/sbin:/bin"; *p;) {
		size_t len = strcspn(p, ":");
		char *path = base_printf("%.*s/%s", (int)len, p, name);

		if (len > 0 && access(path, X_OK) == 0)
			return path;
		free(path);
		p += p[len] ? len + 1 : len;
	}
	return base_strdup(name);
}

// The pipe ends without a word when exec closes it.
static int await_exec(int hear, const char *name, struct err *e)
{
	struct failure f;
	ssize_t n;

	do
		n = read(hear, &f, sizeof(f));
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(f))
		return 0;
	f.step[sizeof(f.step) - 1] = '\0';
	(void)err_set(e, f.no, "%s %s: %s", f.step, name, strerror(f.no));
	e->kind = ERR_FAILED; // a program that is missing is not the object that was asked for
	return -e->no;
}

// fork with every signal blocked: no handler of ours may run in the child.
static pid_t fork_child(const struct proc_spec *spec, const struct stdio *s, int report,
			const char *path)
{
	pid_t parent = getpid();
	sigset_t all, before;

	(void)sig_saved_mask(); // saved before it changes
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	pid_t pid = fork();
	if (pid == 0)
		child_main(spec, s, report, parent, path);
	int no = errno;
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	errno = no;
	return pid;
}

int proc_spawn(const struct proc_spec *spec, struct proc *ret, struct err *e)
{
	const int want[3] = { spec->in, spec->out, spec->err };
	cleanup(stdio_close) struct stdio s = { { -1, -1, -1 }, { -1, -1, -1 } };
	cleanup_free char *path = find_program(spec->argv[0]);
	cleanup_proc struct proc p = PROC_NONE;
	cleanup_fd int hear = -1, report = -1;
	int pair[2];

	if (stdio_open(want, &s, e) < 0)
		return err_wrap(e, "start %s", spec->argv[0]);
	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_sys(e, "start %s: pipe", spec->argv[0]);
	hear = pair[0];
	report = fcntl(pair[1], F_DUPFD_CLOEXEC, 3); // out of the way of dup2
	(void)close(pair[1]);
	pid_t pid = report < 0 ? -1 : fork_child(spec, &s, report, path);
	if (pid < 0)
		return err_sys(e, "start %s", spec->argv[0]);
	(void)close(steal_fd(&report));
	p.pid = pid;
	p.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p.pidfd < 0)
		return err_sys(e, "pidfd of %s", spec->argv[0]);
	if (await_exec(hear, spec->argv[0], e) < 0)
		return -e->no;
	p.in = steal_fd(&s.ours[0]);
	p.out = steal_fd(&s.ours[1]);
	p.err = steal_fd(&s.ours[2]);
	*ret = p;
	p = (struct proc)PROC_NONE;
	return 0;
}

static int reap(struct proc *p, int *ret_status, struct err *e)
{
	siginfo_t info = { 0 };
	int rc;

	do
		rc = p->pidfd < 0 ? waitid(P_PID, (id_t)p->pid, &info, WEXITED)
				  : waitid(WAIT_PIDFD, (id_t)p->pidfd, &info, WEXITED);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return err_sys(e, "wait for pid %d", (int)p->pid);
	*ret_status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
	p->pid = 0;
	base_closep(&p->pidfd);
	p->pidfd = -1;
	return 0;
}

int proc_wait(struct proc *p, int timeout_ms, int *ret_status, struct err *e)
{
	if (p->pid <= 0)
		return err_set(e, ECHILD, "wait: no child");
	if (timeout_ms >= 0 && proc_wait_gone(p->pidfd, timeout_ms, e) < 0)
		return -e->no;
	return reap(p, ret_status, e);
}

void proc_free(struct proc *p)
{
	struct err ignored = { 0 };
	int status;

	if (p->pid > 0) {
		(void)kill(p->pid, SIGKILL); // ours and not reaped yet: the number is still its
		if (reap(p, &status, &ignored) < 0)
			p->pid = 0; // somebody reaped it before us
	}
	base_closep(&p->pidfd);
	base_closep(&p->in);
	base_closep(&p->out);
	base_closep(&p->err);
	*p = (struct proc)PROC_NONE;
}

void proc_leave(int keep)
{
	int null;

	(void)setsid();
	if (keep < 0) {
		(void)syscall(SYS_close_range, 0u, ~0u, 0u);
	} else {
		if (keep)
			(void)syscall(SYS_close_range, 0u, (unsigned)keep - 1, 0u);
		(void)syscall(SYS_close_range, (unsigned)keep + 1, ~0u, 0u);
	}
	null = open("/dev/null", O_RDWR); // NOLINT(android-cloexec-open): 0, 1 and 2 are for all
	if (null == 0) {
		(void)dup2(0, 1);
		(void)dup2(0, 2);
	}
}
