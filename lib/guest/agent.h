// SPDX-License-Identifier: MIT
// The guest's agent without its machine: connections of the host, commands, logs, the way to READY.
// One loop, no threads. It trusts no size of the host's and holds a bounded amount for it. What it
// does to the system goes through agent_hooks, so that a test can run it as any process.
//
// The caller reaps children (SIGCHLD) and tells agent_child of each.
#pragma once
#include "base/loop.h"
#include "guest/proto.h"
#include <sys/types.h>

struct guest_hook;
struct guest_steps;
struct agent_hooks {
	// The host's welcome: network, drives, clock. Fills ret->drives. May be called again with
	// the same words when a connection broke before the host took READY.
	int (*welcome)(void *arg, const struct guest_welcome *w, struct guest_info *ret,
		       struct err *e);
	// The host asks the guest to go down; the answer has been sent.
	void (*down)(void *arg, const struct guest_down *d);
	// Our dial has ended; taken: the host has what it wanted, no further dial is needed.
	void (*dial_ended)(void *arg, bool taken);
	// GUEST_SLEEP, GUEST_REPAIR, GUEST_THAW; called in a process of its own, which is killed at
	// the deadline. NULL: there are none.
	int (*around)(void *arg, uint8_t type, const struct guest_hook *h,
		      struct guest_steps *steps, struct err *e);
	// True: what is asked runs no program and waits for nobody, and is done in the agent's own
	// process, before another one would have begun. NULL: nothing is so.
	bool (*at_once)(void *arg, uint8_t type, const struct guest_hook *h);
	// What a repair or a thaw that was done at once has put off. Done when its host has what it
	// asked for and is gone, and before anything else around a capture at the latest: what
	// fails here keeps the guest from being thawed. NULL: nothing is put off.
	int (*owed)(void *arg, struct err *e);
	const char *worker_file; // as of guest/worker.h, or NULL
	// SECRETS_CHANGED, CONFIG_CHANGED (guest/drive.h): reads that drive again; user owns
	// secrets. On failure what was read before stays. NULL: there are no drives.
	int (*changed)(void *arg, enum guest_drive which, const char *user,
		       const uint8_t digest[32], struct err *e);
};

struct agent;
int agent_new(struct loop *l, const struct agent_hooks *hooks, void *arg, struct agent **ret,
	      struct err *e) MUST_CHECK;
void agent_free(struct agent *a);	     // closes all, kills the commands
void agent_take(struct agent *a, int fd);    // a connection of the host (port G); the agent's now
void agent_dialled(struct agent *a, int fd); // our connection to the host (port R)
void agent_child(struct agent *a, pid_t pid, int wait_status);	    // any reaped child, ours or not
void agent_say(struct agent *a, const char *fmt, ...) PRINTF(2, 3); // console and agent log
bool agent_is_ready(const struct agent *a);
