// SPDX-License-Identifier: MIT
// Messages around a capture: GUEST_SLEEP before it, GUEST_REPAIR and GUEST_THAW after a wake (THAW
// also after a capture that failed). Each is answered by HOOK_DONE, which lists the steps, or by
// ERROR, which names the one that failed; each may be sent again.
#pragma once
#include "guest/proto.h"

enum guest_hook_flags {
	GUEST_HOOK_QUIET = 1, // without the guest's own programs
	// Of SLEEP: the guest becomes a template, which lets go of /data. Of REPAIR: it was one, or
	// another guest, and becomes the one that it is told to be.
	GUEST_HOOK_TEMPLATE = 2,
	// Never sent: the agent's own word to agent_hooks.around, that what nobody waits for may be
	// owed.
	GUEST_HOOK_OWE = 4,
};
struct guest_hook {
	uint32_t deadline_ms; // the answer comes within this time
	uint32_t flags;
	// Of repair; zero otherwise.
	uint64_t time_us; // UTC; 0: the sender fills it in
	uint8_t seed[32]; // as in WELCOME
	struct guest_net net;
	uint8_t mac[6]; // only with GUEST_HOOK_TEMPLATE
};
void guest_hook_put(struct buf *b, const struct guest_hook *in);
int guest_hook_get(const void *p, size_t len, struct guest_hook *out, struct err *e) MUST_CHECK;

#define GUEST_STEPS 128u
struct guest_hook_done {
	uint32_t elapsed_ms;
	struct guest_words steps; // in their order
};
void guest_hook_done_put(struct buf *b, const struct guest_hook_done *in);
int guest_hook_done_get(const void *p, size_t len, struct guest_hook_done *out,
			struct err *e) MUST_CHECK;
void guest_hook_done_clear(struct guest_hook_done *d);

// Of the process that does it: each step is said when it begins, so that a deadline can name it.
struct guest_steps {
	struct guest_hook_done done;
	int fd; // a line for each, or -1
};
void guest_step(struct guest_steps *s, const char *fmt, ...) PRINTF(2, 3);
