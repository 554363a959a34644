// SPDX-License-Identifier: MIT
// Drives are known by the label of their file system, so that an absent one shifts none of the
// others. Secrets and configuration are copied and their drives let go: the host rewrites them.
#include "guest/machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"
#include "guest/agent_core.h"

#define COPY_MAX   (64 * MIB)
#define COPY_DEPTH 8
#define STAGE	   "/run/.mvm-drive" // drive and copy, each at its turn
#define STAGE_NEW  "/run/.mvm-copy"

// ext4: magic at 1080, label of 16 bytes at 1144. EROFS: magic at 1024, label of 16 at 1088.
bool drive_label(int fd, char out[17])
{
	uint8_t b[1160];
	size_t at = 0;

	memset(out, 0, 17);
	if (pread(fd, b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return false;
	if (b[1080] == 0x53 && b[1081] == 0xef)
		at = 1144;
	else if (memcmp(b + 1024, "\xe2\xe1\xf5\xe0", 4) == 0)
		at = 1088;
	else
		return false;
	memcpy(out, b + at, 16);
	return true;
}

// The device of the drive of that label; -1 when there is none, which is no error.
static int find_drive(const char *label, char path[static 32])
{
	char name[17];

	for (int letter = 'a'; letter <= 'z'; letter++) {
		cleanup_fd int fd = -1;

		(void)snprintf(path, 32, "/dev/vd%c", letter);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && drive_label(fd, name) && str_eq(name, label))
			return 0;
	}
	return -1;
}

static int mount_drive(const char *path, const char *to, unsigned long flags, struct err *e)
{
	static const char *const types[] = { "ext4", "erofs" };

	for (size_t i = 0; i < COUNT(types); i++)
		if (mount(path, to, types[i], MS_NOSUID | MS_NODEV | flags, NULL) == 0)
			return 0;
	return err_sys(e, "mount %s on %s", path, to);
}

static int copy_file(int from, int to_dir, const char *name, struct drive_copy *c, struct err *e)
{
	cleanup_fd int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
	char bytes[16384];
	ssize_t n;

	if (to < 0)
		return err_sys(e, "make %s", name);
	while ((n = read(from, bytes, sizeof(bytes))) > 0) {
		if ((uint64_t)n > c->left)
			return err_set(e, EFBIG, "%s: the drive holds too much", name);
		c->left -= (uint64_t)n;
		if (fd_write_all(to, bytes, (size_t)n, e) < 0)
			return err_wrap(e, "%s", name);
	}
	if (n < 0)
		return err_sys(e, "read %s", name);
	return fchmod(to, c->secret ? 0400 : 0444) < 0 ? err_sys(e, "mode of %s", name) : 0;
}

static int copy_entry(int from_dir, int to_dir, const char *name, struct drive_copy *c,
		      struct err *e)
{
	cleanup_fd int from =
		openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	cleanup_fd int to = -1;
	struct stat st;

	if (from < 0 && (errno == ELOOP || errno == ENXIO))
		return 0; // links and sockets have no business there
	if (from < 0 || fstat(from, &st) < 0)
		return err_sys(e, "open %s", name);
	if (S_ISREG(st.st_mode)) {
		if (copy_file(from, to_dir, name, c, e) < 0)
			return -e->no;
	} else if (S_ISDIR(st.st_mode) && c->depth < COPY_DEPTH) {
		if (mkdirat(to_dir, name, 0700) < 0)
			return err_sys(e, "make %s", name);
		to = fd_open_dir(to_dir, name, e);
		c->depth++;
		if (to < 0 || drive_copy(from, to, c, e) < 0)
			return err_wrap(e, "%s", name);
		c->depth--;
		if (fchmod(to, c->secret ? 0500 : 0555) < 0)
			return err_sys(e, "%s", name);
	} else {
		return 0;
	}
	if (fchownat(to_dir, name, c->uid, c->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "owner of %s", name);
	return 0;
}

int drive_copy(int from_dir, int to_dir, struct drive_copy *c, struct err *e)
{
	int own = fcntl(from_dir, F_DUPFD_CLOEXEC, 3);
	cleanup_dir DIR *d = own < 0 ? NULL : fdopendir(own);

	if (!d)
		return err_sys(e, "read directory");
	for (struct dirent *it; (it = readdir(d)) != NULL;) {
		if (str_eq(it->d_name, ".") || str_eq(it->d_name, "..") ||
		    str_eq(it->d_name, "lost+found"))
			continue;
		if (copy_entry(from_dir, to_dir, it->d_name, c, e) < 0)
			return -e->no;
	}
	return 0;
}

static int copy_mounted(struct drive_copy *c, struct err *e)
{
	cleanup_fd int from = open(STAGE, O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int to = open(STAGE_NEW, O_DIRECTORY | O_CLOEXEC);

	if (from < 0 || to < 0)
		return err_sys(e, "open");
	return drive_copy(from, to, c, e);
}

static int fill_copy(const char *path, struct drive_copy *c, const char *options, struct err *e)
{
	int r;

	if (mount_drive(path, STAGE, MS_RDONLY | MS_NOEXEC, e) < 0)
		return -e->no;
	if (mount("copy", STAGE_NEW, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		r = err_sys(e, "mount tmpfs");
	else
		r = copy_mounted(c, e);
	(void)umount2(STAGE, MNT_DETACH);
	return r;
}

// The copy is built aside and then moved to its place, whole: a reader sees the old or the new one.
static int copy_drive(const char *path, const char *to, struct drive_copy *c, struct err *e)
{
	char options[96];
	int r;

	if (base_fmt(options, sizeof(options), "mode=%s,uid=%u,gid=%u,size=%llu",
		     c->secret ? "0500" : "0555", c->uid, c->gid,
		     (unsigned long long)(COPY_MAX + MIB)) < 0)
		return err_set(e, ENAMETOOLONG, "options");
	(void)mkdir(STAGE, 0700);
	(void)mkdir(STAGE_NEW, 0700);
	(void)mkdir(to, 0755);
	r = fill_copy(path, c, options, e);
	if (r == 0 && mount(NULL, STAGE_NEW, NULL,
			    MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		r = err_sys(e, "make read-only");
	if (r == 0 && mount(STAGE_NEW, to, NULL, MS_MOVE, NULL) < 0)
		r = err_sys(e, "move to %s", to);
	if (r < 0)
		(void)umount2(STAGE_NEW, MNT_DETACH);
	return r;
}

static bool is_mounted(const char *path)
{
	struct stat here, parent;
	char up[64];

	if (base_fmt(up, sizeof(up), "%s/..", path) < 0 || stat(path, &here) < 0 ||
	    stat(up, &parent) < 0)
		return false;
	return here.st_dev != parent.st_dev;
}

static int place_copy(const char *label, const char *to, const struct spawn_user *owner,
		      bool *ret_found, struct err *e)
{
	struct drive_copy c = { .left = COPY_MAX };
	char path[32];

	*ret_found = find_drive(label, path) == 0;
	if (!*ret_found)
		return 0;
	if (owner) {
		c.uid = owner->uid;
		c.gid = owner->gid;
		c.secret = true;
	}
	if (is_mounted(to)) // a second welcome: the newer copy takes its place
		(void)umount2(to, MNT_DETACH);
	return copy_drive(path, to, &c, e) < 0 ? err_wrap(e, "drive %s", label) : 0;
}

int machine_drives(const char *user, uint32_t *ret_found, struct err *e)
{
	struct spawn_user owner;
	char path[32];
	bool found;

	*ret_found = 0;
	if (agent_spawn_find_user(user, &owner, e) < 0)
		return -e->no;
	if (find_drive("mvm-data", path) == 0) {
		(void)mkdir("/data", 0755);
		if (!is_mounted("/data") && mount_drive(path, "/data", 0, e) < 0)
			return err_wrap(e, "drive mvm-data");
		*ret_found |= GUEST_DRIVE_DATA;
	}
	if (place_copy("mvm-secrets", "/run/secrets", &owner, &found, e) < 0)
		return -e->no;
	*ret_found |= found ? GUEST_DRIVE_SECRETS : 0;
	if (place_copy("mvm-config", "/etc/mvm-config", NULL, &found, e) < 0)
		return -e->no;
	*ret_found |= found ? GUEST_DRIVE_CONFIG : 0;
	return 0;
}
