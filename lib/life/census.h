// SPDX-License-Identifier: MIT
// Every object of ours on this machine, found by its name and place and not by our records, and
// then compared with the records: owned is what an existing tenant or instance has in its present
// state. A TAP of a stopped instance is a stray; so is the jail of none. Objects that carry another
// node's id belong to another state directory: foreign, nobody's stray here. What belongs to a
// damaged record is never called a stray.
#pragma once
#include "state/node.h"
#include "json/codec.h"

enum census_kind {
	CENSUS_TAP,
	CENSUS_BRIDGE,
	CENSUS_TABLE,
	CENSUS_CGROUP,
	CENSUS_JAIL,
	CENSUS_MOUNT,
	CENSUS_PROCESS,
	CENSUS_UNIT,
	CENSUS_PROPERTY, // runtime properties of a unit
	CENSUS_SOCKET,
	CENSUS_DRAFT, // .new-*, .old-*: what was being made or removed
	CENSUS_CLAIM, // ids/<i>
	CENSUS_RUN_DIR,
	CENSUS_DRIVES, // secrets and configuration on the ramfs
	CENSUS_KINDS
};

struct census_row {
	uint32_t schema_version; // 1
	int kind;		 // enum census_kind
	char *name;		 // path, link, table, unit or "pid N (name)"
	address_text address;	 // "" when it does not tell
	bool owned;
	bool foreign;
	char reason[160];
};
extern const struct field census_row_fields[];

struct census {
	node_id_text node_id;	   // "" when none was minted yet
	struct codec_list rows;	   // struct census_row
	struct codec_list wants;   // struct census_want
	struct codec_list tenants; // struct census_tenant
};
#define CENSUS_NONE           \
	{                     \
		.node_id = "" \
	}
#define cleanup_census cleanup(census_free)
// Looks at everything. Needs root: what cannot be seen is an error, not an absence.
int census_take(struct census *c, int wait_ms, struct err *e) MUST_CHECK;
// Rows as an array, with strays only those neither owned nor foreign; returns their number.
size_t census_print(const struct census *c, bool strays, struct buf *out);
void census_free(struct census *c);
