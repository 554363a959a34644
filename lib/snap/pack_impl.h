// SPDX-License-Identifier: MIT
// What writer and reader of a pack share.
#pragma once
#include "snap/pack.h"

// Without a NUL behind them.
static const uint8_t pack_magic[8] = { 'm', 'v', 'm', 'p', 'a', 'c', 'k', '1' };
static const uint8_t pack_index_magic[8] = { 'm', 'v', 'm', 'i', 'n', 'd', 'e', 'x' };

static inline void pack_put(uint8_t *out, uint64_t n, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		out[i] = (uint8_t)(n >> 8 * i);
}

static inline uint64_t pack_get(const uint8_t *in, size_t bytes)
{
	uint64_t n = 0;

	for (size_t i = 0; i < bytes; i++)
		n |= (uint64_t)in[i] << 8 * i;
	return n;
}

void pack_header(int compression, uint64_t bytes, uint64_t count, uint8_t out[PACK_HEADER]);
void pack_row_put(const struct pack_row *r, uint8_t out[PACK_ROW]);
// All but its digest.
void pack_trailer(uint64_t index_at, uint8_t out[PACK_TRAILER]);
