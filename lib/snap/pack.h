// SPDX-License-Identifier: MIT
// mem.pack: a memory in compressed chunks of one MiB that can be read in any order. Little-endian:
//	header	64 bytes: "mvmpack1", u32 compression (1 lz4, 2 zstd), u32 bytes of a chunk,
//		u64 bytes of the memory, u64 chunks, then zeros
//	chunks	one behind the other: map and pages (snap/pages.h), each compressed by itself
//	index	96 bytes for each: u64 number of the chunk, u64 where, u32 bytes here, u32 bytes
//		unpacked, then zeros; SHA-256 of map and pages; and of what is here
//	trailer	64 bytes: "mvmindex", u64 where the index is, u64 zero, u64 zero; SHA-256 of header,
//		index and the 32 bytes before
// Nothing in it is believed: sizes are compared with the file's before memory is asked for, and a
// chunk never unpacks to more than its own bound. Every byte is covered by a digest.
#pragma once
#include "snap/gen.h"

#define PACK_HEADER  64u
#define PACK_ROW     96u
#define PACK_TRAILER 64u

struct pack_row {
	uint64_t number, at;
	uint32_t stored, raw;
	uint8_t sha[32], stored_sha[32];
};
struct pack {
	int fd; // the caller's
	int compression;
	uint64_t bytes; // of the memory
	size_t count;
	struct pack_row *rows;
};
#define PACK_NONE        \
	{                \
		.fd = -1 \
	}
#define cleanup_pack cleanup(pack_close)
// Reads and checks header, index and trailer of the whole file; bytes is what the memory must have.
// What is wrong is kind damaged.
int pack_open(int fd, uint64_t bytes, struct pack *ret, struct err *e) MUST_CHECK;
void pack_close(struct pack *p);
// The chunk of that row, checked.
int pack_read(const struct pack *p, size_t row, struct pages_chunk *ret, struct err *e) MUST_CHECK;
// The digest of the memory as the index says it; true only when every chunk was read and fits.
void pack_digest(const struct pack *p, digest_text out);
// Writes mem as a pack into out, empty and open for writing. *ret_digest: of the memory as read.
int pack_make(int mem, int out, uint64_t bytes, int compression, const struct pages_cancel *c,
	      digest_text ret_digest, struct err *e) MUST_CHECK;
// One chunk: exactly raw bytes come out of len bytes, or it is damaged.
int pack_expand(int compression, const uint8_t *in, size_t len, uint8_t *out, size_t raw,
		struct err *e) MUST_CHECK;
// Returns the length, at most PACK_BOUND.
#define PACK_BOUND (PAGES_RAW + PAGES_RAW / 128 + 1024)
int pack_shrink(int compression, const uint8_t *in, size_t len, uint8_t *out, size_t *ret_len,
		struct err *e) MUST_CHECK;

// mem.pack of a capture against its manifest, all of it read.
int snap_pack_verify(int dir, const struct snap_manifest *m, const struct pages_cancel *c,
		     struct err *e) MUST_CHECK;
// mem becomes mem.pack, or the other way round; g is a capture of s, locked exclusively. Killed or
// cancelled at any point, the capture is as it was or as it should become. *changed false: it is so
// already. Kind state for what cannot be packed: a base, a delta, what a guest runs on, what is not
// named and of an instance that does not sleep; unavailable when something is in flight there.
int snap_pack(const struct store *s, struct snap_gen *g, int compression,
	      const struct pages_cancel *c, bool *changed, struct err *e) MUST_CHECK;
int snap_unpack(struct snap_gen *g, const struct pages_cancel *c, bool *changed,
		struct err *e) MUST_CHECK;
