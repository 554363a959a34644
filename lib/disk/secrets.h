// SPDX-License-Identifier: MIT
// A tenant's secrets: names and bytes, sealed at rest in tenants/<t>/secrets/<epoch>.sealed. Every
// change makes a new epoch under a new data key, durable before tenant.json names it; two former
// epochs are kept. In the clear they are only in memory of disk/safe.
#pragma once
#include "disk/seal.h"
#include "state/tenant.h"

#define SECRETS_MAX	 64u
#define SECRETS_NAME_MAX 64u
#define SECRETS_VALUE	 (64 * KIB)
#define SECRETS_KEPT	 2u

struct secret {
	char name[SECRETS_NAME_MAX + 1]; // [A-Za-z0-9_.-]{1,64}, neither "." nor ".."
	time_text changed_at;
	size_t at, len; // in text
};
struct secrets {
	struct safe text;
	struct secret items[SECRETS_MAX]; // sorted by name
	size_t len;
};
#define SECRETS_NONE              \
	{                         \
		.text = SAFE_NONE \
	}
#define cleanup_secrets cleanup(secrets_free)
void secrets_free(struct secrets *s);

int secrets_name_check(const char *name, struct err *e) MUST_CHECK;
// The text that is sealed, and back. parse takes plain over, also when it fails.
int secrets_print(const struct secrets *s, struct safe *out, struct err *e) MUST_CHECK;
int secrets_parse(struct secrets *s, struct safe *plain, struct err *e) MUST_CHECK;
// Adds or replaces one; equal is no change. Kind quota when there are too many.
int secrets_put(struct secrets *s, const char *name, const struct safe *value, bool *changed,
		struct err *e) MUST_CHECK;
bool secrets_remove(struct secrets *s, const char *name); // false: there is none

// As they are now; none at epoch 0. Takes no lock. *epoch is the one that was read.
int secrets_load(const char *tenant, struct secrets *ret, uint64_t *epoch,
		 struct err *e) MUST_CHECK;

// What a change works on, under the tenant's lock. *changed: a new epoch is to be made.
typedef int (*secrets_fn)(void *arg, struct secrets *s, bool *changed, struct err *e);
struct secrets_report {
	uint32_t schema_version; // 1
	name_text tenant_id;
	uint64_t secrets_epoch;
	uint32_t secrets; // how many there are
	bool changed;
	bool dry_run;
};
extern const struct field secrets_report_fields[];
int secrets_change(const char *tenant, secrets_fn fn, void *arg, bool dry_run, int wait_ms,
		   struct secrets_report *ret, struct err *e) MUST_CHECK;
// Names, sizes and times, as rows.
int secrets_list(const char *tenant, struct buf *out, struct err *e) MUST_CHECK;
