// SPDX-License-Identifier: MIT
#include "json/scan.h"

#include "base/buf.h"

struct scan {
	const char *text;
	size_t len, at;
	int depth;
	struct scan_numbers *numbers;
	struct err *e;
};

static int scan_value(struct scan *s);

static int bad(struct scan *s)
{
	return err_usage(s->e, "not JSON at byte %zu", s->at);
}

// The byte at hand, 0 behind the end: a NUL in the text is refused by whoever meets it.
static unsigned char peek(const struct scan *s)
{
	return s->at < s->len ? (unsigned char)s->text[s->at] : 0;
}

static void skip_space(struct scan *s)
{
	while (peek(s) == ' ' || peek(s) == '\t' || peek(s) == '\n' || peek(s) == '\r')
		s->at++;
}

static bool skip(struct scan *s, char c)
{
	if (peek(s) != (unsigned char)c)
		return false;
	s->at++;
	return true;
}

static size_t skip_digits(struct scan *s)
{
	size_t from = s->at;

	while (peek(s) >= '0' && peek(s) <= '9')
		s->at++;
	return s->at - from;
}

static int scan_number(struct scan *s)
{
	struct scan_numbers *n = s->numbers;
	size_t from = s->at;

	(void)skip(s, '-');
	if (!skip(s, '0') && skip_digits(s) == 0)
		return bad(s);
	if (skip(s, '.') && skip_digits(s) == 0)
		return bad(s);
	if (peek(s) == 'e' || peek(s) == 'E') {
		s->at++;
		if (!skip(s, '+'))
			(void)skip(s, '-');
		if (skip_digits(s) == 0)
			return bad(s);
	}
	if (s->at - from > SCAN_NUMBER_MAX)
		return err_usage(s->e, "number of more than %d digits at byte %zu", SCAN_NUMBER_MAX,
				 from);
	if (n->len == n->size) {
		n->size = n->size ? n->size * 2 : 32;
		n->items = base_grow(n->items, n->size, sizeof(*n->items));
	}
	n->items[n->len++] = (struct scan_number){ .at = from, .len = s->at - from };
	return 0;
}

static int hex_value(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Four hex digits.
static int scan_unit(struct scan *s, unsigned *unit)
{
	*unit = 0;
	for (int i = 0; i < 4; i++) {
		int v = hex_value(peek(s));

		if (v < 0)
			return bad(s);
		*unit = *unit << 4 | (unsigned)v;
		s->at++;
	}
	return 0;
}

static int scan_escape(struct scan *s)
{
	size_t from = s->at - 1;
	unsigned unit, low;

	if (peek(s) && strchr("\"\\/bfnrt", peek(s))) {
		s->at++;
		return 0;
	}
	if (!skip(s, 'u') || scan_unit(s, &unit) < 0)
		return bad(s);
	if (unit == 0)
		return err_usage(s->e, "NUL in a string at byte %zu", from);
	if (unit < 0xD800 || unit > 0xDFFF)
		return 0;
	if (unit > 0xDBFF || !skip(s, '\\') || !skip(s, 'u') || scan_unit(s, &low) < 0 ||
	    low < 0xDC00 || low > 0xDFFF)
		return err_usage(s->e, "half a surrogate pair at byte %zu", from);
	return 0;
}

static int scan_string(struct scan *s)
{
	if (!skip(s, '"'))
		return bad(s);
	while (!skip(s, '"')) {
		size_t n = utf8_length(s->text + s->at, s->len - s->at);

		if (s->at == s->len)
			return bad(s);
		if (peek(s) < 0x20)
			return err_usage(s->e, "control byte 0x%02x in a string at byte %zu",
					 peek(s), s->at);
		if (n == 0)
			return err_usage(s->e, "broken UTF-8 at byte %zu", s->at);
		s->at += n;
		if (s->text[s->at - n] == '\\' && scan_escape(s) < 0)
			return -s->e->no;
	}
	return 0;
}

// The members of an object or the elements of an array, behind the opening bracket.
static int scan_members(struct scan *s, char close)
{
	if (++s->depth > SCAN_DEPTH)
		return err_usage(s->e, "nested deeper than %d at byte %zu", SCAN_DEPTH, s->at - 1);
	skip_space(s);
	if (!skip(s, close)) {
		do {
			skip_space(s);
			if (close == '}') {
				if (scan_string(s) < 0)
					return -s->e->no;
				skip_space(s);
				if (!skip(s, ':'))
					return bad(s);
			}
			if (scan_value(s) < 0)
				return -s->e->no;
			skip_space(s);
		} while (skip(s, ','));
		if (!skip(s, close))
			return bad(s);
	}
	s->depth--;
	return 0;
}

static int scan_word(struct scan *s)
{
	static const char *const words[] = { "true", "false", "null" };

	for (size_t i = 0; i < COUNT(words); i++) {
		size_t n = strlen(words[i]);

		if (s->len - s->at >= n && memcmp(s->text + s->at, words[i], n) == 0) {
			s->at += n;
			return 0;
		}
	}
	return bad(s);
}

static int scan_value(struct scan *s)
{
	skip_space(s);
	unsigned char c = peek(s);

	if (c == '{' || c == '[') {
		s->at++;
		return scan_members(s, c == '{' ? '}' : ']');
	}
	if (c == '"')
		return scan_string(s);
	if (c == '-' || (c >= '0' && c <= '9'))
		return scan_number(s);
	return scan_word(s);
}

int scan_text(const char *text, size_t len, struct scan_numbers *numbers, struct err *e)
{
	struct scan s = { .text = text, .len = len, .numbers = numbers, .e = e };

	skip_space(&s);
	if (s.at == len)
		return err_usage(e, "empty");
	if (scan_value(&s) < 0)
		return -e->no;
	skip_space(&s);
	return s.at == len ? 0 : bad(&s);
}
