// SPDX-License-Identifier: MIT
// The parts of `mvm-instance prepare`: everything that one run needs, put together in struct plan
// and written to launch.json.
#pragma once
#include "base/beside.h"
#include "base/clock.h"
#include "disk/drive.h"
#include "life/launch.h"
#include "life/revision.h"
#include "life/vmm.h"
#include "snap/rules.h"
#include "state/pool.h"
#include "state/tenant.h"

#define PREPARE_NET "eth0" // the id of the one interface

struct plan {
	struct address a;
	address_text address;
	struct instance i;
	struct pool pool;
	struct tenant tenant;
	struct vmm_choice vmm;
	struct revision revision;
	uint32_t uid;
	bool drives[DRIVES]; // which of them it has
	struct launch launch;
	struct beside network; // makes bridge and TAP while the rest goes on
	int wait_ms;
};
// When something of it was done, for the stage times of the start.
void prepare_stage(struct plan *p, const char *stage);

// prepare_load.c: finds, checks and completes the capture that this run goes on from. What is wrong
// with it is *ret_refused, and the run is a cold start; anything else that fails is an error.
int prepare_capture(struct plan *p, struct err *ret_refused, struct err *e) MUST_CHECK;
// For who compares and starts nothing: p is what the records of p->a say now.
int prepare_look(struct plan *p, struct err *e) MUST_CHECK;
// Revision and VMM of p become those that p->i names; ret is what a capture has to be to be loaded
// so. data as of capture_of; the caller frees ret by capture_machine_free.
int prepare_wanted(struct plan *p, const char *data, struct snap_wanted *ret,
		   struct err *e) MUST_CHECK;

// prepare_jail.c
int prepare_drives(struct plan *p, struct err *e) MUST_CHECK;
int prepare_jail(struct plan *p, struct err *e) MUST_CHECK;

// prepare_launch.c: fills and writes launch.json.
int prepare_launch(struct plan *p, struct err *e) MUST_CHECK;
