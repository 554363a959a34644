// SPDX-License-Identifier: MIT
// mvm-sup's own life: prepare, launch, commit, then the console until the VMM's end or a SIGTERM
// (drain), then finish. Holds sup.lock all the while.
#pragma once
#include "base/name.h"

// told: a pipe to whoever asked for the start, closed by this call. It gets 'R' when commit has
// ended well, 'B' when another mvm-sup has the instance, 'F' when it is over without either.
int sup_run(const struct address *a, int told, struct err *e) MUST_CHECK;
