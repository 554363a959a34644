// SPDX-License-Identifier: MIT
// What a tenant tells its guests: JSON values under keys, in versions. tenants/<t>/config/<n>.json
// each; a new version is durable before tenant.json names it, and 20 are kept. Version 1 without a
// file is the empty one that every tenant begins with.
#pragma once
#include "state/tenant.h"

#define CONFIG_KEYS  256u
#define CONFIG_BYTES 65536ul
#define CONFIG_KEPT  20u

struct config_value {
	char key[65]; // [A-Za-z0-9_.-]{1,64}
	char *json;   // compact
};
struct config {
	struct config_value *items; // sorted by key
	size_t len;
};
#define CONFIG_NONE     \
	{               \
		NULL, 0 \
	}
#define cleanup_config cleanup(config_free)
void config_free(struct config *c);

// json NULL or null: removes the key. Equal is no change.
int config_put(struct config *c, const char *key, const char *json, bool *changed,
	       struct err *e) MUST_CHECK;
// Each member of a JSON object, as above.
int config_merge(struct config *c, const char *json, size_t len, bool *changed,
		 struct err *e) MUST_CHECK;
void config_print(const struct config *c, struct buf *out); // {"key":value,...}

// One version; 0 is the present one. Takes no lock. Kind missing when it is none, or not kept any
// more.
struct config_read {
	struct config values;
	uint64_t version;     // the one that was read
	time_text changed_at; // "": never
};
int config_load(const char *tenant, uint64_t version, struct config_read *ret,
		struct err *e) MUST_CHECK;

typedef int (*config_fn)(void *arg, struct config *c, bool *changed, struct err *e);
struct config_report {
	uint32_t schema_version; // 1
	name_text tenant_id;
	uint64_t config_version;
	time_text changed_at; // "" (null): never
	char *values;
	bool changed;
	bool dry_run;
};
extern const struct field config_report_fields[];
int config_change(const char *tenant, config_fn fn, void *arg, bool dry_run, int wait_ms,
		  struct config_report *ret, struct err *e) MUST_CHECK;
// The kept versions as rows, the newest first.
int config_history(const char *tenant, struct buf *out, struct err *e) MUST_CHECK;
