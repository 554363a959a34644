// SPDX-License-Identifier: MIT
#include "base/trailer.h"

#include <endian.h>

#include "base/sha256.h"

#define HEAD  32u
#define PIECE 16384u

static const char magic[8] = { 'm', 'v', 'm', 'd', 'r', 'i', 'v', 'e' };

static void put_head(const struct trailer *t, uint8_t out[HEAD])
{
	uint32_t version = htole32(1);
	uint64_t used = htole64(t->used), number = htole64(t->number);

	memset(out, 0, HEAD);
	memcpy(out, magic, sizeof(magic));
	memcpy(out + 8, &version, 4);
	memcpy(out + 16, &used, 8);
	memcpy(out + 24, &number, 8);
}

void trailer_make(struct trailer *t, const void *data, uint8_t out[TRAILER_SIZE])
{
	struct sha256 s;

	memset(out, 0, TRAILER_SIZE);
	put_head(t, out);
	sha256_begin(&s);
	sha256_add(&s, out, HEAD);
	sha256_add(&s, data, t->used);
	sha256_end(&s, t->digest);
	memcpy(out + HEAD, t->digest, sizeof(t->digest));
}

static int no_fit(struct err *e)
{
	return err_kind(e, ERR_FAILED, "its digest does not fit what it holds");
}

static int digest_drive(int fd, const uint8_t head[HEAD], uint64_t used, uint8_t out[32],
			struct err *e)
{
	uint8_t piece[PIECE];
	struct sha256 s;
	int r = 0;

	sha256_begin(&s);
	sha256_add(&s, head, HEAD);
	for (uint64_t at = 0; at < used && r == 0;) {
		ssize_t n = pread(fd, piece, MIN(used - at, PIECE), (off_t)at);

		if (n > 0)
			sha256_add(&s, piece, (size_t)n);
		else if (n == 0 || errno != EINTR)
			r = n == 0 ? no_fit(e) : err_sys(e, "read the drive");
		at += n > 0 ? (uint64_t)n : 0;
	}
	sha256_end(&s, out);
	explicit_bzero(piece, sizeof(piece));
	return r;
}

int trailer_check(int fd, struct trailer *ret, struct err *e)
{
	off_t end = lseek(fd, 0, SEEK_END); // of block devices too
	uint8_t block[HEAD + 32], head[HEAD], digest[32];
	struct trailer t = { 0 };
	ssize_t n;

	if (end < 0)
		return err_sys(e, "size of the drive");
	if (end < (off_t)TRAILER_SIZE)
		return no_fit(e);
	n = pread(fd, block, sizeof(block), end - (off_t)TRAILER_SIZE);
	if (n != (ssize_t)sizeof(block))
		return n < 0 ? err_sys(e, "read the drive's end") : no_fit(e);
	memcpy(&t.used, block + 16, 8);
	memcpy(&t.number, block + 24, 8);
	t.used = le64toh(t.used);
	t.number = le64toh(t.number);
	put_head(&t, head);
	if (memcmp(block, head, HEAD) != 0 || t.used > (uint64_t)end - TRAILER_SIZE ||
	    t.used % TRAILER_SIZE != 0)
		return no_fit(e);
	if (digest_drive(fd, head, t.used, digest, e) < 0)
		return -e->no;
	if (memcmp(block + HEAD, digest, sizeof(digest)) != 0)
		return no_fit(e);
	memcpy(t.digest, digest, sizeof(digest));
	*ret = t;
	return 0;
}
