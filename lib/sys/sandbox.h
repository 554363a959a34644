// SPDX-License-Identifier: MIT
// What is left to a process that strangers talk to: the system calls that it needs, the directories
// that it works in, and no rights. All of it is for good and reaches what the process executes.
//
// A filter lists what is allowed; anything else fails with EPERM, or ends the process by SIGSYS. It
// is made in one step and loaded in another, so that nothing but the kernel can refuse the second.
#pragma once
#include "base/err.h"
#include <sys/types.h>

enum sandbox_else { SANDBOX_EPERM, SANDBOX_KILL };
struct sandbox_rule { // call NULL: the last
	const char *call;
	uint64_t mask, value; // what the argument has to be: (it & mask) == value; 0, 0: anything
	unsigned arg;	      // which argument that is
	int error;	      // 0: allowed then; else it fails with this errno
};
struct sandbox_filter {
	const char *calls; // names, with spaces between; one that this machine lacks is passed over
	const struct sandbox_rule *rules; // may be NULL
	enum sandbox_else other;
};
// What every process does that is through with its beginning: memory without code, time, signals,
// descriptors that are open, its end.
extern const char sandbox_calls_plain[];
// The rules for mmap and mprotect that go with it: no memory becomes code.
#define SANDBOX_NO_CODE                                          \
	{ .call = "mmap", .arg = 2, .mask = 4 /* PROT_EXEC */ }, \
	{                                                        \
		.call = "mprotect", .arg = 2, .mask = 4          \
	}

// more: a second list, or NULL.
int sandbox_filter_make(const struct sandbox_filter *f, const char *more, void **ret,
			struct err *e) MUST_CHECK;
int sandbox_filter_load(void *filter, struct err *e) MUST_CHECK; // frees it
void sandbox_filter_free(void *filter);
// Kind unavailable when this machine's kernel cannot end a process for a forbidden call.
int sandbox_can_kill(struct err *e) MUST_CHECK;

enum sandbox_access {
	SANDBOX_READ = 1,  // files
	SANDBOX_LIST = 2,  // directories
	SANDBOX_WRITE = 4, // files and sockets: make, change, remove
};
struct sandbox_path {
	int fd; // a directory, and all below it, or a file
	unsigned access;
};
// Nothing else can be opened from here on; where the kernel has no landlock, everything can.
int sandbox_paths(const struct sandbox_path *paths, size_t n, struct err *e) MUST_CHECK;

// A leak checker looks at the process from another one when it ends, which no list allows: a tool
// that was built with it is not settled.
#ifdef __SANITIZE_ADDRESS__
#define SANDBOX_CHECKED true
#else
#define SANDBOX_CHECKED false
#endif
// All three for a tool that has begun: no_new_privs, those paths, and sandbox_calls_plain with
// more; what is not on the list fails. rules may be NULL.
int sandbox_settle(const struct sandbox_path *paths, size_t n, const char *more,
		   const struct sandbox_rule *rules, struct err *e) MUST_CHECK;

int sandbox_no_new_privs(struct err *e) MUST_CHECK;
// The bounding set: with CAP_SETPCAP only; without it no_new_privs makes the set useless.
void sandbox_drop_bounding(void);
// keep: the bit of each capability that stays, 1 << CAP_X.
int sandbox_drop_capabilities(uint64_t keep, struct err *e) MUST_CHECK;
// Groups, ids, every capability.
int sandbox_become(uid_t uid, gid_t gid, struct err *e) MUST_CHECK;
