// SPDX-License-Identifier: MIT
// Growing byte buffer; always NUL-terminated behind len. Owner calls buf_free.
#pragma once
#include "base/base.h"

struct buf {
	char *data; // NULL while nothing was added
	size_t len, size;
};
#define BUF_INIT           \
	{                  \
		NULL, 0, 0 \
	}
#define cleanup_buf cleanup(buf_free)

void buf_add(struct buf *b, const void *data, size_t len);
void buf_str(struct buf *b, const char *s);
void buf_fmt(struct buf *b, const char *fmt, ...) PRINTF(2, 3) __attribute__((nonnull(2)));
void buf_char(struct buf *b, char c);
void buf_clear(struct buf *b); // keeps the memory
void buf_free(struct buf *b);
char *buf_steal(struct buf *b);		   // the caller frees; "" when empty
void buf_drop(struct buf *b, size_t n);	   // removes n bytes at the front
const char *buf_text(const struct buf *b); // never NULL
// Appends a JSON string literal; bytes that are no UTF-8 become U+FFFD.
void buf_json(struct buf *b, const char *text);
// Length of the UTF-8 character that s starts with, 0 when it is none (or len is 0).
size_t utf8_length(const char *s, size_t len);
