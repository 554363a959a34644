// SPDX-License-Identifier: MIT
// The grammar of JSON, checked byte by byte before cJSON sees the text: what cJSON would let pass
// (RFC 8259 violations, broken UTF-8, NUL) is refused here, with the position. Private to lib/json.
#pragma once
#include "base/err.h"

#define SCAN_DEPTH	32
#define SCAN_NUMBER_MAX 63 // what cJSON's own buffer holds

struct scan_number { // where a number stands in the text
	size_t at, len;
};

// The numbers in the order of the text; the caller frees them.
struct scan_numbers {
	struct scan_number *items;
	size_t len, size;
};

int scan_text(const char *text, size_t len, struct scan_numbers *numbers, struct err *e) MUST_CHECK;
