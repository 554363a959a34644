// SPDX-License-Identifier: MIT
// Numbers from outside: decimal digits only, no sign, no space, no leading zero, within [min, max].
#pragma once
#include "base/err.h"

int num_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out, struct err *e) MUST_CHECK;
// "90", "90s", "10m", "2h30m", "500ms" -> milliseconds
int num_duration_ms(const char *s, uint64_t max_ms, uint64_t *out, struct err *e) MUST_CHECK;
// The next number of blank-separated words; *s moves behind its digits. False when none stands
// there or it does not fit.
bool num_next(const char **s, uint64_t *out);
// Lower-case hex digits.
int num_hex(const char *s, size_t digits, uint64_t *out, struct err *e) MUST_CHECK;
void num_to_hex(const uint8_t *in, size_t len, char *out); // out: 2 * len + 1
