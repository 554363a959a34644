// SPDX-License-Identifier: MIT
// SHA-256 (FIPS 180-4) for what the guest's agent checks: that one is static and has no libcrypto.
// Where libcrypto is at hand sys/digest is the faster one.
#pragma once
#include "base/base.h"

struct sha256 {
	uint32_t h[8];
	uint64_t len; // bytes taken so far
	uint8_t block[64];
};
void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t len);
void sha256_end(struct sha256 *s, uint8_t out[32]);
