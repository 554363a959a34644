// SPDX-License-Identifier: MIT
// The image a pool's guests run: artifacts/current -> revisions/<hash>, as mvm-pool-build made it.
// fc-base.json is in Firecracker's own terms, with file names relative to the revision:
//	{"boot-source": {"kernel_image_path": "vmlinux", "initrd_path": "initrd",
//			 "boot_args": "..."},
//	 "drives": [{"drive_id": "rootfs", "path_on_host": "rootfs.erofs",
//		     "is_root_device": true, "is_read_only": true}]}
#pragma once
#include "base/path.h"
#include "fc/config.h"

struct fc_base {
	struct fc_boot_source boot_source;
	struct codec_list drives; // struct fc_drive
};
extern const struct field fc_base_fields[];

struct revision {
	char hash[65];
	int dir;
	struct fc_base base;
};
#define REVISION_NONE     \
	{                 \
		.dir = -1 \
	}
#define cleanup_revision cleanup(revision_close)
// Kind state when the pool has no image yet, saying how to make one.
int revision_open(const char *tenant, const char *pool, struct revision *ret,
		  struct err *e) MUST_CHECK;
// Another one that the pool still has; kind missing when it has not.
int revision_open_hash(const char *tenant, const char *pool, const char *hash, struct revision *ret,
		       struct err *e) MUST_CHECK;
void revision_close(struct revision *r);
