// SPDX-License-Identifier: MIT
#include "base/loop.h"

#include <fcntl.h>

#include "base/clock.h"
#include "tap.h"

struct seen {
	struct loop *l;
	struct loop_source *self, *other;
	int pipe[2];
	int calls;
	char order[16];
};

static void on_read(void *arg, uint32_t events)
{
	struct seen *s = arg;
	char byte;

	CHECK(events & EPOLLIN);
	CHECK_INT(read(s->pipe[0], &byte, 1), 1);
	if (++s->calls == 3)
		loop_stop(s->l);
}

TEST(descriptors_call_back_until_stop)
{
	struct err e = { 0 };
	struct seen s = { 0 };
	cleanup_loop struct loop *l = NULL;

	CHECK(loop_new(&l, &e) == 0 && pipe2(s.pipe, O_CLOEXEC) == 0);
	s.l = l;
	CHECK_INT(loop_add_fd(l, s.pipe[0], EPOLLIN, on_read, &s, &s.self, &e), 0);
	CHECK_INT(write(s.pipe[1], "abcd", 4), 4);
	CHECK_INT(loop_run(l, &e), 0);
	CHECK_INT(s.calls, 3);
	CHECK_INT(loop_once(l, 0, &e), 0);
	CHECK_INT(s.calls, 4);
	CHECK_INT(loop_set_events(s.self, 0, &e), 0);
	CHECK_INT(write(s.pipe[1], "e", 1), 1);
	CHECK_INT(loop_once(l, 0, &e), 0);
	CHECK_INT(s.calls, 4);
	loop_remove(s.self);
	loop_remove(NULL);
	CHECK_INT(loop_add_fd(l, 999, EPOLLIN, on_read, &s, NULL, &e), -EBADF);
}

static void on_time(void *arg)
{
	struct seen *s = arg;

	s->calls++;
}

static void first(void *arg)
{
	struct seen *s = arg;

	s->order[strlen(s->order)] = '1';
}

static void second(void *arg)
{
	struct seen *s = arg;

	s->order[strlen(s->order)] = '2';
	loop_stop(s->l);
}

TEST(timers_fire_once_in_their_order)
{
	struct err e = { 0 };
	struct seen s = { 0 };
	struct loop_source *again = NULL;
	cleanup_loop struct loop *l = NULL;
	int64_t from = clock_ms();

	CHECK_INT(loop_new(&l, &e), 0);
	s.l = l;
	CHECK(loop_add_timer(l, from + 40, second, &s, NULL, &e) == 0 &&
	      loop_add_timer(l, from + 20, first, &s, NULL, &e) == 0 &&
	      loop_add_timer(l, from + 10, on_time, &s, &again, &e) == 0);
	CHECK_INT(loop_run(l, &e), 0);
	CHECK_STR(s.order, "12");
	CHECK_INT(s.calls, 1);
	CHECK(clock_ms() - from >= 40);
	loop_set_timer(again, clock_ms());
	CHECK_INT(loop_once(l, 1000, &e), 0);
	CHECK_INT(s.calls, 2);
	CHECK_INT(loop_once(l, 0, &e), 0);
	CHECK_INT(s.calls, 2);
}

static void remove_both(void *arg, uint32_t events)
{
	struct seen *s = arg;

	(void)events;
	s->calls++;
	loop_remove(s->self);
	loop_remove(s->other);
	loop_remove(s->self); // twice is harmless while the callback runs
}

TEST(a_callback_may_remove_any_source)
{
	struct err e = { 0 };
	struct seen s = { 0 };
	int more[2];
	cleanup_loop struct loop *l = NULL;

	CHECK(loop_new(&l, &e) == 0 && pipe2(s.pipe, O_CLOEXEC) == 0 &&
	      pipe2(more, O_CLOEXEC) == 0);
	CHECK(loop_add_fd(l, s.pipe[0], EPOLLIN, remove_both, &s, &s.self, &e) == 0 &&
	      loop_add_fd(l, more[0], EPOLLIN, remove_both, &s, &s.other, &e) == 0);
	CHECK(write(s.pipe[1], "x", 1) == 1 && write(more[1], "x", 1) == 1);
	CHECK_INT(loop_once(l, 0, &e), 0); // both are ready, one call
	CHECK_INT(s.calls, 1);
	CHECK_INT(loop_once(l, 0, &e), 0);
	CHECK_INT(s.calls, 1);
}

static void add_more(void *arg)
{
	struct seen *s = arg;
	struct err e = { 0 };

	s->calls++;
	loop_remove(s->self);
	s->self = NULL;
	if (s->calls < 5)
		CHECK_INT(loop_add_timer(s->l, 0, add_more, s, &s->self, &e), 0);
	else
		loop_stop(s->l);
}

TEST(a_timer_may_replace_itself)
{
	struct err e = { 0 };
	struct seen s = { 0 };
	cleanup_loop struct loop *l = NULL;

	CHECK_INT(loop_new(&l, &e), 0);
	s.l = l;
	CHECK_INT(loop_add_timer(l, 0, add_more, &s, &s.self, &e), 0);
	CHECK_INT(loop_once(l, -1, &e), 0);
	CHECK_INT(s.calls, 1); // a due timer added by a callback waits for the next round
	CHECK_INT(loop_run(l, &e), 0);
	CHECK_INT(s.calls, 5);
}
