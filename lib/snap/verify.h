// SPDX-License-Identifier: MIT
// All that can be said of a capture without loading it.
#pragma once
#include "snap/gen.h"

struct verdict {
	uint32_t schema_version; // 1
	snap_ref ref;
	bool ok;
	char error[400]; // the field or file, and what is wrong with it
};
extern const struct field verdict_fields[];
// Reads everything that belongs to one capture, or to all ("" as ref), and appends a struct verdict
// for each. Of a delta its parent has to be the recorded one, too. Returns how many are bad, or a
// failure (gone, locked, cancelled), which is no verdict.
int snap_verify(const struct store *s, const char *ref, int wait_ms, const struct pages_cancel *c,
		struct codec_list *rows, struct err *e) MUST_CHECK;
