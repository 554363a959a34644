// SPDX-License-Identifier: MIT
// The base of a pool's image (design.md section 7): the whole memory of a guest that has just
// become ready, taken once from a template VM, which belongs to nobody; many starts go on from it.
// It is found by what a VM of the pool would be here and now, so another image or VMM has another
// base.
#pragma once
#include "life/prepare.h"
#include "snap/gen.h"
#include "json/codec.h"

struct base_result {
	uint32_t schema_version; // 1
	snap_ref ref;
	bool changed; // false: it was there
	char revision_hash[65];
	char sha256[65];    // of its memory
	uint64_t allocated; // bytes of its memory on the disk
	uint64_t took_ms;
};
extern const struct field base_result_fields[];

// Makes it when it is missing, or is damaged, for which all of it is read. pool: its address. What
// a killed maker of the tenant has left goes first. One at a time in a tenant: who waits longer
// than wait_ms gets kind unavailable.
int base_make(const struct address *pool, int wait_ms, struct base_result *ret,
	      struct err *e) MUST_CHECK;
// Before a start of a: makes it when its pool starts from a template and it has none yet. Why there
// is none to go on from, damage for instance, is *ret_none, and the start is a boot.
int base_before_start(const struct address *a, int wait_ms, struct err *ret_none,
		      struct err *e) MUST_CHECK;
// prepare: has this run go on from the base. What is wrong with it is *ret_refused, and the run is
// a boot.
int base_prepare(struct plan *p, struct err *ret_refused, struct err *e) MUST_CHECK;
// Under the lock of s, an instance or a pool: snap_gc, of a pool with what its base is called here
// and now.
int base_gc(const struct store *s, bool dry_run, struct codec_list *rows, struct err *e) MUST_CHECK;
