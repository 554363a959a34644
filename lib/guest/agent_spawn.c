// SPDX-License-Identifier: MIT
#include "guest/agent_core.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/fd.h"

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
	if (fcntl(*ours, F_SETFL, O_NONBLOCK) < 0) // all the flags that a new one can have
		return err_sys(e, "pipe");
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
	char path[sizeof("PATH=" DEFAULT_PATH)], home[272], user[80], shell[272];
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
	    base_fmt(v->user, sizeof(v->user), "USER=%s", u->name) < 0 ||
	    base_fmt(v->shell, sizeof(v->shell), "SHELL=%s", u->shell) < 0)
		return err_set(e, ENAMETOOLONG, "environment");
	v->all = base_alloc(s->env_base->count + own + 5, sizeof(*v->all));
	v->base = guest_words_vector(s->env_base);
	v->own = s->env ? guest_words_vector(s->env) : NULL;
	env_set(v->all, &n, v->path);
	env_set(v->all, &n, v->home);
	if (u->name[0])
		env_set(v->all, &n, v->user);
	if (s->shell)
		env_set(v->all, &n, v->shell);
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

#define SIGNALS 64
struct kernel_action { // by system call: the C library keeps some signals to itself
	unsigned long handler, flags, restorer;
	uint64_t mask;
};

static int signal_action(int sig, const struct kernel_action *set, struct kernel_action *get)
{
	return (int)syscall(SYS_rt_sigaction, sig, set, get, sizeof(set->mask));
}

// Which signals this process ignores, a bit for each: its commands must not. They do not change any
// more.
static uint64_t ignored_signals(void)
{
	static uint64_t set;
	static bool asked;
	struct kernel_action now = { 0 };

	for (int i = 1; !asked && i <= SIGNALS; i++)
		if (signal_action(i, NULL, &now) == 0 && now.handler == (unsigned long)SIG_IGN)
			set |= 1ULL << (i - 1);
	asked = true;
	return set;
}

// A child that will exec shares our memory until then, while we stand still: nothing is copied, and
// it may make system calls and write its failure down, no more.
struct birth {
	const struct spawn *s;
	const struct spawn_user *user;
	uint64_t ignored;
	char **argv;
	struct failure failure;
};

static int fail(struct birth *b, enum stage stage)
{
	b->failure = (struct failure){ (int)stage, errno };
	return 127;
}

// By system call: the library's own would tell threads, which this process has none of.
static int become(const struct spawn_user *u)
{
	if (geteuid() != 0) // a test, or an agent that is somebody: only that one
		return u->uid == geteuid() ? 0 : (errno = EPERM, -1);
	return syscall(SYS_setgroups, (size_t)u->group_count, u->groups) < 0 ||
			       syscall(SYS_setgid, u->gid) < 0 || syscall(SYS_setuid, u->uid) < 0
		       ? -1
		       : 0;
}

// Descriptors of ours are CLOEXEC and above 2.
static int settle_in(struct birth *b)
{
	const struct kernel_action usual = { .handler = (unsigned long)SIG_DFL };
	const struct spawn *s = b->s;
	sigset_t none;

	(void)setsid();
	for (int i = 1; i <= SIGNALS; i++)
		if (b->ignored & 1ULL << (i - 1))
			(void)signal_action(i, &usual, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 0; i < 3; i++)
		(void)dup2(s->fd[i], i);
	if (s->tty) {
		(void)ioctl(0, TIOCSCTTY, 0);
		(void)!fchown(0, b->user->uid, (gid_t)-1); // so that it can be opened by its name
	}
	if (become(b->user) < 0)
		return fail(b, STAGE_USER);
	if (chdir(s->cwd[0]	? s->cwd
		  : s->cwd_root ? "/"
				: b->user->home) < 0 &&
	    (s->cwd[0] || chdir("/") < 0))
		return fail(b, STAGE_CWD);
	return 0;
}

static int run_command(void *arg)
{
	struct birth *b = arg;
	int r = settle_in(b);

	if (r == 0) {
		(void)execvp(b->argv[0], b->argv);
		r = fail(b, STAGE_EXEC);
	}
	return r;
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

// A user without one that can be run gets the usual one.
static char *user_shell(struct spawn_user *u)
{
	if (access(u->shell, X_OK) < 0)
		(void)!COPY(u->shell, "/bin/sh");
	return u->shell;
}

static pid_t start_command(struct birth *b, char **env)
{
	static char stack[65536] __attribute__((aligned(16))); // execvp puts paths there
	char **ours = environ;
	pid_t pid;

	environ = env; // PATH is looked up in the command's
	pid = clone(run_command, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, b);
	environ = ours;
	return pid;
}

// Work of ours goes on in a copy of this process, which says by a pipe how far it has come.
static pid_t start_work(struct birth *b, struct err *e)
{
	cleanup_fd int from = -1, to = -1;
	pid_t pid;

	if (agent_spawn_pipe(true, &to, &from, e) < 0)
		return -1;
	pid = fork();
	if (pid < 0)
		(void)err_sys(e, "fork");
	if (pid != 0) {
		(void)close(steal_fd(&to));
		while (pid > 0 && read(from, &b->failure, sizeof(b->failure)) < 0 && errno == EINTR)
			;
		return pid;
	}
	if (settle_in(b) != 0) {
		(void)!write(to, &b->failure, sizeof(b->failure));
		_exit(127);
	}
	(void)syscall(SYS_close_range, 3U, ~0U, 0U); // the other end of the pipe among them
	_exit(b->s->work(b->s->work_arg));
}

int agent_spawn_run(const struct spawn *s, pid_t *ret, struct err *e)
{
	cleanup(env_free) struct env env = { 0 };
	cleanup_free char **argv = guest_words_vector(s->argv);
	struct spawn_user user;
	struct birth b = { .s = s, .user = &user, .ignored = ignored_signals(), .argv = argv };
	pid_t pid;

	if (agent_spawn_find_user(s->user, &user, e) < 0)
		return -e->no;
	if (s->shell)
		argv[0] = user_shell(&user);
	if (env_make(s, &user, &env, e) < 0)
		return -e->no;
	pid = s->work ? start_work(&b, e) : start_command(&b, env.all);
	if (pid < 0)
		return e->no ? -e->no : err_sys(e, "start a process");
	if (b.failure.no)
		return explain(s, &b.failure,
			       e); // the child ends by itself, is reaped as any other
	*ret = pid;
	return 0;
}
