// SPDX-License-Identifier: MIT
// What this machine offers to mvm, check by check, each with its reason and what to do about it.
#pragma once
#include "json/codec.h"

enum doctor_level { DOCTOR_OK, DOCTOR_INFO, DOCTOR_WARN, DOCTOR_FAIL };

struct doctor_check {
	uint32_t schema_version; // 1
	char check[32];
	int level; // enum doctor_level
	char finding[400];
	char fix[240]; // "" when there is nothing to do
};
extern const struct field doctor_fields[];

// All checks; *ret_worst is the worst level. production: what is a warning for trying it out is a
// failure where customers are served.
void doctor_run(bool production, struct codec_list *ret, enum doctor_level *ret_worst);
