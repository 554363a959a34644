// SPDX-License-Identifier: MIT
// What the parts of the census share. For census*.c only.
#pragma once
#include "life/census.h"
#include "state/instance.h"

struct census_tenant {
	name_text id;
	uint32_t net_id; // 0: its record is damaged
};

struct census_want {
	struct address a; // without an instance: a damaged tenant or pool, for all below it
	uint32_t uid;	  // 0: not known (damaged)
	int vmm;	  // enum instance_vmm
	int status;	  // enum instance_status
	bool live;	  // runs, or work on it is in flight: its kernel objects are wanted
	bool damaged;
};

const struct census_tenant *census_tenant(const struct census *c, const char *id);
// The instance, or the damaged record above it; NULL: neither.
const struct census_want *census_by_address(const struct census *c, const struct address *a);
const struct census_want *census_by_id(const struct census *c, const char *instance);
const struct census_want *census_by_uid(const struct census *c, uint32_t uid);

// A row not owned yet. a may be NULL.
struct census_row *census_add(struct census *c, enum census_kind kind, const char *name,
			      const struct address *a);
void census_own(struct census_row *r, const char *reason);
void census_stray(struct census_row *r, const char *reason);
// node_id "": told by its network namespace.
void census_foreign(struct census_row *r, const char *node_id);
// Owned while the instance lives; w NULL: there is none.
void census_judge_live(struct census_row *r, const struct census_want *w);
// Owned while there is a record.
void census_judge_record(struct census_row *r, const struct census_want *w);

// Calls fn for each entry (dot entries too, but "." and "..") of a directory; none is fine.
typedef int (*census_entry_fn)(struct census *c, int dir, const char *path, const char *name,
			       struct err *e);
int census_each(struct census *c, const char *path, census_entry_fn fn, struct err *e) MUST_CHECK;

int census_net(struct census *c, struct err *e) MUST_CHECK;    // TAPs, bridges, tables
int census_groups(struct census *c, struct err *e) MUST_CHECK; // cgroups of the direct backend
int census_jails(struct census *c, struct err *e) MUST_CHECK;  // and mounts
int census_processes(struct census *c, struct err *e) MUST_CHECK;
int census_units(struct census *c, struct err *e) MUST_CHECK;	 // and their property files
int census_run_dirs(struct census *c, struct err *e) MUST_CHECK; // and sockets
int census_files(struct census *c, int wait_ms, struct err *e) MUST_CHECK; // drafts, claims
