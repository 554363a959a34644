// SPDX-License-Identifier: MIT
// On whose behalf a process acts: the user behind sudo or systemd's unit, MVM_WHY, and the request.
// A verb that lets others do its work (the steps of a unit) leaves its own beside the instance, so
// that the steps act in its name.
#pragma once
#include "audit/audit.h"

#define AUDIT_ASKED_FILE "asked.json"

void audit_context_now(struct audit_context *out);
// For the work with that id. No fsync: what is lost by a crash was not done either. Failing only
// loses the name, and is told on stderr.
void audit_context_leave(int dirfd, const char *op_id);
// What was left for op_id; else this process's own.
void audit_context_of(int dirfd, const char *op_id, struct audit_context *out);
