// SPDX-License-Identifier: MIT
// The steps of a run, the same under systemd (mvm-instance@.service) and under mvm-sup (design.md
// section 4, "Who starts"). Each is idempotent: killed anywhere and run again, it ends the same.
#pragma once
#include "base/name.h"

// Before the VMM: takes the op over, makes bridge, TAP, limits, jail and launch.json. Without an op
// (systemctl start by hand) it makes one through the same check.
int step_prepare(const struct address *a, int wait_ms, struct err *e) MUST_CHECK;
// The guest is ready: records running and the VMM's process ($MAINPID), clears the op.
int step_commit(const struct address *a, int wait_ms, struct err *e) MUST_CHECK;
// Ends the run politely: asks the guest, waits up to the pool's drain limit, then TERM, then KILL.
// Without $MAINPID there is nothing to end.
int step_drain(const struct address *a, int wait_ms, struct err *e) MUST_CHECK;
// After the VMM: decides by op.stage what came of it, writes exit.json and the state, releases TAP
// and jail. Also what a later verb calls when whoever should have is dead.
int step_finish(const struct address *a, int wait_ms, struct err *e) MUST_CHECK;
