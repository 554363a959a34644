// SPDX-License-Identifier: MIT
// What is left to a process that guests talk to: no rights, one directory to read, the descriptors
// that are open, and the few system calls that answering needs.
#pragma once
#include "base/err.h"
#include <sys/types.h>

struct confine_user {
	uid_t uid;
	gid_t gid;
};

// A name, or a number (then also its group, where no name tells another).
int confine_user_find(const char *user, struct confine_user *ret, struct err *e) MUST_CHECK;
// For good: groups, ids, every capability, no_new_privs, not dumpable, limits; landlock below
// dir, where the kernel has it. files: descriptors that may be open.
int confine_drop(const struct confine_user *u, int dir, unsigned files, struct err *e) MUST_CHECK;
// The filter in two steps, so that nothing but the kernel can refuse the second: see sys/sandbox.h.
int confine_filter_make(void **ret, struct err *e) MUST_CHECK;
