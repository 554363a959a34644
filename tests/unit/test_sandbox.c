// SPDX-License-Identifier: MIT
// What a process can still do after it has bound itself: a child of the case, which a leak checker
// could not look at when it ends.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "sys/sandbox.h"
#include "tap.h"

static const struct sandbox_rule no_code[] = { SANDBOX_NO_CODE, { 0 } };

// The value behind "KEY:" of this process; opened before anything is bound.
static void status_is(int fd, const char *key, const char *want)
{
	char text[8192] = "", line[64];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	const char *at;

	(void)snprintf(line, sizeof(line), "\n%s:\t", key);
	at = n > 0 ? strstr(text, line) : NULL;
	CHECK(at);
	if (at) {
		at += strlen(line);
		CHECK_INT(strcspn(at, "\n"), strlen(want));
		CHECK(strncmp(at, want, strlen(want)) == 0);
	}
}

static int status_file(void)
{
	return open("/proc/self/status", O_RDONLY | O_CLOEXEC);
}

// How a child that runs fn ends: as waitpid tells it.
static int end_of(void (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		fn();
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	return status;
}

#define BOUND(fn)                                 \
	static void fn##_bound(void);             \
	TEST(fn)                                  \
	{                                         \
		CHECK_INT(end_of(fn##_bound), 0); \
	}                                         \
	static void fn##_bound(void)

static void load(const char *more, const struct sandbox_rule *rules, enum sandbox_else other)
{
	const struct sandbox_filter f = { .calls = more, .rules = rules, .other = other };
	void *filter = NULL;
	struct err e = { 0 };

	if (sandbox_no_new_privs(&e) < 0 ||
	    sandbox_filter_make(&f, sandbox_calls_plain, &filter, &e) < 0 ||
	    sandbox_filter_load(filter, &e) < 0)
		_exit(99);
}

BOUND(settled_process_shows_its_filter_and_gains_no_privileges)
{
	struct err e = { 0 };
	int fd = status_file();

	status_is(fd, "Seccomp", "0");
	CHECK_INT(sandbox_settle(NULL, 0, "", no_code, &e), 0);
	status_is(fd, "Seccomp", "2");
	status_is(fd, "NoNewPrivs", "1");
}

BOUND(what_is_not_on_the_list_fails_and_the_process_goes_on)
{
	load("", no_code, SANDBOX_EPERM);
	CHECK(socket(AF_UNIX, SOCK_STREAM, 0) == -1 && errno == EPERM);
	CHECK(fork() == -1 && errno == EPERM);
	CHECK(syscall(SYS_execve, "/bin/true", NULL, NULL) == -1 && errno == EPERM);
	CHECK(getpid() > 0);
}

static void strict_and_forbidden(void)
{
	load("", no_code, SANDBOX_KILL);
	(void)socket(AF_UNIX, SOCK_STREAM, 0);
}

static void strict_and_allowed(void)
{
	load("socket", no_code, SANDBOX_KILL);
	if (socket(AF_UNIX, SOCK_STREAM, 0) < 0)
		_exit(1);
}

TEST(strict_a_forbidden_call_ends_the_process_by_sigsys)
{
	int status = end_of(strict_and_forbidden);

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	CHECK_INT(end_of(strict_and_allowed), 0);
}

BOUND(a_rule_lets_a_call_through_by_its_argument_only)
{
	static const struct sandbox_rule rules[] = {
		{ .call = "socket", .mask = UINT32_MAX, .value = AF_UNIX },
		{ .call = "dup", .mask = UINT32_MAX, .value = 1, .error = ENOSYS },
		{ 0 }
	};
	int fd;

	load("", rules, SANDBOX_EPERM);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	base_closep(&fd);
	CHECK(socket(AF_INET, SOCK_STREAM, 0) == -1 && errno == EPERM);
	CHECK(dup(1) == -1 && errno == ENOSYS);
	CHECK(dup(2) == -1 && errno == EPERM);
}

BOUND(no_memory_becomes_code)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	load("", no_code, SANDBOX_EPERM);
	CHECK(mprotect(p, 4096, PROT_READ) == 0);
	CHECK(mprotect(p, 4096, PROT_READ | PROT_EXEC) == -1 && errno == EPERM);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	      MAP_FAILED);
	CHECK(munmap(p, 4096) == 0);
}

TEST(a_name_that_is_no_call_of_this_machine_is_passed_over)
{
	const struct sandbox_filter f = { .calls = "read no_such_call write" };
	void *filter = NULL;
	struct err e = { 0 };

	CHECK_INT(sandbox_filter_make(&f, NULL, &filter, &e), 0);
	sandbox_filter_free(filter);
}

// Kernels without landlock are passed over in silence there, so here they are not.
BOUND(only_the_paths_that_were_given_can_be_opened)
{
	int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	struct err e = { 0 };

	CHECK(syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0);
	CHECK(mkdirat(dir, "in", 0700) == 0 && mkdirat(dir, "out", 0700) == 0);
	fd = openat(dir, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct sandbox_path paths[] = {
		{ fd, SANDBOX_READ | SANDBOX_LIST | SANDBOX_WRITE },
	};

	CHECK(sandbox_no_new_privs(&e) == 0 && sandbox_paths(paths, COUNT(paths), &e) == 0);
	CHECK(openat(fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0);
	CHECK(renameat(fd, "file", fd, "other") == 0 && unlinkat(fd, "other", 0) == 0);
	CHECK(openat(dir, "out", O_RDONLY | O_CLOEXEC) == -1 && errno == EACCES);
	CHECK(openat(dir, "out/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) == -1 &&
	      errno == EACCES);
	CHECK(open("/etc/passwd", O_RDONLY | O_CLOEXEC) == -1 && errno == EACCES);
	CHECK(open("/", O_RDONLY | O_CLOEXEC) == -1 && errno == EACCES);
}

BOUND(reading_is_not_writing)
{
	int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct sandbox_path paths[] = { { dir, SANDBOX_READ } };
	struct err e = { 0 };

	CHECK(openat(dir, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0);
	CHECK(sandbox_no_new_privs(&e) == 0 && sandbox_paths(paths, COUNT(paths), &e) == 0);
	CHECK(openat(dir, "file", O_RDONLY | O_CLOEXEC) >= 0);
	CHECK(openat(dir, "file", O_WRONLY | O_CLOEXEC) == -1 && errno == EACCES);
	CHECK(openat(dir, ".", O_RDONLY | O_CLOEXEC) == -1 && errno == EACCES);
	CHECK(unlinkat(dir, "file", 0) == -1 && errno == EACCES);
}

BOUND(another_user_has_no_capability_at_all)
{
	static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };
	struct err e = { 0 };
	int fd = status_file();

	CHECK_INT(sandbox_become(65534, 65534, &e), 0);
	for (size_t i = 0; i < COUNT(sets); i++)
		status_is(fd, sets[i], "0000000000000000");
	status_is(fd, "Uid", "65534\t65534\t65534\t65534");
	status_is(fd, "Gid", "65534\t65534\t65534\t65534");
	status_is(fd, "Groups", " ");
	CHECK(setresuid(0, 0, 0) == -1);
}

BOUND(root_keeps_the_capabilities_that_it_names)
{
	struct err e = { 0 };
	int fd = status_file();

	sandbox_drop_bounding();
	CHECK_INT(sandbox_drop_capabilities(1u << CAP_KILL, &e), 0);
	status_is(fd, "CapEff", "0000000000000020");
	status_is(fd, "CapPrm", "0000000000000020");
	status_is(fd, "CapBnd", "0000000000000000");
}

TEST(a_kernel_that_cannot_end_a_process_so_is_told)
{
	struct err e = { 0 };

	CHECK_INT(sandbox_can_kill(&e), 0);
	(void)setenv("MVM_FAULT", "sandbox-kill:err=EACCES", 1);
	CHECK(sandbox_can_kill(&e) < 0);
	CHECK_INT(e.kind, ERR_UNAVAILABLE);
	CHECK_STR(e.msg, "the kernel has no filters of system calls: Permission denied");
}
