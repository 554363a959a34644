// SPDX-License-Identifier: MIT
// The console as it grows, until the VMM ends. vmm: a pidfd. lines: of what is there already, 0 for
// all of it; since_us: nothing older, 0 for all; only the journal has times.
#pragma once
#include "life/console.h"

struct console_want {
	bool vmm; // the VMM's own lines instead of the guest's
	uint64_t lines, since_us;
};
// Nothing older than since_us; kind usage under the direct backend, which keeps no times.
int console_check_since(uint64_t since_us, struct err *e) MUST_CHECK;
int console_follow(const struct address *a, const struct console_want *want, int vmm, int out,
		   struct err *e) MUST_CHECK;
// What is there, once.
int console_print(const struct address *a, const struct console_want *want, int out,
		  struct err *e) MUST_CHECK;
