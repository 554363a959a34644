// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"

// The pid in a line of /proc/locks when it is a flock on that inode, else 0:
//	5: FLOCK  ADVISORY  WRITE 4711 08:01:131090 0 EOF
// Waiters have "->" behind the number. *same_device tells whether the device fits, too.
static int lock_line(char *line, const struct stat *st, bool *same_device)
{
	struct err ignored = { 0 };
	char inode[32], device[32];
	uint64_t pid;

	base_cut(inode, sizeof(inode), ":%" PRIu64 " ", (uint64_t)st->st_ino);
	base_cut(device, sizeof(device), "%02x:%02x", major(st->st_dev), minor(st->st_dev));
	char *at = strstr(line, inode);
	if (!at || !strstr(line, ": FLOCK "))
		return 0;
	*at = '\0';
	char *word = strrchr(line, ' ');
	if (!word)
		return 0;
	*same_device = str_eq(word + 1, device);
	*word = '\0';
	word = strrchr(line, ' ');
	if (!word || num_u64(word + 1, 1, INT32_MAX, &pid, &ignored) < 0)
		return 0;
	return (int)pid;
}

// Who holds a flock on that file, 0 when the kernel does not tell (another PID namespace). On
// overlay and btrfs the device is not the one stat tells, so a fitting inode will do.
static int lock_holder(const struct stat *st)
{
	cleanup_file FILE *f = fopen("/proc/locks", "re");
	bool same_device = false;
	char line[256];
	int holder = 0;

	while (f && !same_device && fgets(line, sizeof(line), f)) {
		int pid = lock_line(line, st, &same_device);

		if (pid)
			holder = pid;
	}
	return holder;
}

static int held_by_other(int fd, const char *name, struct err *e)
{
	cleanup_buf struct buf comm = BUF_INIT;
	struct err ignored = { 0 };
	char path[64];
	struct stat st;

	int pid = fstat(fd, &st) == 0 ? lock_holder(&st) : 0;
	if (pid == 0)
		return err_kind(e, ERR_UNAVAILABLE, "%s: locked by another process", name);
	base_cut(path, sizeof(path), "/proc/%d/comm", pid);
	if (fd_read_file(AT_FDCWD, path, 64, &comm, &ignored) < 0 || comm.len == 0)
		return err_kind(e, ERR_UNAVAILABLE, "%s: locked by pid %d", name, pid);
	return err_kind(e, ERR_UNAVAILABLE, "%s: locked by pid %d (%.*s)", name, pid,
			(int)strcspn(comm.data, "\n"), comm.data);
}

// The file behind name may have gone (its object was destroyed) while we waited for the lock: then
// what we hold guards nothing.
static bool still_there(int fd, int dirfd, const char *name)
{
	struct stat ours, named;

	return fstat(fd, &ours) == 0 && fstatat(dirfd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

int fd_lock(int dirfd, const char *name, bool exclusive, int wait_ms, struct err *e)
{
	const int op = (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB;
	int64_t deadline = clock_ms() + wait_ms;
	int64_t pause_ms = 2;

	for (;;) {
		cleanup_fd int fd =
			openat(dirfd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

		if (fd < 0)
			return err_sys(e, "open %s", name);
		while (flock(fd, op) < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EWOULDBLOCK)
				return err_sys(e, "lock %s", name);
			if (clock_left(deadline) == 0)
				return held_by_other(fd, name, e);
			// A blocking flock would need a signal to end it; polling is fair enough
			// here.
			clock_sleep_ms(MIN(pause_ms, clock_left(deadline)));
			pause_ms = MIN(pause_ms * 2, 50);
		}
		if (still_there(fd, dirfd, name))
			return steal_fd(&fd);
	}
}
