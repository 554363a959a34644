// SPDX-License-Identifier: MIT
// Memory for what must not be left anywhere: locked, kept out of core dumps, wiped before it is
// given back. A tool that handles secrets calls safe_process first.
#pragma once
#include "base/err.h"

struct safe {
	uint8_t *data;
	size_t len;  // in use
	size_t size; // there
};
#define SAFE_NONE          \
	{                  \
		NULL, 0, 0 \
	}
#define cleanup_safe cleanup(safe_free)
void safe_free(struct safe *s);
// Makes room for that many more bytes; what was there is kept.
int safe_more(struct safe *s, size_t bytes, struct err *e) MUST_CHECK;
int safe_add(struct safe *s, const void *data, size_t len, struct err *e) MUST_CHECK;
// Appends what the descriptor gives to its end; more than max bytes is kind usage.
int safe_read(struct safe *s, int fd, size_t max, struct err *e) MUST_CHECK;
// No core dump, no look from outside by ptrace and /proc, for this process from here on.
int safe_process(struct err *e) MUST_CHECK;
