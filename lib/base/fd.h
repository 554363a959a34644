// SPDX-License-Identifier: MIT
// Descriptors and files. Everything is CLOEXEC from birth and nothing follows a symbolic link in
// its last component.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include <sys/types.h>

int fd_write_all(int fd, const void *data, size_t len, struct err *e) MUST_CHECK;
// Reads to the end; more than max bytes is an error (-EFBIG, kind usage).
int fd_read_all(int fd, size_t max, struct buf *out, struct err *e) MUST_CHECK;
int fd_read_file(int dirfd, const char *name, size_t max, struct buf *out,
		 struct err *e) MUST_CHECK;
// Exactly len bytes, or -ENODATA at the end; deadline_ms as of clock_ms(), 0 = none.
int fd_read_exact(int fd, void *out, size_t len, int64_t deadline_ms, struct err *e) MUST_CHECK;
// Old or new content through a crash at any line: write aside (.new-<name>), fsync, rename, fsync
// of the directory. name has no '/', dirfd is no O_PATH descriptor. The caller holds the lock that
// makes the aside name safe.
int fd_replace_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
		    struct err *e) MUST_CHECK;
int fd_mkdir(int dirfd, const char *name, mode_t mode, struct err *e) MUST_CHECK; // exists: fine
int fd_mkdirs(const char *path, mode_t mode, struct err *e) MUST_CHECK;		  // with parents
int fd_open_dir(int dirfd, const char *name, struct err *e) MUST_CHECK;
int fd_sync_dir(int dirfd, struct err *e) MUST_CHECK;
// Removes a file or a whole tree of any depth below dirfd, never following links, never crossing a
// mount (a mount inside ends it with -EBUSY). Gone already is fine.
int fd_remove_tree(int dirfd, const char *name, struct err *e) MUST_CHECK;
// flock on name (made when missing; taken again when the file was replaced meanwhile), waiting up
// to wait_ms. On failure kind unavailable, naming the holder's pid where /proc/locks tells it.
// Returns the descriptor whose closing ends the lock.
int fd_lock(int dirfd, const char *name, bool exclusive, int wait_ms, struct err *e) MUST_CHECK;
int fd_set_nonblock(int fd, bool on, struct err *e) MUST_CHECK;
// SCM_RIGHTS
int fd_send(int sock, const int *fds, size_t n, const void *data, size_t len,
	    struct err *e) MUST_CHECK;
// Receives up to max descriptors (CLOEXEC) and up to size bytes; *ret_len 0 at the end of the
// stream.
int fd_recv(int sock, int *fds, size_t max, size_t *ret_n, void *data, size_t size, size_t *ret_len,
	    struct err *e) MUST_CHECK;
// Makes sure that 0, 1 and 2 are open, and marks all above CLOEXEC.
void fd_sanitize(void);
// AF_UNIX stream sockets by directory descriptor and name: goes through /proc/self/fd/N/NAME, so
// that the length of the full path does not matter (sun_path holds 108 bytes).
int fd_unix_listen(int dirfd, const char *name, mode_t mode, int backlog, struct err *e) MUST_CHECK;
int fd_unix_connect(int dirfd, const char *name, struct err *e) MUST_CHECK;
