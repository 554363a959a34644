// SPDX-License-Identifier: MIT
// What runs in the processes between us and QEMU's main(). Internal to qemu.h.
#pragma once
#include "base/base.h"

// fds[0] becomes stdout and stderr, fds[1...] QEMU_FD_BASE and up; all others are closed. Does not
// return: a failure is told on fds[0].
_Noreturn void qemu_exec(char *const *argv, const int *fds, size_t n);
// Sets no_new_privs and leaves no capability to be gained by exec, or those that QEMU drops itself.
bool qemu_shed_rights(bool keep_for_qemu);
_Noreturn void qemu_starter_main(int sock, uint32_t uid, uint32_t gid);
