// SPDX-License-Identifier: MIT
// Tar streams (ustar, pax, and what GNU tar writes) for files in and out of a guest. Both sides
// read what the other one, or anybody, has written: every number is checked, every path comes out
// clean, and a stream that goes on without an entry ends the reading.
//
// Files, directories, symbolic and hard links; devices, pipes and sparse files are refused.
#pragma once
#include "base/buf.h"
#include "base/err.h"

#define TAR_BLOCK 512u
#define TAR_PATH  4096u // with its NUL
#define TAR_DEPTH 128u	// components of a path

enum tar_type { TAR_FILE, TAR_DIRECTORY, TAR_SYMLINK, TAR_HARDLINK };

struct tar_entry {
	enum tar_type type;
	char path[TAR_PATH]; // relative, without "." and ".."; "" is the root of the tree itself
	char link[TAR_PATH]; // symbolic: as it is; hard: as clean as path
	uint32_t mode;	     // permission bits, set-id and sticky ones included
	uint32_t uid, gid;
	uint64_t size; // of the content that follows; 0 for all but files
	int64_t mtime_s;
	uint32_t mtime_ns;
};

// Bytes of the stream: how many (at most len), 0 at its end, or -errno with *e set.
typedef ssize_t (*tar_source)(void *arg, void *out, size_t len, struct err *e);
struct tar_reader {
	tar_source source;
	void *arg;
	uint64_t left;	// of the present entry's content
	uint32_t pad;	// behind it
	uint64_t total; // bytes taken from the stream
};
void tar_open(struct tar_reader *r, tar_source source, void *arg);
// The next entry: 1; at the archive's end: 0. What was not read of the last one is passed over. A
// stream that is cut short, or is none, is kind damaged.
int tar_next(struct tar_reader *r, struct tar_entry *out, struct err *e) MUST_CHECK;
// Content of the present entry: how many bytes, 0 at its end.
ssize_t tar_data(struct tar_reader *r, void *out, size_t len, struct err *e) MUST_CHECK;
// Behind the archive's end, up to the stream's own: the padding of other tar programs.
int tar_drain(struct tar_reader *r, struct err *e) MUST_CHECK;

// Appends the blocks in front of an entry's content, and those behind it.
void tar_put_header(struct buf *out, const struct tar_entry *en);
void tar_put_pad(struct buf *out, uint64_t size);
void tar_put_end(struct buf *out);
// Without "." and empty components; kind denied for absolute paths, "..", what is too long or deep.
int tar_clean_path(char *path, struct err *e) MUST_CHECK;
