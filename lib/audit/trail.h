// SPDX-License-Identifier: MIT
// The writer's side of an audit log: one holder of the lock at a time, one write and one fdatasync
// for each entry, rotation. For lib/audit, and for whoever takes the log away with its tenant.
//
// What a crash leaves is put right by the next trail_open, before anything is added:
//  - an unfinished last line (never acknowledged) is replaced, in one write, by a LogRepaired entry
//    that quotes it and tells its length and digest;
//  - a rotation that did not get to its end is taken to it.
#pragma once
#include "audit/audit.h"

#define TRAIL_MAX (10 * MIB) // an entry that would not fit any more goes to a new file

struct audit_trail {
	int dir, lock; // dir is borrowed
	int fd;	       // audit.log; -1: there is none
	bool ready;    // what is there was read, so that it can be added to
	name_text tenant;
	int64_t size;	 // of its whole lines
	uint64_t seq;	 // of the last entry, 0: none yet
	int last_action; // of it; -1: none, not known, or it failed
	char prev[65];	 // of the last line
	uint64_t max;	 // TRAIL_MAX
};
#define TRAIL_NONE                              \
	{                                       \
		.dir = -1, .lock = -1, .fd = -1 \
	}
#define cleanup_trail cleanup(trail_close)

// dir is the directory of the log.
int trail_open(struct audit_trail *t, int dir, const char *tenant, struct err *e) MUST_CHECK;
void trail_close(struct audit_trail *t); // gives the lock back; closed already is fine
int trail_add(struct audit_trail *t, const struct audit_event *event, struct err *e) MUST_CHECK;
// An empty log is left as it is (*ret_changed false).
int trail_rotate(struct audit_trail *t, bool *ret_changed, struct err *e) MUST_CHECK;

// Names of the files of a log that may be there, oldest first; NULL ends them. AUDIT_LOG ".1" is
// only of interest while there is no .1.gz.
extern const char *const trail_files[];

// For the parts of lib/audit.
int trail_lock(int dir, bool exclusive, struct err *e) MUST_CHECK; // waits as for other locks
int trail_finish_rotation(int dir, struct err *e) MUST_CHECK;
int trail_pack_read(int fd, uint64_t max, struct buf *out, struct err *e) MUST_CHECK;
