// SPDX-License-Identifier: MIT
// Who keeps an instance's processes: systemd (mvm-instance@.service) or, without it, mvm-sup.
// Both are behind one shell library with five verbs, sh/backend.
#pragma once
#include "base/name.h"

enum backend_kind { BACKEND_SYSTEMD, BACKEND_DIRECT };
extern const char *const backend_names[];
// MVM_BACKEND or the configuration; auto is systemd where it runs and the places are the default
// ones (units serve only these).
int backend_kind(enum backend_kind *ret, struct err *e) MUST_CHECK;

enum backend_status { BACKEND_INACTIVE, BACKEND_ACTIVATING, BACKEND_ACTIVE, BACKEND_DEACTIVATING };
// Returns when the start has ended, well or not: what came of it is in the instance's records.
int backend_start(const struct address *a, struct err *e) MUST_CHECK;
// Returns when nothing of the instance runs any more. force: without asking the guest.
int backend_stop(const struct address *a, bool force, struct err *e) MUST_CHECK;
int backend_status(const struct address *a, enum backend_status *ret, struct err *e) MUST_CHECK;
struct backend_limits {
	uint64_t memory_mib, cpu_pct, tasks;
};
int backend_limits(const struct address *a, const struct backend_limits *l,
		   struct err *e) MUST_CHECK;
// Forgets what the backend keeps of an instance that is destroyed (failed state, property files).
int backend_forget(const struct address *a, struct err *e) MUST_CHECK;
