// SPDX-License-Identifier: MIT
#include "base/buf.h"

#include <stdarg.h>

// Makes room for len more bytes and the NUL behind them.
static void buf_reserve(struct buf *b, size_t len)
{
	size_t need;

	// A wrapped sum becomes a request that no allocator grants.
	if (__builtin_add_overflow(b->len, len, &need) || __builtin_add_overflow(need, 1, &need))
		need = SIZE_MAX;
	if (need <= b->size)
		return;
	size_t size = b->size ? b->size : 64;
	while (size < need)
		size = size > SIZE_MAX / 2 ? SIZE_MAX : size * 2;
	b->data = base_grow(b->data, size, 1);
	b->size = size;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
	buf_reserve(b, len);
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_fmt(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort(); // only a broken format string of ours gets here
	buf_reserve(b, (size_t)n);
	va_start(ap, fmt);
	(void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void buf_char(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = '\0';
}

void buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf)BUF_INIT;
}

char *buf_steal(struct buf *b)
{
	char *held = b->data ? b->data : base_strdup("");

	*b = (struct buf)BUF_INIT;
	return held;
}

void buf_drop(struct buf *b, size_t n)
{
	if (!b->data)
		return;
	n = MIN(n, b->len);
	memmove(b->data, b->data + n, b->len - n + 1);
	b->len -= n;
}

const char *buf_text(const struct buf *b)
{
	return b->data ? b->data : "";
}

size_t utf8_length(const char *s, size_t len)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t n = 0;

	if (len == 0)
		return 0;
	if (u[0] < 0x80)
		return 1;
	if (u[0] >= 0xC2 && u[0] <= 0xDF)
		n = 2;
	else if (u[0] >= 0xE0 && u[0] <= 0xEF)
		n = 3;
	else if (u[0] >= 0xF0 && u[0] <= 0xF4)
		n = 4;
	if (n == 0 || len < n)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((u[i] & 0xC0) != 0x80)
			return 0;
	// Overlong forms, surrogates and what lies beyond U+10FFFF show in the second byte.
	if ((u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F) ||
	    (u[0] == 0xF0 && u[1] < 0x90) || (u[0] == 0xF4 && u[1] > 0x8F))
		return 0;
	return n;
}

// The one-letter escapes of JSON, 0 when c has none.
static char short_escape(unsigned char c)
{
	switch (c) {
	case '"':
	case '\\':
		return (char)c;
	case '\n':
		return 'n';
	case '\t':
		return 't';
	case '\r':
		return 'r';
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	default:
		return 0;
	}
}

void buf_json(struct buf *b, const char *text)
{
	size_t len = strlen(text);

	buf_reserve(b, len + 2);
	buf_char(b, '"');
	for (size_t i = 0, n; i < len; i += n) {
		unsigned char c = (unsigned char)text[i];
		char letter = short_escape(c);

		n = utf8_length(text + i, len - i);
		if (letter) {
			char pair[2] = { '\\', letter };

			buf_add(b, pair, 2);
		} else if (c < 0x20 || c == 0x7F) {
			buf_fmt(b, "\\u%04x", c);
		} else if (n) {
			buf_add(b, text + i, n);
		} else {
			buf_str(b, "\xEF\xBF\xBD"); // U+FFFD
			n = 1;
		}
	}
	buf_char(b, '"');
}
