// SPDX-License-Identifier: MIT
// What mvm-node tells about this node: the machine and what runs on it, and the counts over all
// tenants. Works without root: what cannot be known then is null.
#pragma once
#include "base/buf.h"
#include "base/err.h"

int node_report_info(int wait_ms, struct buf *out, struct err *e) MUST_CHECK;
int node_report_stats(struct buf *out, struct err *e) MUST_CHECK;
