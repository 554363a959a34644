// SPDX-License-Identifier: MIT
// The only file that includes lz4 and zstd.
#include <lz4.h>
#include <zstd.h>

#include "snap/pack.h"
#include "state/pool.h"

#define ZSTD_LEVEL 3 // beyond it the time grows faster than the file shrinks

_Static_assert(LZ4_COMPRESSBOUND(PAGES_RAW) <= PACK_BOUND, "lz4 has room");
_Static_assert(ZSTD_COMPRESSBOUND(PAGES_RAW) <= PACK_BOUND, "zstd has room");

int pack_shrink(int compression, const uint8_t *in, size_t len, uint8_t *out, size_t *ret_len,
		struct err *e)
{
	size_t n = 0;
	int lz4;

	switch ((enum pool_compression)compression) {
	case POOL_COMPRESSION_NONE:
		break;
	case POOL_COMPRESSION_LZ4:
		lz4 = LZ4_compress_default((const char *)in, (char *)out, (int)len, PACK_BOUND);
		n = lz4 > 0 ? (size_t)lz4 : 0;
		break;
	case POOL_COMPRESSION_ZSTD:
		n = ZSTD_compress(out, PACK_BOUND, in, len, ZSTD_LEVEL);
		n = ZSTD_isError(n) ? 0 : n;
		break;
	}
	if (n == 0)
		return err_set(e, EIO, "compress");
	*ret_len = n;
	return 0;
}

int pack_expand(int compression, const uint8_t *in, size_t len, uint8_t *out, size_t raw,
		struct err *e)
{
	size_t n = 0;
	int lz4;

	if (len == 0 || len > PACK_BOUND || raw == 0 || raw > PAGES_RAW)
		return err_kind(e, ERR_DAMAGED, "chunk: %zu bytes for %zu", len, raw);
	switch ((enum pool_compression)compression) {
	case POOL_COMPRESSION_NONE:
		break;
	case POOL_COMPRESSION_LZ4:
		lz4 = LZ4_decompress_safe((const char *)in, (char *)out, (int)len, (int)raw);
		n = lz4 > 0 ? (size_t)lz4 : 0;
		break;
	case POOL_COMPRESSION_ZSTD:
		// A frame that asks for a large window would have it allocated, were this no
		// single call with all of input and output at hand.
		n = ZSTD_decompress(out, raw, in, len);
		n = ZSTD_isError(n) ? 0 : n;
		break;
	}
	return n == raw ? 0 : err_kind(e, ERR_DAMAGED, "chunk: does not decompress");
}
