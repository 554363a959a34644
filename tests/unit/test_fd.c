// SPDX-License-Identifier: MIT
#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "tap.h"

// In front of libc's: what reaches the disk, and in which order.
static char steps[64];

static void step(char what)
{
	size_t len = strlen(steps);

	if (len + 1 < sizeof(steps))
		steps[len] = what;
}

int fsync(int fd)
{
	struct stat st;

	step(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? 'd' : 'f');
	return (int)syscall(SYS_fsync, fd);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	step('r');
	return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

static int here(void)
{
	struct err e = { 0 };
	int fd = fd_open_dir(AT_FDCWD, tap_dir(), &e);

	CHECK(fd >= 0);
	return fd;
}

static bool exists(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void put(int dir, const char *name, const char *text)
{
	struct err e = { 0 };

	CHECK_INT(fd_replace_file(dir, name, text, strlen(text), 0600, &e), 0);
}

static void has(int dir, const char *name, const char *want)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct err e = { 0 };

	CHECK_INT(fd_read_file(dir, name, 1 << 20, &b, &e), 0);
	CHECK_STR(buf_text(&b), want);
}

static bool cloexec(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	return flags >= 0 && flags & FD_CLOEXEC;
}

TEST(write_all_and_read_all_pass_a_small_pipe)
{
	static char big[300000];
	cleanup_buf struct buf got = BUF_INIT;
	struct err e = { 0 };
	int p[2];

	memset(big, 'x', sizeof(big));
	CHECK_INT(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0); // both wait where they would block
	pid_t pid = fork();
	if (pid == 0) {
		(void)close(p[0]);
		_exit(fd_write_all(p[1], big, sizeof(big), &e) == 0 ? 0 : 1);
	}
	(void)close(p[1]);
	CHECK_INT(fd_read_all(p[0], sizeof(big), &got, &e), 0);
	CHECK_INT(got.len, sizeof(big));
	int status = -1;
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	(void)close(p[0]);
}

TEST(read_all_keeps_its_limit)
{
	cleanup_fd int dir = here();
	cleanup_buf struct buf b = BUF_INIT;
	struct err e = { 0 };

	put(dir, "f", "12345");
	CHECK_INT(fd_read_file(dir, "f", 5, &b, &e), 0);
	buf_clear(&b);
	CHECK_INT(fd_read_file(dir, "f", 4, &b, &e), -EFBIG);
	CHECK_INT(e.kind, ERR_USAGE);
	CHECK_STR(e.msg, "f: larger than 4 bytes");
}

TEST(read_file_takes_regular_files_only)
{
	cleanup_fd int dir = here();
	cleanup_buf struct buf b = BUF_INIT;
	struct err e = { 0 };

	put(dir, "f", "x");
	CHECK(symlinkat("f", dir, "link") == 0 && mkfifoat(dir, "fifo", 0600) == 0);
	CHECK_INT(fd_read_file(dir, "link", 9, &b, &e), -ELOOP);
	CHECK_INT(fd_read_file(dir, "fifo", 9, &b, &e), -EINVAL); // and does not hang
	CHECK_STR(e.msg, "fifo: not a regular file");
	CHECK_INT(fd_read_file(dir, "none", 9, &b, &e), -ENOENT);
	CHECK_INT(e.kind, ERR_MISSING);
}

TEST(read_exact_ends_early_or_in_time)
{
	struct err e = { 0 };
	char got[8];
	int p[2];

	CHECK_INT(pipe2(p, O_CLOEXEC), 0);
	CHECK_INT(write(p[1], "abcdefgh", 8), 8);
	CHECK_INT(fd_read_exact(p[0], got, 5, 0, &e), 0);
	CHECK(memcmp(got, "abcde", 5) == 0);
	int64_t from = clock_ms();
	CHECK_INT(fd_read_exact(p[0], got, 5, from + 40, &e), -ETIMEDOUT);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	CHECK(clock_ms() - from >= 40);
	CHECK_INT(write(p[1], "xy", 2), 2);
	(void)close(p[1]);
	CHECK_INT(fd_read_exact(p[0], got, 5, 0, &e), -ENODATA);
	CHECK_STR(e.msg, "ended 3 bytes early");
}

TEST(replace_file_sets_content_and_mode)
{
	cleanup_fd int dir = here();
	struct err e = { 0 };
	struct stat st;

	(void)umask(0777);
	CHECK_INT(fd_replace_file(dir, "f", "one", 3, 0444, &e), 0);
	CHECK(fstatat(dir, "f", &st, 0) == 0 && (st.st_mode & 07777) == 0444);
	CHECK_INT(fd_replace_file(dir, "f", "three", 5, 0640, &e), 0);
	CHECK(fstatat(dir, "f", &st, 0) == 0 && (st.st_mode & 07777) == 0640);
	has(dir, "f", "three");
	CHECK_INT(fd_replace_file(dir, "f", NULL, 0, 0600, &e), 0);
	has(dir, "f", "");
	CHECK(!exists(dir, ".new-f"));
}

TEST(replace_file_syncs_the_file_then_renames_then_syncs_the_directory)
{
	cleanup_fd int dir = here();

	memset(steps, 0, sizeof(steps));
	put(dir, "f", "x");
	CHECK_STR(steps, "frd");
}

TEST(replace_file_does_not_follow_or_reuse_what_lies_aside)
{
	cleanup_fd int dir = here();
	struct err e = { 0 };

	put(dir, "victim", "mine");
	CHECK_INT(symlinkat("victim", dir, ".new-f"), 0);
	CHECK_INT(fd_replace_file(dir, "f", "x", 1, 0600, &e), 0);
	CHECK_INT(linkat(dir, "victim", dir, ".new-f", 0), 0);
	CHECK_INT(fd_replace_file(dir, "f", "y", 1, 0600, &e), 0);
	has(dir, "victim", "mine");
	has(dir, "f", "y");
	CHECK_INT(fd_replace_file(dir, "a/b", "x", 1, 0600, &e), -EINVAL);
	CHECK_STR(e.msg, "a/b: not a plain file name");
}

static const char *const replace_points[] = { "replace-open", "replace-write", "replace-fsync",
					      "replace-rename", "replace-dirsync" };

// New content is there only from the rename on; before it an error takes the aside file away.
TEST(replace_file_leaves_old_or_new_when_a_step_fails)
{
	cleanup_fd int dir = here();

	for (size_t i = 0; i < COUNT(replace_points); i++) {
		cleanup_free char *fault =
			base_printf("other:kill,%s:err=ENOSPC", replace_points[i]);
		struct err e = { 0 };

		(void)unsetenv("MVM_FAULT");
		put(dir, "f", "old");
		(void)setenv("MVM_FAULT", fault, 1);
		CHECK_INT(fd_replace_file(dir, "f", "new", 3, 0600, &e), -ENOSPC);
		CHECK(str_ends(e.msg, "No space left on device"));
		has(dir, "f", i < 4 ? "old" : "new");
		CHECK(!exists(dir, ".new-f"));
	}
}

TEST(replace_file_leaves_old_or_new_when_killed_at_any_step)
{
	cleanup_fd int dir = here();

	for (size_t i = 0; i < COUNT(replace_points); i++) {
		cleanup_free char *fault = base_printf("%s:kill", replace_points[i]);
		struct err e = { 0 };
		int status = 0;

		put(dir, "f", "old");
		pid_t pid = fork();
		if (pid == 0) {
			(void)setenv("MVM_FAULT", fault, 1);
			_exit(fd_replace_file(dir, "f", "new", 3, 0600, &e) == 0 ? 0 : 1);
		}
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		has(dir, "f", i < 4 ? "old" : "new");
		put(dir, "f", "next"); // what was left behind is no obstacle
		has(dir, "f", "next");
		CHECK(!exists(dir, ".new-f"));
	}
}

TEST(faults_can_wait_for_the_nth_time)
{
	cleanup_fd int dir = here();
	struct err e = { 0 };

	(void)setenv("MVM_FAULT", "replace-fsync:err=EIO@2,replace-open:sleep=30", 1);
	int64_t from = clock_ms();
	CHECK_INT(fd_replace_file(dir, "f", "1", 1, 0600, &e), 0);
	CHECK(clock_ms() - from >= 30);
	CHECK_INT(fd_replace_file(dir, "f", "2", 1, 0600, &e), -EIO);
	CHECK_INT(fd_replace_file(dir, "f", "3", 1, 0600, &e), 0);
	has(dir, "f", "3");
}

TEST(a_fault_can_hold_a_process_until_it_is_let_go)
{
	cleanup_fd int dir = here();
	struct err e = { 0 };
	int status;

	(void)setenv("MVM_FAULT", "replace-open:stop", 1);
	pid_t pid = fork();
	if (pid == 0)
		_exit(fd_replace_file(dir, "f", "1", 1, 0600, &e) < 0);
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	CHECK(!exists(dir, "f"));
	(void)kill(pid, SIGCONT);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	has(dir, "f", "1");
}

TEST(directories_are_made_once_with_their_mode)
{
	cleanup_fd int dir = here();
	cleanup_free char *deep = base_printf("%s/a//b/c/", tap_dir());
	struct err e = { 0 };
	struct stat st;

	(void)umask(077);
	CHECK_INT(fd_mkdir(dir, "d", 0755, &e), 0);
	CHECK(fstatat(dir, "d", &st, 0) == 0 && (st.st_mode & 07777) == 0755);
	CHECK_INT(fd_mkdir(dir, "d", 0700, &e), 0); // there already: as it is
	CHECK(fstatat(dir, "d", &st, 0) == 0 && (st.st_mode & 07777) == 0755);
	put(dir, "f", "");
	CHECK_INT(fd_mkdir(dir, "f", 0700, &e), -EEXIST);
	CHECK_STR(e.msg, "f: exists and is not a directory");
	CHECK_INT(symlinkat("d", dir, "link"), 0);
	CHECK_INT(fd_mkdir(dir, "link", 0700, &e), -EEXIST);
	CHECK_INT(fd_open_dir(dir, "link", &e), -ENOTDIR);
	CHECK_INT(fd_mkdirs(deep, 0711, &e), 0);
	CHECK_INT(fd_mkdirs(deep, 0711, &e), 0);
	CHECK(fstatat(dir, "a/b/c", &st, 0) == 0 && (st.st_mode & 07777) == 0711);
	CHECK(fstatat(dir, "a", &st, 0) == 0 && (st.st_mode & 07777) == 0711);
	cleanup_free char *through = base_printf("%s/f/x", tap_dir());
	CHECK_INT(fd_mkdirs(through, 0700, &e), -ENOTDIR);
	CHECK_INT(fd_sync_dir(dir, &e), 0);
}

TEST(remove_tree_takes_links_and_leaves_what_they_point_to)
{
	cleanup_fd int dir = here();
	struct err e = { 0 };

	put(dir, "keep", "kept");
	CHECK(mkdirat(dir, "keepdir", 0700) == 0 && mkdirat(dir, "t", 0700) == 0 &&
	      mkdirat(dir, "t/sub", 0) == 0 && symlinkat("../keep", dir, "t/link") == 0 &&
	      symlinkat("../keepdir", dir, "t/dirlink") == 0 && mkfifoat(dir, "t/fifo", 0) == 0);
	CHECK_INT(fd_remove_tree(dir, "t", &e), 0);
	CHECK(!exists(dir, "t") && exists(dir, "keepdir"));
	has(dir, "keep", "kept");
	CHECK_INT(fd_remove_tree(dir, "t", &e), 0); // gone already
	CHECK_INT(symlinkat("keepdir", dir, "top"), 0);
	CHECK_INT(fd_remove_tree(dir, "top", &e), 0); // the link itself
	CHECK_INT(fd_remove_tree(dir, "keep", &e), 0);
	CHECK(exists(dir, "keepdir") && !exists(dir, "keep") && !exists(dir, "top"));
}

TEST(remove_tree_takes_paths)
{
	cleanup_fd int dir = here();
	cleanup_free char *path = base_printf("%s/a/b", tap_dir());
	struct err e = { 0 };

	CHECK_INT(fd_mkdirs(path, 0700, &e), 0);
	CHECK_INT(fd_remove_tree(AT_FDCWD, path, &e), 0);
	CHECK(exists(dir, "a") && !exists(dir, "a/b"));
	CHECK_INT(fd_remove_tree(dir, "none/b", &e), 0);
	CHECK(fd_remove_tree(AT_FDCWD, "/", &e) < 0);
}

TEST(remove_tree_stands_any_depth)
{
	cleanup_fd int dir = here();
	cleanup_fd int at = dup(dir);
	const struct rlimit few = { 64, 64 };
	struct err e = { 0 };

	CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (int i = 0; i < 300; i++) { // deeper than there are descriptors
		CHECK(mkdirat(at, "d", 0700) == 0);
		int next = openat(at, "d", O_RDONLY | O_DIRECTORY);
		(void)close(at);
		at = next;
	}
	CHECK(mkdirat(dir, "d/.deep-0", 0700) == 0 && mkdirat(dir, "d/.deep-0/x", 0700) == 0);
	CHECK_INT(fd_remove_tree(dir, "d", &e), 0);
	CHECK_STR(e.msg, "");
	CHECK(!exists(dir, "d"));
}

// A bind mount of the same file system is a border, too.
TEST(remove_tree_stops_at_a_mount)
{
	int dir = here();
	cleanup_free char *src = base_printf("%s/src", tap_dir());
	cleanup_free char *dst = base_printf("%s/t/m", tap_dir());
	struct err e = { 0 };

	CHECK(mkdirat(dir, "src", 0700) == 0 && mkdirat(dir, "t", 0700) == 0 &&
	      mkdirat(dir, "t/m", 0700) == 0 && mkdirat(dir, "src/kept", 0700) == 0);
	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0); // ends with this case
	CHECK(mount(src, dst, NULL, MS_BIND, NULL) == 0);
	(void)close(dir); // knows the mounts of before only
	dir = here();
	CHECK_INT(fd_remove_tree(dir, "t", &e), -EBUSY);
	CHECK_STR(e.msg, "t: remove m: something is mounted there");
	CHECK(exists(dir, "src/kept"));
	(void)close(dir);
}

TEST(a_lock_excludes_and_names_the_holder)
{
	cleanup_fd int dir = here();
	struct err e = { 0 };
	int ready[2], status;
	char byte;

	CHECK_INT(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		int fd = fd_lock(dir, "lock", true, 0, &e);

		(void)!write(ready[1], fd >= 0 ? "y" : "n", 1);
		(void)pause();
		_exit(0);
	}
	CHECK(read(ready[0], &byte, 1) == 1 && byte == 'y');
	int64_t from = clock_ms();
	CHECK_INT(fd_lock(dir, "lock", true, 80, &e), -EAGAIN);
	CHECK(clock_ms() - from >= 80 && clock_ms() - from < 60000);
	CHECK_INT(e.kind, ERR_UNAVAILABLE);
	cleanup_free char *says = base_printf("lock: locked by pid %d (test_fd)", (int)pid);
	CHECK_STR(e.msg, says);
	CHECK_INT(fd_lock(dir, "lock", false, 0, &e), -EAGAIN); // a reader is kept out, too
	(void)kill(pid, SIGKILL);
	CHECK(waitpid(pid, &status, 0) == pid);
	int fd = fd_lock(dir, "lock", true, 60000, &e); // the kernel released it
	CHECK(fd >= 0 && cloexec(fd));
	(void)close(fd);
}

TEST(shared_locks_go_together)
{
	cleanup_fd int dir = here();
	struct err e = { 0 };
	cleanup_fd int a = fd_lock(dir, "lock", false, 0, &e);
	cleanup_fd int b = fd_lock(dir, "lock", false, 0, &e);

	CHECK(a >= 0 && b >= 0);
	CHECK_INT(fd_lock(dir, "lock", true, 0, &e), -EAGAIN);
}

TEST(a_waiting_lock_comes_through)
{
	cleanup_fd int dir = here();
	struct err e = { 0 };
	int fd = fd_lock(dir, "lock", true, 0, &e), status = -1;

	pid_t pid = fork();
	if (pid == 0) {
		(void)close(fd);
		_exit(fd_lock(dir, "lock", true, 60000, &e) >= 0 ? 0 : 1);
	}
	clock_sleep_ms(50);
	(void)close(fd);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

// The object was destroyed and made anew while we waited: the old file guards nothing.
TEST(a_lock_on_a_file_that_was_replaced_is_taken_again)
{
	cleanup_fd int dir = here();
	struct err e = { 0 };
	int fd = fd_lock(dir, "lock", true, 0, &e), status = -1, ready[2];
	char byte;

	CHECK_INT(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct stat held, named;

		(void)close(fd);
		(void)!write(ready[1], "y", 1);
		int mine = fd_lock(dir, "lock", true, 60000, &e);
		_exit(mine >= 0 && fstat(mine, &held) == 0 &&
				      fstatat(dir, "lock", &named, 0) == 0 &&
				      held.st_ino == named.st_ino
			      ? 0
			      : 1);
	}
	CHECK(read(ready[0], &byte, 1) == 1);
	clock_sleep_ms(20);
	CHECK_INT(renameat(dir, "lock", dir, "gone"), 0);
	put(dir, "lock", "");
	(void)close(fd);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

TEST(a_lock_does_not_follow_links)
{
	cleanup_fd int dir = here();
	struct err e = { 0 };

	CHECK_INT(symlinkat("elsewhere", dir, "lock"), 0);
	CHECK_INT(fd_lock(dir, "lock", true, 0, &e), -ELOOP);
	CHECK(!exists(dir, "elsewhere"));
}

TEST(descriptors_travel)
{
	struct err e = { 0 };
	int s[2], p[2], got[4];
	size_t n, len;
	char text[8];

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s) == 0 &&
	      pipe2(p, O_CLOEXEC) == 0);
	CHECK_INT(fd_send(s[0], p, 2, "hello", 5, &e), 0);
	CHECK_INT(fd_recv(s[1], got, 4, &n, text, sizeof(text), &len, &e), 0);
	CHECK(n == 2 && len == 5 && memcmp(text, "hello", 5) == 0);
	CHECK(cloexec(got[0]) && cloexec(got[1]));
	CHECK(write(got[1], "x", 1) == 1 && read(p[0], text, 1) == 1);
	CHECK_INT(fd_send(s[0], NULL, 0, "plain", 5, &e), 0);
	CHECK_INT(fd_recv(s[1], got, 4, &n, text, sizeof(text), &len, &e), 0);
	CHECK(n == 0 && len == 5);
	(void)close(s[0]);
	CHECK_INT(fd_recv(s[1], got, 4, &n, text, sizeof(text), &len, &e), 0);
	CHECK(n == 0 && len == 0);			       // the end
	CHECK_INT(fd_send(s[1], NULL, 0, "x", 1, &e), -EPIPE); // and no SIGPIPE
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

TEST(surplus_descriptors_and_bytes_are_refused_and_closed)
{
	struct err e = { 0 };
	int s[2], p[2], got[1];
	size_t n, len;
	char text[4];

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s) == 0 &&
	      pipe2(p, O_CLOEXEC) == 0);
	int before = open_count();
	CHECK_INT(fd_send(s[0], p, 2, "x", 1, &e), 0);
	CHECK_INT(fd_recv(s[1], got, 1, &n, text, sizeof(text), &len, &e), -EMSGSIZE);
	CHECK_INT(fd_send(s[0], p, 1, "12345", 5, &e), 0);
	CHECK_INT(fd_recv(s[1], got, 1, &n, text, sizeof(text), &len, &e), -EMSGSIZE);
	CHECK_INT(open_count(), before);
}

TEST(sockets_have_long_paths_and_exact_modes)
{
	cleanup_free char *deep =
		base_printf("%s/%0100d/%0100d", tap_dir(), 0, 0); // sun_path holds 108 bytes
	struct err e = { 0 };
	struct stat st;

	(void)umask(0777);
	CHECK_INT(fd_mkdirs(deep, 0700, &e), 0);
	cleanup_fd int dir = fd_open_dir(AT_FDCWD, deep, &e);
	cleanup_fd int listener = fd_unix_listen(dir, "s.sock", 0660, 4, &e);
	CHECK_STR(e.msg, "");
	CHECK(listener >= 0 && cloexec(listener));
	CHECK(fstatat(dir, "s.sock", &st, 0) == 0 && (st.st_mode & 07777) == 0660);
	cleanup_fd int client = fd_unix_connect(dir, "s.sock", &e);
	cleanup_fd int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(client >= 0 && server >= 0 && cloexec(client));
	CHECK(write(client, "x", 1) == 1);
	CHECK_INT(fd_unix_listen(dir, "s.sock", 0600, 4, &e), -EEXIST); // alive: not taken away
	CHECK_INT(e.kind, ERR_CONFLICT);
}

TEST(a_dead_socket_is_replaced_and_a_file_is_not)
{
	cleanup_fd int dir = here();
	struct err e = { 0 };

	(void)close(fd_unix_listen(dir, "s", 0600, 4, &e));
	CHECK_INT(fd_unix_connect(dir, "s", &e), -ECONNREFUSED);
	int again = fd_unix_listen(dir, "s", 0600, 4, &e);
	CHECK(again >= 0);
	(void)close(again);
	put(dir, "f", "kept");
	CHECK_INT(fd_unix_listen(dir, "f", 0600, 4, &e), -ENOTSOCK);
	CHECK_INT(symlinkat("s", dir, "link"), 0);
	CHECK_INT(fd_unix_connect(dir, "link", &e), -ENOTSOCK);
	CHECK_INT(fd_unix_connect(dir, "none", &e), -ENOENT);
	has(dir, "f", "kept");
}

TEST(standard_descriptors_are_made_sure_of)
{
	int status = -1;

	pid_t pid = fork();
	if (pid == 0) {
		int leak = dup(2);

		(void)close(0);
		(void)close(2);
		fd_sanitize();
		_exit(fcntl(0, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0 && cloexec(leak) &&
				      !cloexec(1)
			      ? 0
			      : 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

TEST(nonblock_is_set_and_cleared)
{
	struct err e = { 0 };
	int p[2];

	CHECK_INT(pipe2(p, O_CLOEXEC), 0);
	CHECK_INT(fd_set_nonblock(p[0], true, &e), 0);
	CHECK(fcntl(p[0], F_GETFL) & O_NONBLOCK);
	CHECK_INT(fd_set_nonblock(p[0], false, &e), 0);
	CHECK(!(fcntl(p[0], F_GETFL) & O_NONBLOCK));
	CHECK_INT(fd_set_nonblock(-1, true, &e), -EBADF);
}
