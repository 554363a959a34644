// SPDX-License-Identifier: MIT
#include <signal.h>

#include "base/beside.h"
#include "base/clock.h"
#include "tap.h"

static int slow(const void *arg, struct err *e)
{
	(void)e;
	clock_sleep_ms(*(const int *)arg);
	return 0;
}

static int refuse(const void *arg, struct err *e)
{
	(void)err_kind(e, ERR_QUOTA, "no room for %s", (const char *)arg);
	return err_hint(e, "make some");
}

static int die(const void *arg, struct err *e)
{
	(void)arg;
	(void)e;
	return kill(getpid(), SIGKILL);
}

TEST(it_runs_beside_its_caller)
{
	struct beside b = BESIDE_NONE;
	struct err e = { 0 };
	int ms = 300;
	int64_t begun = clock_ms();

	CHECK_INT(beside_begin(slow, &ms, &b, &e), 0);
	CHECK(clock_ms() - begun < ms);
	CHECK_INT(beside_end(&b, &e), 0);
	CHECK(clock_ms() - begun >= ms);
	CHECK_INT(beside_end(&b, &e), 0); // and once more is fine
}

TEST(its_error_is_the_callers)
{
	struct beside b = BESIDE_NONE;
	struct err e = { 0 };

	CHECK_INT(beside_begin(refuse, "you", &b, &e), 0);
	CHECK(beside_end(&b, &e) < 0);
	CHECK_INT(e.kind, ERR_QUOTA);
	CHECK_STR(e.msg, "no room for you");
	CHECK_STR(e.hint, "make some");
}

TEST(one_that_was_killed_has_failed)
{
	struct beside b = BESIDE_NONE;
	struct err e = { 0 };

	CHECK_INT(beside_begin(die, NULL, &b, &e), 0);
	CHECK(beside_end(&b, &e) < 0);
	CHECK_STR(e.msg, "a process of ours was ended from outside");
}

TEST(a_caller_that_gives_up_waits_for_it)
{
	struct beside b = BESIDE_NONE;
	struct err e = { 0 };
	int ms = 200;
	int64_t begun = clock_ms();

	CHECK_INT(beside_begin(slow, &ms, &b, &e), 0);
	beside_free(&b);
	CHECK(clock_ms() - begun >= ms);
	CHECK_INT(b.pid, 0);
}
