// SPDX-License-Identifier: MIT
// Starting and ending a tenant's server where there is no systemd. The lock alone tells whether one
// runs; its record tells who.
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "meta/document.h"
#include "meta/metad_record.h"
#include "state/tenant.h"

#define POLL_MS 20
#define TERM_MS 5000

// What a process of its own keeps of its parent's: nothing but the pipe.
static int part(int parent, const char *tenant, int *told, struct err *e)
{
	const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC;
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = -1;
	char name[80];

	metad_log_name(tenant, name);
	log = openat(parent, name, flags, 0640);
	if (null < 0 || log < 0)
		return err_sys(e, "open %s", name);
	if (setsid() < 0 || chdir("/") < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
	    dup2(log, 2) < 0 || dup2(*told, 3) < 0 || syscall(SYS_close_range, 4, ~0U, 0) < 0)
		return err_sys(e, "leave the caller");
	null = log = -1;
	*told = 3;
	(void)unsetenv("NOTIFY_SOCKET"); // whoever listens there waits for somebody else
	return fcntl(3, F_SETFD, FD_CLOEXEC) < 0 ? err_sys(e, "leave the caller") : 0;
}

static _Noreturn void child(const struct metad *m, int parent, int told)
{
	struct err e = { 0 };

	if (part(parent, m->tenant, &told, &e) == 0 && metad_run(m, told, &e) == 0)
		_exit(0);
	log_error(m->tenant, "%s", e.msg);
	(void)!write(told, &e, sizeof(e)); // closed when it had been told that we serve
	_exit(err_exit(&e));
}

// 0: it serves; else what it ended of.
static int start(const struct metad *m, int parent, struct err *e)
{
	struct err why = { 0 };
	int ends[2];
	pid_t pid;
	ssize_t n;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	pid = fork();
	if (pid == 0)
		child(m, parent, ends[1]);
	(void)close(ends[1]);
	do // one write, smaller than a pipe takes at once
		n = read(ends[0], &why, sizeof(why));
	while (n < 0 && errno == EINTR);
	(void)close(ends[0]);
	if (pid < 0)
		return err_set(e, EAGAIN, "fork");
	if (n == 1)
		return 0;
	(void)waitpid(pid, NULL, 0);
	if (n != (ssize_t)sizeof(why))
		return err_kind(e, ERR_FAILED, "the metadata server ended without a word");
	*e = why;
	return -e->no;
}

// One runs that hears this tenant's guests.
static bool serves(const struct metad_record *r, const struct tenant *t)
{
	return r->ready && r->ifindex == if_nametoindex(t->net.bridge_name) &&
	       proc_id_alive(&r->id);
}

int metad_detach(const struct metad *m, int wait_ms, struct err *e)
{
	int64_t deadline = clock_ms() + wait_ms;
	cleanup_fd int parent = -1, dir = -1;
	struct tenant t = { 0 };

	if (tenant_load(m->tenant, &t, e) < 0)
		return -e->no;
	dir = meta_dir_open(m->tenant, true, &parent, e);
	if (dir < 0)
		return -e->no;
	for (;;) {
		struct metad_record r;
		struct err why = { 0 };

		if (start(m, parent, e) == 0)
			return 0;
		if (e->kind != ERR_UNAVAILABLE ||
		    metad_record_read(parent, m->tenant, &r, &why) < 0)
			return -e->no;
		if (serves(&r, &t)) {
			err_clear(e);
			return 0;
		}
		if (clock_left(deadline) == 0)
			return -e->no;
		// on a bridge that is no more; one that is about to serve gets its time
		if (r.ready && metad_stop(m->tenant, (int)clock_left(deadline), e) < 0)
			return -e->no;
		err_clear(e);
		clock_sleep_ms(POLL_MS);
	}
}

static int end(const struct proc_id *id, struct err *e)
{
	struct err gone = { 0 };
	cleanup_fd int pid = proc_id_open(id, &gone);

	if (pid < 0)
		return 0;
	if (proc_kill(pid, SIGTERM, e) < 0)
		return -e->no;
	if (proc_wait_gone(pid, TERM_MS, e) == 0)
		return 0;
	err_clear(e);
	return proc_kill(pid, SIGKILL, e) < 0 ? -e->no : proc_wait_gone(pid, TERM_MS, e);
}

int metad_stop(const char *tenant, int wait_ms, struct err *e)
{
	int64_t deadline = clock_ms() + wait_ms;
	cleanup_fd int parent = -1;
	path_text path;
	char name[80];

	path_join(path, path_run(), "metadata");
	metad_lock_name(tenant, name);
	parent = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (parent < 0 || faccessat(parent, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open %s/%s", path, name);
	for (;;) {
		cleanup_fd int lock = fd_lock(parent, name, true, 0, e);
		struct metad_record r;

		if (lock >= 0)
			return 0;
		if (e->kind != ERR_UNAVAILABLE || clock_left(deadline) == 0)
			return -e->no;
		err_clear(e);
		if (metad_record_read(parent, tenant, &r, e) < 0 || (r.id.pid && end(&r.id, e) < 0))
			return -e->no;
		clock_sleep_ms(POLL_MS);
	}
}
