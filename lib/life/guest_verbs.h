// SPDX-License-Identifier: MIT
// Verbs of mvm-guest beside commands and sessions: files, port forward, logs, health, hooks.
#pragma once
#include "base/tool.h"

extern const struct opt guest_cp_opts[], guest_logs_opts[], guest_console_opts[], guest_hook_opts[];
int guest_cp_run(const struct call *call, struct buf *out, struct err *e);
int guest_port_forward_run(const struct call *call, struct buf *out, struct err *e);
int guest_logs_run(const struct call *call, struct buf *out, struct err *e);
int guest_console_run(const struct call *call, struct buf *out, struct err *e);
int guest_health_run(const struct call *call, struct buf *out, struct err *e);
int guest_hook_run(const struct call *call, struct buf *out, struct err *e);
