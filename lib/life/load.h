// SPDX-License-Identifier: MIT
// The load of a capture into a VMM that the launcher has become: `mvm-snap load`, below its helper.
#pragma once
#include "base/name.h"

// Marks what launch.json names as spent, loads it, waits for the guest's agent and has it repair
// the guest. start.json says how it went. vmm_fd: a pidfd of the VMM.
int load_run(const struct address *a, int vmm_fd, int wait_ms, struct err *e) MUST_CHECK;
