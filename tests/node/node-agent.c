// SPDX-License-Identifier: MIT
// node-agent: runs commands in the node VM for node-run on the host. One process per virtio-serial
// port named node.N, one command at a time on each; node-frame.h is the protocol.
#include "node-frame.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGS_MAX = 4096, LINGER_MS = 1000 };

static struct {
	int port, edge, signals; // edge: an epoll of the port alone, see main loop
	uint64_t session;	 // 0: none
	pid_t child;		 // 0: none, or it has ended and status holds
	uint32_t status;
	bool running, in_end;
	int in, out, err;
	unsigned char queue[FRAME_WINDOW]; // IN that the command has not taken
	size_t queued;
} s = { .in = -1, .out = -1, .err = -1 };

static void fd_shut(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void in_close(void)
{
	// A terminal is one descriptor for both ways.
	if (s.in != s.out)
		fd_shut(&s.in);
	s.in = -1;
	s.queued = 0;
}

static void session_drop(void)
{
	if (s.child > 0) {
		(void)kill(-s.child, SIGKILL);
		(void)kill(s.child, SIGKILL);
		(void)waitpid(s.child, NULL, 0);
	}
	in_close();
	fd_shut(&s.out);
	fd_shut(&s.err);
	s.child = 0;
	s.session = 0;
	s.running = s.in_end = false;
}

static void frame_send(enum frame_type type, const void *data, size_t len)
{
	static unsigned char wire[FRAME_WIRE];
	size_t n = frame_pack(wire, s.session, type, data, len), at = 0;

	while (at < n) {
		ssize_t done = write(s.port, wire + at, n - at);

		if (done > 0) {
			at += (size_t)done;
			continue;
		}
		if (done < 0 && errno != EAGAIN && errno != EINTR)
			return;
		struct pollfd p = { .fd = s.port, .events = POLLOUT };

		// Nobody is there to read it: the main loop sees the same and drops the session.
		if (poll(&p, 1, 1000) > 0 && p.revents & POLLHUP)
			return;
	}
}

static void child_exec(char **argv)
{
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	execvp(argv[0], argv);
	warn("%s", argv[0]);
	_exit(errno == ENOENT ? 127 : 126);
}

static pid_t child_on_pipes(char **argv)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, errs[2] = { -1, -1 };
	pid_t pid = -1;

	if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(errs, O_CLOEXEC) == 0)
		pid = fork();
	if (pid == 0) {
		(void)setsid();
		if (dup2(in[0], 0) < 0 || dup2(out[1], 1) < 0 || dup2(errs[1], 2) < 0)
			_exit(126);
		child_exec(argv);
	}
	fd_shut(&in[0]);
	fd_shut(&out[1]);
	fd_shut(&errs[1]);
	s.in = in[1];
	s.out = out[0];
	s.err = errs[0];
	return pid;
}

static pid_t child_on_terminal(char **argv, const struct frame_run *run)
{
	struct winsize size = { .ws_row = run->rows, .ws_col = run->cols };
	pid_t pid = forkpty(&s.out, NULL, NULL, &size);

	if (pid == 0)
		child_exec(argv);
	s.in = s.out;
	if (s.out >= 0)
		(void)fcntl(s.out, F_SETFD, FD_CLOEXEC);
	return pid;
}

static void command_start(const struct frame *f)
{
	static char words[FRAME_MAX];
	static char *argv[ARGS_MAX + 1];
	struct frame_run run;
	size_t n = f->len - sizeof(run), argc = 0;

	if (s.running || f->len <= sizeof(run) || f->data[f->len - 1])
		return;
	memcpy(&run, f->data, sizeof(run));
	memcpy(words, f->data + sizeof(run), n);
	for (size_t i = 0; i < n && argc < ARGS_MAX; i += strlen(words + i) + 1)
		argv[argc++] = words + i;
	argv[argc] = NULL;
	s.running = true;
	s.in_end = false;
	s.child = run.tty ? child_on_terminal(argv, &run) : child_on_pipes(argv);
	if (s.child < 0) {
		warn("start %s", argv[0]);
		s.child = 0;
		s.status = 126;
	}
	if (s.in >= 0)
		(void)fcntl(s.in, F_SETFL, O_WRONLY | O_NONBLOCK);
}

static void frame_handle(const struct frame *f)
{
	uint32_t number;

	if (f->type == FRAME_HELLO) {
		if (f->session != s.session)
			session_drop();
		s.session = f->session;
		frame_send(FRAME_READY, NULL, 0);
		return;
	}
	if (!s.session || f->session != s.session)
		return;
	if (f->type == FRAME_RUN) {
		command_start(f);
	} else if (f->type == FRAME_IN_END) {
		s.in_end = true;
	} else if (f->type == FRAME_SIGNAL && f->len == sizeof(number) && s.child > 0) {
		memcpy(&number, f->data, sizeof(number));
		(void)kill(-s.child, (int)number);
	} else if (f->type == FRAME_IN && f->len <= sizeof(s.queue) - s.queued && s.in >= 0) {
		memcpy(s.queue + s.queued, f->data, f->len);
		s.queued += f->len;
	}
}

static void port_read(void)
{
	static struct frame_reader reader;
	static unsigned char buf[32 << 10];
	struct epoll_event event = { 0 };
	ssize_t n;

	if (epoll_wait(s.edge, &event, 1, 0) == 1 && event.events & EPOLLHUP)
		session_drop();
	while ((n = read(s.port, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			if (frame_take(&reader, buf[i]))
				frame_handle(&reader.frame);
}

static void input_feed(void)
{
	ssize_t n = write(s.in, s.queue, s.queued);
	uint32_t credit;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	credit = n < 0 ? (uint32_t)s.queued : (uint32_t)n;
	s.queued -= credit;
	memmove(s.queue, s.queue + credit, s.queued);
	if (n < 0)
		in_close();
	frame_send(FRAME_CREDIT, &credit, sizeof(credit));
}

static void output_pass(int *fd, enum frame_type type)
{
	static unsigned char buf[FRAME_MAX];
	ssize_t n = read(*fd, buf, sizeof(buf));

	if (n > 0)
		frame_send(type, buf, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		if (s.in == *fd)
			in_close();
		fd_shut(fd);
	}
}

static void child_reap(void)
{
	struct signalfd_siginfo info;
	int status;

	(void)read(s.signals, &info, sizeof(info));
	if (s.child > 0 && waitpid(s.child, &status, WNOHANG) == s.child) {
		s.child = 0;
		s.status = (uint32_t)(WIFEXITED(status) ? WEXITSTATUS(status)
							: 128 + WTERMSIG(status));
	}
}

// Ends the session when the command has ended and its output with it; what it left running in the
// background may keep the output open, and gets LINGER_MS of silence.
static void session_check(bool quiet)
{
	uint32_t status = s.status;

	if (!s.running || s.child > 0 || (!quiet && (s.out >= 0 || s.err >= 0)))
		return;
	frame_send(FRAME_EXIT, &status, sizeof(status));
	session_drop();
}

static void port_serve(void)
{
	for (;;) {
		struct pollfd p[] = {
			// A port without a client is "hung up" at every poll(); the epoll tells
			// only of
			// changes, so that an idle agent sleeps.
			{ .fd = s.edge, .events = POLLIN },
			{ .fd = s.signals, .events = POLLIN },
			{ .fd = s.queued ? s.in : -1, .events = POLLOUT },
			{ .fd = s.out, .events = POLLIN },
			{ .fd = s.err, .events = POLLIN },
		};
		int wait_ms = !s.running ? -1 : s.child > 0 ? FRAME_ALIVE_S * 1000 : LINGER_MS;
		int n = poll(p, sizeof(p) / sizeof(p[0]), wait_ms);

		if (p[1].revents)
			child_reap();
		if (p[2].revents)
			input_feed();
		if (p[3].revents)
			output_pass(&s.out, FRAME_OUT);
		if (p[4].revents)
			output_pass(&s.err, FRAME_ERR);
		if (s.in_end && !s.queued && s.in >= 0)
			in_close();
		if (n == 0 && s.child > 0)
			frame_send(FRAME_ALIVE, NULL, 0);
		session_check(n == 0);
		if (p[0].revents)
			port_read();
	}
}

static void port_start(const char *device)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLHUP | EPOLLET };
	char path[64];
	sigset_t child;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)snprintf(path, sizeof(path), "/dev/%.32s", device);
	s.port = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	s.edge = epoll_create1(EPOLL_CLOEXEC);
	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &child, NULL);
	s.signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s.port < 0 || s.signals < 0 || epoll_ctl(s.edge, EPOLL_CTL_ADD, s.port, &event) < 0)
		err(1, "%s", path);
	(void)signal(SIGPIPE, SIG_IGN);
	port_serve();
}

static bool port_is_ours(const char *device)
{
	char path[128], name[32] = "";
	FILE *f;

	(void)snprintf(path, sizeof(path), "/sys/class/virtio-ports/%.32s/name", device);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(name, sizeof(name), f))
		name[0] = 0;
	(void)fclose(f);
	return strncmp(name, "node.", 5) == 0;
}

int main(void)
{
	DIR *dir = opendir("/sys/class/virtio-ports");
	int ports = 0;

	if (!dir)
		err(1, "/sys/class/virtio-ports");
	for (struct dirent *d; (d = readdir(dir));) {
		if (!port_is_ours(d->d_name))
			continue;
		ports++;
		if (fork() == 0)
			port_start(d->d_name);
	}
	if (!ports)
		errx(1, "no port named node.N");
	// One that ends is a defect: systemd's log has its reason, the host sees the port die.
	while (wait(NULL) > 0)
		;
	return 1;
}
