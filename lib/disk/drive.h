// SPDX-License-Identifier: MIT
// The drives of an instance beside its root: data (vdb when its pool has it), secrets and
// configuration. The guest knows them by the label of their file system, so that an absent one
// shifts no other. What a start does, and what rotation does to a guest that runs.
#pragma once
#include "base/trailer.h"
#include "disk/data.h"
#include "disk/place.h"
#include "state/instance.h"
#include "state/node.h"
#include "json/codec.h"

enum drive_kind { DRIVE_DATA, DRIVE_SECRETS, DRIVE_CONFIG, DRIVES };
#define DRIVE_CONFIG_MIB 1u // of the configuration's drive: several times what it may hold
#define DRIVE_ALL	 (1u << DRIVE_DATA | 1u << DRIVE_SECRETS | 1u << DRIVE_CONFIG)
extern const char *const drive_names[];	 // "data", ...: ids in the VMM's API as well
extern const char *const drive_labels[]; // "mvm-data", ...
extern const char *const drive_files[];	 // "data.ext4", ...: in the jail too

struct drive_row {
	uint32_t schema_version; // 1
	address_text instance_path;
	int drive; // enum drive_kind
	bool present;
	char *path;	    // NULL: none
	uint64_t bytes;	    // its size
	uint64_t allocated; // what it takes: of data on the disk, of the others in memory
	uint64_t number;    // epoch or version in it; 0 for data
	bool changed;
	bool dry_run;
};
extern const struct field drive_row_fields[];
void drive_rows_free(struct codec_list *rows);
#define cleanup_drive_rows cleanup(drive_rows_free)

struct drive_call {
	unsigned which;	  // drives, as 1 << kind
	const char *seed; // of data, or NULL
	bool dry_run;
	int wait_ms;
};
// Makes what is asked for, under the instance's lock. Secrets and configuration are made anew
// unless the instance runs: then the drive that its guest has is rewritten. The instance's record
// says what its next guest finds.
int drive_ensure(const struct address *a, const struct drive_call *c, struct codec_list *rows,
		 struct err *e) MUST_CHECK;
// What is there. Takes no lock.
int drive_list(const struct address *a, struct codec_list *rows, struct err *e) MUST_CHECK;
// Wipes and removes secrets and configuration, and takes the data disk back. The VMM has ended.
int drive_release(const struct address *a, struct err *e) MUST_CHECK;

// What a drive of secrets or configuration holds now; kind missing when there is none. Takes no
// lock.
int drive_look(const char *instance, enum drive_kind kind, struct trailer *ret,
	       struct err *e) MUST_CHECK;
// One drive of a guest that runs, or is being started, as it has to be now; s: the instance,
// locked. Kind missing when the instance has none. *rewritten: it was not so before.
int drive_refresh(const struct store *s, const struct address *a, enum drive_kind kind,
		  struct trailer *ret, bool *rewritten, struct err *e) MUST_CHECK;
