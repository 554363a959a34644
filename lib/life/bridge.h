// SPDX-License-Identifier: MIT
// mvm-bridge as the steps of a run call it.
#pragma once
#include "base/name.h"

// object: a tenant or an instance's address, as the verb wants it.
int bridge_run(const char *verb, const char *object, struct err *e) MUST_CHECK;
// The instance's TAP on its tenant's bridge; metadata: and its document published. A guest that was
// promised metadata does not go on without: it could not tell the reason.
int bridge_attach(const struct address *a, bool metadata, struct err *e) MUST_CHECK;
