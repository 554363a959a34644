// SPDX-License-Identifier: MIT
// Time. Durations and deadlines: CLOCK_MONOTONIC milliseconds. Stored times: UTC text.
#pragma once
#include "base/err.h"

typedef char time_text[25]; // YYYY-MM-DDTHH:MM:SSZ (20 + NUL), or with .mmm (24 + NUL)

int64_t clock_ms(void);
int64_t clock_us(void);
int64_t clock_left(int64_t deadline_ms); // >= 0
void clock_sleep_ms(int64_t ms);
void clock_utc(time_text out);	  // now, whole seconds
void clock_utc_ms(time_text out); // now, with milliseconds
int clock_parse_utc(const char *s, int64_t *ret_unix_s, struct err *e) MUST_CHECK;
// The kernel's boot id, 36 characters; the same until the next boot.
int clock_boot_id(char out[37], struct err *e) MUST_CHECK;
