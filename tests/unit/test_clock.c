// SPDX-License-Identifier: MIT
#include "base/clock.h"

#include <time.h>

#include "tap.h"

TEST(sleep_and_deadlines_agree)
{
	int64_t from = clock_ms(), far = from + 600000;

	CHECK(clock_left(far) > 0 && clock_left(far) <= 600000);
	clock_sleep_ms(30);
	CHECK_INT(clock_left(from + 30), 0);
	CHECK(clock_ms() - from >= 30 && clock_ms() - from < 60000);
	CHECK(clock_us() / 1000 - clock_ms() < 60000);
	clock_sleep_ms(0);
	clock_sleep_ms(-5);
}

TEST(now_reads_back)
{
	struct err e = { 0 };
	time_text text;
	int64_t t, before = time(NULL);

	clock_utc(text);
	CHECK_INT(strlen(text), 20);
	CHECK_INT(clock_parse_utc(text, &t, &e), 0);
	CHECK(t >= before && t <= time(NULL) + 1); // whose second is a tick behind
	clock_utc_ms(text);
	CHECK_INT(strlen(text), 24);
	CHECK_INT(clock_parse_utc(text, &t, &e), 0);
	CHECK(t >= before && t <= time(NULL) + 1);
}

TEST(only_times_that_exist_are_taken)
{
	static const struct {
		const char *in;
		int64_t t;
	} good[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2000-02-29T23:59:59Z", 951868799 },
		{ "2025-01-31T12:00:00.250Z", 1738324800 },
		{ "2038-01-19T03:14:08Z", 2147483648 },
	};
	static const char *const bad[] = {
		"",
		"2025-01-31",
		"2025-01-31T12:00:00",
		"2025-01-31 12:00:00Z",
		"2025-01-31T12:00:00+00:00",
		"2025-01-31T12:00:00.25Z",
		"2025-1-31T12:00:00Z",
		"2025-02-29T12:00:00Z",
		"2025-13-01T12:00:00Z",
		"2025-00-01T12:00:00Z",
		"2025-01-00T12:00:00Z",
		"2025-01-15T24:00:00Z",
		"2025-01-31T12:60:00Z",
		"2025-01-31T12:00:61Z",
		"2025-01-31T12:00:00Z ",
	};
	struct err e = { 0 };
	int64_t t;

	for (size_t i = 0; i < COUNT(good); i++) {
		CHECK_INT(clock_parse_utc(good[i].in, &t, &e), 0);
		CHECK_INT(t, good[i].t);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		CHECK_INT(clock_parse_utc(bad[i], &t, &e), -EINVAL);
}

TEST(the_boot_id_is_a_uuid)
{
	char a[37], b[37];
	struct err e = { 0 };

	CHECK_INT(clock_boot_id(a, &e), 0);
	CHECK_INT(clock_boot_id(b, &e), 0);
	CHECK_STR(a, b);
	CHECK_INT(strlen(a), 36);
	CHECK(a[8] == '-' && a[23] == '-');
}
