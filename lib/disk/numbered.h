// SPDX-License-Identifier: MIT
// Files <directory>/<number><suffix> of a tenant, of which the newest few are kept.
#pragma once
#include "state/store.h"

// Those that are not kept any more, and what a crash left ahead of the record, which names newest.
// What cannot be removed now is told, and removed by the next change.
void numbered_prune(const struct store *s, const char *directory, const char *suffix,
		    uint64_t newest, uint64_t kept);
