// SPDX-License-Identifier: MIT
#include "guest/agent_core.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/syscall.h>

#include "base/fd.h"
#include "base/num.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum stage { STAGE_USER, STAGE_CWD, STAGE_EXEC };
struct failure {
	int stage, no;
};

int agent_spawn_pipe(bool ours_writes, int *ours, int *theirs, struct err *e)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	*ours = fd[ours_writes ? 1 : 0];
	*theirs = fd[ours_writes ? 0 : 1];
	return fd_set_nonblock(*ours, true, e);
}

static int find_group(const char *group, gid_t *out, struct err *e)
{
	const struct group *g = getgrnam(group);
	struct err ignored = { 0 };
	uint64_t id;

	if (g)
		*out = g->gr_gid;
	else if (num_u64(group, 0, UINT32_MAX - 1, &id, &ignored) == 0)
		*out = (gid_t)id;
	else
		return err_kind(e, ERR_MISSING, "no group '%s' in the guest", group);
	return 0;
}

// USER, UID, USER:GROUP, UID:GID; a number needs no entry in /etc/passwd.
int agent_spawn_find_user(const char *user, struct spawn_user *out, struct err *e)
{
	char name[GUEST_TEXT];
	const struct passwd *pw;
	const char *group = strchr(user, ':');
	struct err ignored = { 0 };
	uint64_t id = geteuid();

	*out = (struct spawn_user){ .home = "/", .group_count = 1 };
	if (base_fmt(name, sizeof(name), "%.*s", (int)strcspn(user, ":"), user) < 0)
		return err_kind(e, ERR_USAGE, "user: too long");
	pw = name[0] ? getpwnam(name) : getpwuid(geteuid());
	if (!pw && num_u64(name, 0, UINT32_MAX - 1, &id, &ignored) < 0 && name[0])
		return err_kind(e, ERR_MISSING, "no user '%s' in the guest", name);
	if (!pw && name[0])
		pw = getpwuid((uid_t)id);
	out->uid = pw ? pw->pw_uid : (uid_t)id;
	out->gid = pw ? pw->pw_gid : (gid_t)id;
	if (pw && (COPY(out->name, pw->pw_name) < 0 || COPY(out->home, pw->pw_dir) < 0))
		return err_set(e, ENAMETOOLONG, "user %s", name);
	if (group && find_group(group + 1, &out->gid, e) < 0)
		return -e->no;
	out->groups[0] = out->gid;
	if (pw && !group) {
		out->group_count = COUNT(out->groups);
		if (getgrouplist(out->name, out->gid, out->groups, &out->group_count) < 0)
			return err_set(e, E2BIG, "user %s is in too many groups", name);
	}
	return 0;
}

// Sets K=V, instead of an earlier one of the same K.
static void env_set(char **env, size_t *count, char *pair)
{
	size_t key = strcspn(pair, "=") + 1;

	for (size_t i = 0; i < *count; i++) {
		if (strncmp(env[i], pair, key) == 0) {
			env[i] = pair;
			return;
		}
	}
	env[(*count)++] = pair;
}

struct env {
	char **all, **base, **own;
	char path[sizeof("PATH=" DEFAULT_PATH)], home[272], user[80];
};

static void env_free(struct env *v)
{
	free(v->all);
	free(v->base);
	free(v->own);
}

static int env_make(const struct spawn *s, const struct spawn_user *u, struct env *v, struct err *e)
{
	uint32_t own = s->env ? s->env->count : 0;
	size_t n = 0;

	if (base_fmt(v->path, sizeof(v->path), "PATH=%s", DEFAULT_PATH) < 0 ||
	    base_fmt(v->home, sizeof(v->home), "HOME=%s", u->home) < 0 ||
	    base_fmt(v->user, sizeof(v->user), "USER=%s", u->name) < 0)
		return err_set(e, ENAMETOOLONG, "environment");
	v->all = base_alloc(s->env_base->count + own + 4, sizeof(*v->all));
	v->base = guest_words_vector(s->env_base);
	v->own = s->env ? guest_words_vector(s->env) : NULL;
	env_set(v->all, &n, v->path);
	env_set(v->all, &n, v->home);
	if (u->name[0])
		env_set(v->all, &n, v->user);
	for (uint32_t i = 0; i < s->env_base->count; i++)
		env_set(v->all, &n, v->base[i]);
	for (uint32_t i = 0; i < own; i++)
		env_set(v->all, &n, v->own[i]);
	for (size_t i = 0; i < n; i++)
		if (v->all[i][0] == '=' || !strchr(v->all[i], '='))
			return err_kind(e, ERR_USAGE, "environment: not NAME=VALUE: %.64s",
					v->all[i]);
	return 0;
}

static void child_fail(int report, enum stage stage)
{
	struct failure f = { (int)stage, errno };

	(void)!write(report, &f, sizeof(f));
	_exit(127);
}

static int become(const struct spawn_user *u)
{
	if (geteuid() != 0) // a test, or an agent that is somebody: only that one
		return u->uid == geteuid() ? 0 : (errno = EPERM, -1);
	return setgroups((size_t)u->group_count, u->groups) < 0 || setgid(u->gid) < 0 ||
			       setuid(u->uid) < 0
		       ? -1
		       : 0;
}

// Between fork and exec. Descriptors of ours are CLOEXEC and above 2.
static void child(const struct spawn *s, const struct spawn_user *u, char **argv, char **env,
		  int report)
{
	sigset_t none;

	(void)setsid();
	for (int i = 1; i < 32; i++)
		(void)signal(i, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 0; i < 3; i++)
		(void)dup2(s->fd[i], i);
	if (become(u) < 0)
		child_fail(report, STAGE_USER);
	if (chdir(s->cwd[0]	? s->cwd
		  : s->cwd_root ? "/"
				: u->home) < 0 &&
	    (s->cwd[0] || chdir("/") < 0))
		child_fail(report, STAGE_CWD);
	environ = env;
	(void)execvp(argv[0], argv);
	child_fail(report, STAGE_EXEC);
}

static int explain(const struct spawn *s, const struct failure *f, struct err *e)
{
	const char *word = guest_words_at(s->argv, 0);
	enum err_kind kind =
		f->no == ENOENT || f->no == ENOTDIR ? ERR_EXEC_MISSING : ERR_EXEC_DENIED;

	if (f->stage == STAGE_EXEC)
		return err_kind(e, kind, "%.200s: %s", word, strerror(f->no));
	if (f->stage == STAGE_CWD)
		return err_set(e, f->no, "directory %.200s: %s", s->cwd, strerror(f->no));
	return err_set(e, f->no, "become user %.64s: %s", s->user, strerror(f->no));
}

int agent_spawn_run(const struct spawn *s, pid_t *ret, struct err *e)
{
	cleanup(env_free) struct env env = { 0 };
	cleanup_free char **argv = guest_words_vector(s->argv);
	cleanup_fd int from = -1, to = -1;
	struct spawn_user user;
	struct failure f;
	ssize_t n;
	pid_t pid;

	if (agent_spawn_find_user(s->user, &user, e) < 0 || env_make(s, &user, &env, e) < 0 ||
	    agent_spawn_pipe(true, &to, &from, e) < 0)
		return -e->no;
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0)
		child(s, &user, argv, env.all, to);
	(void)close(steal_fd(&to));
	do {
		n = read(from, &f, sizeof(f)); // ends when exec closes the other end
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(f))
		return explain(s, &f, e); // the child ends by itself and is reaped as any other
	*ret = pid;
	return 0;
}
