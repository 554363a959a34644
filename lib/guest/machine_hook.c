// SPDX-License-Identifier: MIT
// Around a capture, in a process of its own: the guest's own programs, the standstill, the repair.
#include "guest/machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"
#include "guest/hook.h"

#define HOOKS_MAX  64
#define SYSTEMD	   "/run/systemd/system"
#define WAKE_HOOKS "/etc/mvm/wake.d"

static int64_t left(int64_t deadline)
{
	return MAX(clock_left(deadline), 1);
}

static int run(const char *const *argv, const char *what, int fine, int64_t deadline, struct err *e)
{
	cleanup_proc_result struct proc_result r = { 0 };

	if (proc_capture(argv, NULL, 64 * KIB, (int)left(deadline), &r, e) < 0)
		return err_wrap(e, "%s", what);
	if (r.status != 0 && r.status != fine)
		return err_kind(e, ERR_FAILED, "%s ended with %d%s%s", what, r.status,
				r.last_line[0] ? ": " : "", r.last_line);
	return 0;
}

static int is_hook(const struct dirent *d)
{
	return d->d_name[0] != '.' && d->d_name[strlen(d->d_name) - 1] != '~';
}

static int run_hook(const char *dir, const char *name, struct guest_steps *steps, int64_t deadline,
		    struct err *e)
{
	cleanup_free char *path = base_printf("%s/%s", dir, name);
	const char *const argv[] = { path, NULL };
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || access(path, X_OK) < 0)
		return 0;
	guest_step(steps, "hook %s", name);
	return run(argv, name, 0, deadline, e);
}

// By name, as run-parts(8) does.
static int run_hooks(const char *dir, struct guest_steps *steps, int64_t deadline, struct err *e)
{
	struct dirent **names = NULL;
	int n = scandir(dir, &names, is_hook, alphasort), r = 0;

	if (n < 0 && errno != ENOENT)
		return err_sys(e, "read %s", dir);
	if (n > HOOKS_MAX)
		r = err_kind(e, ERR_FAILED, "%s: more than %d hooks", dir, HOOKS_MAX);
	for (int i = 0; i < n; i++) {
		if (r == 0)
			r = run_hook(dir, names[i]->d_name, steps, deadline, e);
		free(names[i]);
	}
	free(names);
	return r;
}

// 5: systemctl knows no such unit.
static int start_target(const char *target, struct guest_steps *steps, int64_t deadline,
			struct err *e)
{
	const char *const argv[] = { "systemctl", "start", target, NULL };

	if (access(SYSTEMD, F_OK) < 0)
		return 0;
	guest_step(steps, "start %s", target);
	return run(argv, target, 5, deadline, e);
}

// /data, when it is a mount of its own.
static int open_data(void)
{
	cleanup_fd int fd = open("/data", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat data, root;

	if (fd < 0 || fstat(fd, &data) < 0 || stat("/", &root) < 0 || data.st_dev == root.st_dev)
		return -1;
	return steal_fd(&fd);
}

static int freeze_data(struct guest_steps *steps, struct err *e)
{
	cleanup_fd int fd = open_data();

	if (fd < 0)
		return 0;
	guest_step(steps, "freeze /data");
	if (ioctl(fd, FIFREEZE, 0) < 0 && errno != EBUSY && errno != EOPNOTSUPP)
		return err_sys(e, "freeze /data"); // BUSY: it is; NOTSUPP: it has nothing on a disk
	return 0;
}

static int thaw_data(struct guest_steps *steps, struct err *e)
{
	cleanup_fd int fd = open_data();

	if (fd < 0)
		return 0;
	guest_step(steps, "thaw /data");
	if (ioctl(fd, FITHAW, 0) < 0 && errno != EINVAL && errno != EOPNOTSUPP)
		return err_sys(e, "thaw /data");
	return 0;
}

static int resume(struct guest_steps *steps, struct err *e)
{
	struct err later = { 0 };
	int r = thaw_data(steps, e);

	// One that failed must not keep the other from being done.
	guest_step(steps, "continue processes");
	if (machine_unfreeze(&later) < 0 && r == 0) {
		*e = later;
		r = -e->no;
	}
	return r;
}

// Processes before the file system: one that waits for a frozen file system cannot be frozen.
static int prepare(const struct guest_hook *h, struct guest_steps *steps, int64_t deadline,
		   struct err *e)
{
	if (!(h->flags & GUEST_HOOK_QUIET) &&
	    (run_hooks("/etc/mvm/sleep-prep.d", steps, deadline, e) < 0 ||
	     start_target("mvm-sleep-prep.target", steps, deadline, e) < 0))
		return -e->no;
	guest_step(steps, "sync");
	sync();
	guest_step(steps, "freeze processes");
	if (machine_freeze(deadline, e) < 0)
		return -e->no;
	guest_step(steps, "sync again");
	sync();
	if (!(h->flags & GUEST_HOOK_TEMPLATE))
		return freeze_data(steps, e);
	guest_step(steps, "leave /data");
	return machine_data_leave(e);
}

static int go_to_sleep(const struct guest_hook *h, struct guest_steps *steps, int64_t deadline,
		       struct err *e)
{
	struct guest_steps quiet = { .fd = -1 };
	struct err ignored = { 0 };

	if (prepare(h, steps, deadline, e) == 0)
		return 0;
	(void)!resume(&quiet, &ignored);
	guest_hook_done_clear(&quiet.done);
	return -e->no;
}

static struct guest_net owed; // an announcement

// Others learn it from the first packet at the latest.
static void announce(const struct guest_hook *h, struct guest_steps *steps)
{
	struct err e = { 0 };

	if (!h->net.address)
		return;
	if (h->flags & GUEST_HOOK_OWE) {
		guest_step(steps, "announce: after the answer");
		owed = h->net;
	} else if (machine_announce(&h->net, &e) < 0) {
		guest_step(steps, "announce: %s", e.msg);
	} else {
		guest_step(steps, "announce");
	}
}

int machine_owed(struct err *e)
{
	struct err unheard = { 0 };

	if (owed.address && machine_announce(&owed, &unheard) < 0)
		log_warn("", "announce: %s", unheard.msg);
	owed.address = 0;
	return machine_repair_owed(e);
}

static int wake(const struct guest_hook *h, struct guest_steps *steps, int64_t deadline,
		struct err *e)
{
	announce(h, steps);
	if (resume(steps, e) < 0)
		return -e->no;
	if (h->flags & GUEST_HOOK_QUIET)
		return 0;
	if (start_target("mvm-wake.target", steps, deadline, e) < 0)
		return -e->no;
	return run_hooks(WAKE_HOOKS, steps, deadline, e);
}

// Ours alone; a wake of a guest with programs of its own takes a process that can be killed.
bool machine_at_once(uint8_t type, const struct guest_hook *h)
{
	if (type == GUEST_REPAIR)
		return !(h->flags & GUEST_HOOK_TEMPLATE);
	return type == GUEST_THAW && (h->flags & GUEST_HOOK_QUIET ||
				      (access(SYSTEMD, F_OK) < 0 && access(WAKE_HOOKS, F_OK) < 0));
}

int machine_around(uint8_t type, const struct guest_hook *h, struct guest_steps *steps,
		   struct err *e)
{
	// A little less than the agent's own limit, so that it is said here what was not done.
	int64_t deadline = clock_ms() + (int64_t)h->deadline_ms * 9 / 10;

	if (type == GUEST_SLEEP)
		return go_to_sleep(h, steps, deadline, e);
	return type == GUEST_REPAIR ? machine_repair(h, steps, e) : wake(h, steps, deadline, e);
}
