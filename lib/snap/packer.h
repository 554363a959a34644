// SPDX-License-Identifier: MIT
// Who packs or unpacks a capture says so beside it, so that a wake need not wait for it: what is
// ended between two chunks has changed nothing.
#pragma once
#include "snap/gen.h"

#define SNAP_PACKER "packer.json"

struct snap_packer {
	uint32_t schema_version; // 1
	uint32_t pid;
	uint64_t pid_start;
	char boot_id[37];
};
extern const struct field snap_packer_fields[];
// Of a capture that is locked exclusively: this process may be ended by snap_packer_end.
int snap_packer_begin(const struct snap_gen *g, struct err *e) MUST_CHECK;
void snap_packer_done(const struct snap_gen *g);
// Asks who packs that capture to leave off; nobody is fine. Its lock is free when it has.
int snap_packer_end(const struct store *s, const char *ref, struct err *e) MUST_CHECK;
