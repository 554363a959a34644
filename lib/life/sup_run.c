// SPDX-License-Identifier: MIT
#include "life/sup_run.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "base/sig.h"
#include "life/console.h"
#include "life/sup.h"
#include "state/node.h"
#include "sys/cgroup.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define START_MS   180000 // as the unit's TimeoutStartSec
#define GROUP_MS   5000
#define DRAINED_MS 5000 // from the end of drain, which kills at its own limit, to the VMM's

enum event { EVENT_READY, EVENT_ENDED, EVENT_TERM, EVENT_TIMEOUT };

struct sup {
	struct address a;
	address_text address;
	int dir, lock, notify, signals, output;
	int told; // pipe to whoever ran `start`
	struct console console;
	struct sup_record record;
	pid_t init;
	int init_fd, init_sock;
	struct cgroup_host host;
	node_id_text node;
	int group; // its directory, -1 where no group can be made
	bool term;
};

static int set_phase(struct sup *s, enum sup_phase phase, struct err *e)
{
	s->record.phase = phase;
	return sup_write(s->lock, &s->record, e);
}

// Everything the steps, the VMM and the guest print comes through one pipe into the console's file.
static void pump(struct sup *s)
{
	char data[16384];
	struct err e = { 0 };
	ssize_t n;

	while ((n = read(s->output, data, sizeof(data))) > 0)
		if (console_add(&s->console, data, (size_t)n, &e) < 0)
			return; // a full disk must not stop the guest
}

// READY=1 makes true; a barrier's descriptor is closed, which is its answer.
static bool read_notify(struct sup *s)
{
	char text[4096];
	struct err e = { 0 };
	size_t n = 0, len = 0;
	int fds[4];

	if (fd_recv(s->notify, fds, COUNT(fds), &n, text, sizeof(text) - 1, &len, &e) < 0)
		return false;
	while (n > 0)
		(void)close(fds[--n]);
	text[len] = '\0';
	return str_starts(text, "READY=1") || strstr(text, "\nREADY=1");
}

static enum event wait_event(struct sup *s, int64_t deadline)
{
	struct pollfd p[] = { { s->output, POLLIN, 0 },
			      { s->signals, POLLIN, 0 },
			      { s->notify, POLLIN, 0 },
			      { s->init_sock, POLLIN, 0 } };

	for (;;) {
		if (s->term)
			return EVENT_TERM;
		if (deadline && clock_ms() >= deadline)
			return EVENT_TIMEOUT;
		(void)poll(p, COUNT(p), deadline ? (int)MIN(clock_left(deadline), 60000) : -1);
		pump(s);
		s->term = s->term || sig_read(s->signals) == SIGTERM;
		if (p[2].revents & POLLIN && read_notify(s))
			return EVENT_READY;
		if (p[3].revents)
			return EVENT_ENDED;
	}
}

// A step of mvm-instance, with its lines going to the console; a SIGTERM meanwhile is kept. Who
// said READY waits until that was read, barrier and all, and not for what commit does then.
static int step(struct sup *s, const char *verb, struct err *e)
{
	path_text tool;
	const char *argv[] = { tool, verb, s->address, NULL };
	struct proc_spec spec = PROC_SPEC(argv);
	cleanup_proc struct proc p = PROC_NONE;
	int status = 0;

	path_tool("mvm-instance", tool);
	spec.death_signal = SIGKILL;
	if (proc_spawn(&spec, &p, e) < 0)
		return -e->no;
	for (;;) {
		struct pollfd fds[] = { { s->output, POLLIN, 0 },
					{ p.pidfd, POLLIN, 0 },
					{ s->notify, POLLIN, 0 } };

		(void)poll(fds, COUNT(fds), -1);
		pump(s);
		if (fds[2].revents & POLLIN)
			(void)read_notify(s);
		if (fds[1].revents)
			break;
	}
	s->term = s->term || sig_read(s->signals) == SIGTERM;
	if (proc_wait(&p, -1, &status, e) < 0)
		return -e->no;
	return status ? err_kind(e, ERR_FAILED, "%s ended with %d", verb, status) : 0;
}

static int launch(struct sup *s, struct err *e)
{
	path_text tool;
	const char *argv[] = { tool, s->address, NULL };
	int group = s->group;
	char number[16];
	pid_t vmm = 0;

	path_tool("mvm-fc-launch", tool);
	s->init = proc_fork_init(&group, &s->init_fd, &s->init_sock, e);
	if (s->init < 0)
		return -e->no;
	if (s->init == 0)
		sup_init(s->init_sock, argv);
	if (proc_id_get(s->init, &s->record.init, e) < 0 || set_phase(s, SUP_ACTIVATING, e) < 0)
		return -e->no;
	if (group >= 0 && cgroup_enter(group, s->init, e) < 0)
		return -e->no;
	if (fd_write_all(s->init_sock, "G", 1, e) < 0 || sup_launched(s->init_sock, &vmm, e) < 0)
		return -e->no;
	(void)snprintf(number, sizeof(number), "%d", vmm);
	return setenv("MAINPID", number, 1) < 0 ? err_sys(e, "setenv") : 0;
}

// Ends what still runs below the init and takes the VMM's end from it.
static void reap(struct sup *s, const char *result)
{
	struct sup_end end = { CLD_KILLED, SIGKILL };
	struct err e = { 0 };

	if (s->init <= 0)
		return;
	if (recv(s->init_sock, &end, sizeof(end), MSG_DONTWAIT) != sizeof(end)) {
		end = (struct sup_end){ CLD_KILLED, SIGKILL };
		(void)kill(s->init, SIGKILL);
	}
	(void)waitpid(s->init, NULL, 0);
	(void)unsetenv("MAINPID");
	// As systemd tells it: which process of the group the kernel took does not matter, nor how
	// the others ended because of that.
	if (!result && s->group >= 0 && cgroup_was_oom(s->group))
		result = "oom-kill";
	sup_set_result(&end, result);
	pump(s);
	s->init = 0;
	s->record.init = (struct proc_id){ 0 };
	if (set_phase(s, SUP_DEACTIVATING, &e) < 0)
		log_error(s->address, "%s", e.msg);
}

static void tell(struct sup *s, char what)
{
	if (s->told >= 0)
		(void)!write(s->told, &what, 1);
	base_closep(&s->told);
	s->told = -1;
}

// From prepare to the VMM's end; what is left to do is finish.
static int live(struct sup *s, struct err *e)
{
	const char *result = NULL;
	enum event ev;
	int r;

	if (step(s, "prepare", e) < 0 || (!s->term && launch(s, e) < 0))
		return -e->no;
	ev = wait_event(s, clock_ms() + START_MS);
	r = ev == EVENT_READY ? step(s, "commit", e) : 0;
	if (r == 0 && ev == EVENT_READY && set_phase(s, SUP_ACTIVE, e) == 0) {
		tell(s, 'R');
		while ((ev = wait_event(s, 0)) == EVENT_READY)
			;
		if (ev == EVENT_TERM && set_phase(s, SUP_DEACTIVATING, e) == 0 &&
		    step(s, "drain", e) == 0) {
			s->term = false;
			ev = wait_event(s, clock_ms() + DRAINED_MS);
		}
	}
	if (ev == EVENT_TIMEOUT)
		result = "timeout";
	reap(s, result);
	return r;
}

static int bind_notify(struct sup *s, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	path_text dir, path;

	path_run_instance(s->a.instance, dir);
	path_join(path, dir, "notify");
	if (base_copy(sa.sun_path, sizeof(sa.sun_path), path) < 0)
		return err_usage(e, "the run directory's path is too long for a socket: %s", path);
	if (unlinkat(s->dir, "notify", 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove %s", path);
	s->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->notify < 0 || bind(s->notify, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_sys(e, "bind %s", path);
	return setenv("NOTIFY_SOCKET", path, 1) < 0 ? err_sys(e, "setenv") : 0;
}

// From here on what this process and its children print is in the console's file.
static int redirect(struct sup *s, struct err *e)
{
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int ends[2];

	if (null < 0 || pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "make the console's pipe");
	s->output = ends[0];
	if (fd_set_nonblock(s->output, true, e) < 0)
		return -e->no;
	if (dup2(null, 0) < 0 || dup2(ends[1], 1) < 0 || dup2(ends[1], 2) < 0)
		return err_sys(e, "redirect the output");
	(void)close(ends[1]);
	return console_open(&s->console, s->dir, e);
}

// Kill, liveness and figures work in any v2 group, limits only where it has controllers; a machine
// without either runs the guest all the same and says so.
static void make_group(struct sup *s)
{
	struct err e = { 0 };

	if (cgroup_find(&s->host, &e) < 0 || node_id_ensure(NULL, 10000, s->node, &e) < 0 ||
	    (s->group = cgroup_make(&s->host, s->node, &s->a, &e)) < 0)
		log_warn(s->address, "no control group: %s", e.msg);
	else if (!cgroup_has_limits(&s->host))
		log_warn(s->address,
			 "limits: none (control groups have no memory, cpu and pids here)");
}

static void drop_group(struct sup *s)
{
	struct err e = { 0 };

	if (s->group < 0)
		return;
	base_closep(&s->group);
	if (cgroup_remove(&s->host, s->node, &s->a, GROUP_MS, &e) < 0)
		log_error(s->address, "%s", e.msg);
}

static int open_all(struct sup *s, struct err *e)
{
	s->lock = sup_lock(s->a.instance, 0, &s->dir, e);
	if (s->lock < 0)
		return -e->no;
	if (proc_id_get(getpid(), &s->record.sup, e) < 0 ||
	    clock_boot_id(s->record.boot_id, e) < 0 || set_phase(s, SUP_ACTIVATING, e) < 0)
		return -e->no;
	s->signals = sig_open(e, SIGTERM, SIGINT, 0);
	if (s->signals < 0 || bind_notify(s, e) < 0)
		return -e->no;
	return redirect(s, e);
}

int sup_run(const struct address *a, int told, struct err *e)
{
	struct sup s = { .a = *a,
			 .dir = -1,
			 .lock = -1,
			 .notify = -1,
			 .signals = -1,
			 .output = -1,
			 .told = told,
			 .console = CONSOLE_NONE,
			 .init_fd = -1,
			 .init_sock = -1,
			 .group = -1 };
	struct err why = { 0 };

	address_print(a, s.address);
	if (open_all(&s, e) < 0) {
		tell(&s, e->kind == ERR_UNAVAILABLE ? 'B' : 'F');
		return -e->no;
	}
	make_group(&s);
	if (live(&s, e) < 0)
		log_error(s.address, "%s", e->msg);
	if (set_phase(&s, SUP_DEACTIVATING, &why) < 0 || step(&s, "finish", &why) < 0)
		log_error(s.address, "%s", why.msg);
	drop_group(&s);
	pump(&s);
	(void)unlinkat(s.dir, "notify", 0);
	tell(&s, 'F');
	return e->no ? -e->no : 0;
}
