// SPDX-License-Identifier: MIT
// One file over HTTPS (or HTTP from loopback, for tests) into dirfd/name, by libcurl. Progress goes
// to MVM_PROGRESS_FD. Bounded in size; stalled below 1 KiB/s for 30 s is a failure. On failure the
// file is removed.
#pragma once
#include "base/err.h"

int download(const char *url, int dirfd, const char *name, uint64_t max, struct err *e) MUST_CHECK;
