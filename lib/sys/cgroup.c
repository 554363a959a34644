// SPDX-License-Identifier: MIT
#include "sys/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "sys/mounts.h"

#define TOP	 "mvm"
#define TEXT_MAX (64 * KIB)
#define LEVELS	 5 // mvm, node, tenant, pool, instance

const char *const cgroup_mode_names[] = { "none", "v1", "hybrid", "v2", NULL };

static const char *const controllers[] = { "memory", "cpu", "pids" };

static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
		if ((at == text || at[-1] == ' ') && strchr(" \n", at[len])) // the NUL too
			return true;
	return false;
}

// Where v2 lies and whether v1 has controllers of its own beside it.
static int find_mount(struct cgroup_host *h, struct err *e)
{
	cleanup_mounts struct mounts m = MOUNTS_INIT;
	bool v1 = false;

	if (mounts_read(&m, e) < 0)
		return -e->no;
	for (size_t i = 0; i < m.len; i++) {
		const struct mount_row *r = &m.items[i];

		if (str_eq(r->fstype, "cgroup"))
			v1 = true;
		else if (str_eq(r->fstype, "cgroup2") && !h->root[0] && COPY(h->root, r->point) < 0)
			return err_set(e, ENAMETOOLONG,
				       "cgroup2 is mounted at a path over %d bytes", PATH_LEN);
	}
	if (h->root[0])
		h->mode = v1 ? CGROUP_HYBRID : CGROUP_V2;
	else
		h->mode = v1 ? CGROUP_V1 : CGROUP_NONE;
	return 0;
}

int cgroup_find(struct cgroup_host *ret, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_fd int root = -1;
	struct cgroup_host h = { 0 };

	if (find_mount(&h, e) < 0)
		return -e->no;
	if (h.root[0]) {
		root = fd_open_dir(AT_FDCWD, h.root, e);
		if (root < 0 || fd_read_file(root, "cgroup.controllers", TEXT_MAX, &text, e) < 0)
			return err_wrap(e, "%s", h.root);
		h.memory = has_word(buf_text(&text), "memory");
		h.cpu = has_word(buf_text(&text), "cpu");
		h.pids = has_word(buf_text(&text), "pids");
	}
	*ret = h;
	return 0;
}

bool cgroup_has_limits(const struct cgroup_host *h)
{
	return h->memory && h->cpu && h->pids;
}

static int write_file(int dir, const char *name, const char *text, struct err *e)
{
	cleanup_fd int fd = openat(dir, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "open %s", name);
	if (write(fd, text, strlen(text)) < 0)
		return err_sys(e, "write '%s' to %s", text, name);
	return 0;
}

static int write_number(int dir, const char *name, uint64_t value, const char *after, struct err *e)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%llu%s", (unsigned long long)value, after);
	return write_file(dir, name, text, e);
}

// One by one and as far as it goes: what a group then lacks, cgroup_limit finds out and tells.
static void enable_controllers(int dir)
{
	for (size_t i = 0; i < COUNT(controllers); i++) {
		struct err why = { 0 };
		char text[16];

		(void)snprintf(text, sizeof(text), "+%s", controllers[i]);
		(void)(write_file(dir, "cgroup.subtree_control", text, &why) < 0);
	}
}

static void levels(const char *node_id, const struct address *a, const char *out[LEVELS])
{
	out[0] = TOP;
	out[1] = node_id;
	out[2] = a->tenant;
	out[3] = a->pool;
	out[4] = a->instance;
}

static int need_v2(const struct cgroup_host *h, const char *node_id, struct err *e)
{
	if (!h->root[0])
		return err_kind(e, ERR_UNAVAILABLE, "no cgroup v2 on this machine");
	if (!node_id[0] || strchr(node_id, '/') || node_id[0] == '.')
		return err_set(e, EINVAL, "'%.40s' is not a node id", node_id);
	return 0;
}

static int make_once(const struct cgroup_host *h, const char *const *names, struct err *e)
{
	cleanup_fd int dir = fd_open_dir(AT_FDCWD, h->root, e);

	for (size_t i = 0; dir >= 0 && i < LEVELS && names[i][0]; i++) {
		int next;

		enable_controllers(dir);
		if (mkdirat(dir, names[i], 0755) < 0 && errno != EEXIST)
			return err_sys(e, "make cgroup %s", names[i]);
		next = fd_open_dir(dir, names[i], e);
		(void)close(dir);
		dir = next;
	}
	return dir < 0 ? -e->no : steal_fd(&dir);
}

int cgroup_make(const struct cgroup_host *h, const char *node_id, const struct address *a,
		struct err *e)
{
	const char *names[LEVELS];
	int fd = -ENOENT;

	if (need_v2(h, node_id, e) < 0)
		return -e->no;
	levels(node_id, a, names);
	// a removal beside us may take an empty parent away between two steps
	for (int tries = 0; tries < 8 && fd == -ENOENT; tries++)
		fd = make_once(h, names, e);
	if (fd == -EROFS || fd == -EACCES || fd == -EPERM)
		return err_kind(e, ERR_UNAVAILABLE, "%s: groups cannot be made here", h->root);
	return fd;
}

// Opens the first `depth` levels.
static int open_levels(const struct cgroup_host *h, const char *const *names, size_t depth,
		       struct err *e)
{
	cleanup_fd int dir = fd_open_dir(AT_FDCWD, h->root, e);

	for (size_t i = 0; dir >= 0 && i < depth; i++) {
		int next = openat(dir, names[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (next < 0)
			return err_sys(e, "open cgroup %s", names[i]);
		(void)close(dir);
		dir = next;
	}
	return dir < 0 ? -e->no : steal_fd(&dir);
}

static size_t depth_of(const char *const *names)
{
	size_t n = 0;

	while (n < LEVELS && names[n][0])
		n++;
	return n;
}

int cgroup_open(const struct cgroup_host *h, const char *node_id, const struct address *a,
		struct err *e)
{
	const char *names[LEVELS];

	if (need_v2(h, node_id, e) < 0)
		return -e->no;
	levels(node_id, a, names);
	return open_levels(h, names, depth_of(names), e);
}

int cgroup_open_pid(const struct cgroup_host *h, pid_t pid, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	char name[64];
	path_text path;
	char *line, *end;

	if (!h->root[0])
		return err_kind(e, ERR_UNAVAILABLE, "no cgroup v2 on this machine");
	(void)snprintf(name, sizeof(name), "/proc/%d/cgroup", (int)pid);
	if (fd_read_file(AT_FDCWD, name, TEXT_MAX, &text, e) < 0)
		return -e->no;
	line = str_starts(buf_text(&text), "0::/") ? text.data : strstr(buf_text(&text), "\n0::/");
	if (line)
		line = strchr(line, '/');
	if (!line)
		return err_set(e, ENOENT, "%s: no v2 group", name);
	end = strchr(line, '\n');
	if (end)
		*end = '\0';
	if (strstr(line, "/..") || strlen(line) + strlen(h->root) >= PATH_LEN)
		return err_set(e, ENOENT, "%s: its group lies outside %s", name, h->root);
	path_join(path, h->root, line + 1);
	return fd_open_dir(AT_FDCWD, path, e);
}

// Removes the last level; false when it is in use, -errno otherwise.
static int remove_level(const struct cgroup_host *h, const char *const *names, size_t depth,
			struct err *e)
{
	cleanup_fd int parent = open_levels(h, names, depth - 1, e);

	if (parent < 0)
		return e->no == ENOENT ? 1 : -e->no;
	if (unlinkat(parent, names[depth - 1], AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 1;
	if (errno == EBUSY || errno == ENOTEMPTY)
		return 0;
	return err_sys(e, "remove cgroup %s", names[depth - 1]);
}

int cgroup_remove(const struct cgroup_host *h, const char *node_id, const struct address *a,
		  int timeout_ms, struct err *e)
{
	const char *names[LEVELS];
	cleanup_fd int group = cgroup_open(h, node_id, a, e);
	int64_t deadline = clock_ms() + timeout_ms;
	size_t depth;
	int gone = 0;

	if (group >= 0 &&
	    (cgroup_kill(group, e) < 0 || cgroup_wait_empty(group, timeout_ms, e) < 0))
		return -e->no;
	if (group < 0 && group != -ENOENT)
		return h->root[0] ? -e->no : 0; // without v2 there is none
	levels(node_id, a, names);
	depth = depth_of(names);
	// the last process may be past its exit but not yet off the group's list
	while ((gone = remove_level(h, names, depth, e)) == 0 && clock_ms() < deadline)
		clock_sleep_ms(5);
	if (gone == 0)
		return err_kind(e, ERR_UNAVAILABLE, "cgroup %s is still in use", names[depth - 1]);
	while (gone > 0 && --depth > 0)
		gone = remove_level(h, names, depth, e);
	return gone < 0 ? gone : 0;
}

// A missing file is a controller that is not there.
static int limit(int group, const char *name, uint64_t value, const char *after, bool *set,
		 struct err *e)
{
	struct err why = { 0 };

	if (!value || write_number(group, name, value, after, &why) == 0)
		return 0;
	if (why.no != ENOENT) {
		*e = why;
		return -e->no;
	}
	*set = false;
	return 0;
}

int cgroup_limit(int group, const struct cgroup_limits *l, bool *ret_set, struct err *e)
{
	struct err why = { 0 };
	bool set = true;

	if (limit(group, "memory.max", l->memory_max, "", &set, e) < 0 ||
	    limit(group, "cpu.max", l->cpu_quota_us, " 100000", &set, e) < 0 ||
	    limit(group, "pids.max", l->pids_max, "", &set, e) < 0)
		return -e->no;
	// without swap accounting the file is missing, and memory.max alone has to do
	if (l->memory_max && write_file(group, "memory.swap.max", "0", &why) < 0 &&
	    why.no != ENOENT) {
		*e = why;
		return -e->no;
	}
	*ret_set = set;
	return 0;
}

int cgroup_enter(int group, pid_t pid, struct err *e)
{
	return write_number(group, "cgroup.procs", (uint64_t)pid, "", e);
}
