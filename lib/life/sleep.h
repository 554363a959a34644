// SPDX-License-Identifier: MIT
// What a sleep leaves beside the record: sleep.json, what was captured and how long each part took.
#pragma once
#include "life/taken.h"

#define SLEEP_FILE "sleep.json"

struct sleep_record {
	uint32_t schema_version; // 1
	char op_id[11];
	time_text at;
	int kind;	    // enum snap_kind: delta or full
	char why_full[120]; // why it is no delta, ""
	snap_ref parent;    // of a delta, else none
	struct taken taken;
};
extern const struct field sleep_fields[];
#define cleanup_sleep cleanup(sleep_free)
void sleep_free(struct sleep_record *r);
