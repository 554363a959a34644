// SPDX-License-Identifier: MIT
#include "fc/qemu_confine.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/proc.h"
#include "fc/qemu_parts.h"

#define JOB_MAX 65536
#define FDS_MAX 72

static _Noreturn void give_up(const char *what)
{
	(void)dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
	_exit(127);
}

static void reset_signals(void)
{
	const struct sigaction plain = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		(void)sigaction(i, &plain, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

_Noreturn void qemu_exec(char *const *argv, const int *fds, size_t n, void *filter)
{
	struct err e = { 0 };
	const struct rlimit none = { 0, 0 };
	int high[FDS_MAX], null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int top = QEMU_FD_BASE + (int)n;

	if (!argv[0] || null < 0 || n < 1 || n > FDS_MAX || dup2(fds[0], STDERR_FILENO) < 0 ||
	    dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(127);
	// First out of the way of the numbers they are to have.
	for (size_t i = 1; i < n; i++) {
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, top);
		if (high[i] < 0)
			give_up("descriptor");
	}
	for (size_t i = 1; i < n; i++)
		if (dup2(high[i], QEMU_FD_BASE + (int)i - 1) < 0)
			give_up("descriptor");
	if (syscall(SYS_close_range, 3, QEMU_FD_BASE - 1, 0) < 0 ||
	    syscall(SYS_close_range, top - 1, ~0U, 0) < 0)
		give_up("close_range");
	(void)setrlimit(RLIMIT_CORE, &none); // the guest's memory, its secrets included
	(void)umask(077);
	reset_signals();
	if (filter && sandbox_filter_load(filter, &e) < 0)
		give_up("the filter of system calls");
	(void)execv(argv[0], argv);
	give_up(argv[0]);
}

// Of root's rights QEMU needs three until it has dropped them itself, and the fourth to open again
// a kernel or initrd that only the VM's user may read.
bool qemu_shed_rights(bool keep_for_qemu)
{
	const struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	for (int cap = 0; cap <= CAP_LAST_CAP; cap++) {
		bool keep = cap == CAP_SYS_CHROOT || cap == CAP_SETUID || cap == CAP_SETGID ||
			    cap == CAP_DAC_OVERRIDE;

		if (!keep || !keep_for_qemu)
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); // not ours to drop: fine
	}
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	// The inheritable set would pass the bounding set by.
	if (syscall(SYS_capget, &head, data) < 0)
		return false;
	data[0].inheritable = data[1].inheritable = 0;
	if (syscall(SYS_capset, &head, data) < 0)
		return false;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

static void run_job(char *text, size_t len, const int *fds, size_t n, bool strict)
{
	struct err e = { 0 };
	void *filter = NULL;
	char *argv[512];
	size_t count = 0;

	for (char *at = text; at < text + len && count < COUNT(argv) - 1; at += strlen(at) + 1)
		argv[count++] = at;
	argv[count] = NULL;
	if (dup2(fds[0], STDERR_FILENO) < 0)
		_exit(127);
	if (!qemu_shed_rights(true))
		give_up("capabilities");
	if (qemu_filter_make(QEMU_PROCESS_QEMU, strict, &filter, &e) < 0)
		give_up("the filter of system calls");
	qemu_exec(argv, fds, n, filter);
}

static void drop_root(int sock, const struct qemu_confined *c, const char *empty)
{
	struct err e = { 0 };
	void *filter;

	if (qemu_filter_make(QEMU_PROCESS_STARTER, c->strict, &filter, &e) < 0 ||
	    chdir(empty) < 0 || chroot(".") < 0 || sandbox_become(c->uid, c->gid, &e) < 0 ||
	    sandbox_no_new_privs(&e) < 0 || sandbox_filter_load(filter, &e) < 0)
		_exit(1);
	// The change of user has cleared the signal that ties our life to the parent's.
	if (proc_die_with_parent(sock, &e) < 0 || fd_send(sock, NULL, 0, "s", 1, &e) < 0)
		_exit(1);
}

// One QEMU, from its job to its end; its wait status. The parent's end is ours, and, as this is the
// init of its namespace, QEMU's.
static int tend(int sock, pid_t child, const struct qemu_confined *who, const char *empty)
{
	int pidfd = (int)syscall(SYS_pidfd_open, child, 0), status = 0;

	for (;;) {
		struct pollfd p[] = { { .fd = pidfd, .events = POLLIN },
				      { .fd = sock, .events = POLLIN } };
		char c = 0;

		if (poll(p, COUNT(p), -1) < 0 && errno != EINTR)
			_exit(1);
		if (p[0].revents) {
			while (waitpid(child, &status, 0) < 0)
				if (errno != EINTR)
					_exit(1);
			(void)close(pidfd);
			return status;
		}
		if (!p[1].revents)
			continue;
		if (read(sock, &c, 1) != 1)
			_exit(0);
		if (c == 's')
			drop_root(sock, who, empty);
		else if (c == 'k')
			(void)kill(child, SIGKILL);
	}
}

static void report(int sock, int status)
{
	struct err e = { 0 };
	char message[1 + sizeof(status)] = { 'e' };

	memcpy(message + 1, &status, sizeof(status));
	if (fd_send(sock, NULL, 0, message, sizeof(message), &e) < 0)
		_exit(1);
}

_Noreturn void qemu_starter_main(int sock, const struct qemu_confined *c, const char *empty)
{
	static char text[JOB_MAX + 1];
	int fds[FDS_MAX];
	struct err e = { 0 };

	reset_signals();
	(void)prctl(PR_SET_NAME, "mvm-starter", 0, 0, 0);
	if (dup2(sock, 3) < 0 || syscall(SYS_close_range, 4, ~0U, 0) < 0 ||
	    fcntl(3, F_SETFD, FD_CLOEXEC) < 0 || chdir("/") < 0)
		_exit(1);
	for (;;) {
		size_t n = 0, len = 0;
		pid_t child;

		if (fd_recv(3, fds, COUNT(fds), &n, text, JOB_MAX, &len, &e) < 0 || !len)
			_exit(0);
		if (text[0] != 'j' || n < 1)
			continue;
		text[len] = '\0';
		child = fork();
		if (child < 0)
			_exit(1);
		if (child == 0)
			run_job(text + 1, len - 1, fds, n, c->strict);
		for (size_t i = 0; i < n; i++)
			(void)close(fds[i]);
		report(3, tend(3, child, c, empty));
		if (getuid() != 0)
			_exit(0);
	}
}
