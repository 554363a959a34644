// SPDX-License-Identifier: MIT
#include "guest/stage1.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

#define MODULES	     "/modules"
#define ORDER	     MODULES "/order"
#define ROOT_WAIT_MS 10000

static char cmdline[4096];

static int failed(const char *what, const char *name)
{
	(void)fprintf(stderr, "mvm-guestd: stage 1: %s %s: %s\n", what, name, strerror(errno));
	return -1;
}

bool stage1_wanted(void)
{
	return getpid() == 1 && access(ORDER, F_OK) == 0;
}

static void insert_modules(void)
{
	cleanup_file FILE *f = fopen(ORDER, "re");
	char line[128], path[160];

	while (f && fgets(line, sizeof(line), f)) {
		cleanup_fd int fd = -1;

		line[strcspn(line, "\n")] = '\0';
		(void)snprintf(path, sizeof(path), MODULES "/%s", line);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		// A driver that is missing shows later, as what it should have driven; ENODEV is a
		// faster variant that this CPU does not have.
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST &&
			       errno != ENODEV))
			(void)failed("insert", line);
	}
}

static void read_cmdline(void)
{
	cleanup_fd int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, cmdline, sizeof(cmdline) - 1);

	cmdline[n > 0 ? n : 0] = '\0';
	cmdline[strcspn(cmdline, "\n")] = '\0';
}

// The last "key=value" of the kernel's command line, as the kernel itself would have it.
static const char *argument(const char *key, const char *otherwise, char out[static 256])
{
	size_t key_len = strlen(key);

	(void)snprintf(out, 256, "%s", otherwise);
	for (const char *p = cmdline; *p; p += strcspn(p, " ")) {
		p += strspn(p, " ");
		if (strncmp(p, key, key_len) == 0 && p[key_len] == '=')
			(void)snprintf(out, 256, "%.*s", (int)strcspn(p + key_len + 1, " "),
				       p + key_len + 1);
	}
	return out;
}

static int mount_lower(void)
{
	static const char *const types[] = { "erofs", "squashfs", "ext4" };
	const struct timespec pause = { 0, 5000000 };
	char root[256];

	(void)argument("root", "/dev/vda", root);
	for (int waited = 0; access(root, F_OK) < 0; waited += 5) {
		if (waited >= ROOT_WAIT_MS)
			return failed("wait for", root);
		(void)nanosleep(&pause, NULL);
	}
	for (size_t i = 0; i < COUNT(types); i++)
		if (mount(root, "/lower", types[i], MS_RDONLY | MS_NOATIME, NULL) == 0)
			return 0;
	return failed("mount", root);
}

// The root drive stays read-only. What a guest writes beside /data lives in its RAM and ends with
// it: an overlay, so that software which writes anywhere works as it does elsewhere.
static int mount_root(void)
{
	char value[256];

	if (strcmp(argument("mvm.overlay", "1", value), "0") == 0)
		return mount("/lower", "/new", NULL, MS_BIND, NULL) < 0 ? failed("bind", "/lower")
									: 0;
	if (mount("rw", "/rw", "tmpfs", 0, "size=50%,mode=0755") < 0)
		return failed("mount", "/rw");
	if (mkdir("/rw/upper", 0755) < 0 || mkdir("/rw/work", 0755) < 0)
		return failed("make", "/rw/upper");
	if (mount("root", "/new", "overlay", MS_NOATIME,
		  "lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work") < 0)
		return failed("mount", "overlay");
	return 0;
}

// The initramfs is RAM that nobody else would give back.
static void remove_below(int dir, dev_t dev)
{
	DIR *d = fdopendir(dir);

	if (!d)
		return;
	for (struct dirent *it; (it = readdir(d)) != NULL;) {
		struct stat st;

		if (strcmp(it->d_name, ".") == 0 || strcmp(it->d_name, "..") == 0 ||
		    fstatat(dirfd(d), it->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != dev)
			continue;
		if (S_ISDIR(st.st_mode)) {
			remove_below(openat(dirfd(d), it->d_name, O_DIRECTORY | O_CLOEXEC), dev);
			(void)unlinkat(dirfd(d), it->d_name, AT_REMOVEDIR);
		} else {
			(void)unlinkat(dirfd(d), it->d_name, 0);
		}
	}
	(void)closedir(d);
}

static int switch_root(void)
{
	int old = open("/", O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (old < 0 || fstat(old, &st) < 0)
		return failed("open", "/");
	if (mount("/dev", "/new/dev", NULL, MS_MOVE, NULL) < 0)
		return failed("move", "/dev");
	(void)umount2("/proc", MNT_DETACH);
	remove_below(old, st.st_dev); // closes it
	if (chdir("/new") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return failed("switch to", "the root drive");
	return 0;
}

void stage1_run(void)
{
	static const char *const dirs[] = { "/dev", "/proc", "/lower", "/rw", "/new" };
	char init[256], *argv[] = { init, NULL };

	for (size_t i = 0; i < COUNT(dirs); i++)
		(void)mkdir(dirs[i], 0755);
	if (mount("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=0755") < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) {
		(void)failed("mount", "/dev and /proc");
		return;
	}
	read_cmdline();
	insert_modules();
	if (mount_lower() < 0 || mount_root() < 0 || switch_root() < 0)
		return;
	(void)execv(argument("init", "/sbin/mvm-guestd", init), argv);
	(void)failed("run", init);
}
