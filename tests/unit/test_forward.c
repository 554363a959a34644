// SPDX-License-Identifier: MIT
// Port forward: one connection of the guest for one of the host's.
#include "agent_world.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static int take_tcp(uint16_t *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
	*port = ntohs(at.sin_port);
	return fd;
}

static int serve_tcp(uint16_t *port)
{
	int fd = take_tcp(port);

	CHECK(listen(fd, 8) == 0);
	return fd;
}

// The host's half in a process of its own; returns the client's end.
static int forward(const struct world *g, uint16_t port, pid_t *pid, int *status_pipe)
{
	const struct guest_forward to = { 0, port };
	int pair[2], report[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	CHECK(pipe2(report, O_CLOEXEC) == 0);
	*pid = fork();
	if (*pid == 0) {
		struct guest_conn *c = reach(g);
		struct err e = { 0 };
		int r;

		(void)close(pair[0]);
		r = guest_forward(c, &to, pair[1], &e);
		(void)!write(report[1], r < 0 ? (char *)&e.kind : "ok\0", sizeof(e.kind));
		_exit(r < 0);
	}
	(void)close(pair[1]);
	(void)close(report[1]);
	*status_pipe = report[0];
	return pair[0];
}

static int ended(pid_t pid)
{
	int status = -1;

	CHECK(waitpid(pid, &status, 0) == pid);
	return WEXITSTATUS(status);
}

TEST(megabytes_go_both_ways_and_each_end_is_passed_on)
{
	struct world g = up();
	uint16_t port;
	cleanup_fd int listener = serve_tcp(&port);
	cleanup_buf struct buf sent = BUF_INIT, got = BUF_INIT;
	struct err e = { 0 };
	int report;
	pid_t pid, echo;
	cleanup_fd int client = forward(&g, port, &pid, &report);

	for (uint32_t i = 0, v = 1; i < 2 * MIB; i++, v = v * 1664525 + 1013904223)
		buf_char(&sent, (char)(v >> 24));
	echo = fork();
	if (echo == 0) { // takes all up to the end, then answers all, then its end
		cleanup_buf struct buf all = BUF_INIT;
		int fd = accept(listener, NULL, NULL);

		CHECK(fd_read_all(fd, 4 * MIB, &all, &e) == 0 &&
		      fd_write_all(fd, all.data, all.len, &e) == 0);
		_exit(0);
	}
	CHECK(fd_write_all(client, sent.data, sent.len, &e) == 0);
	CHECK(shutdown(client, SHUT_WR) == 0);
	CHECK(fd_read_all(client, 4 * MIB, &got, &e) == 0);
	CHECK(got.len == sent.len && memcmp(got.data, sent.data, sent.len) == 0);
	CHECK_INT(ended(pid), 0);
	CHECK_INT(ended(echo), 0);
	(void)close(report);
}

TEST(the_server_may_end_first_and_still_read)
{
	struct world g = up();
	uint16_t port;
	cleanup_fd int listener = serve_tcp(&port);
	int report;
	pid_t pid;
	cleanup_fd int client = forward(&g, port, &pid, &report), fd = accept(listener, NULL, NULL);
	char c = 0;

	CHECK(write(fd, "x", 1) == 1 && shutdown(fd, SHUT_WR) == 0);
	CHECK(read(client, &c, 1) == 1 && c == 'x');
	CHECK(read(client, &c, 1) == 0);
	CHECK(write(client, "y", 1) == 1);
	CHECK(read(fd, &c, 1) == 1 && c == 'y');
	CHECK(shutdown(client, SHUT_WR) == 0);
	CHECK(read(fd, &c, 1) == 0);
	CHECK_INT(ended(pid), 0);
	(void)close(report);
}

TEST(a_client_that_hangs_up_closes_the_guest_s_connection)
{
	struct world g = up();
	uint16_t port;
	cleanup_fd int listener = serve_tcp(&port);
	int report;
	pid_t pid;
	int client = forward(&g, port, &pid, &report);
	cleanup_fd int fd = accept(listener, NULL, NULL);
	char bytes[65536] = "";
	ssize_t n;

	(void)signal(SIGPIPE, SIG_IGN);
	CHECK(write(client, "x", 1) == 1 && read(fd, bytes, 1) == 1);
	(void)close(client);
	CHECK(read(fd, bytes, 1) == 0);
	do {
		n = write(fd, bytes, sizeof(bytes));
	} while (n > 0);
	CHECK_INT(ended(pid), 0);
	(void)close(report);
}

TEST(nobody_listens)
{
	struct world g = up();
	enum err_kind kind = ERR_FAILED;
	uint16_t port;
	int report;
	pid_t pid;

	cleanup_fd int taken = take_tcp(&port); // so that nobody else does
	cleanup_fd int client = forward(&g, port, &pid, &report);
	CHECK_INT(ended(pid), 1);
	CHECK(read(report, &kind, sizeof(kind)) == sizeof(kind));
	CHECK_INT(kind, ERR_UNAVAILABLE);
	(void)close(report);
}

TEST(sixty_four_connections_at_once)
{
	struct world g = up();
	uint16_t port;
	cleanup_fd int listener = serve_tcp(&port);
	int client[64], server[64], report;
	pid_t pid[64];
	char c;

	for (int i = 0; i < 64; i++) {
		client[i] = forward(&g, port, &pid[i], &report);
		(void)close(report);
		server[i] = accept(listener, NULL, NULL);
	}
	for (int i = 0; i < 64; i++)
		CHECK(write(client[i], "x", 1) == 1 && read(server[i], &c, 1) == 1);
	// The later forwarders hold copies of both sockets: a close would end nothing.
	for (int i = 0; i < 64; i++) {
		CHECK(shutdown(server[i], SHUT_RDWR) == 0);
		(void)close(server[i]);
		CHECK(read(client[i], &c, 1) == 0);
		CHECK(shutdown(client[i], SHUT_RDWR) == 0);
		(void)close(client[i]);
	}
	for (int i = 0; i < 64; i++)
		CHECK_INT(ended(pid[i]), 0);
}
