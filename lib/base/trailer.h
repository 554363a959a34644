// SPDX-License-Identifier: MIT
// The last 4096 bytes of the drives for secrets and configuration: what the bytes before it are to
// be. The host rewrites such a drive while the guest may read it: it clears this block first and
// writes it last, so that a reader who finds it whole before and after has read one state.
//
// Layout, little-endian: "mvmdrive" | u32 1 | u32 0 | u64 used | u64 number | SHA-256 of these 32
// bytes and of the first `used` bytes of the drive | zeros.
#pragma once
#include "base/err.h"

#define TRAILER_SIZE 4096u

struct trailer {
	uint64_t used;	 // bytes from the start that count, a multiple of TRAILER_SIZE
	uint64_t number; // the secrets' epoch, the configuration's version
	uint8_t digest[32];
};
// The whole block for a drive whose first `used` bytes are data; fills t->digest.
void trailer_make(struct trailer *t, const void *data, uint8_t out[TRAILER_SIZE]);
// Reads it from a drive's end and compares it with what the drive holds. Kind failed when it is
// not one, or does not fit (a rewrite is under way, or was left half-way).
int trailer_check(int fd, struct trailer *ret, struct err *e) MUST_CHECK;
