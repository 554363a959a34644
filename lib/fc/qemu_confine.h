// SPDX-License-Identifier: MIT
// What runs in the processes between us and QEMU's main(), and what is left to each of them.
// Internal to qemu.h.
#pragma once
#include "fc/qemu.h"
#include "sys/sandbox.h"

enum qemu_process { QEMU_PROCESS_QEMU, QEMU_PROCESS_SERVER, QEMU_PROCESS_STARTER };
// *ret NULL: that process gets none of ours. Strict: a call that is not on the list ends it.
int qemu_filter_make(enum qemu_process of, bool strict, void **ret, struct err *e) MUST_CHECK;

// fds[0] becomes stdout and stderr, fds[1...] QEMU_FD_BASE and up; all others are closed. filter
// may be NULL. Does not return: a failure is told on fds[0].
_Noreturn void qemu_exec(char *const *argv, const int *fds, size_t n, void *filter);
// Sets no_new_privs and leaves no capability to be gained by exec, or those that QEMU drops itself.
bool qemu_shed_rights(bool keep_for_qemu);
// empty: a directory of root's, to stay in when root is given up.
_Noreturn void qemu_starter_main(int sock, const struct qemu_confined *c, const char *empty);
