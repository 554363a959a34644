// SPDX-License-Identifier: MIT
// Who may dial the host's ready port, and what is believed there; the rest is in test_agent_edge.c.
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/host.h"
#include "tap.h"

#define WAIT_MS 200

TEST(only_the_vms_user_may_say_that_the_guest_is_ready)
{
	struct guest_welcome w = { .net.prefix = 24 };
	struct guest_info info = { 0 };
	struct err e = { 0 };
	char byte;

	cleanup_fd int dir = fd_open_dir(-1, tap_dir(), &e);
	cleanup_fd int sock = fd_unix_listen(dir, "v.sock_1", 0666, 4, &e);
	cleanup_fd int peer = fd_unix_connect(dir, "v.sock_1", &e);

	CHECK(sock >= 0 && peer >= 0);
	CHECK(guest_serve_ready(sock, getuid() + 1, -1, &w, clock_ms() + 10 * WAIT_MS, &info, &e) <
	      0);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	cleanup_free char *says =
		base_printf("the peer is uid %u and not %u", getuid(), getuid() + 1);
	CHECK(strstr(e.msg, says) != NULL);
	CHECK_INT(recv(peer, &byte, 1, 0), 0); // closed without a word
}

static void put_frame(struct buf *b, enum guest_type type, const void *p, size_t len)
{
	guest_frame_put(b, type, 0, p, len);
}

static void put_hello(struct buf *b)
{
	const struct guest_hello hello = { GUEST_VERSION, GUEST_VERSION, "hostile" };
	cleanup_buf struct buf body = BUF_INIT;

	guest_hello_put(&body, &hello);
	put_frame(b, GUEST_HELLO, body.data, body.len);
}

// A guest in a process of its own that sends this, and then, if again, the rest of it without end.
static pid_t guest(int dir, const struct buf *first, const void *again, size_t len)
{
	struct err e = { 0 };
	pid_t pid = fork();
	int fd;

	if (pid != 0)
		return pid;
	fd = fd_unix_connect(dir, "v.sock_1", &e);
	if (fd < 0 || fd_write_all(fd, first->data, first->len, &e) < 0)
		_exit(1);
	while (again && fd_write_all(fd, again, len, &e) == 0)
		;
	(void)shutdown(fd, SHUT_WR);
	while (read(fd, first->data, 1) > 0)
		;
	_exit(0);
}

// The names that a guest gives itself are shown; they move no terminal.
TEST(what_a_guest_says_of_itself_is_cleaned)
{
	struct guest_info said = { .kernel = "6.1\x1b[2J\n", .boot_id = "\x07id\r" }, info = { 0 };
	struct guest_welcome w = { .net.prefix = 24 };
	cleanup_buf struct buf all = BUF_INIT, body = BUF_INIT;
	struct err e = { 0 };
	cleanup_fd int dir = fd_open_dir(-1, tap_dir(), &e);
	cleanup_fd int sock = fd_unix_listen(dir, "v.sock_1", 0666, 4, &e);

	put_hello(&all);
	guest_info_put(&body, &said);
	put_frame(&all, GUEST_READY, body.data, body.len);
	CHECK(guest(dir, &all, NULL, 0) > 0);
	CHECK(guest_serve_ready(sock, getuid(), -1, &w, clock_ms() + 60000, &info, &e) == 0);
	CHECK_STR(info.kernel, "6.1?[2J?");
	CHECK_STR(info.boot_id, "?id?");
}

// Lengths that lie, fields that do not end, frames without end: the start fails at its deadline,
// with the last cause, and has kept nothing of it.
TEST(a_guest_that_floods_the_ready_port_fails_its_own_start)
{
	static const uint8_t lies[][12] = {
		{ 0xff, 0xff, 0xff, 0xff, GUEST_READY, 0, 0, 0 },
		{ 4, 0, 0, 0, GUEST_READY, 0, 0, 0, 0xff, 0xff, 0xff, 0xff },
		{ 4, 0, 0, 0, GUEST_ERROR, 0, 0, 0, 0xff, 0xff, 0xff, 0xff },
		{ 0, 0, 2, 0, GUEST_WELCOME, 0, 0, 0 },
		{ 0, 0, 0, 0, GUEST_EOF, 0, 1, 0 },
		"once upon a",
	};
	const struct rlimit little = { 64 * MIB, 64 * MIB };
	struct guest_welcome w = { .net.prefix = 24 };
	struct guest_info info = { 0 };
	struct err e = { 0 };
	cleanup_fd int dir = fd_open_dir(-1, tap_dir(), &e);
	cleanup_fd int sock = fd_unix_listen(dir, "v.sock_1", 0666, 4, &e);

#ifndef __SANITIZE_ADDRESS__ // it keeps more than that for itself
	CHECK(setrlimit(RLIMIT_DATA, &little) == 0);
#else
	(void)little;
#endif
	for (size_t i = 0; i < COUNT(lies); i++) {
		cleanup_buf struct buf all = BUF_INIT;
		int64_t begun = clock_ms();
		pid_t pid;

		put_hello(&all);
		pid = guest(dir, &all, lies[i], sizeof(lies[i]));
		err_clear(&e);
		CHECK(guest_serve_ready(sock, getuid(), -1, &w, begun + WAIT_MS, &info, &e) < 0);
		CHECK(clock_ms() - begun < 100 * WAIT_MS);
		CHECK(e.kind == ERR_TIMEOUT || e.kind == ERR_FAILED);
		(void)kill(pid, SIGKILL);
		CHECK(waitpid(pid, NULL, 0) == pid);
	}
}
