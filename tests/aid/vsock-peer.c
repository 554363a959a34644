// SPDX-License-Identifier: MIT
// The host's side of a guest's vsock, as a program that uses the VMM's socket.
//	vsock-peer SOCKET say PORT TEXT		prints the line that is answered; tries for 120 s
//	vsock-peer SOCKET try PORT		"taken" or "refused"
//	vsock-peer SOCKET raw TEXT		sends the text, prints what comes until the end
//	vsock-peer SOCKET open PORT COUNT	opens that many, prints how many were taken
//	vsock-peer SOCKET echo PORT COUNT BYTES	all at once, each has to come back unchanged
//	vsock-peer SOCKET watch PORT		prints "taken", then waits for the end, prints
//"ended" 	vsock-peer SOCKET take			listens there, prints what the first caller
// sends
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONNS_MAX 2048

static struct sockaddr_un address = { .sun_family = AF_UNIX };

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "vsock-peer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

// -1 at the end, or after 60 s.
static int get(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	unsigned char c;

	if (poll(&p, 1, 60000) != 1 || read(fd, &c, 1) != 1)
		return -1;
	return c;
}

static bool get_line(int fd, char *out, size_t size)
{
	size_t len = 0;
	int c;

	while ((c = get(fd)) >= 0 && c != '\n')
		if (len < size - 1)
			out[len++] = (char)c;
	out[len] = '\0';
	return c == '\n';
}

static int connect_to(const char *port)
{
	char line[64];
	int fd = dial();

	if (fd < 0)
		return -1;
	dprintf(fd, "CONNECT %s\n", port);
	if (get_line(fd, line, sizeof(line)) && strncmp(line, "OK ", 3) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

static int say(const char *port, const char *text)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	time_t end = time(NULL) + 120;
	char line[2048];

	while (time(NULL) < end) {
		int fd = connect_to(port);

		if (fd >= 0) {
			dprintf(fd, "%s\n", text);
			if (!get_line(fd, line, sizeof(line)))
				die("no answer");
			puts(line);
			return 0;
		}
		(void)nanosleep(&pause, NULL);
	}
	errno = ETIMEDOUT;
	die(port);
}

static int raw(const char *text)
{
	int fd = dial(), c;

	if (fd < 0)
		die("connect");
	dprintf(fd, "%s", text);
	while ((c = get(fd)) >= 0)
		putchar(c);
	return 0;
}

static unsigned char pattern(size_t conn, size_t at)
{
	return (unsigned char)(at * 7 + conn * 31 + at / 251);
}

// One step of one connection; true when it has something moved.
static bool step(int fd, size_t conn, size_t bytes, size_t *sent, size_t *got)
{
	unsigned char data[8192];
	size_t n = bytes - *sent < sizeof(data) ? bytes - *sent : sizeof(data);
	bool moved = false;
	ssize_t r;

	for (size_t i = 0; i < n; i++)
		data[i] = pattern(conn, *sent + i);
	r = n ? send(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	if (r > 0) {
		*sent += (size_t)r;
		moved = true;
	}
	r = recv(fd, data, sizeof(data), MSG_DONTWAIT);
	for (ssize_t i = 0; i < r; i++)
		if (data[i] != pattern(conn, *got + (size_t)i)) {
			errno = EBADMSG;
			die("what came back is not what was sent");
		}
	if (r == 0) {
		errno = EPIPE;
		die("a connection has ended");
	}
	if (r > 0)
		*got += (size_t)r;
	return moved || r > 0;
}

static int echo(const char *port, size_t count, size_t bytes)
{
	static size_t sent[CONNS_MAX], got[CONNS_MAX];
	static int fd[CONNS_MAX];
	const struct timespec pause = { .tv_nsec = 1000000 };
	time_t end = time(NULL) + 300;
	size_t done = 0;

	for (size_t i = 0; i < count; i++)
		if ((fd[i] = connect_to(port)) < 0)
			die("connect");
	while (done < count && time(NULL) < end) {
		bool moved = false;

		for (size_t i = 0; i < count; i++) {
			if (got[i] == bytes)
				continue;
			moved |= step(fd[i], i, bytes, &sent[i], &got[i]);
			done += got[i] == bytes;
		}
		if (!moved)
			(void)nanosleep(&pause, NULL);
	}
	printf("%zu\n", done);
	return done != count;
}

static int open_many(const char *port, size_t count)
{
	size_t taken = 0;

	for (size_t i = 0; i < count; i++)
		taken += connect_to(port) >= 0;
	printf("%zu\n", taken);
	return 0;
}

static int watch(const char *port)
{
	int fd = connect_to(port), c;

	if (fd < 0)
		die("connect");
	puts("taken");
	(void)fflush(stdout);
	while (read(fd, &c, 1) > 0)
		;
	puts("ended");
	return 0;
}

static int take(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), conn, c;

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 16) < 0)
		die("listen");
	conn = accept(fd, NULL, NULL);
	while (conn >= 0 && (c = get(conn)) >= 0)
		putchar(c);
	return conn < 0;
}

int main(int argc, char **argv)
{
	struct rlimit lim = { 4096, 4096 };
	const char *verb = argc > 2 ? argv[2] : "";

	(void)signal(SIGPIPE, SIG_IGN);
	(void)setrlimit(RLIMIT_NOFILE, &lim);
	if (argc < 3 || strlen(argv[1]) >= sizeof(address.sun_path))
		return 2;
	memcpy(address.sun_path, argv[1], strlen(argv[1]));
	if (strcmp(verb, "take") == 0)
		return take();
	if (argc == 4 && strcmp(verb, "raw") == 0)
		return raw(argv[3]);
	if (argc == 4 && strcmp(verb, "watch") == 0)
		return watch(argv[3]);
	if (argc == 4 && strcmp(verb, "try") == 0)
		return puts(connect_to(argv[3]) >= 0 ? "taken" : "refused") < 0;
	if (argc == 5 && strcmp(verb, "say") == 0)
		return say(argv[3], argv[4]);
	if (argc == 5 && strcmp(verb, "open") == 0)
		return open_many(argv[3], (size_t)strtoul(argv[4], NULL, 10));
	if (argc == 6 && strcmp(verb, "echo") == 0 && strtoul(argv[4], NULL, 10) <= CONNS_MAX)
		return echo(argv[3], (size_t)strtoul(argv[4], NULL, 10),
			    (size_t)strtoul(argv[5], NULL, 10));
	return 2;
}
