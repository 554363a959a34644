// SPDX-License-Identifier: MIT
// Signals for long-running processes: blocked first, then read from a descriptor.
#pragma once
#include "base/err.h"
#include <signal.h>

// Blocks the listed signals (0 ends the list) and returns a non-blocking CLOEXEC signalfd.
int sig_open(struct err *e, ...) MUST_CHECK;
int sig_read(int fd); // number of one pending signal, 0 when none
// Saved at tool start: the mask children get back.
void sig_save_mask(void);
const sigset_t *sig_saved_mask(void);
