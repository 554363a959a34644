// SPDX-License-Identifier: MIT
// The mounts of this process' namespace, from /proc/self/mountinfo. Text fields are unescaped
// (the kernel writes space, tab, newline and backslash as octal) and owned by the list.
#pragma once
#include "base/err.h"

struct mount_row {
	uint32_t id, parent;
	uint32_t major, minor; // of the file system
	char *root;	       // the directory of the file system that is mounted here
	char *point;	       // where, absolute
	char *options;	       // of the mount: "rw,nosuid,..."
	char *fstype;
	char *source;
	char *super; // of the file system: "rw,cpu"
};

struct mounts {
	struct mount_row *items; // in the kernel's order: a later row may cover an earlier one
	size_t len;
};
#define MOUNTS_INIT     \
	{               \
		NULL, 0 \
	}
#define cleanup_mounts cleanup(mounts_free)

int mounts_read(struct mounts *out, struct err *e) MUST_CHECK;
// A line that cannot be read is an error, never skipped: a missed mount would be deleted through.
int mounts_parse(const char *text, size_t len, struct mounts *out, struct err *e) MUST_CHECK;
void mounts_free(struct mounts *m);
// Is path dir itself or below it? Both absolute, without a trailing slash.
bool mounts_below(const char *path, const char *dir);
// The mount that path lies on (the longest, then the last); NULL when the list is empty.
const struct mount_row *mounts_of(const struct mounts *m, const char *path);
// Is word in a comma-separated list of options ("ro" in "ro,nosuid")?
bool mounts_option(const char *list, const char *word);
// Lazily unmounts everything at or below dir, the last mounted first. Nothing there is fine.
int mounts_drop_below(const char *dir, struct err *e) MUST_CHECK;
