// SPDX-License-Identifier: MIT
// Processor and memory of a VMM: from its control group, which knows all of it exactly, or from
// /proc, process by process.
#include "life/stats.h"

#include <fcntl.h>

#include "base/fd.h"
#include "base/num.h"
#include "sys/cgroup.h"

#define PROCESSES_MAX 64 // of one VMM; its launcher's helper included
#define LIST_MAX      (64 * KIB)

struct processes {
	pid_t pids[PROCESSES_MAX];
	size_t count;
};

static void add_process(struct processes *p, uint64_t pid)
{
	for (size_t i = 0; i < p->count; i++)
		if ((uint64_t)p->pids[i] == pid)
			return;
	if (pid > 0 && pid <= INT32_MAX && p->count < PROCESSES_MAX)
		p->pids[p->count++] = (pid_t)pid;
}

static bool read_proc(pid_t pid, const char *name, struct buf *out)
{
	struct err ignored = { 0 };
	char path[64];

	return base_fmt(path, sizeof(path), "/proc/%d/%s", (int)pid, name) == 0 &&
	       fd_read_file(AT_FDCWD, path, LIST_MAX, out, &ignored) == 0;
}

static void add_words(struct processes *p, struct buf *text)
{
	const char *at = buf_text(text);
	uint64_t pid;

	for (size_t i = 0; i < text->len; i++)
		if (text->data[i] == '\n')
			text->data[i] = ' ';
	while (num_next(&at, &pid))
		add_process(p, pid);
}

// Those of its group where there is one without controllers, else the VMM and what it started.
static void find_processes(struct processes *p, int group, pid_t vmm)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err ignored = { 0 };

	add_process(p, (uint64_t)vmm);
	if (group >= 0 && fd_read_file(group, "cgroup.procs", LIST_MAX, &text, &ignored) == 0)
		add_words(p, &text);
	for (size_t i = 0; i < p->count; i++) {
		cleanup_buf struct buf children = BUF_INIT;
		char name[48];

		if (base_fmt(name, sizeof(name), "task/%d/children", (int)p->pids[i]) == 0 &&
		    read_proc(p->pids[i], name, &children))
			add_words(p, &children);
	}
}

// Fields 14 to 17 of stat: its own time and that of its ended children; 20 is its threads. The name
// before them may hold anything but stands in brackets.
static bool add_stat(struct stats *s, pid_t pid)
{
	cleanup_buf struct buf text = BUF_INIT;
	const uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
	uint64_t ticks = 0, v = 0;
	const char *p;

	if (!read_proc(pid, "stat", &text) || !(p = strrchr(buf_text(&text), ')')))
		return false;
	for (int field = 3; field <= 20; field++) {
		const char *word = strchr(p + 1, ' ');

		if (!word)
			return false;
		p = word++;
		if (field >= 14 && field <= 20 && field != 18 && field != 19 &&
		    !num_next(&word, &v))
			return false;
		if (field >= 14 && field <= 17)
			ticks += v;
	}
	s->cpu_usec += ticks * 1000000 / hz;
	s->pids += v;
	return true;
}

static bool add_resident(struct stats *s, pid_t pid)
{
	cleanup_buf struct buf text = BUF_INIT;
	uint64_t mapped, pages;
	const char *p;

	if (!read_proc(pid, "statm", &text))
		return false;
	p = buf_text(&text);
	if (!num_next(&p, &mapped) || !num_next(&p, &pages))
		return false;
	s->memory_bytes += pages * (uint64_t)sysconf(_SC_PAGESIZE);
	return true;
}

static void from_processes(struct stats *s, int group, pid_t vmm)
{
	struct processes p = { .count = 0 };
	bool any = false;

	s->cpu_usec = s->memory_bytes = s->pids = 0;
	find_processes(&p, group, vmm);
	for (size_t i = 0; i < p.count; i++)
		any |= add_stat(s, p.pids[i]) && add_resident(s, p.pids[i]);
	if (any)
		(void)snprintf(s->source, sizeof(s->source), "process");
	else
		s->cpu_usec = s->memory_bytes = s->pids = UINT64_MAX;
}

static void take(uint64_t *to, bool has, uint64_t v)
{
	if (has)
		*to = v;
}

static void from_group(struct stats *s, const struct cgroup_usage *u)
{
	(void)snprintf(s->source, sizeof(s->source), "cgroup");
	s->cpu_usec = u->cpu_us;
	s->memory_bytes = u->memory_bytes;
	take(&s->cpu_throttled_usec, u->has_throttled, u->cpu_throttled_us);
	take(&s->memory_peak_bytes, u->has_peak, u->memory_peak_bytes);
	take(&s->memory_limit_bytes, u->has_limit, u->memory_limit_bytes);
	take(&s->oom_kills, u->has_oom_kills, u->oom_kills);
	take(&s->pids, u->has_pids, u->pids);
}

void stats_add_use(struct stats *s, pid_t pid)
{
	struct cgroup_host host = { 0 };
	struct cgroup_usage u = { 0 };
	struct err ignored = { 0 };
	cleanup_fd int group = -1;

	(void)snprintf(s->limits, sizeof(s->limits), "none");
	if (cgroup_find(&host, &ignored) == 0 && host.root[0])
		group = cgroup_open_pid(&host, pid, &ignored);
	if (cgroup_has_limits(&host))
		(void)snprintf(s->limits, sizeof(s->limits), "cgroup");
	if (group >= 0 && cgroup_usage(group, &u, &ignored) == 0 && u.has_cpu && u.has_memory)
		from_group(s, &u);
	else
		from_processes(s, group, pid);
}
