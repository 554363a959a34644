// SPDX-License-Identifier: MIT
// Session tokens without a memory: an HMAC over who asked and until when, so that a flood of asking
// costs nothing but time. The key is drawn at the server's start and dies with it.
#pragma once
#include "base/err.h"

#define META_TTL_MAX_S 21600u // 6 hours, as the clouds have it

struct meta_key {
	uint8_t bytes[32];
};
typedef char meta_token[57]; // 16 hex digits of the end, 40 of url-safe base64; NUL

int meta_key_draw(struct meta_key *ret, struct err *e) MUST_CHECK;
// end_ms: as of clock_ms(). ip in host byte order.
void meta_token_make(const struct meta_key *k, uint32_t ip, uint64_t end_ms, meta_token out);
// The very token of this address, and its end is still to come.
bool meta_token_good(const struct meta_key *k, uint32_t ip, uint64_t now_ms, const char *token);
