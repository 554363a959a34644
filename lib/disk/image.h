// SPDX-License-Identifier: MIT
// Small read-only file systems, built in memory: one directory of files as EROFS, with a label and
// a trailer (base/trailer) in the drive's last block. Nothing is mounted and no program is run, so
// that what they hold is nowhere but in the memory that was asked for.
#pragma once
#include "base/trailer.h"
#include "disk/secrets.h"

#define IMAGE_FILES 64u

struct image_file {
	const char *name;
	const void *data;
	size_t len;
};
struct image {
	const char *label;		// up to 15 characters
	uint16_t file_mode, dir_mode;	// permissions; root owns all
	const struct image_file *files; // any order, names unique
	size_t count;			// up to IMAGE_FILES
	int64_t time;			// of all files; the same image has the same bytes
};
// Appends to out: as many whole blocks as it takes.
int image_make(const struct image *i, struct safe *out, struct err *e) MUST_CHECK;
uint64_t image_bytes(const struct image *i);
uint64_t image_of_secrets(const struct secrets *s); // what their image takes
// Kind quota when an image of so many bytes and its trailer are more than the drive.
int image_check_size(uint64_t used, uint64_t drive_mib, struct err *e) MUST_CHECK;

// Puts an image into a drive, new or in use by a guest: the trailer is cleared first and written
// last. *ret is the new trailer.
struct image_drive {
	uint64_t size;	 // bytes
	uint64_t number; // for the trailer
	bool fresh;	 // holds nothing yet
};
int image_write(int fd, const struct image_drive *drive, const struct safe *image,
		struct trailer *ret, struct err *e) MUST_CHECK;
