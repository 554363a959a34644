// SPDX-License-Identifier: MIT
// Drives are known by the label of their file system, so that an absent one shifts none of the
// others. Secrets and configuration are copied and their drives let go: the host rewrites them.
//
// A copy is a read-only tmpfs of its own below HOME; its place is a symbolic link to it, since a
// link is exchanged by one rename, and no reader ever finds nothing, or a mixture.
#include "guest/machine.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/trailer.h"
#include "guest/agent_core.h"
#include "guest/drive.h"

#define COPY_MAX (64 * MIB)
#define HOME	 "/run/.mvm-drives"
#define STAGE	 HOME "/drive"
#define TRIES	 20 // while the host is at its rewriting
#define TRY_MS	 50

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
		if (mount(path, to, types[i], MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_SILENT | flags,
			  NULL) == 0)
			return 0;
	return err_sys(e, "mount %s on %s", path, to);
}

// Where a copy is made, and what it is made of.
struct copying {
	const char *drive; // the device
	char at[64];	   // the tmpfs
	uint8_t digest[GUEST_DIGEST];
	struct drive_copy copy;
};

static int copy_mounted(struct copying *k, struct err *e)
{
	cleanup_fd int from = open(STAGE, O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int to = open(k->at, O_DIRECTORY | O_CLOEXEC);

	if (from < 0 || to < 0)
		return err_sys(e, "open");
	return drive_copy(from, to, &k->copy, e);
}

static int fill_copy(struct copying *k, const char *options, struct err *e)
{
	int r;

	if (mount_drive(k->drive, STAGE, MS_RDONLY, e) < 0)
		return -e->no;
	r = copy_mounted(k, e);
	(void)umount2(STAGE, MNT_DETACH);
	if (r == 0 && mount(NULL, k->at, NULL,
			    MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		r = err_sys(e, "make read-only");
	return r;
}

static void drop_copy(const char *at)
{
	(void)umount2(at, MNT_DETACH);
	(void)rmdir(at);
}

static int make_copy(struct copying *k, struct err *e)
{
	char options[96];
	int r;

	if (base_fmt(options, sizeof(options), "mode=%s,uid=%u,gid=%u,size=%llu",
		     k->copy.secret ? "0500" : "0555", k->copy.uid, k->copy.gid,
		     (unsigned long long)(COPY_MAX + MIB)) < 0 ||
	    COPY(k->at, HOME "/copy-XXXXXX") < 0)
		return err_set(e, ENAMETOOLONG, "options");
	(void)mkdir(HOME, 0755);
	(void)mkdir(STAGE, 0700);
	if (!mkdtemp(k->at) || chmod(k->at, 0755) < 0)
		return err_sys(e, "make %s", k->at);
	if (mount("copy", k->at, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		r = err_sys(e, "mount tmpfs");
	else
		r = fill_copy(k, options, e);
	if (r < 0)
		drop_copy(k->at);
	return r;
}

// What the drive says it holds, past everything that this kernel remembers of it.
static int look(const char *drive, struct trailer *ret, struct err *e)
{
	cleanup_fd int fd = open(drive, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "open %s", drive);
	if (ioctl(fd, BLKFLSBUF, 0) < 0)
		return err_sys(e, "drop what is remembered of %s", drive);
	return trailer_check(fd, ret, e);
}

// The same before and after: the copy is of one state, whatever the host did meanwhile.
static int try_copy(struct copying *k, const uint8_t *digest, struct err *e)
{
	struct trailer before = { 0 }, after = { 0 };

	k->copy.left = COPY_MAX;
	k->copy.depth = 0;
	if (look(k->drive, &before, e) < 0)
		return -e->no;
	if (digest && memcmp(before.digest, digest, GUEST_DIGEST) != 0)
		return err_kind(e, ERR_CONFLICT, "it holds something else than the host has said");
	if (make_copy(k, e) < 0)
		return -e->no;
	memcpy(k->digest, before.digest, sizeof(k->digest));
	if (look(k->drive, &after, e) == 0 &&
	    memcmp(before.digest, after.digest, sizeof(before.digest)) == 0)
		return 0;
	drop_copy(k->at);
	return e->no ? -e->no : err_kind(e, ERR_FAILED, "it was rewritten meanwhile");
}

static int copy_drive(struct copying *k, const uint8_t *digest, struct err *e)
{
	for (int i = 1; try_copy(k, digest, e) < 0; i++) {
		if (i == TRIES)
			return -e->no;
		err_clear(e);
		clock_sleep_ms(TRY_MS);
	}
	return 0;
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

// Where a link cannot stand (a root that is read-only, a directory that holds something) the copy
// is mounted there itself.
static int move_copy(const char *at, const char *to, struct err *e)
{
	(void)mkdir(to, 0755);
	if (is_mounted(to))
		(void)umount2(to, MNT_DETACH);
	if (mount(at, to, NULL, MS_MOVE, NULL) < 0)
		return err_sys(e, "move to %s", to);
	(void)rmdir(at);
	return 0;
}

static int put_in_place(const char *at, const char *to, struct err *e)
{
	char old[64] = "", link[64];
	ssize_t n = readlink(to, old, sizeof(old) - 1);

	if (base_fmt(link, sizeof(link), "%s.new", to) < 0)
		return err_set(e, ENAMETOOLONG, "%s", to);
	(void)unlink(link);
	if (n < 0 && !is_mounted(to))
		(void)rmdir(to);
	if (symlink(at, link) < 0 || rename(link, to) < 0) {
		(void)unlink(link);
		return move_copy(at, to, e);
	}
	if (n > 0 && str_starts(old, HOME "/copy-"))
		drop_copy(old);
	return 0;
}

static const struct {
	enum guest_drive which;
	const char *label, *to;
} copied[] = {
	{ GUEST_DRIVE_SECRETS, "mvm-secrets", "/run/secrets" },
	{ GUEST_DRIVE_CONFIG, "mvm-config", "/etc/mvm-config" },
};

// What each copy is of, and where it is: whoever wakes from a capture mostly has what it is told
// of.
static struct {
	char at[64];
	uint8_t digest[GUEST_DIGEST];
} placed[COUNT(copied)];

static bool has_copy(size_t i, const uint8_t *digest)
{
	char at[64] = "";

	return digest && placed[i].at[0] && memcmp(placed[i].digest, digest, GUEST_DIGEST) == 0 &&
	       readlink(copied[i].to, at, sizeof(at) - 1) > 0 && str_eq(at, placed[i].at);
}

static void note_copy(size_t i, const struct copying *k)
{
	memcpy(placed[i].at, k->at, sizeof(placed[i].at));
	memcpy(placed[i].digest, k->digest, GUEST_DIGEST);
}

// digest NULL: whatever it holds. An absent drive is none.
static int place_copy(size_t i, const struct spawn_user *owner, const uint8_t *digest,
		      bool *ret_found, struct err *e)
{
	struct copying k = { .copy = { .secret = copied[i].which == GUEST_DRIVE_SECRETS } };
	char path[32];

	*ret_found = has_copy(i, digest);
	if (*ret_found)
		return 0;
	*ret_found = find_drive(copied[i].label, path) == 0;
	if (!*ret_found)
		return 0;
	k.drive = path;
	if (k.copy.secret) {
		k.copy.uid = owner->uid;
		k.copy.gid = owner->gid;
	}
	if (copy_drive(&k, digest, e) < 0)
		return err_wrap(e, "drive %s", copied[i].label);
	if (put_in_place(k.at, copied[i].to, e) < 0) {
		drop_copy(k.at);
		return err_wrap(e, "drive %s", copied[i].label);
	}
	note_copy(i, &k);
	return 0;
}

int machine_data(bool *ret_found, struct err *e)
{
	char path[32];

	*ret_found = find_drive("mvm-data", path) == 0;
	if (!*ret_found)
		return 0;
	(void)mkdir("/data", 0755);
	if (!is_mounted("/data") && mount_drive(path, "/data", 0, e) < 0)
		return err_wrap(e, "drive mvm-data");
	return 0;
}

// Nothing that this kernel remembers of the disk may meet the one that is there afterwards.
int machine_data_leave(struct err *e)
{
	cleanup_fd int fd = -1;
	char path[32];

	if (find_drive("mvm-data", path) < 0)
		return 0;
	if (is_mounted("/data") && umount2("/data", 0) < 0)
		return errno == EBUSY ? err_kind(e, ERR_UNAVAILABLE, "/data is in use")
				      : err_sys(e, "unmount /data");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, BLKFLSBUF, 0) < 0)
		return err_sys(e, "drop what is remembered of %s", path);
	return 0;
}

int machine_drives(const char *user, uint32_t *ret_found, struct err *e)
{
	struct spawn_user owner;
	bool data;

	*ret_found = 0;
	if (agent_spawn_find_user(user, &owner, e) < 0)
		return -e->no;
	if (machine_data(&data, e) < 0)
		return -e->no;
	*ret_found |= data ? GUEST_DRIVE_DATA : 0;
	for (size_t i = 0; i < COUNT(copied); i++) {
		bool found;

		if (place_copy(i, &owner, NULL, &found, e) < 0)
			return -e->no;
		*ret_found |= found ? copied[i].which : 0;
	}
	return 0;
}

int machine_drive_changed(enum guest_drive which, const char *user,
			  const uint8_t digest[GUEST_DIGEST], struct err *e)
{
	size_t i = which == GUEST_DRIVE_SECRETS ? 0 : 1;
	struct spawn_user owner;
	bool found;

	if (agent_spawn_find_user(user, &owner, e) < 0 ||
	    place_copy(i, &owner, digest, &found, e) < 0)
		return -e->no;
	return found ? 0 : err_kind(e, ERR_MISSING, "there is no drive %s", copied[i].label);
}
