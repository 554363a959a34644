// SPDX-License-Identifier: MIT
// OpenSSL has a type of the name that is an enumerator here.
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#undef ERR_STATE

#include "meta/token.h"

#include <inttypes.h>
#include <sys/random.h>

#include "base/num.h"

#define END_DIGITS 16u
#define MAC_BYTES  30u // 240 bits of the 256: a multiple of 3 needs no padding

int meta_key_draw(struct meta_key *ret, struct err *e)
{
	if (getrandom(ret->bytes, sizeof(ret->bytes), 0) != (ssize_t)sizeof(ret->bytes))
		return err_sys(e, "draw a key");
	return 0;
}

static void put_be64(uint8_t *out, uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		out[i] = (uint8_t)v;
}

void meta_token_make(const struct meta_key *k, uint32_t ip, uint64_t end_ms, meta_token out)
{
	uint8_t text[16], mac[EVP_MAX_MD_SIZE];
	unsigned char coded[4 * MAC_BYTES / 3 + 1];
	unsigned len = 0;

	put_be64(text, ip);
	put_be64(text + 8, end_ms);
	if (!HMAC(EVP_sha256(), k->bytes, sizeof(k->bytes), text, sizeof(text), mac, &len) ||
	    len < MAC_BYTES)
		abort(); // a token that anybody could make would be worse
	(void)EVP_EncodeBlock(coded, mac, MAC_BYTES);
	for (size_t i = 0; coded[i]; i++)
		coded[i] = coded[i] == '+' ? '-' : coded[i] == '/' ? '_' : coded[i];
	base_cut(out, sizeof(meta_token), "%016" PRIx64 "%s", end_ms, (const char *)coded);
}

bool meta_token_good(const struct meta_key *k, uint32_t ip, uint64_t now_ms, const char *token)
{
	char digits[END_DIGITS + 1] = "";
	struct err ignored = { 0 };
	meta_token want;
	uint64_t end_ms;

	if (strnlen(token, sizeof(want)) != sizeof(want) - 1)
		return false;
	memcpy(digits, token, END_DIGITS);
	if (num_hex(digits, END_DIGITS, &end_ms, &ignored) < 0 || end_ms <= now_ms)
		return false;
	meta_token_make(k, ip, end_ms, want);
	return CRYPTO_memcmp(want, token, sizeof(want) - 1) == 0;
}
