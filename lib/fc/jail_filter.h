// SPDX-License-Identifier: MIT
// The outer filter of `seccomp: strict` around Firecracker: what jailer, libc and Firecracker 1.12
// to 1.16 ask of the kernel, and nothing that mvm has no use for (docs/adr/005-strict-seccomp.md).
// It is loaded before the jailer is executed; upstream's own filters, one for each thread, come on
// top.
#pragma once
#include "base/err.h"

// Kind unavailable where there is no list for this machine.
int jail_filter_make(void **ret, struct err *e) MUST_CHECK;
