// SPDX-License-Identifier: MIT
// The pool's probe: a command, or a request to a web server on the guest's loopback. One at a time,
// each within its time; so many failures one after the other make the guest unhealthy, one success
// makes it healthy.
#include "guest/agent_core.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "guest/probe.h"

struct probe {
	struct agent *a;
	struct guest_probe spec;
	struct loop_source *timer, *limit; // the next one; the present one's time
	pid_t pid;			   // of a command under way
	int fd;				   // of a request under way
	struct loop_source *source;
	char answer[16]; // "HTTP/1.1 200"
	size_t answer_len;
	uint32_t state, failures; // enum guest_probe_state
	int64_t ended_ms;	  // 0: none has
	char why[128];
};

static void on_timer(void *arg);

static void stop_request(struct probe *p)
{
	loop_remove(p->source);
	p->source = NULL;
	base_closep(&p->fd);
	p->fd = -1;
}

static void ended(struct probe *p, const char *why)
{
	uint32_t before = p->state;

	loop_remove(p->limit);
	p->limit = NULL;
	stop_request(p);
	p->pid = 0;
	p->ended_ms = clock_ms();
	p->failures = why ? p->failures + 1 : 0;
	if (!why)
		p->state = GUEST_HEALTHY;
	else if (p->failures >= p->spec.failures)
		p->state = GUEST_UNHEALTHY;
	base_cut(p->why, sizeof(p->why), "%s", why ? why : "");
	log_clean(p->why);
	if (p->state != before)
		agent_say(p->a, "probe: %s%s%s", why ? "unhealthy" : "healthy", why ? ": " : "",
			  p->why);
	loop_set_timer(p->timer, p->ended_ms + (int64_t)p->spec.interval_s * 1000);
}

static void on_limit(void *arg)
{
	struct probe *p = arg;

	if (p->pid)
		(void)kill(-p->pid, SIGKILL);
	ended(p, "no answer in time");
	agent_settle(p->a);
}

static void start_command(struct probe *p, struct err *e)
{
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct spawn s = { .argv = &p->spec.command,
			   .env_base = &p->a->welcome.env,
			   .cwd = "",
			   .user = p->a->welcome.user,
			   .fd = { null, null, null } };

	if (null < 0)
		(void)err_sys(e, "open /dev/null");
	else
		(void)!agent_spawn_run(&s, &p->pid, e);
}

static void send_request(struct probe *p)
{
	char text[384];

	base_cut(text, sizeof(text),
		 "GET %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n", p->spec.path);
	if (send(p->fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
		ended(p, "the request was not taken");
}

// "HTTP/1.x NNN": 200 to 399 is well.
static void take_status(struct probe *p)
{
	const char *s = p->answer;
	char why[64];

	if (strncmp(s, "HTTP/1.", 7) != 0 || s[8] != ' ') {
		ended(p, "the answer is not HTTP");
		return;
	}
	base_cut(why, sizeof(why), "status %.3s", s + 9);
	ended(p, s[9] == '2' || s[9] == '3' ? NULL : why);
}

static void on_request(void *arg, uint32_t events)
{
	struct probe *p = arg;
	int no = 0;
	socklen_t len = sizeof(no);
	struct err e = { 0 };
	ssize_t n;

	if (events & EPOLLOUT) {
		if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &no, &len) < 0 || no)
			ended(p, strerror(no ? no : errno));
		else if (loop_set_events(p->source, EPOLLIN, &e) < 0)
			ended(p, e.msg);
		else
			send_request(p);
	} else {
		n = recv(p->fd, p->answer + p->answer_len, 12 - p->answer_len, MSG_DONTWAIT);
		if (n > 0)
			p->answer_len += (size_t)n;
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			ended(p, "closed without an answer");
		else if (p->answer_len == 12)
			take_status(p);
	}
	agent_settle(p->a);
}

static void start_request(struct probe *p, struct err *e)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons(p->spec.port) };

	p->answer_len = 0;
	memset(p->answer, 0, sizeof(p->answer));
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0 ||
	    (connect(p->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS))
		(void)err_set(e, errno, "connect: %s", strerror(errno));
	else
		(void)!loop_add_fd(p->a->loop, p->fd, EPOLLOUT, on_request, p, &p->source, e);
}

static void on_timer(void *arg)
{
	struct probe *p = arg;
	struct err e = { 0 };

	if (p->a->asleep || p->a->hook) { // its processes stand still
		loop_set_timer(p->timer, clock_ms() + 1000);
		return;
	}
	if (p->spec.kind == GUEST_PROBE_EXEC)
		start_command(p, &e);
	else
		start_request(p, &e);
	if (!e.no)
		(void)!loop_add_timer(p->a->loop, clock_ms() + (int64_t)p->spec.timeout_s * 1000,
				      on_limit, p, &p->limit, &e);
	if (e.no)
		ended(p, e.msg);
	agent_settle(p->a);
}

void agent_probe_child(struct agent *a, pid_t pid, int status)
{
	struct probe *p = a->probe;
	char why[64];

	if (!p || !p->pid || p->pid != pid)
		return;
	if (WIFSIGNALED(status))
		base_cut(why, sizeof(why), "ended by signal %d", WTERMSIG(status));
	else
		base_cut(why, sizeof(why), "ended with %d", WEXITSTATUS(status));
	ended(p, status ? why : NULL);
}

int agent_probe_start(struct agent *a, struct err *e)
{
	struct guest_probe spec;
	struct probe *p;

	if (guest_probe_get(&a->welcome.probes, &spec, e) < 0)
		return -e->no;
	agent_probe_free(a);
	if (spec.kind == GUEST_PROBE_NONE)
		return 0;
	p = base_alloc(1, sizeof(*p));
	*p = (struct probe){ .a = a, .spec = spec, .fd = -1, .state = GUEST_HEALTH_UNKNOWN };
	a->probe = p;
	return loop_add_timer(a->loop, clock_ms(), on_timer, p, &p->timer, e);
}

void agent_probe_free(struct agent *a)
{
	struct probe *p = a->probe;

	if (!p)
		return;
	if (p->pid)
		(void)kill(-p->pid, SIGKILL);
	stop_request(p);
	loop_remove(p->timer);
	loop_remove(p->limit);
	guest_probe_clear(&p->spec);
	free(p);
	a->probe = NULL;
}

void agent_probe_read(const struct agent *a, struct guest_health *out)
{
	const struct probe *p = a->probe;

	out->probe_state = p ? p->state : GUEST_HEALTH_NONE;
	if (!p)
		return;
	out->probe_failures = p->failures;
	out->probe_age_ms = p->ended_ms ? (uint64_t)(clock_ms() - p->ended_ms) : 0;
	(void)!COPY(out->probe_why, p->why);
}
