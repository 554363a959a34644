// SPDX-License-Identifier: MIT
// Rotation: audit.log becomes audit.log.1, which is packed aside and put in place as .1.gz. Each
// step is one rename, so that whoever comes next sees how far it got:
//	.1 and no .1.gz		not packed yet
//	.1 and .1.gz		packed, and only .1 is left to remove (a free .1.gz was made before)
#include <fcntl.h>
#include <sys/stat.h>
#include <zlib.h>

#include "audit/trail.h"
#include "base/fault.h"
#include "base/fd.h"

#define PLAIN  AUDIT_LOG ".1"
#define PACKED AUDIT_LOG ".1.gz"
#define ASIDE  ".new-" AUDIT_LOG ".1.gz"
#define BLOCK  (64 * KIB)

const char *const trail_files[] = {
	AUDIT_LOG ".3.gz", AUDIT_LOG ".2.gz", PACKED, PLAIN, AUDIT_LOG, NULL
};

static void gz_freep(gzFile *z)
{
	if (*z)
		(void)gzclose(*z);
}

static gzFile gz_open(int fd, const char *mode, struct err *e)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3); // gzclose closes it
	gzFile z = copy < 0 ? NULL : gzdopen(copy, mode);

	if (!z) {
		(void)err_sys(e, "zlib");
		if (copy >= 0)
			(void)close(copy);
	}
	return z;
}

static int gz_says(gzFile z, struct err *e)
{
	int code;
	const char *text = gzerror(z, &code);

	return code == Z_ERRNO ? err_sys(e, "zlib") : err_set(e, EBADMSG, "zlib: %s", text);
}

int trail_pack_read(int fd, uint64_t max, struct buf *out, struct err *e)
{
	cleanup(gz_freep) gzFile z = gz_open(fd, "rb", e);
	cleanup_free char *block = base_alloc(1, BLOCK);
	int n;

	if (!z)
		return -e->no;
	while ((n = gzread(z, block, BLOCK)) > 0) {
		if (out->len + (size_t)n > max)
			return err_set(e, EBADMSG, "holds more than %llu bytes",
				       (unsigned long long)max);
		buf_add(out, block, (size_t)n);
	}
	if (n < 0)
		return gz_says(z, e);
	// Cut short it reads like a whole one, until it is closed.
	n = gzclose(steal_ptr(&z));
	return n == Z_OK ? 0 : err_set(e, EBADMSG, "zlib: the file is cut short");
}

static int pack(int from, int to, struct err *e)
{
	cleanup(gz_freep) gzFile z = gz_open(to, "wb", e);
	cleanup_free char *block = base_alloc(1, BLOCK);
	ssize_t n;

	if (!z)
		return -e->no;
	while ((n = read(from, block, BLOCK)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read " PLAIN);
		if (gzwrite(z, block, (unsigned)n) != n)
			return gz_says(z, e);
	}
	n = gzclose(steal_ptr(&z));
	return n == Z_OK ? 0 : err_set(e, n == Z_ERRNO ? errno : EIO, "zlib: write");
}

static int pack_aside(int dir, struct err *e)
{
	const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
	cleanup_fd int from = openat(dir, PLAIN, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	cleanup_fd int to = -1;

	if (from < 0)
		return err_sys(e, "open " PLAIN);
	to = openat(dir, ASIDE, flags, AUDIT_FILE_MODE);
	if (to < 0)
		return err_sys(e, "create " ASIDE);
	if (fault_point("audit-pack"))
		return err_sys(e, "pack " PLAIN);
	if (pack(from, to, e) < 0)
		return err_wrap(e, "pack " PLAIN);
	return fsync(to) < 0 ? err_sys(e, "sync " ASIDE) : 0;
}

static bool there(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int trail_finish_rotation(int dir, struct err *e)
{
	if (!there(dir, PLAIN))
		return 0;
	if (!there(dir, PACKED)) {
		if (pack_aside(dir, e) < 0) {
			(void)unlinkat(dir, ASIDE, 0); // a full disk should not stay full for it
			return -e->no;
		}
		if (fault_point("audit-packed") || renameat(dir, ASIDE, dir, PACKED) < 0)
			return err_sys(e, "rename " ASIDE);
		if (fd_sync_dir(dir, e) < 0)
			return -e->no;
	}
	if (fault_point("audit-unlink") || unlinkat(dir, PLAIN, 0) < 0)
		return err_sys(e, "remove " PLAIN);
	return fd_sync_dir(dir, e);
}

// Makes .1.gz free: those before the first gap move up; without a gap the oldest one goes.
static int shift(int dir, struct err *e)
{
	char from[32], to[32];
	int gap = 1;

	for (; gap < AUDIT_KEPT; gap++) {
		base_cut(from, sizeof(from), AUDIT_LOG ".%d.gz", gap);
		if (!there(dir, from))
			break;
	}
	for (int n = gap; n > 1; n--) {
		base_cut(from, sizeof(from), AUDIT_LOG ".%d.gz", n - 1);
		base_cut(to, sizeof(to), AUDIT_LOG ".%d.gz", n);
		if (fault_point("audit-shift") || renameat(dir, from, dir, to) < 0)
			return err_sys(e, "rename %s", from);
	}
	return fd_sync_dir(dir, e);
}

int trail_rotate(struct audit_trail *t, bool *ret_changed, struct err *e)
{
	*ret_changed = t->fd >= 0 && t->size > 0;
	if (!*ret_changed)
		return 0;
	if (trail_finish_rotation(t->dir, e) < 0 || shift(t->dir, e) < 0)
		return -e->no;
	if (fault_point("audit-rename") || renameat(t->dir, AUDIT_LOG, t->dir, PLAIN) < 0)
		return err_sys(e, "rename " AUDIT_LOG);
	(void)close(steal_fd(&t->fd));
	t->size = 0;
	return trail_finish_rotation(t->dir, e);
}
