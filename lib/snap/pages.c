// SPDX-License-Identifier: MIT
#include "snap/pages.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

static bool has(const uint8_t *map, size_t page)
{
	return map[page / 8] & 1u << page % 8;
}

static void mark(uint8_t *map, size_t page, bool on)
{
	if (on)
		map[page / 8] = (uint8_t)(map[page / 8] | 1u << page % 8);
	else
		map[page / 8] = (uint8_t)(map[page / 8] & ~(1u << page % 8));
}

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGES_PAGE - 1) == 0;
}

int pages_cancelled(const struct pages_cancel *c, struct err *e)
{
	struct pollfd p = { .fd = c ? c->fd : -1, .events = POLLIN };

	if (p.fd < 0 || poll(&p, 1, 0) == 0)
		return 0;
	(void)err_set(e, ECANCELED, "given up, as was asked");
	e->kind = ERR_UNAVAILABLE;
	return -e->no;
}

int pages_open(struct pages_scan *s, int fd, enum pages_form form, uint64_t size, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat");
	if (!S_ISREG(st.st_mode))
		return err_kind(e, ERR_DAMAGED, "not a file");
	if ((uint64_t)st.st_size != size)
		return err_kind(e, ERR_DAMAGED, "has %llu bytes in place of %llu",
				(unsigned long long)st.st_size, (unsigned long long)size);
	if (size == 0 || size > PAGES_FILE || size % PAGES_PAGE)
		return err_kind(e, ERR_DAMAGED, "%llu bytes are not the size of a memory or a disk",
				(unsigned long long)size);
	*s = (struct pages_scan){ .fd = fd, .form = form, .size = size };
	return 0;
}

// The first extent of data at or behind at: 1, or 0 when there is none.
static int extent(const struct pages_scan *s, uint64_t at, uint64_t *from, uint64_t *to,
		  struct err *e)
{
	off_t start = at < s->size ? lseek(s->fd, (off_t)at, SEEK_DATA) : -1;

	if (at >= s->size || (start < 0 && errno == ENXIO))
		return 0;
	if (start < 0 && errno == EINVAL && s->form == PAGES_CONTENT) { // cannot tell: all is data
		*from = at;
		*to = s->size;
		return 1;
	}
	off_t end = start < 0 ? -1 : lseek(s->fd, start, SEEK_HOLE);

	if (end < 0)
		return err_sys(e, "look for data");
	*from = (uint64_t)start;
	*to = MIN((uint64_t)end, s->size);
	return *from < *to;
}

static int read_at(int fd, uint8_t *out, size_t len, uint64_t at, struct err *e)
{
	while (len > 0) {
		ssize_t n = pread(fd, out, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read");
		if (n == 0)
			return err_kind(e, ERR_DAMAGED, "became shorter while it was read");
		out += n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

static int write_at(int fd, const uint8_t *data, size_t len, uint64_t at, struct err *e)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, data, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "write");
		data += n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

static int punch(int fd, uint64_t at, uint64_t len, struct err *e)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len) < 0)
		return err_sys(e, "make a hole");
	return 0;
}

// Marks the pages of the chunk at base that lie in data, and reads them to where they belong.
static int read_extents(struct pages_scan *s, uint64_t base, struct pages_chunk *c, struct err *e)
{
	uint64_t limit = MIN(base + PAGES_CHUNK, s->size), from = 0, to = base;
	int more;

	while ((more = extent(s, to, &from, &to, e)) > 0 && from < limit) {
		if (s->form == PAGES_DATA && (from % PAGES_PAGE || to % PAGES_PAGE))
			return err_kind(e, ERR_DAMAGED, "data begins or ends within a page");
		from = from / PAGES_PAGE * PAGES_PAGE;
		to = MIN((to + PAGES_PAGE - 1) / PAGES_PAGE * PAGES_PAGE, limit);
		if (read_at(s->fd, c->raw + PAGES_MAP + (from - base), to - from, from, e) < 0)
			return -e->no;
		for (uint64_t at = from; at < to; at += PAGES_PAGE)
			mark(c->raw, (at - base) / PAGES_PAGE, true);
		if (to == limit)
			break;
	}
	return more < 0 ? more : 0;
}

// Moves the pages that count together.
static void pack_pages(struct pages_scan *s, struct pages_chunk *c)
{
	uint8_t *pages = c->raw + PAGES_MAP, *to = pages;

	for (size_t i = 0; i < PAGES_COUNT; i++) {
		const uint8_t *page = pages + i * PAGES_PAGE;

		if (!has(c->raw, i))
			continue;
		if (s->form == PAGES_CONTENT && is_zero(page)) {
			mark(c->raw, i, false);
			continue;
		}
		if (to != page)
			memmove(to, page, PAGES_PAGE);
		to += PAGES_PAGE;
	}
	c->len = to == pages ? 0 : (size_t)(to - c->raw);
}

int pages_next(struct pages_scan *s, struct pages_chunk *ret, struct err *e)
{
	uint64_t from = 0, to = 0;
	int more;

	while ((more = extent(s, s->at, &from, &to, e)) > 0) {
		uint64_t base = from / PAGES_CHUNK * PAGES_CHUNK;

		memset(ret->raw, 0, PAGES_MAP);
		ret->number = base / PAGES_CHUNK;
		if (read_extents(s, base, ret, e) < 0)
			return -e->no;
		s->at = base + PAGES_CHUNK;
		pack_pages(s, ret);
		if (ret->len)
			return 1;
	}
	return more;
}

int pages_check(const struct pages_chunk *c, uint64_t size, struct err *e)
{
	size_t pages = 0;

	if (c->len < PAGES_MAP || c->len > PAGES_RAW)
		return err_kind(e, ERR_DAMAGED, "chunk: has %zu bytes", c->len);
	for (size_t i = 0; i < PAGES_COUNT; i++) {
		if (!has(c->raw, i))
			continue;
		pages++;
		if (c->number >= PAGES_MAX / PAGES_CHUNK ||
		    c->number * PAGES_CHUNK + i * PAGES_PAGE >= size)
			return err_kind(e, ERR_DAMAGED, "chunk: a page lies behind the end");
	}
	if (pages == 0 || c->len != PAGES_MAP + pages * PAGES_PAGE)
		return err_kind(e, ERR_DAMAGED, "chunk: %zu bytes for %zu pages", c->len, pages);
	return 0;
}

static void hash_u64(struct pages_hash *h, uint64_t n)
{
	uint8_t le[8];

	for (size_t i = 0; i < sizeof(le); i++)
		le[i] = (uint8_t)(n >> 8 * i);
	sha256_add(&h->sha, le, sizeof(le));
}

void pages_hash_begin(struct pages_hash *h, uint64_t size)
{
	sha256_begin(&h->sha);
	sha256_add(&h->sha, PAGES_MAGIC, strlen(PAGES_MAGIC));
	hash_u64(h, size);
}

void pages_hash_add(struct pages_hash *h, uint64_t number, const uint8_t sha256[32])
{
	hash_u64(h, number);
	sha256_add(&h->sha, sha256, 32);
}

void pages_hash_end(struct pages_hash *h, digest_text out)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t raw[32];

	sha256_end(&h->sha, raw);
	for (size_t i = 0; i < sizeof(raw); i++) {
		out[2 * i] = digits[raw[i] >> 4];
		out[2 * i + 1] = digits[raw[i] & 15];
	}
	out[64] = '\0';
}

static uint8_t nibble(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

// The bytes of a file by libcrypto, which is several times faster; what binds them together is
// little.
int pages_sha(const void *data, size_t len, uint8_t out[32], struct err *e)
{
	digest_text hex;

	if (digest_data(data, len, hex, e) < 0)
		return -e->no;
	for (size_t i = 0; i < 32; i++)
		out[i] = (uint8_t)(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
	return 0;
}

int pages_digest(int fd, enum pages_form form, uint64_t size, const struct pages_cancel *cancel,
		 digest_text out, struct err *e)
{
	cleanup_free struct pages_chunk *c = base_alloc(1, sizeof(*c));
	struct pages_hash h;
	struct pages_scan s = { .fd = -1 };
	uint8_t sha[32];
	int more;

	if (pages_open(&s, fd, form, size, e) < 0)
		return -e->no;
	pages_hash_begin(&h, size);
	while ((more = pages_next(&s, c, e)) > 0) {
		if (pages_cancelled(cancel, e) < 0 || pages_sha(c->raw, c->len, sha, e) < 0)
			return -e->no;
		pages_hash_add(&h, c->number, sha);
	}
	if (more < 0)
		return more;
	pages_hash_end(&h, out);
	return 0;
}

int pages_write(int fd, const struct pages_chunk *c, struct err *e)
{
	uint64_t base = c->number * PAGES_CHUNK;
	const uint8_t *page = c->raw + PAGES_MAP;

	for (size_t i = 0; i < PAGES_COUNT;) {
		size_t run = 0;
		bool zero;

		if (!has(c->raw, i)) {
			i++;
			continue;
		}
		zero = is_zero(page);
		while (i + run < PAGES_COUNT && has(c->raw, i + run) &&
		       is_zero(page + run * PAGES_PAGE) == zero)
			run++;
		if ((zero ? punch(fd, base + i * PAGES_PAGE, run * PAGES_PAGE, e)
			  : write_at(fd, page, run * PAGES_PAGE, base + i * PAGES_PAGE, e)) < 0)
			return -e->no;
		page += run * PAGES_PAGE;
		i += run;
	}
	return 0;
}

int pages_punch(int fd, uint64_t size, uint64_t *ret_bytes, struct err *e)
{
	cleanup_free uint8_t *chunk = base_alloc(1, PAGES_CHUNK);
	struct pages_scan s = { .fd = -1 };
	uint64_t from = 0, to = 0;
	int more;

	*ret_bytes = 0;
	if (pages_open(&s, fd, PAGES_CONTENT, size, e) < 0)
		return -e->no;
	while ((more = extent(&s, to, &from, &to, e)) > 0) {
		from = from / PAGES_PAGE * PAGES_PAGE;
		to = MIN(MIN((to + PAGES_PAGE - 1) / PAGES_PAGE * PAGES_PAGE, from + PAGES_CHUNK),
			 size);
		if (read_at(fd, chunk, to - from, from, e) < 0)
			return -e->no;
		for (uint64_t at = from; at < to;) {
			uint64_t run = at;

			while (run < to && is_zero(chunk + (run - from)))
				run += PAGES_PAGE;
			if (run > at && punch(fd, at, run - at, e) < 0)
				return -e->no;
			*ret_bytes += run - at;
			at = MAX(run, at + PAGES_PAGE);
		}
	}
	return more;
}

int pages_probe(int dirfd, struct err *e)
{
	const off_t at = 2 * MIB + PAGES_PAGE;
	cleanup_fd int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	static const uint8_t zeros[PAGES_PAGE];

	if (fd < 0 || ftruncate(fd, (off_t)(4 * MIB)) < 0)
		return err_sys(e, "probe the file system");
	if (write_at(fd, zeros, sizeof(zeros), (uint64_t)at, e) < 0)
		return err_wrap(e, "probe the file system");
	if (lseek(fd, 0, SEEK_DATA) != at || lseek(fd, at, SEEK_HOLE) != at + (off_t)PAGES_PAGE)
		return err_kind(e, ERR_STATE, "the file system does not keep holes page by page");
	return 0;
}
