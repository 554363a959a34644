// SPDX-License-Identifier: MIT
// Everything but the agent stands still. With cgroup v2: beside the agent's own cgroup and those
// above it all groups are frozen, and what lives in these themselves is moved into a group that is
// (in our images that is everything). There it stays: each move back would wait for the kernel, a
// wake for 40 ms. Without: SIGSTOP, parents before children, so that no shell sees its command
// stop.
//
// What was stopped stands in FROZEN, a line each, written before it is done: "cgroup PATH" and "pid
// N START". Continuing goes backwards through it.
#include "guest/machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/proc.h"
#include "guest/worker.h"

#define CGROUPS	      "/sys/fs/cgroup"
#define CGROUP2_MAGIC 0x63677270
#define HOLDING	      "mvm-frozen" // the group that others are moved into
#define FROZEN	      WORKER_DIR "/frozen"
#define PASSES	      100 // as long as new processes turn up
#define LIST_MAX      (4 * MIB)

struct freeze {
	pid_t agent, self;
	int list;	// FROZEN
	struct buf all; // of what there is to wait for: paths, each with its NUL
	int64_t deadline;
};

static bool is_ours(const struct freeze *f, uint64_t pid)
{
	return pid == (uint64_t)f->agent || pid == (uint64_t)f->self;
}

// Kernel threads and zombies have no program.
static bool has_program(uint64_t pid)
{
	char path[48], to[8];

	(void)snprintf(path, sizeof(path), "/proc/%llu/exe", (unsigned long long)pid);
	return readlink(path, to, sizeof(to)) >= 0;
}

static int write_file(const char *dir, const char *name, const char *text)
{
	cleanup_free char *path = base_printf("%s/%s", dir, name);
	cleanup_fd int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -1;
	return write(fd, text, strlen(text)) < 0 ? -1 : 0;
}

static bool reads(const char *dir, const char *name, const char *text)
{
	cleanup_free char *path = base_printf("%s/%s", dir, name);
	cleanup_buf struct buf b = BUF_INIT;
	struct err ignored = { 0 };

	return fd_read_file(AT_FDCWD, path, 4096, &b, &ignored) == 0 && strstr(buf_text(&b), text);
}

static int note(struct freeze *f, const char *kind, const char *path, struct err *e)
{
	cleanup_free char *line = base_printf("%s %s\n", kind, path);

	return fd_write_all(f->list, line, strlen(line), e);
}

// A group that somebody else has frozen stays so.
static int freeze_group(struct freeze *f, const char *dir, struct err *e)
{
	if (reads(dir, "cgroup.freeze", "1"))
		return 0;
	if (note(f, "cgroup", dir, e) < 0)
		return -e->no;
	if (write_file(dir, "cgroup.freeze", "1") < 0)
		return errno == ENOENT ? 0 : err_sys(e, "freeze %s", dir);
	buf_add(&f->all, dir, strlen(dir) + 1);
	return 0;
}

// All groups in dir but the one on the way to the agent.
static int freeze_below(struct freeze *f, const char *dir, const char *but, struct err *e)
{
	DIR *d = opendir(dir);
	int r = 0;

	if (!d)
		return err_sys(e, "read %s", dir);
	for (struct dirent *it; r == 0 && (it = readdir(d)) != NULL;) {
		cleanup_free char *path = base_printf("%s/%s", dir, it->d_name);

		if (it->d_type == DT_DIR && it->d_name[0] != '.' && !str_eq(it->d_name, but) &&
		    !str_eq(it->d_name, HOLDING))
			r = freeze_group(f, path, e);
	}
	(void)closedir(d);
	return r;
}

// How many were moved; kernel threads cannot be, and who has gone need not be.
static int move_all(const struct freeze *f, const char *from, const char *to, struct err *e)
{
	cleanup_free char *path = base_printf("%s/cgroup.procs", from);
	cleanup_buf struct buf pids = BUF_INIT;
	const char *p;
	uint64_t pid;
	int moved = 0;

	if (fd_read_file(AT_FDCWD, path, LIST_MAX, &pids, e) < 0)
		return -e->no;
	p = buf_text(&pids);
	while (num_next(&p, &pid)) {
		char text[24];

		p += *p == '\n';
		if (is_ours(f, pid) || !has_program(pid))
			continue;
		(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)pid);
		if (write_file(to, "cgroup.procs", text) == 0)
			moved++;
		else if (errno != ESRCH && errno != EINVAL)
			return err_sys(e, "move %llu to %s", (unsigned long long)pid, to);
	}
	return moved;
}

static int move_members(struct freeze *f, const char *dir, struct err *e)
{
	cleanup_free char *holding = base_printf("%s/%s", dir, HOLDING);
	int moved = 1;

	if (mkdir(holding, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "make %s", holding);
	if (freeze_group(f, holding, e) < 0)
		return -e->no;
	for (int i = 0; i < PASSES && moved > 0; i++)
		moved = move_all(f, dir, holding, e);
	if (moved > 0)
		return err_kind(e, ERR_FAILED, "processes are made faster than they are stopped");
	return moved;
}

static int wait_frozen(const struct freeze *f, struct err *e)
{
	for (size_t at = 0; at < f->all.len; at += strlen(f->all.data + at) + 1) {
		const char *dir = f->all.data + at;

		while (access(dir, F_OK) == 0 && !reads(dir, "cgroup.events", "frozen 1")) {
			if (clock_left(f->deadline) == 0)
				return err_kind(e, ERR_TIMEOUT, "%s does not freeze", dir);
			clock_sleep_ms(2);
		}
	}
	return 0;
}

// The agent's group below the root of the hierarchy: "" or "/a/b".
static int agent_group(const struct freeze *f, char out[512], struct err *e)
{
	cleanup_buf struct buf b = BUF_INIT;
	const char *line;
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", f->agent);
	if (fd_read_file(AT_FDCWD, path, 64 * KIB, &b, e) < 0)
		return -e->no;
	line = strstr(buf_text(&b), "0::/");
	if (!line || (line != buf_text(&b) && line[-1] != '\n'))
		return err_kind(e, ERR_FAILED, "%s: no cgroup", path);
	line += 3;
	if (base_fmt(out, 512, "%.*s", (int)strcspn(line, "\n"), line) < 0)
		return err_set(e, ENAMETOOLONG, "%s", path);
	if (str_eq(out, "/"))
		out[0] = '\0';
	return 0;
}

// From the root down to the agent's own.
static int freeze_groups(struct freeze *f, struct err *e)
{
	char own[512] = "", dir[600] = CGROUPS, next[256] = "";
	const char *rest = own;

	if (agent_group(f, own, e) < 0)
		return -e->no;
	for (;;) {
		size_t len = strlen(dir);

		rest += *rest == '/';
		if (base_fmt(next, sizeof(next), "%.*s", (int)strcspn(rest, "/"), rest) < 0)
			return err_set(e, ENAMETOOLONG, "%s", own);
		if (freeze_below(f, dir, next, e) < 0 || move_members(f, dir, e) < 0)
			return -e->no;
		if (!next[0])
			return wait_frozen(f, e);
		rest += strlen(next);
		if (base_fmt(dir + len, sizeof(dir) - len, "/%s", next) < 0)
			return err_set(e, ENAMETOOLONG, "%s", own);
	}
}

static int stop_one(struct freeze *f, pid_t pid, int *count, struct err *e)
{
	struct proc_id id;
	struct err ignored = { 0 };
	char line[64], path[40];
	cleanup_buf struct buf b = BUF_INIT;
	const char *state;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (fd_read_file(AT_FDCWD, path, 4096, &b, &ignored) < 0 ||
	    proc_id_get(pid, &id, &ignored) < 0)
		return 0;
	state = strrchr(buf_text(&b), ')');
	if (!state || strchr("TtZX", state[2]))
		return 0;
	(void)snprintf(line, sizeof(line), "%d %llu", pid, (unsigned long long)id.start);
	if (note(f, "pid", line, e) < 0)
		return -e->no;
	++*count;
	return kill(pid, SIGSTOP) < 0 && errno != ESRCH ? err_sys(e, "stop %d", pid) : 0;
}

static int stop_all(struct freeze *f, int *count, struct err *e)
{
	struct dirent **names = NULL;
	int n = scandir("/proc", &names, NULL, versionsort), r = 0;
	struct err ignored = { 0 };
	uint64_t pid;

	if (n < 0)
		return err_sys(e, "read /proc");
	for (int i = 0; i < n; i++) {
		if (r == 0 && num_u64(names[i]->d_name, 2, INT32_MAX, &pid, &ignored) == 0 &&
		    !is_ours(f, pid) && has_program(pid))
			r = stop_one(f, (pid_t)pid, count, e);
		free(names[i]);
	}
	free(names);
	return r;
}

static int stop_processes(struct freeze *f, struct err *e)
{
	int count = 1;

	for (int i = 0; i < PASSES && count; i++) {
		count = 0;
		if (stop_all(f, &count, e) < 0)
			return -e->no;
		if (count)
			clock_sleep_ms(1); // it is on its way to a stop when kill returns
	}
	return count ? err_kind(e, ERR_FAILED, "processes are made faster than they are stopped")
		     : 0;
}

int machine_freeze(int64_t deadline_ms, struct err *e)
{
	struct freeze f = { .agent = getppid(), .self = getpid(), .deadline = deadline_ms };
	struct statfs fs;
	bool v2 = statfs(CGROUPS, &fs) == 0 && fs.f_type == CGROUP2_MAGIC;
	cleanup_fd int list = -1;
	int r;

	if (fd_mkdirs(WORKER_DIR, 0755, e) < 0)
		return -e->no;
	list = open(FROZEN, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (list < 0)
		return err_sys(e, "open " FROZEN);
	f.list = list;
	r = v2 ? freeze_groups(&f, e) : stop_processes(&f, e);
	buf_free(&f.all);
	return r;
}

static int continue_pid(const char *text)
{
	struct proc_id id;
	struct err ignored = { 0 };
	cleanup_fd int fd = -1;
	uint64_t pid;

	if (!num_next(&text, &pid) || *text++ != ' ' || !num_next(&text, &id.start))
		return 0;
	id.pid = (pid_t)pid;
	fd = proc_id_open(&id, &ignored);
	return fd < 0 ? 0 : proc_kill(fd, SIGCONT, &ignored);
}

static int undo(const char *line, struct err *e)
{
	if (str_starts(line, "cgroup ") && write_file(line + 7, "cgroup.freeze", "0") < 0 &&
	    errno != ENOENT)
		return err_sys(e, "continue %s", line + 7);
	return str_starts(line, "pid ") ? continue_pid(line + 4) : 0;
}

// Whatever fails, the others go on; the first failure is told.
int machine_unfreeze(struct err *e)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct err why = { 0 };
	size_t end;

	if (fd_read_file(AT_FDCWD, FROZEN, LIST_MAX, &b, &why) < 0) {
		if (why.no == ENOENT)
			return 0;
		*e = why;
		return -e->no;
	}
	for (end = b.len; end;) {
		size_t from;

		b.data[--end] = '\0';
		for (from = end; from && b.data[from - 1] != '\n';)
			from--;
		err_clear(&why);
		if (undo(b.data + from, &why) < 0 && !e->no)
			*e = why;
		end = from;
	}
	if (e->no)
		return -e->no;
	return unlink(FROZEN) < 0 && errno != ENOENT ? err_sys(e, "remove " FROZEN) : 0;
}
