// SPDX-License-Identifier: MIT
// Memory files: sparse, a whole number of pages, read and written by pages and never as a stream of
// bytes. Two ways to read one, and they must not be mixed up:
//	PAGES_CONTENT	a memory: what is not zero counts, holes and zeros are the same
//	PAGES_DATA	a delta: what the file system calls data counts, zeros too, since a page of
//			zeros that the guest wrote replaces the parent's
// A chunk is one MiB: a map of 256 bits (bit n: byte n / 8, bit n % 8) of the pages that count,
// then those pages in order. The digest of a file is SHA-256 over PAGES_MAGIC, its size (u64,
// little-endian) and, for each chunk with a page that counts, its number (u64) and the SHA-256 of
// map and pages. So a hole costs nothing, and the digest of a delta tells when a copy has turned
// zeros into holes.
#pragma once
#include "base/err.h"
#include "base/sha256.h"
#include "sys/digest.h"

#define PAGES_MAGIC "mvm-pages-1\n"
#define PAGES_PAGE  4096u
#define PAGES_CHUNK ((size_t)MIB)
#define PAGES_COUNT (PAGES_CHUNK / PAGES_PAGE)
#define PAGES_MAP   (PAGES_COUNT / 8)
#define PAGES_RAW   (PAGES_MAP + PAGES_CHUNK)
#define PAGES_MAX   ((uint64_t)1 << 40) // bytes of a memory
#define PAGES_FILE  ((uint64_t)1 << 44) // of any file, as of the largest data disk

enum pages_form { PAGES_CONTENT, PAGES_DATA };

struct pages_chunk {
	uint64_t number;
	size_t len; // bytes of raw in use
	uint8_t raw[PAGES_RAW];
};

// Long work stops between two chunks when this descriptor has something to read; -1: never.
struct pages_cancel {
	int fd;
};
int pages_cancelled(const struct pages_cancel *c, struct err *e) MUST_CHECK; // -ECANCELED

struct pages_scan {
	int fd; // the caller's
	enum pages_form form;
	uint64_t size, at;
};
// size is what the file must have; kind damaged when it has not, or is no regular file.
int pages_open(struct pages_scan *s, int fd, enum pages_form form, uint64_t size,
	       struct err *e) MUST_CHECK;
// 1: the next chunk with a page that counts; 0: there is none left.
int pages_next(struct pages_scan *s, struct pages_chunk *ret, struct err *e) MUST_CHECK;
// A chunk from outside is one: length and map agree, and no page lies behind size.
int pages_check(const struct pages_chunk *c, uint64_t size, struct err *e) MUST_CHECK;

struct pages_hash {
	struct sha256 sha;
};
void pages_hash_begin(struct pages_hash *h, uint64_t size);
void pages_hash_add(struct pages_hash *h, uint64_t number, const uint8_t sha256[32]);
void pages_hash_end(struct pages_hash *h, digest_text out);
int pages_sha(const void *data, size_t len, uint8_t out[32], struct err *e) MUST_CHECK;
int pages_digest(int fd, enum pages_form form, uint64_t size, const struct pages_cancel *cancel,
		 digest_text out, struct err *e) MUST_CHECK;

// Writes the pages of a chunk where they belong; one of zeros becomes a hole.
int pages_write(int fd, const struct pages_chunk *c, struct err *e) MUST_CHECK;
// Makes to, empty and open for writing, the same as from: a clone where the file system can, else
// its data. *ret_cloned may be NULL.
int pages_copy(int from, int to, uint64_t size, const struct pages_cancel *cancel, bool *ret_cloned,
	       struct err *e) MUST_CHECK;
// Turns the pages of zeros of a memory into holes. Never of a delta.
int pages_punch(int fd, uint64_t size, uint64_t *ret_bytes, struct err *e) MUST_CHECK;
// The file system keeps holes page by page, as a delta needs it; kind state when it does not.
int pages_probe(int dirfd, struct err *e) MUST_CHECK;
