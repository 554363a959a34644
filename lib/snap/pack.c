// SPDX-License-Identifier: MIT
// Packs as such: made, opened, read.
#include "snap/pack.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/fd.h"
#include "snap/pack_impl.h"
#include "state/pool.h"

#define ROW_PAD 8 // zeros at the end of a row's numbers

void pack_close(struct pack *p)
{
	free(p->rows);
	*p = (struct pack)PACK_NONE;
}

void pack_header(int compression, uint64_t bytes, uint64_t count, uint8_t out[PACK_HEADER])
{
	memset(out, 0, PACK_HEADER);
	memcpy(out, pack_magic, 8);
	pack_put(out + 8, (uint64_t)compression, 4);
	pack_put(out + 12, PAGES_CHUNK, 4);
	pack_put(out + 16, bytes, 8);
	pack_put(out + 24, count, 8);
}

void pack_row_put(const struct pack_row *r, uint8_t out[PACK_ROW])
{
	memset(out, 0, PACK_ROW);
	pack_put(out, r->number, 8);
	pack_put(out + 8, r->at, 8);
	pack_put(out + 16, r->stored, 4);
	pack_put(out + 20, r->raw, 4);
	memcpy(out + 24 + ROW_PAD, r->sha, 32);
	memcpy(out + 56 + ROW_PAD, r->stored_sha, 32);
}

static void row_get(const uint8_t in[PACK_ROW], struct pack_row *r)
{
	r->number = pack_get(in, 8);
	r->at = pack_get(in + 8, 8);
	r->stored = (uint32_t)pack_get(in + 16, 4);
	r->raw = (uint32_t)pack_get(in + 20, 4);
	memcpy(r->sha, in + 24 + ROW_PAD, 32);
	memcpy(r->stored_sha, in + 56 + ROW_PAD, 32);
}

void pack_trailer(uint64_t index_at, uint8_t out[PACK_TRAILER])
{
	memset(out, 0, PACK_TRAILER);
	memcpy(out, pack_index_magic, 8);
	pack_put(out + 8, index_at, 8);
}

// --- made

struct maker {
	int out;
	int compression;
	uint64_t at;
	struct pages_hash hash;
	struct sha256 meta; // of header, index, trailer
	struct buf rows;
	struct pages_chunk *chunk;
	uint8_t *packed;
};

static int put(struct maker *m, const void *data, size_t len, struct err *e)
{
	if (fault_point("pack-write"))
		return err_sys(e, "write " SNAP_PACK);
	if (fd_write_all(m->out, data, len, e) < 0)
		return -e->no;
	m->at += len;
	return 0;
}

static int put_chunk(struct maker *m, struct err *e)
{
	struct pack_row r = { .number = m->chunk->number,
			      .at = m->at,
			      .raw = (uint32_t)m->chunk->len };
	uint8_t text[PACK_ROW];
	size_t len;

	if (pages_sha(m->chunk->raw, m->chunk->len, r.sha, e) < 0 ||
	    pack_shrink(m->compression, m->chunk->raw, m->chunk->len, m->packed, &len, e) < 0 ||
	    pages_sha(m->packed, len, r.stored_sha, e) < 0)
		return -e->no;
	pages_hash_add(&m->hash, r.number, r.sha);
	r.stored = (uint32_t)len;
	pack_row_put(&r, text);
	buf_add(&m->rows, text, sizeof(text));
	return put(m, m->packed, len, e);
}

static int put_end(struct maker *m, uint64_t bytes, struct err *e)
{
	uint64_t count = m->rows.len / PACK_ROW;
	uint8_t header[PACK_HEADER], trailer[PACK_TRAILER];

	pack_header(m->compression, bytes, count, header);
	pack_trailer(m->at, trailer);
	sha256_begin(&m->meta);
	sha256_add(&m->meta, header, sizeof(header));
	sha256_add(&m->meta, buf_text(&m->rows), m->rows.len);
	sha256_add(&m->meta, trailer, 32);
	sha256_end(&m->meta, trailer + 32);
	if ((m->rows.len && put(m, m->rows.data, m->rows.len, e) < 0) ||
	    put(m, trailer, sizeof(trailer), e) < 0)
		return -e->no;
	if (pwrite(m->out, header, sizeof(header), 0) != (ssize_t)sizeof(header))
		return err_sys(e, "write the header");
	return 0;
}

static int put_all(struct maker *m, struct pages_scan *s, const struct pages_cancel *c,
		   struct err *e)
{
	static const uint8_t nothing[PACK_HEADER]; // until the end is there
	int more;

	if (put(m, nothing, sizeof(nothing), e) < 0)
		return -e->no;
	while ((more = pages_next(s, m->chunk, e)) > 0)
		if (pages_cancelled(c, e) < 0 || put_chunk(m, e) < 0)
			return -e->no;
	return more < 0 ? more : put_end(m, s->size, e);
}

int pack_make(int mem, int out, uint64_t bytes, int compression, const struct pages_cancel *c,
	      digest_text ret_digest, struct err *e)
{
	cleanup_free struct pages_chunk *chunk = base_alloc(1, sizeof(*chunk));
	cleanup_free uint8_t *packed = base_alloc(1, PACK_BOUND);
	struct maker m = {
		.out = out, .compression = compression, .chunk = chunk, .packed = packed
	};
	struct pages_scan s = { .fd = -1 };
	int r;

	if (pages_open(&s, mem, PAGES_CONTENT, bytes, e) < 0)
		return -e->no;
	pages_hash_begin(&m.hash, bytes);
	r = put_all(&m, &s, c, e);
	buf_free(&m.rows);
	if (r == 0)
		pages_hash_end(&m.hash, ret_digest);
	return r;
}

// --- read

static int damaged(struct err *e, const char *what)
{
	return err_kind(e, ERR_DAMAGED, "%s", what);
}

static int read_exact(int fd, void *out, size_t len, uint64_t at, struct err *e)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, (uint8_t *)out + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read");
		if (n == 0)
			return damaged(e, "ends too early");
		done += (size_t)n;
	}
	return 0;
}

static int check_header(const uint8_t h[PACK_HEADER], uint64_t bytes, struct pack *p, struct err *e)
{
	static const uint8_t zeros[PACK_HEADER];
	uint64_t compression = pack_get(h + 8, 4), count = pack_get(h + 24, 8);

	if (memcmp(h, pack_magic, 8) != 0 || memcmp(h + 32, zeros, PACK_HEADER - 32) != 0)
		return damaged(e, "its header is not that of a packed memory");
	if (compression != POOL_COMPRESSION_LZ4 && compression != POOL_COMPRESSION_ZSTD)
		return damaged(e, "its header names no compression");
	if (pack_get(h + 12, 4) != PAGES_CHUNK)
		return damaged(e, "its header names another size of chunks");
	p->bytes = pack_get(h + 16, 8);
	if (p->bytes != bytes || bytes == 0 || bytes > PAGES_MAX || bytes % PAGES_PAGE)
		return damaged(e, "its header names another size of memory");
	if (count > (bytes + PAGES_CHUNK - 1) / PAGES_CHUNK)
		return damaged(e, "its header names more chunks than there are");
	p->compression = (int)compression;
	p->count = (size_t)count;
	return 0;
}

static int check_trailer(const struct pack *p, const uint8_t h[PACK_HEADER], const uint8_t *index,
			 uint64_t index_at, const uint8_t t[PACK_TRAILER], struct err *e)
{
	uint8_t want[PACK_TRAILER];
	struct sha256 s;

	pack_trailer(index_at, want);
	sha256_begin(&s);
	sha256_add(&s, h, PACK_HEADER);
	sha256_add(&s, index, p->count * PACK_ROW);
	sha256_add(&s, want, 32);
	sha256_end(&s, want + 32);
	if (memcmp(want, t, PACK_TRAILER) != 0)
		return damaged(e, "its index does not fit its digest");
	return 0;
}

// Chunks in order, one behind the other, from the header to the index.
static int take_rows(struct pack *p, const uint8_t *index, uint64_t index_at, struct err *e)
{
	uint64_t at = PACK_HEADER, next = 0;
	uint8_t again[PACK_ROW];

	p->rows = base_alloc(p->count ? p->count : 1, sizeof(*p->rows));
	for (size_t i = 0; i < p->count; i++) {
		struct pack_row *r = &p->rows[i];

		row_get(index + i * PACK_ROW, r);
		pack_row_put(r, again);
		if (memcmp(again, index + i * PACK_ROW, PACK_ROW) != 0)
			return damaged(e, "its index has more than it should");
		if (r->number < next || r->number * PAGES_CHUNK >= p->bytes || r->at != at ||
		    r->stored == 0 || r->stored > PACK_BOUND || r->stored > index_at - at ||
		    r->raw < PAGES_MAP + PAGES_PAGE || r->raw > PAGES_RAW)
			return damaged(e, "its index names what cannot be");
		next = r->number + 1;
		at += r->stored;
	}
	return at == index_at ? 0 : damaged(e, "its index leaves something out");
}

int pack_open(int fd, uint64_t bytes, struct pack *ret, struct err *e)
{
	cleanup_pack struct pack p = { .fd = fd };
	cleanup_free uint8_t *index = NULL;
	uint8_t header[PACK_HEADER], trailer[PACK_TRAILER];
	uint64_t size, index_at;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat");
	size = (uint64_t)st.st_size;
	if (!S_ISREG(st.st_mode) || size < PACK_HEADER + PACK_TRAILER)
		return damaged(e, "is too short for a packed memory");
	if (read_exact(fd, header, sizeof(header), 0, e) < 0 ||
	    check_header(header, bytes, &p, e) < 0)
		return -e->no;
	// No more memory than the file has of it.
	if (p.count * PACK_ROW > size - PACK_HEADER - PACK_TRAILER)
		return damaged(e, "is too short for its index");
	index_at = size - PACK_TRAILER - p.count * PACK_ROW;
	index = base_alloc(p.count ? p.count : 1, PACK_ROW);
	if (read_exact(fd, index, p.count * PACK_ROW, index_at, e) < 0 ||
	    read_exact(fd, trailer, sizeof(trailer), size - PACK_TRAILER, e) < 0 ||
	    check_trailer(&p, header, index, index_at, trailer, e) < 0 ||
	    take_rows(&p, index, index_at, e) < 0)
		return -e->no;
	*ret = p;
	p = (struct pack)PACK_NONE;
	return 0;
}

int pack_read(const struct pack *p, size_t row, struct pages_chunk *ret, struct err *e)
{
	const struct pack_row *r = &p->rows[row];
	cleanup_free uint8_t *packed = base_alloc(1, r->stored);
	uint8_t sha[32];

	if (read_exact(p->fd, packed, r->stored, r->at, e) < 0 ||
	    pages_sha(packed, r->stored, sha, e) < 0)
		return -e->no;
	if (memcmp(sha, r->stored_sha, sizeof(sha)) != 0)
		return damaged(e, "chunk: does not fit its digest");
	if (pack_expand(p->compression, packed, r->stored, ret->raw, r->raw, e) < 0)
		return -e->no;
	ret->number = r->number;
	ret->len = r->raw;
	if (pages_check(ret, p->bytes, e) < 0 || pages_sha(ret->raw, ret->len, sha, e) < 0)
		return -e->no;
	return memcmp(sha, r->sha, sizeof(sha)) == 0 ? 0 : damaged(e, "chunk: is another one");
}

void pack_digest(const struct pack *p, digest_text out)
{
	struct pages_hash h;

	pages_hash_begin(&h, p->bytes);
	for (size_t i = 0; i < p->count; i++)
		pages_hash_add(&h, p->rows[i].number, p->rows[i].sha);
	pages_hash_end(&h, out);
}
