// SPDX-License-Identifier: MIT
// What base.c, base_take.c and left.c share.
#pragma once
#include "life/base.h"

struct base {
	struct address pool;
	struct tenant tenant;
	struct pool p;
	struct snap_machine machine; // what a VM of the pool is here and now
	snap_ref ref;		     // named by it
};
// What the manifest of its base says of the guest: a is the template. Of its drives the sizes
// alone, for what lies behind them is each instance's own.
int base_guest(const struct base *b, const struct address *a, struct snap_guest *ret,
	       struct err *e) MUST_CHECK;
// template.lock of the tenant, as a descriptor.
int base_lock(const struct address *pool, int wait_ms, struct err *e) MUST_CHECK;
// With it: destroys what templates there are.
int base_sweep(const struct address *pool, int wait_ms, struct err *e) MUST_CHECK;
// A template, whatever it does. Gone is fine.
int base_destroy(const struct address *a, int wait_ms, struct err *e) MUST_CHECK;
int base_take(const struct base *b, int wait_ms, struct err *e) MUST_CHECK;
