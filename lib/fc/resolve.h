// SPDX-License-Identifier: MIT
// Opens what the API and the command line name. Below a root directory (--root) every path is taken
// as a process that is chrooted there would see it: "/x", "x" and "../x" are all <root>/x, and no
// symbolic link leads out (openat2 with RESOLVE_IN_ROOT; no magic links either). Without one,
// root_fd is AT_FDCWD and paths are the process's own, relative ones and /dev/stdout included.
#pragma once
#include "base/err.h"

// Returns a CLOEXEC descriptor, or -errno. flags as of open(2); with O_CREAT the mode is 0600.
// Never blocks: O_NONBLOCK and O_NOCTTY are added (a FIFO without a reader is ENXIO).
int qemu_resolve(int root_fd, const char *path, int flags, struct err *e) MUST_CHECK;
// The same for a regular file; -EINVAL where it is something else.
int qemu_resolve_file(int root_fd, const char *path, int flags, struct err *e) MUST_CHECK;
// The directory that holds path's last component, and that component (points into path): for
// sockets, which are bound and dialled by directory and name. No last component: -EINVAL.
int qemu_resolve_dir(int root_fd, const char *path, const char **ret_name,
		     struct err *e) MUST_CHECK;
