// SPDX-License-Identifier: MIT
// The directory a VMM is confined to: $STATE/jails/<vmm>/<i>/root. It is made fresh for each run
// and, while a VMM runs, hostile: the VMM may own every directory in it. So nothing below it is
// opened by name twice: open O_PATH|O_NOFOLLOW, check, then use /proc/self/fd/N of that descriptor.
//
// Shared files (kernel, initrd, rootfs, base memory) are root:root 0444 and hard-linked in: a link
// shares the inode, so they are never chowned. Private ones belong to U, 0600.
#pragma once
#include "base/path.h"
#include <sys/stat.h>

struct jail {
	path_text path;	     // .../root
	int root, run, snap; // directories
	uint32_t uid;	     // U; gid is the same number
};
#define JAIL_NONE                                 \
	{                                         \
		.root = -1, .run = -1, .snap = -1 \
	}
#define cleanup_jail cleanup(jail_close)

// Removes what a former run left and makes root (root:root 0755), root/run and root/snap (U 0700).
int jail_make(const char *vmm, const char *instance, uint32_t uid, struct jail *ret,
	      struct err *e) MUST_CHECK;
// Opens an existing one; -ENOENT (kind missing) when it is not there. Checks that run and snap are
// directories of U and no links.
int jail_open(const char *vmm, const char *instance, uint32_t uid, struct jail *ret,
	      struct err *e) MUST_CHECK;
void jail_close(struct jail *j);
// Unmounts what /proc/self/mountinfo shows below it, then removes the tree without following
// anything. Gone is fine. The VMM has to be dead.
int jail_remove(const char *vmm, const char *instance, struct err *e) MUST_CHECK;

enum jail_file {
	JAIL_SHARED,  // must be root:root without a write bit; is not touched
	JAIL_PRIVATE, // becomes U:U 0600
};
// Hard-links the regular file src below src_dir into the directory `into` (jail.root, jail.run or
// jail.snap) as name. Another file system is an error that says what to do: nothing is ever copied.
int jail_link(const struct jail *j, int src_dir, const char *src, int into, const char *name,
	      enum jail_file kind, struct err *e) MUST_CHECK;

// A private mount namespace for the caller: what is mounted from here on ends with its last
// process, unmounts of the host still come through (propagation is slave).
int jail_unshare_mounts(struct err *e) MUST_CHECK;
// Binds the file or directory of the descriptor src over into/name, which is made (empty, root's)
// when missing. nosuid, nodev, noexec, and read-only on request. After jail_unshare_mounts only,
// and src and into have to be opened after it too: the kernel binds nothing of the former
// namespace.
int jail_bind(int src, int into, const char *name, bool read_only, struct err *e) MUST_CHECK;

// Opens what a VMM made in dir (run/ or snap/) as an O_PATH descriptor after checking that it is a
// socket, regular file or FIFO, no link, owned by U, with exactly one link. Connect or open it as
// /proc/self/fd/N (jail_fd_path). -ENOENT (kind missing) when it is not there (yet); kind denied
// when it is something else than asked.
int jail_open_socket(int dir, const char *name, uint32_t uid, struct err *e) MUST_CHECK;
int jail_open_file(int dir, const char *name, uint32_t uid, struct err *e) MUST_CHECK;
int jail_open_fifo(int dir, const char *name, uint32_t uid, struct err *e) MUST_CHECK;
typedef char fd_path[32];
void jail_fd_path(int fd, fd_path out); // "/proc/self/fd/N"
// Connects to a socket of the VMM's (opened as above) and checks the peer's uid; returns the
// connected descriptor (CLOEXEC, blocking).
int jail_connect(int dir, const char *name, uint32_t uid, struct err *e) MUST_CHECK;
// Kind denied when the peer of a connected socket has another uid than U (SO_PEERCRED).
int jail_check_peer(int sock, uint32_t uid, struct err *e) MUST_CHECK;
