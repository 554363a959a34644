// SPDX-License-Identifier: MIT
// Inside of life/image, for lib/life/image*.c only: one image directory on its way to a revision.
#pragma once
#include "life/image.h"
#include "state/store.h"

struct image_source {
	int dir;
	struct image_info info;
	struct buf fc_base; // text of fc-base.json
	struct image_manifest manifest;
};
#define IMAGE_SOURCE_NONE \
	{                 \
		.dir = -1 \
	}
#define cleanup_source cleanup(image_source_close)
// Reads and digests everything; manifest is filled but for built_at.
int image_source_open(const char *dir, struct image_source *ret, struct err *e) MUST_CHECK;
void image_source_close(struct image_source *s);
// Fills the fresh directory `to`: every file synced, root's, 0444. What does not have the digest of
// the first reading any more is an error.
int image_source_copy(const struct image_source *s, int to, struct err *e) MUST_CHECK;
