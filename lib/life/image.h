// SPDX-License-Identifier: MIT
// Revisions of a pool's image: artifacts/revisions/<hash>/ with the files of an image directory,
// fc-base.json and manifest.json; artifacts/current names the one that starts use. A revision is
// complete or not there, and is never changed: its hash is that of its files' names and digests.
//
// An image directory is what a builder leaves: vmlinux, rootfs.<erofs|squashfs|ext4>, perhaps
// initrd, and mvm-image.json.
#pragma once
#include "base/clock.h"
#include "base/path.h"
#include "json/codec.h"

#define IMAGE_HASH 32 // hex digits of a revision's name

// mvm-image.json
struct image_info {
	uint32_t schema_version; // 1
	char system[32];	 // x86_64-linux
	char profile[41];
	char kernel_release[65];
	char rootfs[32]; // file name
	char init[256];
	char *boot_args;
};
extern const struct field image_info_fields[];

struct image_file {
	char name[32];
	char sha256[65];
	uint64_t size_bytes;
};
struct image_manifest {		 // manifest.json of a revision
	uint32_t schema_version; // 1
	char revision_hash[65];
	char system[32];
	char profile[41];
	char kernel_release[65];
	char init[256];
	struct codec_list files; // struct image_file, sorted by name, without manifest.json
	time_text built_at;
};
extern const struct field image_manifest_fields[];

enum image_action { IMAGE_BUILD, IMAGE_ROLLBACK };
struct image_record {		 // a line of builds.jsonl, and what the tool prints
	uint32_t schema_version; // 1
	time_text at;
	int action; // enum image_action
	name_text tenant_id, pool_id;
	char revision_hash[65];
	char previous_hash[65]; // what was current before, ""
	char source[512];	// the image directory
	char profile[41];
	char kernel_release[65];
	uint64_t size_bytes;
	bool changed; // current is another one now
};
extern const struct field image_record_fields[];

// Imports dir as a revision and makes it current. The same files again: changed is false and
// nothing is written. dry_run: only says what would be.
int image_import(const struct address *a, const char *dir, bool dry_run, int wait_ms,
		 struct image_record *ret, struct err *e) MUST_CHECK;
// Makes an older revision current again: hash, or "" for the one before the present one.
int image_rollback(const struct address *a, const char *hash, bool dry_run, int wait_ms,
		   struct image_record *ret, struct err *e) MUST_CHECK;
// The lines of builds.jsonl as an array, oldest first.
int image_history(const struct address *a, struct buf *out, struct err *e) MUST_CHECK;
