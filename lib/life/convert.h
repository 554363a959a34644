// SPDX-License-Identifier: MIT
// One capture becomes another form of itself: composed, packed or unpacked, for the commands of
// mvm-snap. SIGTERM and SIGINT end it between two chunks.
#pragma once
#include "snap/gen.h"

enum convert_what { CONVERT_COMPOSE, CONVERT_PACK, CONVERT_UNPACK };

struct convert {
	enum convert_what what;
	const char *ref; // NULL: what a wake would load
	int compression; // of pack: enum pool_compression, or -1, what the pool has
	int wait_ms;
};

struct convert_result {
	uint32_t schema_version; // 1
	snap_ref ref;
	bool changed;
	int form, compression;
	snap_ref composed_from;
	bool parent_removed;
	bool cloned;
	uint64_t delta_bytes;
	uint64_t packed_bytes;
	uint64_t took_ms;
};
extern const struct field convert_result_fields[];
// a: an instance.
int convert_run(const struct address *a, const struct convert *what, struct convert_result *ret,
		struct err *e) MUST_CHECK;
