// SPDX-License-Identifier: MIT
#include "base/num.h"

#include "tap.h"

TEST(plain_digits_within_the_range)
{
	static const struct {
		const char *in;
		uint64_t min, max, out;
		const char *says;
	} cases[] = {
		{ "0", 0, 9, 0, NULL },
		{ "9", 0, 9, 9, NULL },
		{ "18446744073709551615", 0, UINT64_MAX, UINT64_MAX, NULL },
		{ "10", 0, 9, 0, "10 is outside 0..9" },
		{ "0", 1, 1024, 0, "0 is outside 1..1024" },
		{ "18446744073709551616", 0, UINT64_MAX, 0,
		  "18446744073709551616 is outside 0..18446744073709551615" },
		{ "", 0, 9, 0, "'' is not a number" },
		{ "-1", 0, 9, 0, "'-1' is not a number" },
		{ "+1", 0, 9, 0, "'+1' is not a number" },
		{ " 1", 0, 9, 0, "' 1' is not a number" },
		{ "1 ", 0, 9, 0, "'1 ' is not a number" },
		{ "01", 0, 9, 0, "'01' is not a number" },
		{ "1e1", 0, 99, 0, "'1e1' is not a number" },
		{ "0x1", 0, 9, 0, "'0x1' is not a number" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct err e = { 0 };
		uint64_t v = 77;
		int rc = num_u64(cases[i].in, cases[i].min, cases[i].max, &v, &e);

		CHECK_INT(rc, cases[i].says ? -EINVAL : 0);
		CHECK_STR(e.msg, cases[i].says ? cases[i].says : "");
		CHECK(v == (cases[i].says ? 77 : cases[i].out)); // untouched on failure
	}
}

TEST(durations_in_the_units_people_write)
{
	static const struct {
		const char *in;
		uint64_t ms;
	} good[] = {
		{ "90", 90000 },      { "90s", 90000 },	  { "10m", 600000 },
		{ "2h30m", 9000000 }, { "500ms", 500 },	  { "1m500ms", 60500 },
		{ "0", 0 },	      { "1d", 86400000 }, { "1s1ms", 1001 },
	};
	static const char *const bad[] = {
		"",
		"s",
		"10x",
		"1m1h",
		"1s1s",
		"1m30",
		"-1s",
		"1.5s",
		"1 s",
		"10 min",
		"1h 5m",
		"ms",
		"99999999999999999999s",
		"18446744073709551615d",
	};
	struct err e = { 0 };
	uint64_t v = 0;

	for (size_t i = 0; i < COUNT(good); i++) {
		CHECK_INT(num_duration_ms(good[i].in, 1 << 30, &v, &e), 0);
		CHECK_INT(v, good[i].ms);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		CHECK_INT(num_duration_ms(bad[i], 1 << 30, &v, &e), -EINVAL);
	CHECK_INT(num_duration_ms("11s", 10000, &v, &e), -EINVAL);
	CHECK_STR(e.msg, "11s is longer than 10000 ms");
}

TEST(hex_is_lower_case_and_exactly_as_long)
{
	const uint8_t bytes[] = { 0x00, 0xff, 0x1a };
	struct err e = { 0 };
	char text[7];
	uint64_t v;

	CHECK_INT(num_hex("a3f7b2c1", 8, &v, &e), 0);
	CHECK_INT(v, 0xa3f7b2c1);
	CHECK_INT(num_hex("ffffffffffffffff", 16, &v, &e), 0);
	CHECK(v == UINT64_MAX);
	CHECK_INT(num_hex("A3F7B2C1", 8, &v, &e), -EINVAL);
	CHECK_INT(num_hex("a3f7b2c", 8, &v, &e), -EINVAL);
	CHECK_INT(num_hex("a3f7b2c1d", 8, &v, &e), -EINVAL);
	CHECK_INT(num_hex("", 2, &v, &e), -EINVAL);
	num_to_hex(bytes, sizeof(bytes), text);
	CHECK_STR(text, "00ff1a");
}
