// SPDX-License-Identifier: MIT
// Objects appear and vanish by one rename each; what a crash leaves has a name that says so.
#include "state/store.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/fd.h"

// The directory <parent>/<sub>; made when it is missing and wanted.
static int open_sub(const struct store *parent, const char *sub, bool make, struct err *e)
{
	if (sub[0] && make && fd_mkdir(parent->dir, sub, STORE_DIR_MODE, e) < 0)
		return -e->no;
	return fd_open_dir(parent->dir, sub[0] ? sub : ".", e);
}

static int draft_lock_file(int dir, struct err *e)
{
	cleanup_fd int fd = openat(
		dir, "lock", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, STORE_FILE_MODE);

	if (fd < 0 || fchmod(fd, STORE_FILE_MODE) < 0)
		return err_sys(e, "create lock");
	return 0;
}

int store_draft_begin(const struct store *parent, const char *sub, const char *id,
		      struct store_draft *ret, struct err *e)
{
	cleanup_draft struct store_draft d = STORE_DRAFT_NONE;

	assert(parent->lock >= 0); // so that a .new- found here is nobody's
	if (base_fmt(d.name, sizeof(d.name), STORE_NEW "%s", id) < 0)
		return err_usage(e, "'%.64s' is too long", id);
	d.parent = open_sub(parent, sub, true, e);
	if (d.parent < 0)
		return -e->no;
	if (fd_remove_tree(d.parent, d.name, e) < 0)
		return err_wrap(e, "remove %s", d.name);
	if (fault_point("draft-mkdir")) {
		err_sys(e, "make %s", d.name);
		return -e->no;
	}
	if (fd_mkdir(d.parent, d.name, STORE_DIR_MODE, e) < 0)
		return -e->no;
	d.dir = fd_open_dir(d.parent, d.name, e);
	if (d.dir < 0)
		return -e->no;
	if (draft_lock_file(d.dir, e) < 0)
		return -e->no;
	*ret = d;
	d = (struct store_draft)STORE_DRAFT_NONE;
	return 0;
}

int store_draft_mkdir(const struct store_draft *d, const char *name, mode_t mode, struct err *e)
{
	return fd_mkdir(d->dir, name, mode, e);
}

int store_draft_save(const struct store_draft *d, const char *file, const struct field *tab,
		     const void *in, struct err *e)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_fd int fd = -1;

	codec_print(tab, in, &text);
	buf_char(&text, '\n');
	fd = fault_point("draft-create") ? -1 : openat(d->dir, file, flags, STORE_FILE_MODE);
	if (fd < 0 || fchmod(fd, STORE_FILE_MODE) < 0)
		return err_sys(e, "create %s", file);
	if (fault_point("draft-write"))
		return err_sys(e, "write %s", file);
	if (fd_write_all(fd, text.data, text.len, e) < 0)
		return err_wrap(e, "%s", file);
	if (fault_point("draft-sync") || fsync(fd) < 0)
		return err_sys(e, "sync %s", file);
	return 0;
}

int store_draft_commit(struct store_draft *d, struct err *e)
{
	const char *id = d->name + strlen(STORE_NEW);

	if (fd_sync_dir(d->dir, e) < 0)
		return -e->no;
	if (fault_point("draft-rename") ||
	    renameat2(d->parent, d->name, d->parent, id, RENAME_NOREPLACE) < 0) {
		if (errno == EEXIST)
			return err_kind(e, ERR_CONFLICT, "%s: exists already", id);
		return err_sys(e, "rename %s", d->name);
	}
	// From here on the object exists: what is left to do is to make that last.
	(void)close(d->dir);
	d->dir = -1;
	d->name[0] = '\0';
	if (fault_point("draft-sync-dir")) {
		err_sys(e, "sync %s", id);
		return -e->no;
	}
	return fd_sync_dir(d->parent, e);
}

void store_draft_drop(struct store_draft *d)
{
	struct err ignored = { 0 };

	if (d->dir >= 0)
		(void)close(d->dir);
	if (d->parent >= 0 && d->name[0] && fd_remove_tree(d->parent, d->name, &ignored) < 0)
		d->name[0] = '\0'; // what is left is swept later
	if (d->parent >= 0)
		(void)close(d->parent);
	*d = (struct store_draft)STORE_DRAFT_NONE;
}

int store_remove(const struct store *parent, const char *sub, const char *id, struct err *e)
{
	cleanup_fd int dir = -1;
	char old[80];

	assert(parent->lock >= 0);
	if (base_fmt(old, sizeof(old), STORE_OLD "%s", id) < 0)
		return err_usage(e, "'%.64s' is too long", id);
	dir = open_sub(parent, sub, false, e);
	if (dir < 0)
		return e->no == ENOENT ? 0 : -e->no;
	if (fd_remove_tree(dir, old, e) < 0)
		return err_wrap(e, "remove %s", old);
	if (fault_point("remove-rename") || renameat(dir, id, dir, old) < 0) {
		if (errno == ENOENT)
			return 0;
		return err_sys(e, "rename %s", id);
	}
	if (fd_sync_dir(dir, e) < 0)
		return -e->no;
	if (fault_point("remove-tree"))
		return err_sys(e, "remove %s", old);
	// Somebody who waited for the object's lock may have made its lock file again meanwhile.
	for (int tries = 3; fd_remove_tree(dir, old, e) < 0; tries--)
		if (tries == 0 || e->no != ENOTEMPTY)
			return -e->no;
	return 0;
}
