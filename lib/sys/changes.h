// SPDX-License-Identifier: MIT
// What a call that changes the machine did, or with dry_run would do: one sentence for each change,
// in order. Nothing recorded means that everything was as asked.
#pragma once
#include "json/codec.h"

struct changes {
	bool dry_run;
	struct codec_list done; // char *
};
#define CHANGES_INIT             \
	{                        \
		.dry_run = false \
	}
#define cleanup_changes cleanup(changes_free)

// Records a change; true: make it now, false: only a plan is wanted.
bool changes_take(struct changes *c, const char *fmt, ...) PRINTF(2, 3);
static inline bool changes_any(const struct changes *c)
{
	return c->done.len > 0;
}
void changes_free(struct changes *c);
