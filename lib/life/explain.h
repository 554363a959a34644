// SPDX-License-Identifier: MIT
// How an instance last started, slept and ended, and what its next capture and wake would be.
#pragma once
#include "life/sleep.h"

struct explain {
	uint32_t schema_version; // 1
	address_text instance_path;
	int status; // enum instance_status
	time_text status_since;
	char cold[240]; // why its last start was cold although its memory was wanted
	struct start_record start;
	struct sleep_record sleep;
	struct exit_record last_exit;
	snap_ref capture;	// what a wake would load, ""
	char capture_bad[400];	// why it would not
	char capture_note[240]; // what is to be known of it all the same
	snap_ref next_parent;	// what the next capture would be a delta of, "": it would be full
};
extern const struct field explain_fields[];
int explain_instance(const struct address *a, struct buf *out, struct err *e) MUST_CHECK;
