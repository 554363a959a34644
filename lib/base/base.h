// SPDX-License-Identifier: MIT
// What every file of mvm may use: attributes, cleanup, small macros.
// A variable marked cleanup_x is released when its scope ends; steal_fd/steal_ptr hand it out.
#pragma once
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PRINTF(f, a) __attribute__((format(printf, f, a)))
#define MUST_CHECK   __attribute__((warn_unused_result))
#define cleanup(fn)  __attribute__((cleanup(fn)))
#define cleanup_free cleanup(base_freep)
#define cleanup_fd   cleanup(base_closep)
#define cleanup_file cleanup(base_fclosep)
#define cleanup_dir  cleanup(base_closedirp)

#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define KIB	  ((uint64_t)1 << 10)
#define MIB	  ((uint64_t)1 << 20)
#define GIB	  ((uint64_t)1 << 30)

static inline void base_freep(void *p)
{
	void *held;

	memcpy(&held, p, sizeof(held));
	free(held);
}

static inline void base_closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd);
	errno = saved;
}

static inline void base_fclosep(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

static inline void base_closedirp(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static inline int steal_fd(int *fd)
{
	int held = *fd;

	*fd = -1;
	return held;
}

#define steal_ptr(p)                           \
	({                                     \
		__typeof__(*(p)) _held = *(p); \
		*(p) = NULL;                   \
		_held;                         \
	})

// Small, bounded requests only: they end the process when memory is out. Sizes that come from
// outside are capped by the caller first.
void *base_alloc(size_t count, size_t size) MUST_CHECK; // zeroed
void *base_grow(void *p, size_t count, size_t size) MUST_CHECK;
char *base_strdup(const char *s) MUST_CHECK;
char *base_printf(const char *fmt, ...) PRINTF(1, 2) MUST_CHECK;
// Copies into a fixed array; -1 when it does not fit (then out holds "").
int base_copy(char *out, size_t size, const char *s) MUST_CHECK;
#define COPY(arr, s) base_copy((arr), sizeof(arr), (s))
// snprintf that treats truncation as failure (-1).
int base_fmt(char *out, size_t size, const char *fmt, ...) PRINTF(3, 4) MUST_CHECK;
// The same for messages and help, where a text that is cut is good enough.
void base_cut(char *out, size_t size, const char *fmt, ...) PRINTF(3, 4);
static inline bool str_eq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
