// SPDX-License-Identifier: MIT
// Packed memories. The first byte says how the rest is taken: a file as it is, one whose digests
// are made to fit (so that what lies behind them is reached), one compressed chunk, one chunk, or a
// memory that is packed and has to come back.
#include "snap/pack.h"

#include <assert.h>
#include <sys/mman.h>

#include "snap/pack_impl.h"

#define BYTES (3 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int memory_file(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	assert(fd >= 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	return fd;
}

static void read_pack(const uint8_t *data, size_t size)
{
	cleanup_free struct pages_chunk *c = base_alloc(1, sizeof(*c));
	cleanup_fd int fd = memory_file(data, size);
	cleanup_pack struct pack p = PACK_NONE;
	struct err e = { 0 };

	if (pack_open(fd, BYTES, &p, &e) < 0) {
		assert(e.kind == ERR_DAMAGED);
		return;
	}
	for (size_t i = 0; i < p.count; i++) {
		if (pack_read(&p, i, c, &e) < 0) {
			assert(e.kind == ERR_DAMAGED);
			err_clear(&e);
			continue;
		}
		assert(c->len <= PAGES_RAW && c->number * PAGES_CHUNK < BYTES);
	}
}

static void fit_row(uint8_t *row, const uint8_t *data, size_t size)
{
	uint64_t at = pack_get(row + 8, 8), len = pack_get(row + 16, 4);
	struct err e = { 0 };

	if (at <= size && len <= size - at)
		assert(pages_sha(data + at, len, row + 64, &e) == 0);
}

static void read_resealed(const uint8_t *data, size_t size)
{
	cleanup_free uint8_t *copy = base_alloc(size ? size : 1, 1);
	size_t count, index;
	struct sha256 s;

	if (size < PACK_HEADER + PACK_TRAILER)
		return;
	memcpy(copy, data, size);
	count = (size_t)MIN(pack_get(copy + 24, 8), (size - PACK_HEADER - PACK_TRAILER) / PACK_ROW);
	index = size - PACK_TRAILER - count * PACK_ROW;
	for (size_t i = 0; i < count; i++)
		fit_row(copy + index + i * PACK_ROW, copy, size);
	pack_trailer(index, copy + size - PACK_TRAILER);
	sha256_begin(&s);
	sha256_add(&s, copy, PACK_HEADER);
	sha256_add(&s, copy + index, count * PACK_ROW + 32);
	sha256_end(&s, copy + size - 32);
	read_pack(copy, size);
}

static void expand(const uint8_t *data, size_t size)
{
	size_t raw = size < 3 ? 0 : (size_t)pack_get(data + 1, 2) + 1;
	cleanup_free uint8_t *out = base_alloc(raw ? raw : 1, 1); // exactly: one too far shows
	struct err e = { 0 };

	if (size >= 3 && pack_expand(1 + data[0] % 2, data + 3, size - 3, out, raw, &e) < 0)
		assert(e.kind == ERR_DAMAGED);
}

static void check_chunk(const uint8_t *data, size_t size)
{
	cleanup_free struct pages_chunk *c = base_alloc(1, sizeof(*c));
	cleanup_fd int fd = memory_file(data, 0);
	struct err e = { 0 };

	c->number = size ? data[0] % 4 : 0;
	c->len = size;
	memcpy(c->raw, data, MIN(size, sizeof(c->raw)));
	assert(ftruncate(fd, (off_t)BYTES) == 0);
	if (pages_check(c, BYTES, &e) == 0)
		assert(pages_write(fd, c, &e) == 0 && lseek(fd, 0, SEEK_END) == (off_t)BYTES);
}

static void round_trip(const uint8_t *data, size_t size)
{
	cleanup_free struct pages_chunk *c = base_alloc(1, sizeof(*c));
	size_t bytes = MIN(size / PAGES_PAGE + 1, BYTES / PAGES_PAGE) * PAGES_PAGE;
	cleanup_fd int mem = memory_file(data, MIN(size, bytes)), out = -1, back = -1;
	cleanup_pack struct pack p = PACK_NONE;
	digest_text a, b;
	struct err e = { 0 };

	out = memory_file(data, 0);
	back = memory_file(data, 0);
	assert(ftruncate(mem, (off_t)bytes) == 0 && ftruncate(back, (off_t)bytes) == 0);
	assert(pack_make(mem, out, bytes, 1 + (int)(size % 2), NULL, a, &e) == 0);
	assert(pack_open(out, bytes, &p, &e) == 0);
	pack_digest(&p, b);
	assert(str_eq(a, b));
	for (size_t i = 0; i < p.count; i++)
		assert(pack_read(&p, i, c, &e) == 0 && pages_write(back, c, &e) == 0);
	assert(pages_digest(back, PAGES_CONTENT, bytes, NULL, b, &e) == 0 && str_eq(a, b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const ways[])(const uint8_t *, size_t) = { read_pack, read_resealed, expand,
								 check_chunk, round_trip };

	if (size > 0)
		ways[data[0] % COUNT(ways)](data + 1, size - 1);
	return 0;
}
