// SPDX-License-Identifier: MIT
// Trees of files as tar streams: what both ends of `mvm-guest cp` do, the agent's in a process of
// its own in the guest, the host's in one here. Calls block; who wants an end to them ends the
// process.
//
// The unpacking side trusts nothing: no entry is placed outside the target (openat2,
// RESOLVE_BENEATH), nothing is written through a link that the stream itself has made, no device is
// made, and size and number of what is written are bounded. A file appears whole or not at all.
#pragma once
#include "guest/tar.h"

#define FILES_MAX_SIZE ((uint64_t)64 << 30) // unless the caller says otherwise
#define FILES_ENTRIES  (4u << 20)	    // of one stream

struct files_count {
	uint64_t files, directories, links, bytes;
	uint64_t skipped; // neither file, directory nor link
};

// What a path is called in a stream: its last component, "" when it stands for the contents of a
// directory ("/", ".", "a/.").
int files_name(const char *path, char out[256], struct err *e) MUST_CHECK;

// Writes a file, or a directory and what is below it on its file system, to fd, where it is called
// name ("": the entries are those of the directory). A link at path is followed, others are kept.
int files_pack(const char *path, const char *name, int fd, struct files_count *count,
	       struct err *e) MUST_CHECK;

// Where a stream goes.
struct files_target {
	int dir;	// below it
	char root[256]; // the stream's one root ...
	char as[256];	// ... and what it is called here; both "": entries as they are
};
#define FILES_TARGET_NONE                \
	{                                \
		.dir = -1, .root = { 0 } \
	}
#define cleanup_target cleanup(files_target_close)
void files_target_close(struct files_target *t);
// As cp(1) takes its last word: into a directory that is there, else under that name in a directory
// that is. name as of files_name; stream: a tar stream of somebody's, which needs a directory.
int files_aim(const char *path, const char *name, bool stream, struct files_target *ret,
	      struct err *e) MUST_CHECK;

struct files_rules {
	bool archive;	   // owner and group too
	bool set_ids;	   // set-user-id and set-group-id bits; only with archive
	uint64_t max_size; // bytes of content, 512 more for each entry
};
int files_unpack(const struct files_target *t, const struct files_rules *rules, tar_source source,
		 void *arg, struct files_count *count, struct err *e) MUST_CHECK;
// A tar_source that reads a descriptor (arg: pointer to it).
ssize_t files_read_fd(void *arg, void *out, size_t len, struct err *e);
// Takes a stream apart and writes it out again, so that whoever reads it gets clean entries only.
int files_filter(const struct files_rules *rules, tar_source source, void *arg, int fd,
		 struct files_count *count, struct err *e) MUST_CHECK;
// errno as of err_sys, with the kinds that fit: no space is quota, a way out of the target denied.
int files_fail(struct err *e, const char *what, const char *path) MUST_CHECK;
