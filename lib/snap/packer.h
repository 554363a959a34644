// SPDX-License-Identifier: MIT
// Processes that have to do with a capture, noted beside it. Who packs or unpacks it says so, so
// that a wake need not wait for it: what is ended between two chunks has changed nothing. Who took
// a named one for himself alone says so: when he is killed it is nobody's.
#pragma once
#include "snap/gen.h"

#define SNAP_PACKER "packer.json"
#define SNAP_OWNER  "owner.json"

struct snap_process {
	uint32_t schema_version; // 1
	uint32_t pid;
	uint64_t pid_start;
	char boot_id[37];
};
extern const struct field snap_process_fields[];
// Of a capture that is locked exclusively: this process may be ended by snap_packer_end.
int snap_packer_begin(const struct snap_gen *g, struct err *e) MUST_CHECK;
void snap_packer_done(const struct snap_gen *g);
// This process's alone, from the draft on.
int snap_own(const struct snap_draft *d, struct err *e) MUST_CHECK;
// dir, an open directory, was some process's alone, which is gone. A note that cannot be read names
// nobody.
bool snap_owner_gone(int dir);
// Asks who packs that capture to leave off; nobody is fine. Its lock is free when it has.
int snap_packer_end(const struct store *s, const char *ref, struct err *e) MUST_CHECK;
