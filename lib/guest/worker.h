// SPDX-License-Identifier: MIT
// The status of the guest's program: the word "ready", "idle" or "busy" in WORKER_FILE, written by
// that program itself or by `mvm-guestd status WORD`; its age is the file's.
#pragma once
#include "base/err.h"

#define WORKER_DIR  "/run/mvm"
#define WORKER_FILE WORKER_DIR "/worker-status"

bool worker_word_ok(const char *word);
int worker_say(const char *path, const char *word, struct err *e) MUST_CHECK;
