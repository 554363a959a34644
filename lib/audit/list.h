// SPDX-License-Identifier: MIT
// Entries that are asked for. Files are read from their end, and no more of them than it takes.
#pragma once
#include "audit/files.h"

struct audit_query {
	uint64_t last; // that many of the newest; 0: all
	bool since_given;
	int64_t since_us;
	int action;	    // enum audit_action; -1: any
	uint64_t after_seq; // only entries behind that one; 0: any
};

struct audit_rows {
	struct codec_list texts; // of char *, newest first
	unsigned damaged;
	uint64_t last_seq; // of the newest entry that was seen
};
#define ROWS_NONE            \
	{                    \
		.damaged = 0 \
	}
#define cleanup_rows cleanup(list_free)
void list_free(struct audit_rows *r);

// Adds what fits. A line that does not decode becomes a row {tenant_id, status: "damaged", file,
// line, error}, is counted and told in the log: it is shown whatever was asked for.
int list_collect(const struct audit_files *f, const struct audit_query *q, struct audit_rows *r,
		 struct err *e) MUST_CHECK;
// A JSON array, oldest first.
void list_print(const struct audit_rows *r, struct buf *out);
// Whether an entry is asked for, and the row of a line that is none.
bool list_wants(const struct audit_query *q, const struct audit_entry *entry);
void list_damaged(const char *tenant, const char *file, uint64_t line, const struct err *why,
		  struct buf *out);
