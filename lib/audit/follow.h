// SPDX-License-Identifier: MIT
// New entries as they come: JSON Lines on a descriptor.
#pragma once
#include "audit/list.h"

// First what q asks for, then each new entry that fits it, through rotations, until the tenant is
// gone (0) or the writing fails.
int follow_log(const char *tenant, const struct audit_query *q, int out, struct err *e) MUST_CHECK;
