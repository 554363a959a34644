// SPDX-License-Identifier: MIT
// The ramfs at $MVM_RUN_DIR/secrets: the one place outside of a process where secrets are in the
// clear. /run may lie on a disk and a tmpfs may be swapped out; a ramfs is neither. It has one
// directory for each instance that runs, with the drives for secrets and configuration.
#pragma once
#include "base/path.h"

// The place itself; kind missing when it is not there.
int place_open(struct err *e) MUST_CHECK;
// An instance's directory in it; kind missing when there is none.
int place_open_instance(const char *instance, struct err *e) MUST_CHECK;
// The same, made, and the place mounted, when they are missing.
int place_make_instance(const char *instance, struct err *e) MUST_CHECK;
// Overwrites and removes what an instance has in it, and its directory; with the last one the mount
// goes too. None is fine.
int place_remove(const char *instance, struct err *e) MUST_CHECK;
void place_path(const char *instance, const char *file, path_text out);
