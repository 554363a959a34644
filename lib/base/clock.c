// SPDX-License-Identifier: MIT
#include "base/clock.h"

#include <fcntl.h>
#include <time.h>

#include "base/fd.h"

static int64_t monotonic_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_ms(void)
{
	return monotonic_ns() / 1000000;
}

int64_t clock_us(void)
{
	return monotonic_ns() / 1000;
}

int64_t clock_left(int64_t deadline_ms)
{
	int64_t left = deadline_ms - clock_ms();

	return MAX(left, 0);
}

void clock_sleep_ms(int64_t ms)
{
	struct timespec t = { .tv_sec = (time_t)(ms / 1000),
			      .tv_nsec = (long)(ms % 1000) * 1000000 };

	if (ms <= 0)
		return;
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

static void print_utc(bool with_ms, time_text out)
{
	struct timespec t;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	if (!gmtime_r(&t.tv_sec, &tm))
		memset(&tm, 0, sizeof(tm));
	size_t n = strftime(out, sizeof(time_text), "%Y-%m-%dT%H:%M:%S", &tm);
	if (with_ms)
		(void)snprintf(out + n, sizeof(time_text) - n, ".%03uZ",
			       (unsigned)(t.tv_nsec / 1000000) % 1000);
	else
		(void)snprintf(out + n, sizeof(time_text) - n, "Z");
}

void clock_utc(time_text out)
{
	print_utc(false, out);
}

void clock_utc_ms(time_text out)
{
	print_utc(true, out);
}

// '0' in the pattern stands for a digit.
static bool fits(const char *s, const char *pattern)
{
	for (; *pattern; s++, pattern++)
		if (*pattern == '0' ? *s < '0' || *s > '9' : *s != *pattern)
			return false;
	return *s == '\0';
}

static int digits(const char *s, int n)
{
	int v = 0;

	while (n-- > 0)
		v = v * 10 + (*s++ - '0');
	return v;
}

int clock_parse_utc(const char *s, int64_t *ret_unix_s, struct err *e)
{
	struct tm tm = { 0 };

	if (!fits(s, "0000-00-00T00:00:00Z") && !fits(s, "0000-00-00T00:00:00.000Z"))
		return err_usage(e, "'%.64s' is not a time like 2025-01-31T12:00:00Z", s);
	tm.tm_year = digits(s, 4) - 1900;
	tm.tm_mon = digits(s + 5, 2) - 1;
	tm.tm_mday = digits(s + 8, 2);
	tm.tm_hour = digits(s + 11, 2);
	tm.tm_min = digits(s + 14, 2);
	tm.tm_sec = digits(s + 17, 2);
	struct tm asked = tm;
	time_t t = timegm(&tm); // turns 31 February into March and 24:00 into 0:00: compare
	if (tm.tm_mon != asked.tm_mon || tm.tm_hour != asked.tm_hour || tm.tm_min != asked.tm_min ||
	    tm.tm_sec != asked.tm_sec)
		return err_usage(e, "'%.64s' is not a time that exists", s);
	*ret_unix_s = t;
	return 0;
}

int clock_boot_id(char out[37], struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (fd_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, e) < 0)
		return -e->no;
	if (text.len < 36)
		return err_set(e, EIO, "boot_id: too short");
	memcpy(out, text.data, 36);
	out[36] = '\0';
	return 0;
}
