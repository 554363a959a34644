// SPDX-License-Identifier: MIT
// An instance's own disk: instances/<i>/volumes/data.ext4, sparse, made once. While the instance
// runs it belongs to the VM's user (sys/jail gives it), otherwise to root; 0600 always.
#pragma once
#include "state/store.h"

#define DATA_FILE  "data.ext4"
#define DATA_LABEL "mvm-data"

struct data_state {
	uint64_t bytes;	    // its size
	uint64_t allocated; // what it takes on the disk
	bool present;
	bool changed; // it was made
};
// s: the instance, locked. Kind state when it is there with another size: it keeps the one it was
// made with. seed: an ext4 image whose content it begins with, or NULL; kind conflict when there is
// a data disk already.
int data_ensure(const struct store *s, uint64_t mib, const char *seed, bool dry_run,
		struct data_state *ret, struct err *e) MUST_CHECK;
int data_look(const struct store *s, struct data_state *ret, struct err *e) MUST_CHECK;
// Back to root. None is fine.
int data_release(const struct store *s, struct err *e) MUST_CHECK;
