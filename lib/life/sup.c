// SPDX-License-Identifier: MIT
#include "life/sup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/path.h"
#include "base/sig.h"
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define INIT_GONE_MS 10000
#define LINGER_MS    2000

const char *const sup_phase_names[] = { "inactive", "activating", "active", "deactivating", NULL };

static bool parse_process(const char **text, struct proc_id *ret)
{
	uint64_t pid = 0;

	if (!num_next(text, &pid) || pid > INT32_MAX || !num_next(text, &ret->start))
		return false;
	ret->pid = (pid_t)pid;
	return true;
}

static int parse(const char *text, struct sup_record *r)
{
	char phase[16] = "";

	if (!parse_process(&text, &r->sup) || !parse_process(&text, &r->init) ||
	    sscanf(text, "%36s %15s", r->boot_id, phase) != 2)
		return -1;
	for (int i = 0; sup_phase_names[i]; i++) {
		if (str_eq(sup_phase_names[i], phase)) {
			r->phase = (enum sup_phase)i;
			return 0;
		}
	}
	return -1;
}

int sup_write(int lock, const struct sup_record *r, struct err *e)
{
	char text[192];
	int n = snprintf(text, sizeof(text), "%d %" PRIu64 " %d %" PRIu64 " %s %-12s\n", r->sup.pid,
			 r->sup.start, r->init.pid, r->init.start, r->boot_id,
			 sup_phase_names[r->phase]);

	if (pwrite(lock, text, (size_t)n, 0) != n || ftruncate(lock, n) < 0)
		return err_sys(e, "write " SUP_LOCK);
	return 0;
}

// What is written there, of this boot; all zero when there is nothing or it is of another boot.
static int read_record(int dir, struct sup_record *r, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err why = { 0 };
	char boot[37];

	memset(r, 0, sizeof(*r));
	if (fd_read_file(dir, SUP_LOCK, 4 * KIB, &text, &why) < 0) {
		if (why.no == ENOENT)
			return 0;
		*e = why;
		return -e->no;
	}
	if (clock_boot_id(boot, e) < 0)
		return -e->no;
	if (parse(buf_text(&text), r) < 0 || !str_eq(r->boot_id, boot))
		memset(r, 0, sizeof(*r));
	return 0;
}

static int wait_init_gone(int dir, struct err *e)
{
	struct sup_record before;
	struct err why = { 0 };
	cleanup_fd int init = -1;

	if (read_record(dir, &before, e) < 0)
		return -e->no;
	if (before.init.pid == 0)
		return 0;
	init = proc_id_open(&before.init, &why);
	if (init < 0)
		return 0;
	return proc_wait_gone(init, INIT_GONE_MS, e);
}

int sup_lock(const char *instance, int wait_ms, int *ret_dir, struct err *e)
{
	cleanup_fd int dir = -1;
	path_text path;
	int lock;

	path_run_instance(instance, path);
	if (fd_mkdirs(path, 0700, e) < 0)
		return -e->no;
	dir = fd_open_dir(AT_FDCWD, path, e);
	if (dir < 0)
		return -e->no;
	lock = fd_lock(dir, SUP_LOCK, true, wait_ms, e);
	if (lock < 0)
		return -e->no;
	if (wait_init_gone(dir, e) < 0) {
		(void)close(lock);
		return err_wrap(e, "the last run's processes");
	}
	*ret_dir = steal_fd(&dir);
	return lock;
}

int sup_read(const char *instance, struct sup_record *ret, struct err *e)
{
	cleanup_fd int dir = -1, lock = -1;
	struct err why = { 0 };
	path_text path;

	memset(ret, 0, sizeof(*ret));
	path_run_instance(instance, path);
	dir = fd_open_dir(AT_FDCWD, path, &why);
	if (dir < 0 && why.no == ENOENT)
		return 0;
	if (dir < 0) {
		*e = why;
		return -e->no;
	}
	if (read_record(dir, ret, e) < 0)
		return -e->no;
	lock = openat(dir, SUP_LOCK, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
		if (ret->phase == SUP_INACTIVE)
			ret->phase = SUP_ACTIVATING; // locked, not written yet
		return 0;
	}
	ret->phase = ret->init.pid && proc_id_alive(&ret->init) ? SUP_DEACTIVATING : SUP_INACTIVE;
	return 0;
}

void sup_set_result(const struct sup_end *end, const char *result)
{
	const char *code = end->code == CLD_EXITED   ? "exited"
			   : end->code == CLD_DUMPED ? "dumped"
						     : "killed";
	const char *name = end->code == CLD_EXITED ? NULL : sigabbrev_np(end->status);
	char number[16];

	(void)snprintf(number, sizeof(number), "%d", end->status);
	if (!result)
		result = end->code == CLD_DUMPED   ? "core-dump"
			 : end->code != CLD_EXITED ? "signal"
			 : end->status		   ? "exit-code"
						   : "success";
	(void)setenv("SERVICE_RESULT", result, 1);
	(void)setenv("EXIT_CODE", code, 1);
	(void)setenv("EXIT_STATUS", name ? name : number, 1);
}

static _Noreturn void launch(int sock, const char *const *argv)
{
	union {
		char **out;
		const char *const *in;
	} words = { .in = argv };
	char byte = 'L';

	const int on = 1;

	// The kernel puts this pid, as the receiver's namespace sees it, beside the byte.
	if (setsockopt(sock, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    send(sock, &byte, 1, 0) != 1)
		_exit(1);
	(void)close(sock);
	(void)sigprocmask(SIG_SETMASK, sig_saved_mask(), NULL);
	execv(argv[0], words.out);
	_exit(127);
}

_Noreturn void sup_init(int sock, const char *const *argv)
{
	siginfo_t si = { 0 };
	struct sup_end end;
	int64_t until;
	char go;
	pid_t pid;

	// mvm-sup puts this process into its control group first, so that all below it is born
	// there.
	if (read(sock, &go, 1) != 1)
		_exit(1);
	pid = fork();
	if (pid < 0)
		_exit(1);
	if (pid == 0)
		launch(sock, argv);
	while (waitid(P_ALL, 0, &si, WEXITED) == 0 && si.si_pid != pid)
		;
	end = (struct sup_end){ si.si_code, si.si_status };
	until = clock_ms() + LINGER_MS;
	// The helper may be about to write down why it ended the VMM.
	while (clock_ms() < until && waitid(P_ALL, 0, &si, WEXITED | WNOHANG) == 0)
		clock_sleep_ms(5);
	(void)!write(sock, &end, sizeof(end));
	_exit(0);
}

int sup_launched(int sock, pid_t *ret, struct err *e)
{
	union {
		char room[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control;
	const int on = 1;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.room,
			    .msg_controllen = sizeof(control.room) };
	struct ucred who = { 0 };
	struct cmsghdr *c;

	if (setsockopt(sock, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return err_sys(e, "ask for credentials");
	if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC) != 1)
		return err_kind(e, ERR_FAILED, "the launcher did not start");
	for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
			memcpy(&who, CMSG_DATA(c), sizeof(who));
	if (who.pid <= 0)
		return err_kind(e, ERR_FAILED, "the launcher did not say its pid");
	*ret = who.pid;
	return 0;
}
