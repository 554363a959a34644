// SPDX-License-Identifier: MIT
// The half of cgroup.h that works on a group in use: kill, liveness, usage, the walk over all.
#include "sys/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"

#define TEXT_MAX    (64 * KIB)
#define PROCS_MAX   (1 * MIB)
#define KILL_ROUNDS 100

static bool is_gone(int no)
{
	return no == ENODEV || no == ENOENT;
}

// What forks while we read is met in the next round.
static int kill_by_pid(int group, struct err *e)
{
	for (int round = 0; round < KILL_ROUNDS; round++) {
		cleanup_buf struct buf text = BUF_INIT;

		if (fd_read_file(group, "cgroup.procs", PROCS_MAX, &text, e) < 0)
			return is_gone(e->no) ? 0 : -e->no;
		if (text.len == 0)
			return 0;
		for (char *s = text.data, *end; (end = strchr(s, '\n')); s = end + 1) {
			uint64_t pid;

			*end = '\0';
			// 0 is a process of a namespace we do not see; kill(0) would be ourselves
			if (num_u64(s, 1, INT32_MAX, &pid, e) < 0)
				return err_wrap(e, "cgroup.procs");
			if (kill((pid_t)pid, SIGKILL) < 0 && errno != ESRCH)
				return err_sys(e, "kill %s", s);
		}
		clock_sleep_ms(2);
	}
	return err_kind(e, ERR_UNAVAILABLE, "the group forks faster than it can be killed");
}

int cgroup_kill(int group, struct err *e)
{
	cleanup_fd int fd = openat(group, "cgroup.kill", O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return kill_by_pid(group, e);
	if (fd < 0 && errno == ENODEV)
		return 0;
	if (fd < 0)
		return err_sys(e, "open cgroup.kill");
	if (write(fd, "1", 1) < 0 && !is_gone(errno))
		return err_sys(e, "write cgroup.kill");
	return 0;
}

// The number behind "key " at the start of a line.
static bool line_value(const char *text, const char *key, uint64_t *out)
{
	size_t len = strlen(key);

	for (const char *at = text; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
		struct err why = { 0 };
		char digits[24] = "";
		size_t n;

		if (strncmp(at, key, len) != 0 || at[len] != ' ')
			continue;
		n = strcspn(at + len + 1, "\n");
		if (n >= sizeof(digits))
			return false;
		memcpy(digits, at + len + 1, n);
		return num_u64(digits, 0, UINT64_MAX, out, &why) == 0;
	}
	return false;
}

int cgroup_populated(int group, bool *ret, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	uint64_t value = 0;

	if (fd_read_file(group, "cgroup.events", TEXT_MAX, &text, e) < 0) {
		if (!is_gone(e->no))
			return -e->no;
		*ret = false;
		return 0;
	}
	if (!line_value(buf_text(&text), "populated", &value))
		return err_set(e, EPROTO, "cgroup.events: no 'populated'");
	*ret = value != 0;
	return 0;
}

// The kernel wakes a poller of cgroup.events at each change; the short wait covers a change between
// the look and the poll.
int cgroup_wait_empty(int group, int timeout_ms, struct err *e)
{
	cleanup_fd int fd = openat(group, "cgroup.events", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int64_t deadline = clock_ms() + timeout_ms;
	bool populated = true;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLPRI };

		if (cgroup_populated(group, &populated, e) < 0)
			return -e->no;
		if (!populated)
			return 0;
		if (clock_left(deadline) == 0)
			return err_kind(e, ERR_TIMEOUT, "the group still has processes after %d ms",
					timeout_ms);
		(void)poll(&p, 1, (int)MIN(clock_left(deadline), 20));
	}
}

static bool read_number(int group, const char *name, uint64_t *out)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err why = { 0 };

	if (fd_read_file(group, name, TEXT_MAX, &text, &why) < 0 || text.len == 0)
		return false;
	if (text.data[text.len - 1] == '\n')
		text.data[text.len - 1] = '\0';
	return num_u64(text.data, 0, UINT64_MAX, out, &why) == 0;
}

int cgroup_usage(int group, struct cgroup_usage *ret, struct err *e)
{
	cleanup_buf struct buf cpu = BUF_INIT, events = BUF_INIT;
	struct cgroup_usage u = { 0 };
	struct err why = { 0 };

	if (fd_read_file(group, "cpu.stat", TEXT_MAX, &cpu, &why) < 0 && why.no != ENOENT) {
		*e = why;
		return -e->no;
	}
	u.has_cpu = line_value(buf_text(&cpu), "usage_usec", &u.cpu_us);
	(void)line_value(buf_text(&cpu), "user_usec", &u.cpu_user_us);
	(void)line_value(buf_text(&cpu), "system_usec", &u.cpu_system_us);
	u.has_throttled = line_value(buf_text(&cpu), "throttled_usec", &u.cpu_throttled_us);
	u.has_memory = read_number(group, "memory.current", &u.memory_bytes);
	u.has_peak = read_number(group, "memory.peak", &u.memory_peak_bytes);
	u.has_limit = read_number(group, "memory.max", &u.memory_limit_bytes);
	if (fd_read_file(group, "memory.events", TEXT_MAX, &events, &why) == 0)
		u.has_oom_kills = line_value(buf_text(&events), "oom_kill", &u.oom_kills);
	u.has_pids = read_number(group, "pids.current", &u.pids);
	*ret = u;
	return 0;
}

bool cgroup_was_oom(int group)
{
	struct cgroup_usage u = { 0 };
	struct err ignored = { 0 };

	return cgroup_usage(group, &u, &ignored) == 0 && u.has_oom_kills && u.oom_kills > 0;
}

struct walk {
	cgroup_fn fn;
	void *arg;
	char node_id[64];
	struct address at;
};

static bool take_level(struct walk *w, int level, const char *name)
{
	struct err why = { 0 };

	switch (level) {
	case 0:
		w->at = (struct address){ 0 };
		return COPY(w->node_id, name) == 0;
	case 1:
		w->at = (struct address){ 0 };
		return name_check(name, &why) == 0 && COPY(w->at.tenant, name) == 0;
	case 2:
		w->at.pool[0] = w->at.instance[0] = '\0';
		return name_check(name, &why) == 0 && COPY(w->at.pool, name) == 0;
	default:
		return name_check_instance(name, &why) == 0 && COPY(w->at.instance, name) == 0;
	}
}

static int walk_level(struct walk *w, int parent, const char *name, int level, struct err *e)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir)
		return is_gone(errno) ? 0 : err_sys(e, "open cgroup %s", name);
	while ((d = readdir(dir))) {
		// the directories are the ones without a dot
		if (d->d_type != DT_DIR || strchr(d->d_name, '.') ||
		    !take_level(w, level, d->d_name))
			continue;
		if (level > 0 && w->fn(w->arg, w->node_id, &w->at, e) < 0)
			return -e->no;
		if (level < 3 && walk_level(w, dirfd(dir), d->d_name, level + 1, e) < 0)
			return -e->no;
	}
	return 0;
}

int cgroup_each(const struct cgroup_host *h, cgroup_fn fn, void *arg, struct err *e)
{
	struct walk w = { .fn = fn, .arg = arg };
	cleanup_fd int root = -1;

	if (!h->root[0])
		return 0;
	root = fd_open_dir(AT_FDCWD, h->root, e);
	if (root < 0)
		return -e->no;
	return walk_level(&w, root, "mvm", 0, e);
}
