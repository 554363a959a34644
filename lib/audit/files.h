// SPDX-License-Identifier: MIT
// The reader's side: the files of one log, opened together under its lock, so that a rotation does
// not come in between, and read without it.
#pragma once
#include "audit/trail.h"
#include "base/path.h"

struct audit_file {
	const char *name;
	bool packed;
	int fd;
	int64_t size; // when it was opened: what comes later is not looked at
};

struct audit_files {
	path_text path; // of the directory
	name_text tenant;
	bool live;		    // not an archive
	struct audit_file items[5]; // oldest first
	size_t len;
};
#define FILES_NONE       \
	{                \
		.len = 0 \
	}
#define cleanup_files cleanup(files_close)

// Of a tenant that exists; no log yet is no file.
int files_open(const char *tenant, struct audit_files *ret, struct err *e) MUST_CHECK;
int files_open_at(const char *path, const char *tenant, bool live, struct audit_files *ret,
		  struct err *e) MUST_CHECK;
void files_close(struct audit_files *f);
// Whole lines; *ret_torn bytes of an unfinished one behind them are cut off.
int files_read(const struct audit_files *f, size_t i, struct buf *out, size_t *ret_torn,
	       struct err *e) MUST_CHECK;

// Archives of destroyed tenants of that name, oldest first: archive/<tenant>-<time>/.
struct audit_archives {
	char (*names)[NAME_MAX_LEN + 32];
	size_t len;
};
#define ARCHIVES_NONE   \
	{               \
		NULL, 0 \
	}
#define cleanup_archives cleanup(archives_free)
int archives_find(const char *tenant, struct audit_archives *ret, struct err *e) MUST_CHECK;
int archives_open(const struct audit_archives *a, size_t i, const char *tenant,
		  struct audit_files *ret, struct err *e) MUST_CHECK;
void archives_free(struct audit_archives *a);
