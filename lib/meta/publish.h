// SPDX-License-Identifier: MIT
// What mvm-metadata does: documents for the server, and the keys that go into them. Each call takes
// the locks it needs; a document is written under its instance's lock, from what the records say
// then, so of two writers the later one knows more.
#pragma once
#include "meta/document.h"
#include "meta/values.h"

struct meta_call {
	bool dry_run;
	int wait_ms; // for locks
};

struct meta_report {
	uint32_t schema_version; // 1
	uint32_t published;	 // documents that were written
	address_text address;
	bool dry_run;
	bool changed;
};
extern const struct field meta_report_fields[];

// Kind state when the pool does not let its guests ask, or the instance is a template.
int meta_publish(const struct address *a, const struct meta_call *c, struct meta_report *ret,
		 struct err *e) MUST_CHECK;
// Also when the record is gone: then the document that names the address goes. None is fine.
int meta_retract(const struct address *a, const struct meta_call *c, struct meta_report *ret,
		 struct err *e) MUST_CHECK;
// All documents of a tenant, and what its server has left. Kind unavailable while that runs.
int meta_forget(const char *tenant, const struct meta_call *c, struct meta_report *ret,
		struct err *e) MUST_CHECK;

// Keys of a tenant (a without pool and instance) or of an instance.
int meta_get(const struct address *a, struct meta_values *ret, struct err *e) MUST_CHECK;
// Changes v; *changed becomes true when it did.
typedef int (*meta_change_fn)(void *arg, struct meta_values *v, bool *changed, struct err *e);
// Stores what fn makes of the keys, then publishes again what is published and has changed by it.
int meta_change(const struct address *a, meta_change_fn fn, void *arg, const struct meta_call *c,
		struct meta_report *ret, struct err *e) MUST_CHECK;
