// SPDX-License-Identifier: MIT
// The guest's console and the VMM's own lines. Under systemd they are in the journal; under the
// direct backend mvm-sup keeps the last CONSOLE_KEEP bytes in two halves, console.0 (older) and
// console.1, in the instance's run directory.
#pragma once
#include "base/buf.h"
#include "base/name.h"

#define CONSOLE_KEEP (2u << 20)

// Keeping: both halves are opened by the one writer.
struct console {
	int dir;       // the run directory, the caller's
	int fd;	       // console.1
	uint64_t used; // bytes in console.1
};
#define CONSOLE_NONE      \
	{                 \
		-1, -1, 0 \
	}
// Starts afresh: what the last run left is removed.
int console_open(struct console *c, int dir, struct err *e) MUST_CHECK;
int console_add(struct console *c, const void *data, size_t len, struct err *e) MUST_CHECK;

// The last max bytes of the present or last run.
int console_tail(const struct address *a, size_t max, struct buf *out, struct err *e) MUST_CHECK;
// Both the guest's console and the VMM's own lines are in it: appends those of the VMM ("TIME
// [id:"), or all others.
void console_filter(const struct buf *text, const char *instance, bool vmm, struct buf *out);
// What a person wants to see of text on one line, cleaned of control bytes: the line of a kernel's
// panic where there is one, then the last count lines, separated by " | ".
void console_excerpt(const struct buf *text, unsigned count, char *out, size_t size);
