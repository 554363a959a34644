// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "snap/pages.h"

// In steps, so that a cancel is seen in time.
#define STEP (8 * MIB)

// copy_file_range is not for every pair of files; pages are.
static int copy_by_pages(int from, int to, uint64_t size, const struct pages_cancel *cancel,
			 struct err *e)
{
	cleanup_free struct pages_chunk *c = base_alloc(1, sizeof(*c));
	struct pages_scan s = { .fd = -1 };
	int more;

	if (pages_open(&s, from, PAGES_CONTENT, size, e) < 0)
		return -e->no;
	while ((more = pages_next(&s, c, e)) > 0)
		if (pages_cancelled(cancel, e) < 0 || pages_write(to, c, e) < 0)
			return -e->no;
	return more;
}

static bool not_for_these(int no)
{
	return no == EXDEV || no == EOPNOTSUPP || no == EINVAL || no == ENOSYS || no == EPERM;
}

// 1: this pair of files cannot be copied so.
static int copy_extent(int from, int to, off_t at, off_t end, const struct pages_cancel *cancel,
		       struct err *e)
{
	off_t out = at;

	while (at < end) {
		if (pages_cancelled(cancel, e) < 0)
			return -e->no;
		ssize_t n =
			copy_file_range(from, &at, to, &out, MIN((uint64_t)(end - at), STEP), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return not_for_these(errno) ? 1 : err_sys(e, "copy");
		if (n == 0)
			return err_kind(e, ERR_DAMAGED, "became shorter while it was copied");
	}
	return 0;
}

static int copy_data(int from, int to, uint64_t size, const struct pages_cancel *cancel,
		     struct err *e)
{
	off_t at = 0;

	while (at < (off_t)size && (at = lseek(from, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(from, at, SEEK_HOLE);
		int r;

		if (end < 0)
			break;
		r = copy_extent(from, to, at, end, cancel, e);
		if (r < 0)
			return r;
		if (r > 0)
			return copy_by_pages(from, to, size, cancel, e);
		at = end;
	}
	if (at >= 0 || errno == ENXIO)
		return 0;
	return errno == EINVAL ? copy_by_pages(from, to, size, cancel, e) : err_sys(e, "copy");
}

int pages_copy(int from, int to, uint64_t size, const struct pages_cancel *cancel, bool *ret_cloned,
	       struct err *e)
{
	struct pages_scan s = { .fd = -1 };
	bool cloned = false;

	if (pages_open(&s, from, PAGES_CONTENT, size, e) < 0)
		return -e->no;
	if (fault_point("pages-clone"))
		return err_sys(e, "clone");
	cloned = ioctl(to, FICLONE, from) == 0;
	if (ret_cloned)
		*ret_cloned = cloned;
	if (cloned)
		return 0;
	if (errno == ENOSPC || errno == EDQUOT || errno == EIO)
		return err_sys(e, "clone");
	if (ftruncate(to, (off_t)size) < 0)
		return err_sys(e, "set the size");
	return copy_data(from, to, size, cancel, e);
}
