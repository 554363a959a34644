// SPDX-License-Identifier: MIT
// A delta and its parent become one memory. Whatever point it is killed at, the next call goes on
// or does it again; until the manifest is replaced the capture is a delta with its parent, from
// then on it stands alone.
#pragma once
#include "snap/gen.h"

struct compose_result {
	bool changed;		// false: it stood alone already
	bool cloned;		// the file system shared the parent's blocks
	snap_ref composed_from; // parent that is needed no more by this one, ""
	uint64_t delta_bytes;	// of data that were laid over it
	uint64_t took_ms;
};
// g: a capture of s, locked exclusively; stays open and is what it became. The parent is opened
// with its digest compared, and its memory read where it is not as it was; the delta's digest is
// taken while it is laid over, and a wrong one leaves nothing but the delta and its parent.
// The parent's directory stays: snap_gc_ref removes it under the store's lock.
int snap_compose(const struct store *s, struct snap_gen *g, int wait_ms,
		 const struct pages_cancel *c, struct compose_result *ret,
		 struct err *e) MUST_CHECK;
