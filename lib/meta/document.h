// SPDX-License-Identifier: MIT
// What the metadata server may tell one guest, as one file:
//	$MVM_RUN_DIR/metadata/<tenant>/<guest ip>.json
// Root writes it (publish), the server, which has no rights, reads it afresh for each request. The
// three objects in it are the three directories that a guest sees.
#pragma once
#include "state/instance.h"
#include "state/node.h"

#define META_DOCUMENT_MAX 262144u
#define META_GROUP	  "mvm" // may read the documents, where the machine has it

struct meta_facts { // /latest/meta-data/
	uint32_t prefix;
	instance_text instance_id;
	name_text tenant;
	name_text pool;
	instance_text hostname;
	ip_text local_ipv4;
	ip_text gateway;
	mac_text mac;
	node_id_text node_id;
	char revision[65];
	time_text created_at;
};

struct meta_document {
	uint32_t schema_version; // 1
	address_text address;
	struct meta_facts meta_data;
	char *user_data, *tenant_data; // JSON objects of texts
};
extern const struct field meta_document_fields[];
#define cleanup_document cleanup(meta_document_free)
void meta_document_free(struct meta_document *d);

// The directory of a tenant's documents; make: it is made, and its modes and group are set right.
// Without make its absence is ERR_MISSING. ret_parent (may be NULL): the one above, where the
// server's lock and log lie.
int meta_dir_open(const char *tenant, bool make, int *ret_parent, struct err *e) MUST_CHECK;
void meta_document_name(const char *ip, char out[32]); // "10.0.0.3.json"
int meta_document_read(int dir, const char *name, struct meta_document *ret,
		       struct err *e) MUST_CHECK;
// With the group that reads it from the start: there is no moment in which the server cannot.
int meta_document_write(int dir, const char *name, const struct buf *text,
			struct err *e) MUST_CHECK;
