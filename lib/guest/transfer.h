// SPDX-License-Identifier: MIT
// Messages of files (GUEST_PUT, GUEST_GET) and port forward (GUEST_FORWARD). Both go on as a
// command does: STARTED, streams 0 and 1 with their windows, EXIT.
#pragma once
#include "guest/files.h"
#include "guest/proto.h"

enum guest_files_flags {
	GUEST_FILES_ARCHIVE = 1, // put: owners as in the stream
	GUEST_FILES_STREAM = 2,	 // put: a tar stream of somebody's, into a directory
};
struct guest_files {
	uint32_t flags;
	uint64_t max_size; // put: bytes that may be written
	char path[GUEST_PATH];
	char name[256];	       // of the stream's root; "": the contents of a directory
	char user[GUEST_TEXT]; // whose rights count; "": root
};
void guest_files_put(struct buf *b, const struct guest_files *in);
int guest_files_get(const void *p, size_t len, struct guest_files *out, struct err *e) MUST_CHECK;

// What stream 2 of such a request carries, whole, before EXIT.
struct guest_files_done {
	struct guest_error error; // no 0: none
	struct files_count count;
};
#define GUEST_FILES_DONE_MAX 1024u
void guest_files_done_put(struct buf *b, const struct guest_files_done *in);
int guest_files_done_get(const void *p, size_t len, struct guest_files_done *out,
			 struct err *e) MUST_CHECK;

struct guest_forward {
	uint32_t address; // IPv4, host byte order
	uint16_t port;
};
void guest_forward_put(struct buf *b, const struct guest_forward *in);
int guest_forward_get(const void *p, size_t len, struct guest_forward *out,
		      struct err *e) MUST_CHECK;
