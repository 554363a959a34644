// SPDX-License-Identifier: MIT
// Rotation reaches guests that run: their drives are rewritten and their agents told, a few at a
// time. What cannot be reached is reported, and a later push goes on with it.
#pragma once
#include "base/name.h"
#include "disk/drive.h"
#include "guest/drive.h"
#include "json/codec.h"

// What a guest is told of, and how it knows them.
#define PUSH_DRIVES 2
struct push_drive {
	enum drive_kind kind;
	enum guest_drive which;
};
extern const struct push_drive push_drives[PUSH_DRIVES];

enum push_outcome {
	PUSH_CURRENT, // had it already
	PUSH_TAKEN,   // the guest has it now
	PUSH_WAITING, // its virtual CPUs are paused: the drive is as it should be, the guest not
		      // yet
	PUSH_FAILED,
};
struct push_row {
	uint32_t schema_version; // 1
	address_text instance_path;
	int outcome;				// enum push_outcome
	uint64_t secrets_epoch, config_version; // what the guest has
	char error[400];			// "" (null)
};
extern const struct field push_row_fields[];

struct push_call {
	int wait_ms;  // for locks
	int guest_ms; // for one guest, also until it has started
	bool quiet;   // no warnings on stderr
	bool loaded;  // of push_resumed: the guest has what its capture had, whatever is recorded
};
// Rows of base/tool.h's option table, for each verb whose change is pushed.
#define OPT_NO_PUSH(to)                                                                            \
	{                                                                                          \
		0, OPT_FLAG, "no-push", NULL, "let guests that run keep what they have", &(to), 0, \
			0, NULL, NULL                                                              \
	}
#define OPT_GUEST_TIMEOUT(to_ms)                                                           \
	{                                                                                  \
		0, OPT_MS, "timeout", "TIME", "how long one guest may take (default 20s)", \
			&(to_ms), 100, 600000, NULL, NULL                                  \
	}
#define OPT_DRY_RUN(to)                                                                           \
	{                                                                                         \
		0, OPT_FLAG, "dry-run", NULL, "tell what would change, change nothing", &(to), 0, \
			0, NULL, NULL                                                             \
	}

// All guests of the tenant that run, are paused or are being started, as rows in a list. Returns
// how many failed.
int push_tenant(const char *tenant, const struct push_call *c, struct buf *out,
		struct err *e) MUST_CHECK;
// For the verb that lets a paused or captured guest go on: after its virtual CPUs run and its agent
// answers, before its users' processes are thawed. Whatever the record says by then, the guest is
// asked to take what was changed while it was away; failing is the verb's failure, so that nobody
// in the guest sees what was rotated out.
int push_resumed(const struct address *a, const struct push_call *c, struct push_row *ret,
		 struct err *e) MUST_CHECK;
// Of `set` and the like, after they have stored something: the guests' rows end the report in out.
// What was stored stays stored, whoever could not be told: the exit status is 3 then.
int push_report(const char *tenant, const struct push_call *c, struct buf *out,
		struct err *e) MUST_CHECK;
