// SPDX-License-Identifier: MIT
// Addresses and ids. Offsets: lowest free one of the tenant's subnet, under the tenant's lock.
// Instance ids: a file ids/<i> that holds "ADDRESS OFFSET\n", put there whole by link(2), so that
// of two creators one loses. Net ids and subnets: under the node's lock.
#pragma once
#include "state/tenant.h"

struct alloc {
	uint8_t *used; // one bit for each offset
	uint32_t last; // highest usable offset
};
#define ALLOC_NONE      \
	{               \
		NULL, 0 \
	}
#define cleanup_alloc cleanup(alloc_free)
void alloc_free(struct alloc *m);
// The offsets that the tenant's instances have; of damaged records the claim tells it.
int alloc_scan(const struct tenant *t, struct alloc *ret, struct err *e) MUST_CHECK;
bool alloc_is_used(const struct alloc *m, uint32_t offset); // at most m->last
void alloc_mark(struct alloc *m, uint32_t offset);	    // as used; at most m->last
// Marks and returns the lowest free one from OFFSET_FIRST; kind quota when there is none.
int alloc_offset(struct alloc *m, uint32_t *ret, struct err *e) MUST_CHECK;

// Fills a->instance when it is "" (random, until one is free); else kind conflict when it is taken.
int alloc_claim(struct address *a, uint32_t offset, struct err *e) MUST_CHECK;
int alloc_release(const char *instance, struct err *e) MUST_CHECK; // gone already is fine
// The address behind an id; ERR_MISSING when nobody has it. offset may be NULL.
int alloc_find(const char *instance, struct address *ret, uint32_t *offset,
	       struct err *e) MUST_CHECK;

// net_id 0 and subnet->prefix 0 mean "choose": the lowest free net id, 10.(240 + id >> 8).(id &
// 255).0/24. Kind conflict when another tenant has the net id or its subnet overlaps. The node's
// lock is held.
int alloc_net(const char *tenant, uint32_t *net_id, struct subnet *subnet,
	      struct err *e) MUST_CHECK;
