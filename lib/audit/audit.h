// SPDX-License-Identifier: MIT
// What was done to a tenant: tenants/<t>/audit.log, one JSON object a line, each with the SHA-256
// of the line before it, so that the file is a chain and a change in its middle shows.
//
// An action is noted under the lock of what it changes, when all checks have passed and only the
// deed itself is left: the order of the lines is the order of the actions, and a crash at any
// moment may leave a line without its deed, never a deed without its line (docs/adr/008). When the
// deed then fails, a second line says so. What changes nothing notes nothing. An entry holds no
// secret.
#pragma once
#include "audit/actions.h"
#include "base/name.h"
#include "json/codec.h"

#define AUDIT_LOG	 "audit.log"  // and .1.gz (the newest) to .3.gz, and .1 while that is made
#define AUDIT_LOCK	 "audit.lock" // taken after all other locks
#define AUDIT_KEPT	 3
#define AUDIT_LINE_MAX	 (16 * KIB) // of an entry; what this layer writes is shorter
#define AUDIT_SEQ_MAX	 ((uint64_t)1 << 52)
#define AUDIT_DETAIL_MAX 1024
#define AUDIT_FILE_MODE	 0600
#define AUDIT_FIRST_PREV "0000000000000000000000000000000000000000000000000000000000000000"

enum audit_why { AUDIT_MANUAL, AUDIT_RECONCILE, AUDIT_POLICY, AUDIT_GUEST };
extern const char *const audit_why_names[];
enum audit_outcome { AUDIT_DONE, AUDIT_FAILED };
extern const char *const audit_outcome_names[];

struct audit_who {
	char user[65]; // behind sudo; "" (null): the uid has no name
	uint32_t uid;
	char unit[257]; // of systemd; "" (null): none
};
extern const struct field audit_who_fields[];

// On whose behalf something is done.
struct audit_context {
	struct audit_who who;
	int why; // enum audit_why
	char request_id[65];
};

typedef char audit_time[28]; // YYYY-MM-DDTHH:MM:SS.uuuuuuZ

struct audit_entry {
	uint32_t schema_version; // 1
	uint64_t seq;		 // from 1, without gaps, across rotated files
	audit_time timestamp;
	name_text tenant_id;
	name_text pool_id;	   // "" (null)
	instance_text instance_id; // "" (null)
	int action;		   // enum audit_action
	char detail[AUDIT_DETAIL_MAX + 1];
	struct audit_who who;
	int why;
	int outcome; // enum audit_outcome; not there in lines of before it was
	char request_id[65];
	char prev[65]; // SHA-256 of the line before, without its newline; zeros in the first one
};
extern const struct field audit_entry_fields[];

struct audit_event {
	struct address at; // pool and instance may be ""
	enum audit_action action;
	enum audit_outcome outcome;
	const char *detail; // may be NULL; cut at AUDIT_DETAIL_MAX, control bytes replaced
	const struct audit_context *by; // NULL: this process
};

// On return the entry is on the disk. Whatever ends this process at any moment, entries that were
// acknowledged stay, and the chain verifies.
int audit_append(const struct audit_event *event, struct err *e) MUST_CHECK;
// The same, also telling the entry's number.
int audit_append_seq(const struct audit_event *event, uint64_t *ret_seq, struct err *e) MUST_CHECK;
// The same in a tenant's directory that is not in its place yet.
int audit_append_at(int dir, const struct audit_event *event, struct err *e) MUST_CHECK;
// For an action that happens whatever becomes of its line: a log that cannot be written is told on
// stderr, no more. by may be NULL.
void audit_note(const struct address *at, enum audit_action action, const struct audit_context *by,
		const char *fmt, ...) PRINTF(4, 5);
// The same with what differs between two JSON objects as the detail: "key: old -> new".
void audit_note_changes(const struct address *at, enum audit_action action, const char *before,
			const char *after);
// Notes QuotaExceeded when that is what *why is.
void audit_note_quota(const struct address *at, const struct err *why);
// Notes that the action failed as *e says, and returns -e->no. What was refused before it began (a
// wrong word, nothing there, not in that state, a quota, busy) is no failure and notes nothing.
int audit_note_failed(const struct address *at, enum audit_action action,
		      const struct audit_context *by, const struct err *e);
// The same for what had begun, whatever kind of failure it was.
int audit_note_broken(const struct address *at, enum audit_action action,
		      const struct audit_context *by, const struct err *e);

// SHA-256 as hex digits.
void audit_digest(const void *data, size_t len, char out[65]);
void audit_now(audit_time out);
// Microseconds since 1970; seconds may have up to six more digits.
int audit_parse_time(const char *s, int64_t *ret_us, struct err *e) MUST_CHECK;
// Decodes and checks one line without its newline.
int audit_parse_line(const char *line, size_t len, struct audit_entry *out,
		     struct err *e) MUST_CHECK;
