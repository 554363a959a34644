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
	int64_t begun_ms;
};

// The exit status of the helper's process.
int helper_run(const struct helper *h);
