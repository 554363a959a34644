// SPDX-License-Identifier: MIT
// What the launcher leaves running beside the VMM until the guest is ready: it configures the VMM
// over its API, waits for the agent, writes start.json and says READY. On failure it ends the VMM.
#pragma once
#include "life/launch.h"

struct helper {
	const struct launch *launch;
	const char *instance; // its id
	int run_fd;	      // the jail's run/ directory
	int listen_fd;	      // v.sock_<R>, bound before the VMM was executed
	int vmm_fd;	      // pidfd of the VMM (the launcher itself before its exec)
};

// The exit status of the helper's process.
int helper_run(const struct helper *h);
// Shared with the load of a capture, which is a process of its own below the helper.
// Since prepare began.
uint64_t helper_ms(const struct launch *l);
// What prepare took, as the first stages.
void helper_begin(const struct launch *l, struct start_record *r);
// Open until the VMM has it open too, or -1.
int helper_hold_metrics(const struct launch *l, int run_fd);
// From here on only VMM and guest are talked to, start.json is written and the VMM ended.
int helper_settle(const char *instance, int run_fd, struct err *e) MUST_CHECK;
