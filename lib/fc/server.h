// SPDX-License-Identifier: MIT
// mvm-fc-qemu: Firecracker's command line and HTTP API in front of a QEMU guest (fc/qemu.h).
//
// Order of the start: command line; root directory; qemu_new, which forks the starter while we are
// root; then with --uid our own rights go for good; only after that are sockets and files of the
// root directory touched, as the user who owns them. One event loop, no thread: a request is
// handled to its end, then the next one.
//
// It ends when the guest ends (0, or 1 when QEMU broke down), when a load fails (1), or by a
// signal: then QEMU dies with it.
#pragma once

int server_main(int argc, char **argv);
