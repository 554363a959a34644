// SPDX-License-Identifier: MIT
#include "base/buf.h"

#include "tap.h"

TEST(grows_and_stays_terminated)
{
	cleanup_buf struct buf b = BUF_INIT;

	CHECK_STR(buf_text(&b), "");
	for (int i = 0; i < 1000; i++)
		buf_fmt(&b, "%d,", i % 10);
	CHECK_INT(b.len, 2000);
	CHECK_INT(strlen(b.data), 2000);
	buf_add(&b, NULL, 0);
	CHECK_INT(b.len, 2000);
	buf_clear(&b);
	CHECK_STR(b.data, "");
	buf_char(&b, 'x');
	buf_str(&b, "yz");
	CHECK_STR(buf_text(&b), "xyz");
}

TEST(steal_hands_out_the_memory)
{
	struct buf b = BUF_INIT;
	cleanup_free char *empty = buf_steal(&b);
	cleanup_free char *text = NULL;

	buf_str(&b, "text");
	text = buf_steal(&b);
	CHECK_STR(empty, "");
	CHECK_STR(text, "text");
	CHECK(!b.data && b.len == 0 && b.size == 0);
}

TEST(drop_takes_from_the_front)
{
	cleanup_buf struct buf b = BUF_INIT;

	buf_drop(&b, 3);
	buf_str(&b, "abcdef");
	buf_drop(&b, 2);
	CHECK_STR(b.data, "cdef");
	buf_drop(&b, 99);
	CHECK_STR(b.data, "");
	CHECK_INT(b.len, 0);
}

TEST(json_literals_are_escaped)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "\"\"" },
		{ "plain", "\"plain\"" },
		{ "a\"b\\c/", "\"a\\\"b\\\\c/\"" },
		{ "\n\t\r\b\f", "\"\\n\\t\\r\\b\\f\"" },
		{ "\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\"" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
		  "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"" },
		{ "a\xffz\xc3", "\"a\xef\xbf\xbdz\xef\xbf\xbd\"" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		cleanup_buf struct buf b = BUF_INIT;

		buf_json(&b, cases[i].in);
		CHECK_STR(b.data, cases[i].out);
	}
}

TEST(utf8_takes_only_what_the_standard_allows)
{
	static const struct {
		const char *in;
		size_t len, says;
	} cases[] = {
		{ "a", 1, 1 },
		{ "", 0, 0 },
		{ "\xc2\x80", 2, 2 },
		{ "\xdf\xbf", 2, 2 },
		{ "\xe0\xa0\x80", 3, 3 },
		{ "\xed\x9f\xbf", 3, 3 },
		{ "\xef\xbf\xbf", 3, 3 },
		{ "\xf0\x90\x80\x80", 4, 4 },
		{ "\xf4\x8f\xbf\xbf", 4, 4 },
		{ "\x80", 1, 0 },	      // a continuation alone
		{ "\xc0\xaf", 2, 0 },	      // overlong
		{ "\xc1\xbf", 2, 0 },	      // overlong
		{ "\xe0\x9f\xbf", 3, 0 },     // overlong
		{ "\xf0\x8f\xbf\xbf", 4, 0 }, // overlong
		{ "\xed\xa0\x80", 3, 0 },     // surrogate
		{ "\xf4\x90\x80\x80", 4, 0 }, // beyond U+10FFFF
		{ "\xf5\x80\x80\x80", 4, 0 }, // never
		{ "\xe2\x82", 2, 0 },	      // cut
		{ "\xe2\x28\xa1", 3, 0 },     // not a continuation
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		CHECK_INT(utf8_length(cases[i].in, cases[i].len), cases[i].says);
}

TEST(fixed_arrays_refuse_what_does_not_fit)
{
	char small[4];

	CHECK_INT(COPY(small, "abc"), 0);
	CHECK_STR(small, "abc");
	CHECK_INT(COPY(small, "abcd"), -1);
	CHECK_STR(small, "");
	CHECK_INT(base_fmt(small, sizeof(small), "%d", 123), 0);
	CHECK_INT(base_fmt(small, sizeof(small), "%d", 1234), -1);
	CHECK(str_starts("abc", "ab") && !str_starts("a", "ab") && str_starts("a", ""));
	CHECK(str_ends("abc", "bc") && !str_ends("c", "bc") && str_ends("a", ""));
}
