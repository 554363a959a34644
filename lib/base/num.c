// SPDX-License-Identifier: MIT
#include "base/num.h"

#include <inttypes.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

// Takes the digits at *s; false when there are none or they do not fit.
static bool take_u64(const char **s, uint64_t *out)
{
	uint64_t v = 0;
	const char *p = *s;

	if (!is_digit(*p))
		return false;
	for (; is_digit(*p); p++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return false;
	*s = p;
	*out = v;
	return true;
}

bool num_next(const char **s, uint64_t *out)
{
	*s += strspn(*s, " \t");
	return take_u64(s, out);
}

int num_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out, struct err *e)
{
	const char *end = s;
	uint64_t v;

	while (is_digit(*end))
		end++;
	if (end == s || *end || (s[0] == '0' && s[1]))
		return err_usage(e, "'%.64s' is not a number", s);
	end = s;
	if (!take_u64(&end, &v) || v < min || v > max)
		return err_usage(e, "%.64s is outside %" PRIu64 "..%" PRIu64, s, min, max);
	*out = v;
	return 0;
}

int num_duration_ms(const char *s, uint64_t max_ms, uint64_t *out, struct err *e)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {
		{ "d", 86400000 }, { "h", 3600000 }, { "ms", 1 }, { "m", 60000 }, { "s", 1000 },
	};
	uint64_t total = 0, last = UINT64_MAX;

	for (const char *p = s; p == s || *p;) {
		uint64_t v, ms = 0;

		if (!take_u64(&p, &v))
			return err_usage(e, "'%.64s' is not a duration like 90s, 10m or 2h30m", s);
		if (!*p && last == UINT64_MAX)
			ms = 1000; // a bare number is seconds
		for (size_t i = 0; i < COUNT(units) && !ms; i++)
			if (str_starts(p, units[i].name)) {
				ms = units[i].ms;
				p += strlen(units[i].name);
			}
		if (!ms || ms >= last) // each unit once, the larger first
			return err_usage(e, "'%.64s' is not a duration like 90s, 10m or 2h30m", s);
		last = ms;
		if (__builtin_mul_overflow(v, ms, &v) || __builtin_add_overflow(total, v, &total))
			total = UINT64_MAX;
		if (total > max_ms)
			return err_usage(e, "%.64s is longer than %" PRIu64 " ms", s, max_ms);
	}
	*out = total;
	return 0;
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int num_hex(const char *s, size_t digits, uint64_t *out, struct err *e)
{
	uint64_t v = 0;

	for (size_t i = 0; i < digits; i++) {
		int d = hex_value(s[i]); // stops at the NUL of a shorter text

		if (d < 0)
			return err_usage(e, "'%.64s' is not %zu hex digits", s, digits);
		v = v << 4 | (uint64_t)d;
	}
	if (s[digits])
		return err_usage(e, "'%.64s' is not %zu hex digits", s, digits);
	*out = v;
	return 0;
}

void num_to_hex(const uint8_t *in, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[in[i] >> 4];
		out[2 * i + 1] = digits[in[i] & 15];
	}
	out[2 * len] = '\0';
}
