// SPDX-License-Identifier: MIT
// What a sleep leaves beside the record: sleep.json, what was captured and how long each part took.
#pragma once
#include "snap/manifest.h"
#include "state/result.h"

#define SLEEP_FILE "sleep.json"

struct sleep_record {
	uint32_t schema_version; // 1
	char op_id[11];
	time_text at;
	snap_ref ref;
	int kind;	    // enum snap_kind: delta or full
	char why_full[120]; // why it is no delta, ""
	snap_ref parent;    // of a delta, else none
	bool quiesced;	    // the guest was at rest: not so after a --force that it did not answer
	uint64_t bytes;	    // of its memory file on the disk, when it was taken
	uint64_t frozen_ms; // from the guest's standstill until its capture was safe
	uint64_t total_ms;
	struct codec_list stages; // of struct start_stage
};
extern const struct field sleep_fields[];
#define cleanup_sleep cleanup(sleep_free)
void sleep_free(struct sleep_record *r);
