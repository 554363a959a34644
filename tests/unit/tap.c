// SPDX-License-Identifier: MIT
// A case runs in a process (and process group) of its own, with its output kept and shown only when
// it fails, so that nothing but TAP reaches stdout. Arguments pick cases by name.
#include "tap.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LIMIT_S 300 // a case that hangs is ended

static struct tap_case *first, **last = &first;
static int *failures; // shared, so that a process the case forks can fail it, too
static char dir[64];

void tap_register(struct tap_case *c)
{
	*last = c;
	last = &c->next;
}

void tap_fail(const char *file, int line, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	__atomic_add_fetch(failures, 1, __ATOMIC_RELAXED);
	dprintf(STDERR_FILENO, "%s:%d: %s\n", file, line, text);
}

const char *tap_dir(void)
{
	return dir;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void make_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(dir, sizeof(dir), "%.40s/mvm-unit.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(dir)) {
		perror("mkdtemp");
		exit(1);
	}
}

static _Noreturn void child(const struct tap_case *c, int output)
{
	(void)setpgid(0, 0);
	(void)alarm(LIMIT_S);
	(void)signal(SIGPIPE, SIG_IGN); // as tool_main does
	(void)dup2(output, STDOUT_FILENO);
	(void)dup2(output, STDERR_FILENO);
	c->run();
	(void)fflush(NULL);
	exit(*failures != 0);
}

static void show(FILE *output)
{
	char line[1024];

	rewind(output);
	while (fgets(line, sizeof(line), output))
		printf("# %s%s", line, strchr(line, '\n') ? "" : "\n");
}

static bool run_case(const struct tap_case *c)
{
	FILE *output = tmpfile();
	int status = -1;

	*failures = 0;
	make_dir();
	(void)fflush(stdout);
	pid_t pid = output ? fork() : -1;
	if (pid == 0)
		child(c, fileno(output));
	if (pid > 0) {
		(void)setpgid(pid, pid);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		(void)kill(-pid, SIGKILL); // what the case left running
	}
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	bool ok = status == 0 && *failures == 0;
	if (!ok && output) {
		show(output);
		if (WIFSIGNALED(status))
			printf("# ended by signal %d\n", WTERMSIG(status));
	}
	if (output)
		(void)fclose(output);
	return ok;
}

static bool wanted(const struct tap_case *c, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], c->name) == 0)
			return true;
	return argc < 2;
}

int main(int argc, char **argv)
{
	int count = 0, number = 0;
	bool all = true;

	failures = mmap(NULL, sizeof(*failures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (failures == MAP_FAILED)
		return 1;
	// What the surrounding run sets must not decide what a case sees.
	for (char **v = environ; *v;) {
		char name[64];

		(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(*v, "="), *v);
		bool ours = strncmp(name, "MVM_", 4) == 0 && strcmp(name, "MVM_BIN") != 0 &&
			    strcmp(name, "MVM_BUILD") != 0;
		if (!ours || unsetenv(name) != 0)
			v++;
	}
	for (const struct tap_case *c = first; c; c = c->next)
		count += wanted(c, argc, argv);
	printf("1..%d\n", count);
	for (const struct tap_case *c = first; c; c = c->next) {
		if (!wanted(c, argc, argv))
			continue;
		char title[128];
		(void)snprintf(title, sizeof(title), "%s", c->name);
		for (char *p = title; *p; p++)
			if (*p == '_')
				*p = ' ';
		bool ok = run_case(c);
		printf("%sok %d - %s\n", ok ? "" : "not ", ++number, title);
		all = all && ok;
	}
	return all && count > 0 ? 0 : 1; // a runner with no test has shown nothing
}
