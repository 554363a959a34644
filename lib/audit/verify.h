// SPDX-License-Identifier: MIT
// Whether a log is the unbroken chain that was written. What it cannot see: lines taken away at the
// end, and a log that was written anew as a whole. Whoever fears that keeps head and last_seq
// somewhere else, and compares.
#pragma once
#include "audit/files.h"

struct verify_file {
	path_text file;
	uint64_t entries;
	uint64_t first_seq, last_seq; // 0: none
	bool ok;
};
struct verify_bad { // file "": none (null)
	path_text file;
	uint64_t line;
	char reason[904];
};
struct verify_report {
	uint32_t schema_version; // 1
	name_text tenant_id;
	bool ok;
	uint64_t entries;
	uint64_t first_seq, last_seq;
	char head[65];	     // SHA-256 of the last line
	uint64_t torn_bytes; // of an unfinished last line: no entry, and not broken
	uint64_t bad;	     // lines that do not fit
	struct verify_bad first_bad;
	struct codec_list files; // of struct verify_file
};
extern const struct field verify_fields[];

// Adds a log to the report; each archive is a chain of its own. Only what keeps it from reading at
// all is an error.
void verify_begin(const char *tenant, struct verify_report *r);
int verify_log(const struct audit_files *f, struct verify_report *r, struct err *e) MUST_CHECK;
void verify_free(struct verify_report *r);
