// SPDX-License-Identifier: MIT
#include "base/log.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "tap.h"

// stderr goes to a file of the case from here on.
static void catch_stderr(void)
{
	cleanup_free char *path = base_printf("%s/err", tap_dir());
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
	(void)close(fd);
}

static char *caught(void)
{
	cleanup_free char *path = base_printf("%s/err", tap_dir());
	struct buf b = BUF_INIT;
	struct err e = { 0 };

	CHECK_INT(fd_read_file(AT_FDCWD, path, 1 << 20, &b, &e), 0);
	return buf_steal(&b);
}

TEST(one_clean_line_per_message)
{
	int real = dup(STDERR_FILENO);

	catch_stderr();
	log_open("mvm-x");
	log_error("acme/web", "open: %s\x1b[2Jx\ny\x7f\xff\xc2\x9b", "no");
	log_warn(NULL, "careful");
	log_info("", "hello \xc3\xa9");
	log_debug("a", "not shown");
	cleanup_free char *text = caught();
	(void)dup2(real, STDERR_FILENO);
	CHECK_STR(text, "mvm-x: acme/web: open: no?[2Jx?y????\n"
			"mvm-x: warning: careful\n"
			"mvm-x: hello \xc3\xa9\n");
}

TEST(the_level_comes_from_the_environment)
{
	int real = dup(STDERR_FILENO);

	catch_stderr();
	(void)setenv("MVM_LOG_LEVEL", "debug", 1);
	log_open("t");
	log_debug("", "one");
	(void)setenv("MVM_LOG_LEVEL", "error", 1);
	log_open("t");
	log_warn("", "two");
	log_error("", "three");
	(void)unsetenv("MVM_LOG_LEVEL");
	log_default(LOG_LEVEL_WARN);
	log_info("", "four");
	log_warn("", "five");
	cleanup_free char *text = caught();
	(void)dup2(real, STDERR_FILENO);
	CHECK_STR(text, "t: debug: one\nt: three\nt: warning: five\n");
}

TEST(json_lines_carry_the_request)
{
	int real = dup(STDERR_FILENO);

	catch_stderr();
	(void)setenv("MVM_LOG", "json", 1);
	(void)setenv("MVM_REQUEST_ID", "R1", 1);
	log_open("mvm-x");
	log_warn("acme", "a \"b\"");
	cleanup_free char *text = caught();
	(void)dup2(real, STDERR_FILENO);
	CHECK(str_starts(text, "{\"ts\":\"20"));
	CHECK(str_ends(text, "Z\",\"level\":\"warn\",\"tool\":\"mvm-x\",\"object\":\"acme\","
			     "\"request_id\":\"R1\",\"msg\":\"a \\\"b\\\"\"}\n"));
}

TEST(the_journal_gets_priorities)
{
	int real = dup(STDERR_FILENO);
	struct stat st;

	catch_stderr();
	CHECK_INT(fstat(STDERR_FILENO, &st), 0);
	cleanup_free char *stream = base_printf("%llu:%llu", (unsigned long long)st.st_dev,
						(unsigned long long)st.st_ino);
	(void)setenv("JOURNAL_STREAM", stream, 1);
	log_open("t");
	log_warn("", "one");
	(void)setenv("JOURNAL_STREAM", "1:2", 1); // somebody else's stream
	log_open("t");
	log_warn("", "two");
	cleanup_free char *text = caught();
	(void)dup2(real, STDERR_FILENO);
	CHECK_STR(text, "<4>t: warning: one\nt: warning: two\n");
}

static int manager(const char *path, bool abstract)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size_t len = strlen(path);

	memcpy(sun.sun_path + abstract, path, len);
	CHECK_INT(bind(fd, (const struct sockaddr *)&sun,
		       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + len +
				   !abstract)),
		  0);
	return fd;
}

TEST(notify_without_a_manager_does_nothing)
{
	struct err e = { .no = 5 };

	(void)unsetenv("NOTIFY_SOCKET");
	CHECK_INT(log_notify("READY=1", &e), 0);
	CHECK_INT(log_notify_barrier(100, &e), 0);
}

TEST(notify_reaches_paths_and_abstract_names)
{
	cleanup_free char *path = base_printf("%s/notify", tap_dir());
	cleanup_free char *name = base_printf("mvm-test-%d", (int)getpid());
	cleanup_free char *at_name = base_printf("@%s", name);
	cleanup_fd int by_path = manager(path, false), by_name = manager(name, true);
	struct err e = { 0 };
	char got[64] = "";

	(void)setenv("NOTIFY_SOCKET", path, 1);
	CHECK_INT(log_notify("READY=1\nSTATUS=x", &e), 0);
	CHECK_INT(read(by_path, got, sizeof(got) - 1), 16);
	CHECK_STR(got, "READY=1\nSTATUS=x");
	(void)setenv("NOTIFY_SOCKET", at_name, 1);
	CHECK_INT(log_notify("STOPPING=1", &e), 0);
	CHECK_INT(read(by_name, got, sizeof(got) - 1), 10);
	(void)setenv("NOTIFY_SOCKET", "/nowhere/notify", 1);
	CHECK_INT(log_notify("READY=1", &e), -ENOENT);
}

TEST(the_barrier_waits_for_the_manager)
{
	cleanup_free char *path = base_printf("%s/notify", tap_dir());
	cleanup_fd int fd = manager(path, false);
	struct err e = { 0 };
	int status;

	(void)setenv("NOTIFY_SOCKET", path, 1);
	CHECK_INT(log_notify_barrier(50, &e), -ETIMEDOUT);
	pid_t pid = fork();
	if (pid == 0) { // takes both barriers, the old one first, and closes what came with them
		int got[2];
		size_t n, len;
		char text[32];

		clock_sleep_ms(30);
		for (int i = 0; i < 2; i++)
			if (fd_recv(fd, got, 2, &n, text, sizeof(text), &len, &e) < 0 || n != 1 ||
			    close(got[0]) < 0 || len != 9)
				_exit(1);
		_exit(0);
	}
	CHECK_INT(log_notify_barrier(5000, &e), 0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}
