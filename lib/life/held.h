// SPDX-License-Identifier: MIT
// One instance with the locks of its tenant and of itself held, and everything about it loaded:
// what each step of a verb reads, changes and writes back. Held for moments only, never while a
// backend or a guest is waited for.
#pragma once
#include "state/instance.h"
#include "state/result.h"

struct held {
	struct address a;
	address_text address;
	struct store tenant_store, store;
	struct tenant tenant;
	struct pool pool;
	struct instance i;
};
#define HELD_NONE                                               \
	{                                                       \
		.tenant_store = STORE_NONE, .store = STORE_NONE \
	}
#define cleanup_held cleanup(held_close)
int held_open(struct held *h, const struct address *a, int wait_ms, struct err *e) MUST_CHECK;
void held_close(struct held *h); // closed already is fine
int held_save(struct held *h, struct err *e) MUST_CHECK;
// exit.json: why the run ended.
int held_save_exit(struct held *h, enum exit_cause cause, const char *message,
		   const struct result_error *error, struct err *e) MUST_CHECK;
// Fault points "life-<step>-<where>" are between any two writes of the steps.
