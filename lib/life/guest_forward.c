// SPDX-License-Identifier: MIT
// Ports of a guest on addresses of this machine. Each connection is a process of its own: one that
// hangs holds up no other, and what a guest sends meets no more than its own.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/name.h"
#include "base/num.h"
#include "base/sig.h"
#include "life/guest_cli.h"
#include "life/guest_verbs.h"

#define FORWARDS    16 // listeners
#define CONNECTIONS 64 // at once; more wait in the backlog

struct forward {
	uint32_t listen, address; // IPv4, host byte order
	uint16_t port, guest_port;
	int fd;
};

struct server {
	const char *instance;
	struct forward all[FORWARDS];
	size_t count;
	int signals, vmm;
	pid_t children[CONNECTIONS];
	size_t child_count;
};

static void server_clear(struct server *s)
{
	for (size_t i = 0; i < s->child_count; i++)
		(void)kill(s->children[i], SIGTERM);
	while (s->child_count && wait(NULL) > 0)
		s->child_count--;
	for (size_t i = 0; i < s->count; i++)
		base_closep(&s->all[i].fd);
	base_closep(&s->signals);
	base_closep(&s->vmm);
}

static int read_port(const char *word, uint64_t min, uint16_t *out, struct err *e)
{
	uint64_t v;

	if (num_u64(word, min, 65535, &v, e) < 0)
		return -e->no;
	*out = (uint16_t)v;
	return 0;
}

static int read_address(const char *word, uint32_t *out, struct err *e)
{
	return ip_parse(str_eq(word, "localhost") ? "127.0.0.1" : word, out, e);
}

// [LISTEN_ADDR:]LPORT:[GUEST_ADDR:]GPORT; of three words the address is the one with a dot.
static int parse(const char *spec, struct forward *f, struct err *e)
{
	char text[128], *word[4], *p = text;
	size_t n = 0, i = 0;

	*f = (struct forward){ .listen = INADDR_LOOPBACK, .address = INADDR_LOOPBACK, .fd = -1 };
	if (COPY(text, spec) < 0)
		return err_usage(e, "'%.64s...': too long", spec);
	while (p && n < COUNT(word)) {
		word[n++] = p;
		p = strchr(p, ':');
		if (p)
			*p++ = '\0';
	}
	if (p || n < 2)
		return err_usage(e, "'%s' is not [ADDRESS:]PORT:[ADDRESS:]PORT", spec);
	if ((n == 4 || (n == 3 && strpbrk(word[0], ".l"))) &&
	    read_address(word[i++], &f->listen, e) < 0)
		return err_wrap(e, "'%s'", spec);
	if (read_port(word[i++], 0, &f->port, e) < 0)
		return err_wrap(e, "'%s'", spec);
	if (n - i == 2 && read_address(word[i++], &f->address, e) < 0)
		return err_wrap(e, "'%s'", spec);
	return read_port(word[i], 1, &f->guest_port, e) < 0 ? err_wrap(e, "'%s'", spec) : 0;
}

static int listen_on(struct forward *f, struct err *e)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(f->listen),
				  .sin_port = htons(f->port) };
	socklen_t len = sizeof(at);
	const int on = 1;

	f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0 || setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return err_sys(e, "socket");
	if (bind(f->fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(f->fd, CONNECTIONS) < 0 ||
	    getsockname(f->fd, (struct sockaddr *)&at, &len) < 0) {
		(void)err_sys(e, "listen on port %u", f->port);
		if (e->no == EADDRINUSE)
			e->kind = ERR_CONFLICT;
		return -e->no;
	}
	f->port = ntohs(at.sin_port);
	return 0;
}

static void print_forward(const struct forward *f, struct buf *out)
{
	const struct in_addr listen = { htonl(f->listen) }, address = { htonl(f->address) };
	char here[16], there[16];

	(void)inet_ntop(AF_INET, &listen, here, sizeof(here));
	(void)inet_ntop(AF_INET, &address, there, sizeof(there));
	buf_fmt(out,
		"{\"schema_version\":1,\"listen_address\":\"%s\",\"listen_port\":%u,"
		"\"guest_address\":\"%s\",\"guest_port\":%u}\n",
		here, f->port, there, f->guest_port);
}

// In the connection's own process.
static void serve(const struct server *s, const struct forward *f, int sock, pid_t parent)
{
	const struct guest_forward to = { f->address, f->guest_port };
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;
	struct err e = { 0 };
	sigset_t none;

	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(0);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	for (size_t i = 0; i < s->count; i++)
		(void)close(s->all[i].fd);
	if (guest_cli_open(s->instance, &vmm, &c, &e) < 0 || guest_forward(c, &to, sock, &e) < 0) {
		log_warn(s->instance, "port %u: %s", f->guest_port, e.msg);
		_exit(1);
	}
	_exit(0);
}

static void accept_one(struct server *s, const struct forward *f)
{
	cleanup_fd int sock = accept4(f->fd, NULL, NULL, SOCK_CLOEXEC);
	pid_t parent = getpid(), pid;

	if (sock < 0) // gone again
		return;
	pid = fork();
	if (pid == 0)
		serve(s, f, sock, parent);
	if (pid > 0)
		s->children[s->child_count++] = pid;
	else
		log_warn(s->instance, "fork: %s", strerror(errno));
}

static void reap(struct server *s)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		for (size_t i = 0; i < s->child_count; i++)
			if (s->children[i] == pid)
				s->children[i--] = s->children[--s->child_count];
}

static int run(struct server *s, struct err *e)
{
	for (;;) {
		struct pollfd p[FORWARDS + 2];
		int sig;

		p[0] = (struct pollfd){ .fd = s->signals, .events = POLLIN };
		p[1] = (struct pollfd){ .fd = s->vmm, .events = POLLIN };
		for (size_t i = 0; i < s->count; i++)
			p[2 + i] =
				(struct pollfd){ .fd = s->child_count < CONNECTIONS ? s->all[i].fd
										    : -1,
						 .events = POLLIN };
		if (poll(p, 2 + s->count, -1) < 0 && errno != EINTR)
			return err_sys(e, "poll");
		while (p[0].revents && (sig = sig_read(s->signals)) != 0) {
			if (sig != SIGCHLD)
				return 0;
			reap(s);
		}
		if (p[1].revents)
			return err_kind(e, ERR_UNAVAILABLE, "%s: the VMM has ended", s->instance);
		for (size_t i = 0; i < s->count; i++)
			if (p[2 + i].revents && s->child_count < CONNECTIONS)
				accept_one(s, &s->all[i]);
	}
}

int guest_port_forward_run(const struct call *call, struct buf *out, struct err *e)
{
	cleanup(server_clear) struct server s = { call->argv[0], .signals = -1, .vmm = -1 };
	cleanup_guest struct guest_conn *c = NULL;
	cleanup_buf struct buf ports = BUF_INIT;

	if (call->argc - 1 > FORWARDS)
		return err_usage(e, "more than %d ports", FORWARDS);
	for (int i = 1; i < call->argc; i++) {
		if (parse(call->argv[i], &s.all[s.count++], e) < 0)
			return -e->no;
		buf_fmt(&ports, "%s%s", i > 1 ? ", " : "", call->argv[i]);
	}
	if (guest_cli_enter(s.instance, AUDIT_GUEST_FORWARDED, buf_text(&ports), &s.vmm, &c, e) <
	    0) // is it there at all
		return -e->no;
	if (guest_greet(c, e) < 0)
		return err_wrap(e, "%s", s.instance);
	guest_close(steal_ptr(&c));
	s.signals = sig_open(e, SIGCHLD, SIGTERM, SIGINT, SIGHUP, 0);
	if (s.signals < 0)
		return -e->no;
	for (size_t i = 0; i < s.count; i++) {
		if (listen_on(&s.all[i], e) < 0) {
			(void)err_wrap(e, "%s", call->argv[i + 1]);
			return guest_cli_note(s.instance, AUDIT_GUEST_FORWARDED, e);
		}
		print_forward(&s.all[i], out);
	}
	if (fd_write_all(STDOUT_FILENO, out->data, out->len, e) < 0)
		return -e->no;
	buf_clear(out);
	return run(&s, e);
}
