// SPDX-License-Identifier: MIT
// The metadata server of one tenant as a process: it listens where the tenant's guests reach it,
// gives up every right, and serves until it is told to end. Beside the documents lie
//	$MVM_RUN_DIR/metadata/<tenant>.lock	held while it lives; says "PID START STATE IFINDEX"
//	$MVM_RUN_DIR/metadata/<tenant>.log	what it said, where there is no journal
// A tenant's name has no dot.
#pragma once
#include "base/path.h"

#define METAD_PORT 8169

struct metad {
	const char *tenant;
	const char *user; // to run as
};

// In this process; returns when it was told to end. told: a pipe that gets 'R' when it serves, -1:
// none.
int metad_run(const struct metad *m, int told, struct err *e) MUST_CHECK;
// In a process of its own, which outlives the caller; returns when it serves. One that serves
// already, on the bridge of today, is fine.
int metad_detach(const struct metad *m, int wait_ms, struct err *e) MUST_CHECK;
// Ends the one that serves; none is fine.
int metad_stop(const char *tenant, int wait_ms, struct err *e) MUST_CHECK;

void metad_lock_name(const char *tenant, char out[80]);
void metad_log_name(const char *tenant, char out[80]);
