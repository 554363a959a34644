// SPDX-License-Identifier: MIT
// JSON Lines: one compact document per line.
#pragma once
#include "json/codec.h"

typedef int (*lines_fn)(void *arg, void *rec, struct err *e);
// Decodes each line and calls fn; stops at its first failure. rec is freed after each call. An
// unfinished last line (a crash in the middle of an append) is reported by *ret_torn, not decoded.
int lines_each(const struct field *tab, size_t rec_size, const char *text, size_t len, lines_fn fn,
	       void *arg, bool *ret_torn, struct err *e) MUST_CHECK;
// One write(2) of the record and a newline.
int lines_append(int fd, const struct field *tab, const void *rec, struct err *e) MUST_CHECK;
