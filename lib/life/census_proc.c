// SPDX-License-Identifier: MIT
// The census of processes: whatever runs under a uid of ours, and our programs for this state
// directory. A process may end while it is looked at: then it is no finding.
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/num.h"
#include "life/census_impl.h"

#define UID_END	 (VM_UID_BASE + ((uint32_t)NET_ID_MAX + 1) * 65536u)
#define TEXT_MAX (256 * KIB)

struct seen {
	int dir; // /proc/PID
	const char *pid;
	uint32_t uid;
	char exe[64];		  // name of the program
	struct buf argv, environ; // NUL-separated
	struct buf cgroup;
};
#define cleanup_seen cleanup(seen_free)

static void seen_free(struct seen *s)
{
	base_closep(&s->dir);
	buf_free(&s->argv);
	buf_free(&s->environ);
	buf_free(&s->cgroup);
}

// Real uid; false for zombies and what is gone.
static bool read_status(struct seen *s)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err why = { 0 };
	const char *uid, *state;
	char digits[16] = "";
	uint64_t v;

	if (fd_read_file(s->dir, "status", TEXT_MAX, &text, &why) < 0)
		return false;
	state = strstr(buf_text(&text), "\nState:\t");
	uid = strstr(buf_text(&text), "\nUid:\t");
	if (!state || !uid || state[8] == 'Z' || state[8] == 'X')
		return false;
	memcpy(digits, uid + 6, MIN(strcspn(uid + 6, "\t"), sizeof(digits) - 1));
	if (num_u64(digits, 0, UINT32_MAX, &v, &why) < 0)
		return false;
	s->uid = (uint32_t)v;
	return true;
}

static void read_exe(struct seen *s)
{
	char path[PATH_LEN];
	ssize_t n = readlinkat(s->dir, "exe", path, sizeof(path) - 1);
	const char *name;

	path[n < 0 ? 0 : n] = '\0';
	if (str_ends(path, " (deleted)"))
		path[strlen(path) - strlen(" (deleted)")] = '\0';
	name = strrchr(path, '/');
	(void)snprintf(s->exe, sizeof(s->exe), "%.63s", name ? name + 1 : path);
}

// The next word of a NUL-separated list; NULL at its end.
static const char *next_word(const struct buf *b, const char *word)
{
	const char *next = word ? word + strlen(word) + 1 : b->data;

	return next && next < b->data + b->len ? next : NULL;
}

static bool runs_start(const struct seen *s)
{
	const char *first = next_word(&s->argv, NULL);
	const char *second = first ? next_word(&s->argv, first) : NULL;

	return second && str_eq(second, "start");
}

// The metadata server; not who looks for it, starts or ends it.
static bool is_metad(const struct seen *s)
{
	if (!str_eq(s->exe, "mvm-metad"))
		return false;
	for (const char *w = next_word(&s->argv, NULL); w; w = next_word(&s->argv, w))
		if (str_eq(w, "--stop"))
			return false;
	return true;
}

static bool has_state_dir_env(const struct seen *s)
{
	for (const char *w = next_word(&s->environ, NULL); w; w = next_word(&s->environ, w))
		if (str_starts(w, "MVM_STATE_DIR="))
			return str_eq(w + strlen("MVM_STATE_DIR="), path_state());
	return str_eq(path_state(), "/var/lib/mvm");
}

static bool names_state_dir(const struct seen *s)
{
	for (const char *w = next_word(&s->argv, NULL); w; w = next_word(&s->argv, w)) {
		const char *at = strstr(w, path_state());

		if (at && (at[strlen(path_state())] == '/' || at[strlen(path_state())] == '\0'))
			return true;
	}
	return false;
}

static bool is_ours(const struct seen *s)
{
	if (s->uid >= VM_UID_BASE && s->uid < UID_END)
		return true;
	if (str_eq(s->exe, "mvm-sup"))
		return runs_start(s) && has_state_dir_env(s);
	if (str_eq(s->exe, "mvm-fc-launch") || str_eq(s->exe, "mvm-fc-qemu") || is_metad(s))
		return has_state_dir_env(s);
	// programs of others: only with a path of ours
	return (str_eq(s->exe, "firecracker") || str_eq(s->exe, "jailer") ||
		str_starts(s->exe, "qemu-system-")) &&
	       names_state_dir(s);
}

// Its group names a node, or else it lives in another network namespace: there another node works.
// One that is about to end has none any more, and *ret_ended is set.
static bool is_foreign(const struct census *c, const struct seen *s, char node_id[37],
		       bool *ret_ended)
{
	const char *at = s->cgroup.data ? strstr(s->cgroup.data, "/mvm/") : NULL;
	struct stat theirs, ours;

	node_id[0] = '\0';
	if (at && strcspn(at + 5, "/\n") == 36) {
		memcpy(node_id, at + 5, 36);
		node_id[36] = '\0';
		return !str_eq(node_id, c->node_id);
	}
	if (fstatat(s->dir, "ns/net", &theirs, 0) < 0) {
		*ret_ended = errno == ENOENT || errno == ESRCH;
		return false;
	}
	return stat("/proc/self/ns/net", &ours) == 0 && theirs.st_ino != ours.st_ino;
}

static const struct census_want *want_of(const struct census *c, const struct seen *s)
{
	const struct census_want *w = s->uid ? census_by_uid(c, s->uid) : NULL;
	struct err why = { 0 };

	for (const char *word = next_word(&s->argv, NULL); !w && word;
	     word = next_word(&s->argv, word)) {
		struct address a;
		const char *at = strstr(word, "/i-");
		instance_text id = "";

		if (address_parse(word, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, &why) == 0)
			w = census_by_address(c, &a);
		if (at)
			memcpy(id, at + 1, strnlen(at + 1, sizeof(id) - 1));
		if (!w && at)
			w = census_by_id(c, id);
	}
	return w;
}

// It is its tenant's, whatever of that tenant runs.
static void judge_metad(struct census *c, const struct seen *s, struct census_row *r)
{
	const char *last = NULL;

	for (const char *w = next_word(&s->argv, NULL); w; last = w, w = next_word(&s->argv, w)) {
		bool is_user = last && str_eq(last, "--user");

		if (!last || is_user || !census_tenant(c, w))
			continue;
		(void)snprintf(r->address, sizeof(r->address), "%s", w);
		census_own(r, "serves the tenant's metadata");
		return;
	}
	census_stray(r, "no such tenant");
}

static void judge(struct census *c, const struct seen *s)
{
	char name[128], node_id[37];
	bool ended = false, foreign = is_foreign(c, s, node_id, &ended);
	struct census_row *r;

	if (ended)
		return;
	(void)snprintf(name, sizeof(name), "pid %s (%s)", s->pid, s->exe);
	r = census_add(c, CENSUS_PROCESS, name, NULL);
	if (foreign)
		census_foreign(r, node_id);
	else if (is_metad(s))
		judge_metad(c, s, r);
	else
		census_judge_live(r, want_of(c, s));
}

static int take_process(struct census *c, int proc, const char *path, const char *name,
			struct err *e)
{
	cleanup_seen struct seen s = { .dir = -1, .pid = name };
	struct err why = { 0 };

	(void)path;
	(void)e;
	if (name[0] < '1' || name[0] > '9')
		return 0;
	s.dir = openat(proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s.dir < 0 || !read_status(&s))
		return 0;
	read_exe(&s);
	// it is judged by what could be read
	(void)(fd_read_file(s.dir, "cmdline", TEXT_MAX, &s.argv, &why) < 0);
	(void)(fd_read_file(s.dir, "environ", TEXT_MAX, &s.environ, &why) < 0);
	(void)(fd_read_file(s.dir, "cgroup", TEXT_MAX, &s.cgroup, &why) < 0);
	if (is_ours(&s))
		judge(c, &s);
	return 0;
}

int census_processes(struct census *c, struct err *e)
{
	return census_each(c, "/proc", take_process, e);
}
