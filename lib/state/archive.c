// SPDX-License-Identifier: MIT
#include "state/archive.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "audit/files.h"
#include "base/fault.h"
#include "base/fd.h"

static int archive_file(int from, int to, const char *name, struct err *e)
{
	cleanup_fd int fd = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fchmod(fd, AUDIT_FILE_MODE) < 0 || linkat(from, name, to, name, 0) < 0 ||
	    fsync(fd) < 0)
		return err_sys(e, "archive %s", name);
	return 0;
}

// An earlier destroy that came this far and no further: its archive has this very log.
static bool is_archived(const struct store *node, const struct store *tenant)
{
	cleanup_archives struct audit_archives a = ARCHIVES_NONE;
	struct err ignored = { 0 };
	struct stat ours, theirs;
	path_text path;

	if (archives_find(tenant->name, &a, &ignored) < 0)
		return false;
	base_cut(path, sizeof(path), "archive/%s/" AUDIT_LOG, a.names[a.len - 1]);
	return fstatat(tenant->dir, AUDIT_LOG, &ours, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstatat(node->dir, path, &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
	       ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

static int link_files(const struct store *node, const struct store *tenant, struct err *e)
{
	cleanup_draft struct store_draft d = STORE_DRAFT_NONE;
	char id[NAME_MAX_LEN + 32], now[32];
	struct timespec t;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	if (!gmtime_r(&t.tv_sec, &tm) || !strftime(now, sizeof(now), "%Y%m%dT%H%M%S", &tm))
		return err_set(e, EOVERFLOW, "time");
	base_cut(id, sizeof(id), "%s-%s.%03dZ", tenant->name, now, (int)(t.tv_nsec / 1000000));
	if (fd_mkdir(node->dir, "archive", 0700, e) < 0 ||
	    store_draft_begin(node, "archive", id, &d, e) < 0)
		return -e->no;
	if (fchmod(d.dir, 0700) < 0)
		return err_sys(e, "set mode of archive/%s", id);
	for (size_t i = 0; trail_files[i]; i++)
		if (archive_file(tenant->dir, d.dir, trail_files[i], e) < 0)
			return -e->no;
	if (unlinkat(d.dir, "lock", 0) < 0) // nothing changes there any more
		return err_sys(e, "remove archive/%s/lock", id);
	return store_draft_commit(&d, e);
}

int archive_audit(const struct store *node, const struct store *tenant, struct audit_trail *trail,
		  struct err *e)
{
	struct audit_event event = { .action = AUDIT_TENANT_DESTROYED };

	if (COPY(event.at.tenant, tenant->name) < 0)
		return err_set(e, ENAMETOOLONG, "%s", tenant->name);
	if (trail_open(trail, tenant->dir, tenant->name, e) < 0)
		return err_wrap(e, "audit log");
	if (trail->last_action != AUDIT_TENANT_DESTROYED && trail_add(trail, &event, e) < 0)
		return err_wrap(e, "audit log");
	if (fault_point("tenant-archive"))
		return err_sys(e, "archive");
	return is_archived(node, tenant) ? 0 : link_files(node, tenant, e);
}
