// SPDX-License-Identifier: MIT
// A small TAP harness. TEST registers a case; each runs in a process of its own, so that a crash
// is "not ok" and the rest still run. tests/unit/tap.c has main().
#pragma once
#include "base/base.h"

struct tap_case {
	const char *name;
	void (*run)(void);
	struct tap_case *next;
};
void tap_register(struct tap_case *c);
// Marks the running case as failed and says where; the case goes on.
void tap_fail(const char *file, int line, const char *fmt, ...) PRINTF(3, 4);
const char *tap_dir(void); // a fresh directory of this case, removed after it

#define TEST(fn)                                                     \
	static void fn(void);                                        \
	static struct tap_case fn##_case = { #fn, fn, NULL };        \
	__attribute__((constructor)) static void fn##_register(void) \
	{                                                            \
		tap_register(&fn##_case);                            \
	}                                                            \
	static void fn(void)
#define CHECK(x)                                                \
	do {                                                    \
		if (!(x))                                       \
			tap_fail(__FILE__, __LINE__, "%s", #x); \
	} while (0)
#define CHECK_STR(got, want)                                                    \
	do {                                                                    \
		const char *_g = (got), *_w = (want);                           \
		if (!_g || strcmp(_g, _w) != 0)                                 \
			tap_fail(__FILE__, __LINE__, "got \"%s\", want \"%s\"", \
				 _g ? _g : "(null)", _w);                       \
	} while (0)
#define CHECK_INT(got, want)                                                                   \
	do {                                                                                   \
		long long _g = (long long)(got), _w = (long long)(want);                       \
		if (_g != _w)                                                                  \
			tap_fail(__FILE__, __LINE__, "%s: got %lld, want %lld", #got, _g, _w); \
	} while (0)
