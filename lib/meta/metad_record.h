// SPDX-License-Identifier: MIT
// What a metadata server writes into its lock file, so that others find it. Internal to metad.h.
#pragma once
#include "base/proc.h"
#include "meta/metad.h"

struct metad_record {
	struct proc_id id;
	bool ready; // it serves
	unsigned ifindex;
};

int metad_record_write(int lock, const struct metad_record *r, struct err *e) MUST_CHECK;
// A record that is not whole reads as that of pid 0: its writer is at it.
int metad_record_read(int parent, const char *tenant, struct metad_record *ret,
		      struct err *e) MUST_CHECK;
