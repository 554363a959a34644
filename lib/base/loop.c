// SPDX-License-Identifier: MIT
#include "base/loop.h"

#include "base/clock.h"

struct loop_source {
	struct loop *loop;
	struct loop_source *next;
	int fd; // -1: a timer
	uint32_t events;
	loop_fd_fn fd_fn;
	loop_timer_fn timer_fn;
	void *arg;
	int64_t deadline; // timers: INT64_MAX when it has fired
	bool dead;	  // removed; freed when no callback can be on the stack
};

struct loop {
	int epoll;
	struct loop_source *sources;
	int depth; // callbacks on the stack
	bool stop;
};

int loop_new(struct loop **ret, struct err *e)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "epoll");
	*ret = base_alloc(1, sizeof(**ret));
	(*ret)->epoll = fd;
	return 0;
}

static void free_dead(struct loop *l, bool all)
{
	struct loop_source **at = &l->sources;

	while (*at) {
		struct loop_source *s = *at;

		if (s->dead || all) {
			*at = s->next;
			free(s);
		} else {
			at = &s->next;
		}
	}
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	free_dead(l, true);
	(void)close(l->epoll);
	free(l);
}

void loop_freep(struct loop **l)
{
	loop_free(*l);
}

static struct loop_source *source_new(struct loop *l, int fd, void *arg)
{
	struct loop_source *s = base_alloc(1, sizeof(*s));

	*s = (struct loop_source){
		.loop = l, .next = l->sources, .fd = fd, .arg = arg, .deadline = INT64_MAX
	};
	l->sources = s;
	return s;
}

int loop_add_fd(struct loop *l, int fd, uint32_t events, loop_fd_fn fn, void *arg,
		struct loop_source **ret, struct err *e)
{
	struct loop_source *s = source_new(l, fd, arg);
	struct epoll_event ev = { .events = events, .data.ptr = s };

	s->fd_fn = fn;
	s->events = events;
	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
		(void)err_sys(e, "watch descriptor %d", fd);
		s->fd = -1; // not known to the kernel
		loop_remove(s);
		return -e->no;
	}
	if (ret)
		*ret = s;
	return 0;
}

int loop_set_events(struct loop_source *s, uint32_t events, struct err *e)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	if (s->events == events)
		return 0;
	if (epoll_ctl(s->loop->epoll, EPOLL_CTL_MOD, s->fd, &ev) < 0)
		return err_sys(e, "watch descriptor %d", s->fd);
	s->events = events;
	return 0;
}

int loop_add_timer(struct loop *l, int64_t deadline_ms, loop_timer_fn fn, void *arg,
		   struct loop_source **ret, struct err *e)
{
	struct loop_source *s = source_new(l, -1, arg);

	(void)e; // nothing here can fail today
	s->timer_fn = fn;
	s->deadline = deadline_ms;
	if (ret)
		*ret = s;
	return 0;
}

void loop_set_timer(struct loop_source *s, int64_t deadline_ms)
{
	s->deadline = deadline_ms;
}

void loop_remove(struct loop_source *s)
{
	struct loop *l = s ? s->loop : NULL;

	if (!s || s->dead)
		return;
	if (s->fd >= 0) // closed before it was removed: then the kernel has forgotten it already
		(void)epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->fd, NULL);
	s->dead = true;
	if (l->depth == 0)
		free_dead(l, false);
}

static int next_timeout(const struct loop *l, int timeout_ms)
{
	int64_t first = INT64_MAX;

	for (const struct loop_source *s = l->sources; s; s = s->next)
		if (!s->dead && s->deadline < first)
			first = s->deadline;
	if (first == INT64_MAX)
		return timeout_ms;
	int left = (int)MIN(clock_left(first), 3600000);
	return timeout_ms < 0 ? left : MIN(left, timeout_ms);
}

// Timers that a callback adds wait for the next round, even when they are due: they are put before
// the one at hand.
static void fire_timers(struct loop *l)
{
	int64_t now = clock_ms();

	for (struct loop_source *s = l->sources; s && !l->stop; s = s->next) {
		if (s->dead || s->deadline > now)
			continue;
		s->deadline = INT64_MAX;
		s->timer_fn(s->arg);
	}
}

int loop_once(struct loop *l, int timeout_ms, struct err *e)
{
	struct epoll_event ready[64];
	int n = epoll_wait(l->epoll, ready, COUNT(ready), next_timeout(l, timeout_ms));

	if (n < 0 && errno != EINTR)
		return err_sys(e, "epoll");
	l->depth++;
	for (int i = 0; i < n; i++) {
		struct loop_source *s = ready[i].data.ptr;

		if (!s->dead)
			s->fd_fn(s->arg, ready[i].events);
	}
	fire_timers(l);
	l->depth--;
	if (l->depth == 0)
		free_dead(l, false);
	return 0;
}

int loop_run(struct loop *l, struct err *e)
{
	while (!l->stop)
		if (loop_once(l, -1, e) < 0)
			return -e->no;
	l->stop = false;
	return 0;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}
