// SPDX-License-Identifier: MIT
// What is told of a capture of a guest, by sleep.json and by what `snapshot create` prints.
#pragma once
#include "snap/manifest.h"
#include "state/result.h"

struct taken {
	snap_ref ref;
	bool quiesced;	    // the guest was at rest: not so after a --force that it did not answer
	uint64_t bytes;	    // of its memory file on the disk, when it was taken
	uint64_t frozen_ms; // from the guest's standstill until it went on, or its capture was safe
	uint64_t total_ms;
	struct codec_list stages; // of struct start_stage
};
// The rows of a struct with the member taken, beside its own.
#define TAKEN_ROWS(type)                                                                        \
	{ FIELD_NAMED("ref", type, taken.ref, snap_ref), .kind = KIND_TEXT,                     \
	  .doc = "the capture, for mvm-snap" },                                                 \
		{ FIELD_NAMED("quiesced", type, taken.quiesced, bool), .kind = KIND_BOOL,       \
		  .doc = "the guest was at rest" },                                             \
		{ FIELD_NAMED("bytes", type, taken.bytes, uint64_t), .kind = KIND_UINT,         \
		  .max = 1ULL << 52, .doc = "of its memory on the disk, when it was taken" },   \
		{ FIELD_NAMED("frozen_ms", type, taken.frozen_ms, uint64_t), .kind = KIND_UINT, \
		  .max = 1ULL << 40,                                                            \
		  .doc = "until it went on, or its capture was safe, since it stood still" },   \
		{ FIELD_NAMED("total_ms", type, taken.total_ms, uint64_t), .kind = KIND_UINT,   \
		  .max = 1ULL << 40, .doc = "until it was there, since it was asked for" },     \
	{                                                                                       \
		FIELD_NAMED("stages", type, taken.stages, struct codec_list),                   \
			.kind = KIND_LIST, .max = 64, .sub = start_stage_fields,                \
			.item_size = sizeof(struct start_stage), .doc = "in order"              \
	}
