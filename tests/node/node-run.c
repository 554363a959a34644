// SPDX-License-Identifier: MIT
// node-run: runs one command in the node VM through its agent, with its streams and its exit
// status.
//
//	node-run [--timeout S] [--wait S] [--tty] SOCKET|DIR -- COMMAND [ARG…]
//
// --tty gives the command a terminal; the caller makes its own one raw. DIR is a directory of
// sockets named portN: the first free one is taken. Status: the command's; 124 it had not ended
// after --timeout (it gets SIGTERM, then SIGKILL); 125 the node was not there within
// --wait seconds, or was lost; 2 usage.
#include "node-frame.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LOST = 125, TIMED_OUT = 124, USAGE = 2, HELLO_MS = 50, GRACE_S = 5, PORTS = 64 };

static double arg_timeout_s, arg_wait_s = 90;
static bool arg_tty;

static struct {
	int sock, signals;
	uint64_t session;
	size_t window; // bytes of stdin that may be sent
	bool ready, in_end;
	double heard;	// when the last frame came
	double kill_at; // when the next signal is due, 0: never
	int kills;
} s = { .window = FRAME_WINDOW };

static double now_s(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void write_all(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err(LOST, fd == s.sock ? "node" : "write");
		at += n;
		len -= (size_t)n;
	}
}

static void frame_send(enum frame_type type, const void *data, size_t len)
{
	static unsigned char wire[FRAME_WIRE];

	write_all(s.sock, wire, frame_pack(wire, s.session, type, data, len));
}

// One client per port: QEMU would let a second one wait for ever, so the lock beside it decides.
static bool port_try(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char lock[sizeof(to.sun_path) + 8];
	int fd;

	if (snprintf(to.sun_path, sizeof(to.sun_path), "%s", path) >= (int)sizeof(to.sun_path))
		errx(USAGE, "%s: path too long", path);
	(void)snprintf(lock, sizeof(lock), "%s.lock", path);
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		err(LOST, "%s", lock);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		(void)close(fd);
		return false;
	}
	s.sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	// QEMU is starting when it has bound the socket and does not listen yet.
	for (int tries = 0; tries < 40; tries++) {
		// The lock is held until the process ends.
		if (connect(s.sock, (struct sockaddr *)&to, sizeof(to)) == 0)
			return true;
		if (errno != ECONNREFUSED)
			break;
		(void)usleep(HELLO_MS * 1000);
	}
	err(LOST, "%s", path);
}

static bool ports_try(const char *where)
{
	char path[256];

	for (int i = 0; i < PORTS; i++) {
		(void)snprintf(path, sizeof(path), "%s/port%d", where, i);
		if (access(path, F_OK) < 0)
			break;
		if (port_try(path))
			return true;
	}
	return false;
}

static void port_open(const char *where)
{
	double until = now_s() + arg_wait_s;
	struct stat st;

	if (stat(where, &st) < 0)
		err(LOST, "%s", where);
	while (!(S_ISDIR(st.st_mode) ? ports_try(where) : port_try(where))) {
		if (now_s() > until)
			errx(LOST, "%s: no free port", where);
		(void)usleep(HELLO_MS * 1000);
	}
}

static void command_send(int argc, char **argv)
{
	static char payload[FRAME_MAX];
	struct frame_run run = { .tty = arg_tty };
	struct winsize size = { 0 };
	size_t n = sizeof(run);

	if (arg_tty && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
		run.rows = size.ws_row;
		run.cols = size.ws_col;
	}
	memcpy(payload, &run, sizeof(run));
	for (int i = 0; i < argc; i++) {
		size_t len = strlen(argv[i]) + 1;

		if (len > sizeof(payload) - n)
			errx(USAGE, "the command is longer than %d bytes", FRAME_MAX);
		memcpy(payload + n, argv[i], len);
		n += len;
	}
	frame_send(FRAME_RUN, payload, n);
}

static void frame_handle(const struct frame *f)
{
	uint32_t number = 0;

	if (f->session != s.session)
		return;
	s.heard = now_s();
	if (f->len == sizeof(number))
		memcpy(&number, f->data, sizeof(number));
	if (f->type == FRAME_READY)
		s.ready = true;
	else if (f->type == FRAME_OUT || f->type == FRAME_ERR)
		write_all(f->type == FRAME_OUT ? STDOUT_FILENO : STDERR_FILENO, f->data, f->len);
	else if (f->type == FRAME_CREDIT)
		s.window += number;
	else if (f->type == FRAME_EXIT)
		exit(s.kills ? TIMED_OUT : (int)number & 255);
}

static void socket_read(void)
{
	static struct frame_reader reader;
	static unsigned char buf[64 << 10];
	ssize_t n = read(s.sock, buf, sizeof(buf));

	if (n < 0 && errno != EINTR)
		err(LOST, "node");
	if (n == 0)
		errx(LOST, "node: gone");
	for (ssize_t i = 0; i < n; i++)
		if (frame_take(&reader, buf[i]))
			frame_handle(&reader.frame);
}

static void input_read(void)
{
	static char buf[FRAME_MAX];
	size_t room = s.window < sizeof(buf) ? s.window : sizeof(buf);
	ssize_t n = read(STDIN_FILENO, buf, room);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0) {
		frame_send(FRAME_IN, buf, (size_t)n);
		s.window -= (size_t)n;
		return;
	}
	frame_send(FRAME_IN_END, NULL, 0);
	s.in_end = true;
}

static void signal_pass(void)
{
	struct signalfd_siginfo info;
	static int passed;

	if (read(s.signals, &info, sizeof(info)) != sizeof(info))
		return;
	// The command decides what it does with the first one; a second one is meant for us.
	if (!s.ready || passed++)
		exit(128 + (int)info.ssi_signo);
	frame_send(FRAME_SIGNAL, &info.ssi_signo, sizeof(info.ssi_signo));
}

static void clock_check(void)
{
	double now = now_s();
	uint32_t number;

	if (now - s.heard > FRAME_LOST_S)
		errx(LOST, "node: silent for %d s", FRAME_LOST_S);
	if (s.kill_at <= 0 || now < s.kill_at)
		return;
	if (s.kills == 0)
		warnx("timed out after %g s", arg_timeout_s);
	if (s.kills == 2)
		exit(TIMED_OUT);
	number = s.kills++ ? SIGKILL : SIGTERM;
	frame_send(FRAME_SIGNAL, &number, sizeof(number));
	s.kill_at = now + GRACE_S;
}

// Until READY nothing but HELLO is sent, again and again: the node may be booting, or another
// client's last bytes may have swallowed the first one.
static void hello(void)
{
	struct pollfd p[] = { { .fd = s.sock, .events = POLLIN },
			      { .fd = s.signals, .events = POLLIN } };
	double until = now_s() + arg_wait_s;
	unsigned char wire[64];
	size_t n;

	if (getrandom(&s.session, sizeof(s.session), 0) != sizeof(s.session) || !s.session)
		errx(LOST, "no random bytes");
	while (!s.ready) {
		if (now_s() > until)
			errx(LOST, "node: no answer within %g s", arg_wait_s);
		// A node that does not read yet must not block us, and a torn HELLO is dropped.
		n = frame_pack(wire, s.session, FRAME_HELLO, NULL, 0);
		(void)send(s.sock, wire, n, MSG_DONTWAIT);
		if (poll(p, 2, HELLO_MS) <= 0)
			continue;
		if (p[1].revents)
			signal_pass();
		if (p[0].revents)
			socket_read();
	}
}

static void relay(void)
{
	for (;;) {
		struct pollfd p[] = { { .fd = s.sock, .events = POLLIN },
				      { .fd = s.signals, .events = POLLIN },
				      { .fd = s.in_end || !s.window ? -1 : STDIN_FILENO,
					.events = POLLIN } };

		if (poll(p, 3, 200) < 0 && errno != EINTR)
			err(LOST, "poll");
		if (p[1].revents)
			signal_pass();
		if (p[2].revents)
			input_read();
		if (p[0].revents)
			socket_read();
		clock_check();
	}
}

// The last resort, should a write block: a node that no longer reads, a pipe that nobody empties.
static void alarm_ring(int sig)
{
	(void)sig;
	_exit(TIMED_OUT);
}

static void signals_open(void)
{
	(void)signal(SIGALRM, alarm_ring);
	sigset_t mask;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGINT);
	(void)sigaddset(&mask, SIGTERM);
	(void)sigaddset(&mask, SIGHUP);
	(void)sigaddset(&mask, SIGQUIT);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	s.signals = signalfd(-1, &mask, SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "timeout", required_argument, NULL, 't' },
						 { "wait", required_argument, NULL, 'w' },
						 { "tty", no_argument, NULL, 'y' },
						 { 0 } };
	const char *where;

	for (int c; (c = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
		if (c == 't')
			arg_timeout_s = strtod(optarg, NULL);
		else if (c == 'w')
			arg_wait_s = strtod(optarg, NULL);
		else if (c == 'y')
			arg_tty = true;
		else
			return USAGE;
	}
	where = argv[optind++];
	if (optind < argc && strcmp(argv[optind], "--") == 0)
		optind++;
	if (optind >= argc)
		errx(USAGE, "usage: node-run [--timeout S] [--wait S] [--tty] SOCKET|DIR -- "
			    "COMMAND [ARG...]");
	signals_open();
	port_open(where);
	hello();
	command_send(argc - optind, argv + optind);
	if (arg_timeout_s > 0) {
		s.kill_at = now_s() + arg_timeout_s;
		(void)alarm((unsigned)arg_timeout_s + 4 * GRACE_S);
	}
	relay();
}
