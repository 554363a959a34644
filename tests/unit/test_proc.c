// SPDX-License-Identifier: MIT
#include "base/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sig.h"
#include "tap.h"

#define SH(script) ((const char *const[]){ "sh", "-c", (script), NULL })

static char *out_of(const char *script, const char *input)
{
	cleanup_proc_result struct proc_result r = { .status = 0 };
	struct err e = { 0 };

	CHECK_INT(proc_capture(SH(script), input, 1 << 20, 10000, &r, &e), 0);
	CHECK_STR(e.msg, "");
	return base_strdup(buf_text(&r.out));
}

static int status_of(const char *script)
{
	struct proc_spec spec = PROC_SPEC(SH(script));
	cleanup_proc struct proc p = PROC_NONE;
	struct err e = { 0 };
	int status = -1;

	CHECK_INT(proc_spawn(&spec, &p, &e), 0);
	CHECK_INT(proc_wait(&p, 10000, &status, &e), 0);
	CHECK(p.pid == 0 && p.pidfd == -1);
	return status;
}

TEST(statuses_are_those_of_a_shell)
{
	CHECK_INT(status_of("exit 0"), 0);
	CHECK_INT(status_of("exit 77"), 77);
	CHECK_INT(status_of("kill -TERM $$"), 128 + SIGTERM);
	CHECK_INT(status_of("kill -KILL $$"), 128 + SIGKILL);
}

TEST(a_failed_exec_comes_back)
{
	cleanup_free char *plain = base_printf("%s/plain", tap_dir());
	const char *const none[] = { "mvm-does-not-exist", NULL };
	const char *const path[] = { "/does/not/exist", NULL };
	const char *const file[] = { plain, NULL };
	const struct {
		const char *const *argv;
		int no;
		const char *says;
	} cases[] = {
		{ none, ENOENT, "exec mvm-does-not-exist: No such file or directory" },
		{ path, ENOENT, "exec /does/not/exist: No such file or directory" },
		{ file, EACCES, NULL },
	};

	(void)close(open(plain, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct proc_spec spec = PROC_SPEC(cases[i].argv);
		cleanup_proc struct proc p = PROC_NONE;
		struct err e = { 0 };

		CHECK_INT(proc_spawn(&spec, &p, &e), -cases[i].no);
		CHECK_INT(e.kind, ERR_FAILED);
		if (cases[i].says)
			CHECK_STR(e.msg, cases[i].says);
		CHECK(p.pid == 0);
		CHECK_INT(waitpid(-1, NULL, WNOHANG), -1); // and it was reaped
	}
}

TEST(a_time_limit_leaves_the_child_and_free_ends_it)
{
	struct proc_spec spec = PROC_SPEC(SH("exec sleep 60"));
	struct proc p = PROC_NONE;
	struct err e = { 0 };
	int status;

	CHECK_INT(proc_spawn(&spec, &p, &e), 0);
	pid_t pid = p.pid;
	CHECK_INT(proc_wait(&p, 50, &status, &e), -ETIMEDOUT);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	CHECK_INT(kill(pid, 0), 0);
	proc_free(&p);
	CHECK(kill(pid, 0) < 0 && errno == ESRCH);
	proc_free(&p); // nothing left to do
	CHECK_INT(proc_wait(&p, 0, &status, &e), -ECHILD);
}

TEST(children_start_clean)
{
	sigset_t set;

	// The parent ignores and blocks: the child must know of neither.
	(void)signal(SIGPIPE, SIG_IGN);
	sig_save_mask();
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	cleanup_free char *text = out_of("grep -E '^Sig(Blk|Ign)' /proc/self/status", NULL);
	unsigned long long blocked = 1, ignored = 1;

	CHECK_INT(sscanf(text, "SigBlk:%llx SigIgn:%llx", &blocked, &ignored), 2);
	CHECK_INT(blocked, 0);
	// 32 and 33 are libc's own, which lets nobody touch them; some test runners ignore them.
	CHECK_INT(ignored & 0x7fffffff, 0);
}

TEST(only_kept_descriptors_reach_the_child)
{
	cleanup_fd int leak = open("/dev/null", O_RDONLY); // not CLOEXEC, as a careless library
	cleanup_fd int kept = open("/dev/null", O_RDONLY | O_CLOEXEC);
	cleanup_free char *script =
		base_printf("ls /proc/self/fd/%d /proc/self/fd/%d 2>&1", leak, kept);
	struct proc_spec spec = PROC_SPEC(SH(script));
	cleanup_proc struct proc p = PROC_NONE;
	cleanup_buf struct buf out = BUF_INIT;
	struct err e = { 0 };
	int status;

	spec.keep_fds = &kept;
	spec.keep_count = 1;
	spec.out = PROC_PIPE;
	CHECK_INT(proc_spawn(&spec, &p, &e), 0);
	CHECK_INT(fd_read_all(p.out, 4096, &out, &e), 0);
	CHECK_INT(proc_wait(&p, 10000, &status, &e), 0);
	cleanup_free char *has = base_printf("/proc/self/fd/%d\n", kept);
	cleanup_free char *lacks = base_printf("'/proc/self/fd/%d'", leak);
	CHECK(strstr(out.data, has) && strstr(out.data, lacks));
	CHECK(fcntl(kept, F_GETFD) & FD_CLOEXEC); // here nothing changed
}

static int open_count(void)
{
	int count = 0;
	DIR *d = opendir("/proc/self/fd");

	while (d && readdir(d))
		count++;
	if (d)
		(void)closedir(d);
	return count;
}

TEST(no_descriptor_is_left_behind)
{
	const char *const none[] = { "/does/not/exist", NULL };
	struct proc_spec bad = PROC_SPEC(none);
	int before = open_count();

	for (int i = 0; i < 3; i++) {
		cleanup_free char *text = out_of("cat; echo x >&2", "in");
		cleanup_proc struct proc p = PROC_NONE;
		struct err e = { 0 };

		CHECK_STR(text, "in");
		bad.in = bad.out = bad.err = PROC_PIPE;
		CHECK_INT(proc_spawn(&bad, &p, &e), -ENOENT);
	}
	CHECK_INT(open_count(), before);
}

TEST(descriptors_can_cross)
{
	cleanup_free char *path = base_printf("%s/f", tap_dir());
	struct proc_spec spec = PROC_SPEC(SH("echo out; echo err >&2"));
	cleanup_proc struct proc p = PROC_NONE;
	cleanup_buf struct buf text = BUF_INIT;
	struct err e = { 0 };
	int status, file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), real = dup(1);

	CHECK(dup2(file, 1) == 1);
	spec.out = 2; // swapped: the child's 1 is our 2 and the other way round
	spec.err = 1;
	CHECK_INT(proc_spawn(&spec, &p, &e), 0);
	CHECK_INT(proc_wait(&p, 10000, &status, &e), 0);
	CHECK(dup2(real, 1) == 1);
	CHECK_INT(fd_read_file(AT_FDCWD, path, 100, &text, &e), 0);
	CHECK_STR(buf_text(&text), "err\n");
	(void)close(file);
}

TEST(environment_session_and_death_signal)
{
	const char *const env[] = { "ONLY=this", NULL };
	const char *const argv[] = { "/usr/bin/env", NULL };
	struct proc_spec spec = PROC_SPEC(argv);
	cleanup_proc struct proc p = PROC_NONE, q = PROC_NONE;
	cleanup_buf struct buf out = BUF_INIT;
	struct err e = { 0 };
	int status = -1;

	spec.env = env;
	spec.out = PROC_PIPE;
	CHECK_INT(proc_spawn(&spec, &p, &e), 0);
	CHECK_INT(fd_read_all(p.out, 4096, &out, &e), 0);
	CHECK_STR(buf_text(&out), "ONLY=this\n");
	struct proc_spec own = PROC_SPEC(SH("test $(ps -o sid= -p $$) = $$"));
	own.new_session = true;
	CHECK_INT(proc_spawn(&own, &q, &e), 0);
	CHECK_INT(proc_wait(&q, 10000, &status, &e), 0);
	CHECK_INT(status, 0);
}

// The middle process is killed; what it started with a death signal goes, too.
TEST(a_death_signal_follows_the_parent)
{
	struct err e = { 0 };
	int pair[2];
	pid_t child;

	CHECK_INT(pipe2(pair, O_CLOEXEC), 0);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid_t middle = fork();
	if (middle == 0) {
		struct proc_spec spec = PROC_SPEC(SH("exec sleep 60"));
		struct proc p = PROC_NONE;

		spec.death_signal = SIGKILL;
		if (proc_spawn(&spec, &p, &e) < 0)
			_exit(1);
		(void)!write(pair[1], &p.pid, sizeof(p.pid));
		(void)pause();
	}
	CHECK_INT(read(pair[0], &child, sizeof(child)), sizeof(child));
	(void)kill(middle, SIGKILL);
	CHECK_INT(waitpid(middle, NULL, 0), middle);
	int status = 0;
	CHECK_INT(waitpid(child, &status, 0), child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST(capture_takes_output_input_and_the_last_line)
{
	cleanup_proc_result struct proc_result r = { .status = 0 };
	struct err e = { 0 };
	char *big = malloc(500001);

	CHECK_INT(proc_capture(SH("cat; echo first >&2; printf 'last\\tone\\n\\n' >&2; exit 3"),
			       "hello", 100, 10000, &r, &e),
		  0);
	CHECK_INT(r.status, 3);
	CHECK_STR(buf_text(&r.out), "hello");
	CHECK_STR(r.last_line, "last?one");
	memset(big, 'x', 500000); // far more than the pipes hold, both ways at once
	big[500000] = '\0';
	cleanup_free char *back = out_of("cat", big);
	CHECK_STR(back, big);
	free(big);
	cleanup_free char *none = out_of("cat", NULL); // /dev/null
	CHECK_STR(none, "");
	cleanup_free char *early = out_of("exec <&-; echo done", "not read");
	CHECK_STR(early, "done\n");
}

TEST(capture_ends_with_the_child_and_at_its_limits)
{
	cleanup_proc_result struct proc_result r = { .status = 0 };
	struct err e = { 0 };
	int64_t from = clock_ms();

	// What the child leaves running holds the pipes open; nobody waits for that.
	CHECK_INT(proc_capture(SH("echo x; sleep 60 & exit 4"), NULL, 100, 20000, &r, &e), 0);
	CHECK_INT(r.status, 4);
	CHECK_STR(buf_text(&r.out), "x\n");
	CHECK(clock_ms() - from < 50000);
	proc_result_free(&r);
	CHECK_INT(proc_capture(SH("yes"), NULL, 1000, 20000, &r, &e), -EFBIG);
	CHECK_STR(e.msg, "sh: wrote more than 1000 bytes");
	from = clock_ms();
	CHECK_INT(proc_capture(SH("exec sleep 60"), NULL, 1000, 60, &r, &e), -ETIMEDOUT);
	CHECK_STR(e.msg, "sh: timed out");
	CHECK(clock_ms() - from >= 60 && clock_ms() - from < 50000);
	CHECK_INT(waitpid(-1, NULL, WNOHANG), -1); // killed and reaped
}

// A "tool" of ours is looked up beside the test and then on PATH: put one there.
static void make_tool(const char *name, const char *script)
{
	cleanup_free char *path = base_printf("%s/%s", tap_dir(), name);
	cleanup_free char *text = base_printf("#!/bin/sh\n%s\n", script);
	cleanup_fd int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free char *search = base_printf("%s:%s", tap_dir(), getenv("PATH"));
	struct err e = { 0 };

	CHECK_INT(fd_replace_file(dir, name, text, strlen(text), 0755, &e), 0);
	(void)setenv("PATH", search, 1);
}

TEST(a_tool_gives_its_document_and_sees_json)
{
	const char *const argv[] = { "mvm-fake", "a b", NULL };
	cleanup_buf struct buf out = BUF_INIT;
	struct err e = { 0 };

	(void)setenv("MVM_OUTPUT", "table", 1);
	(void)setenv("MVM_FOO", "bar", 1);
	make_tool("mvm-fake", "echo \"$1 $MVM_OUTPUT $MVM_ERRORS $MVM_FOO $(cat)\"");
	CHECK_INT(proc_tool(argv, "in", &out, 10000, &e), 0);
	CHECK_STR(buf_text(&out), "a b json json bar in\n");
	CHECK_INT(proc_tool(argv, NULL, NULL, 10000, &e), 0);
}

TEST(a_tools_error_becomes_ours)
{
	const char *const argv[] = { "mvm-fake", NULL };
	struct err e = { 0 };

	make_tool(
		"mvm-fake",
		"echo '{\"code\":\"conflict\",\"exit\":5,\"message\":\"net id 7 is "
		"\\u0022taken\\u0022\",\"hint\":\"take 8\",\"object\":\"acme\",\"request_id\":null,"
		"\"retryable\":false}' >&2; exit 5");
	CHECK_INT(proc_tool(argv, NULL, NULL, 10000, &e), -EEXIST);
	CHECK_INT(e.kind, ERR_CONFLICT);
	CHECK_INT(err_exit(&e), 5);
	CHECK_STR(e.msg, "net id 7 is \"taken\"");
	CHECK_STR(e.hint, "take 8");
	CHECK_STR(e.object, "acme");
	make_tool("mvm-fake", "kill -SEGV $$");
	CHECK_INT(proc_tool(argv, NULL, NULL, 10000, &e), -EIO);
	CHECK_STR(e.msg, "mvm-fake: killed by signal 11");
	CHECK_INT(err_exit(&e), 1);
	make_tool("mvm-fake", "echo 'sh: oops' >&2; exit 8");
	CHECK_INT(proc_tool(argv, NULL, NULL, 10000, &e), -EAGAIN);
	CHECK_STR(e.msg, "sh: oops");
	CHECK_INT(err_exit(&e), 8);
	const char *const none[] = { "mvm-does-not-exist", NULL };
	CHECK_INT(proc_tool(none, NULL, NULL, 10000, &e), -ENOENT);
	CHECK_INT(err_exit(&e), 1);
}

TEST(a_report_comes_with_its_status)
{
	const char *const argv[] = { "mvm-fake", NULL };
	cleanup_buf struct buf out = BUF_INIT;
	struct err e = { 0 };

	make_tool("mvm-fake", "echo '{\"ok\":false}'; exit 3");
	CHECK_INT(proc_tool(argv, NULL, &out, 10000, &e), -EBADFD);
	CHECK_INT(err_exit(&e), 3);
	CHECK_STR(buf_text(&out), "{\"ok\":false}\n");
}

TEST(progress_and_warnings_of_a_tool_come_through)
{
	const char *const argv[] = { "mvm-fake", NULL };
	cleanup_free char *path = base_printf("%s/err", tap_dir());
	cleanup_free char *path2 = base_printf("%s/progress", tap_dir());
	cleanup_buf struct buf text = BUF_INIT;
	struct err e = { 0 };
	int real = dup(2), file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int progress = open(path2, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char number[16];

	base_cut(number, sizeof(number), "%d", progress);
	(void)setenv("MVM_PROGRESS_FD", number, 1);
	make_tool("mvm-fake", "echo step >&$MVM_PROGRESS_FD; echo one >&2; echo two >&2");
	CHECK(dup2(file, 2) == 2);
	int rc = proc_tool(argv, NULL, NULL, 10000, &e);
	CHECK(dup2(real, 2) == 2);
	CHECK_INT(rc, 0);
	CHECK_INT(fd_read_file(AT_FDCWD, path, 100, &text, &e), 0);
	CHECK_STR(buf_text(&text), "one\ntwo\n");
	buf_clear(&text);
	CHECK_INT(fd_read_file(AT_FDCWD, path2, 100, &text, &e), 0);
	CHECK_STR(buf_text(&text), "step\n");
}

TEST(a_process_is_known_by_pid_and_start)
{
	struct err e = { 0 };
	struct proc_id id, other;

	pid_t pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_NAME, "a) R 1 (b"); // a name made to mislead a parser
		(void)pause();
		_exit(0);
	}
	clock_sleep_ms(20);
	CHECK_INT(proc_id_get(pid, &id, &e), 0);
	CHECK(id.pid == pid && id.start > 0 && proc_id_alive(&id));
	cleanup_fd int fd = proc_id_open(&id, &e);
	CHECK(fd >= 0 && fcntl(fd, F_GETFD) & FD_CLOEXEC);
	other = id;
	other.start++; // the number was given to another process
	CHECK(!proc_id_alive(&other));
	CHECK_INT(proc_id_open(&other, &e), -ESRCH);
	CHECK_INT(proc_wait_gone(fd, 30, &e), -ETIMEDOUT);
	CHECK_INT(proc_kill(fd, SIGKILL, &e), 0);
	CHECK_INT(proc_wait_gone(fd, 60000, &e), 0);
	CHECK(!proc_id_alive(&id)); // a zombie by now
	CHECK_INT(proc_id_open(&id, &e), -ESRCH);
	CHECK_INT(waitpid(pid, NULL, 0), pid);
	CHECK_INT(proc_kill(fd, SIGKILL, &e), 0); // gone is fine
	CHECK_INT(proc_wait_gone(fd, 0, &e), 0);
	CHECK_INT(proc_id_get(pid, &id, &e), -ESRCH);
	CHECK(!proc_id_alive(&(struct proc_id){ 0 }));
}

TEST(an_init_has_pid_1_and_its_socket)
{
	struct err e = { 0 };
	int pidfd = -1, sock = -1;
	char got[32] = "";

	pid_t pid = proc_fork_init(NULL, &pidfd, &sock, &e);
	if (pid == 0) {
		char text[32], byte;

		base_cut(text, sizeof(text), "%d %d %d", (int)getpid(), (int)getppid(), pidfd);
		(void)!write(sock, text, strlen(text));
		_exit(read(sock, &byte, 1) == 1 ? 5 : 6);
	}
	CHECK(pid > 0 && pidfd >= 0 && sock >= 0);
	CHECK(fcntl(pidfd, F_GETFD) & FD_CLOEXEC && fcntl(sock, F_GETFD) & FD_CLOEXEC);
	CHECK(read(sock, got, sizeof(got) - 1) > 0);
	CHECK_STR(got, "1 0 -1");
	CHECK_INT(write(sock, "x", 1), 1);
	int status = 0;
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(WEXITSTATUS(status), 5);
}

// caller -> init -> worker: kill -9 of the caller ends all three.
TEST(what_an_init_started_dies_with_the_caller)
{
	struct err e = { 0 };
	int report[2];
	pid_t init;
	char byte;

	CHECK_INT(pipe2(report, O_CLOEXEC), 0);
	pid_t caller = fork();
	if (caller == 0) {
		int pidfd, sock;
		pid_t pid = proc_fork_init(NULL, &pidfd, &sock, &e);

		if (pid == 0) {
			if (fork() == 0) {
				(void)!write(report[1], "w", 1); // the worker keeps the pipe open
				for (;;)
					(void)pause();
			}
			for (;;)
				(void)pause();
		}
		(void)!write(report[1], &pid, sizeof(pid));
		for (;;)
			(void)pause();
	}
	(void)close(report[1]);
	char both[sizeof(init) + 1];
	CHECK_INT(fd_read_exact(report[0], both, sizeof(both), clock_ms() + 60000, &e), 0);
	(void)kill(caller, SIGKILL);
	CHECK_INT(waitpid(caller, NULL, 0), caller);
	// All of them had the pipe: its end is the proof that none is left.
	CHECK_INT(fd_read_exact(report[0], &byte, 1, clock_ms() + 60000, &e), -ENODATA);
}

TEST(an_init_notices_a_parent_that_died_first)
{
	struct err e = { 0 };
	int s[2];

	CHECK_INT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	CHECK_INT(proc_die_with_parent(s[0], &e), 0);
	(void)close(s[1]);
	CHECK_INT(proc_die_with_parent(s[0], &e), -ESRCH);
	CHECK_STR(e.msg, "the parent is gone");
}
