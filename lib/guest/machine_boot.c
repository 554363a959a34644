// SPDX-License-Identifier: MIT
#include "guest/machine.h"

#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

#include "base/log.h"

static const struct {
	const char *from, *to, *type, *options;
	unsigned long flags;
} mounts[] = {
	{ "proc", "/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "sys", "/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "dev", "/dev", "devtmpfs", "mode=0755", MS_NOSUID },
	{ "pts", "/dev/pts", "devpts", "mode=0620,gid=5,ptmxmode=0666", MS_NOSUID | MS_NOEXEC },
	{ "shm", "/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "run", "/run", "tmpfs", "mode=0755,size=20%", MS_NOSUID | MS_NODEV },
	{ "tmp", "/tmp", "tmpfs", "mode=1777,size=50%", MS_NOSUID | MS_NODEV },
	{ "cgroup", "/sys/fs/cgroup", "cgroup2", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
};

static const struct {
	const char *to, *name;
} links[] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
};

static void loopback_up(void)
{
	cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r) < 0)
		log_warn("", "loopback: %s", strerror(errno));
}

void machine_boot(void)
{
	if (getpid() != 1)
		return;
	(void)umask(022);
	for (size_t i = 0; i < COUNT(mounts); i++) {
		(void)mkdir(mounts[i].to, 0755);
		if (mount(mounts[i].from, mounts[i].to, mounts[i].type, mounts[i].flags,
			  mounts[i].options) < 0 &&
		    errno != EBUSY) // BUSY: the initramfs has
			log_warn("", "mount %s: %s", mounts[i].to, strerror(errno));
	}
	for (size_t i = 0; i < COUNT(links); i++)
		if (symlink(links[i].to, links[i].name) < 0 && errno != EEXIST)
			log_warn("", "link %s: %s", links[i].name, strerror(errno));
	(void)mkdir("/run/lock", 01777);
	loopback_up();
	// Ctrl-Alt-Del is a request to us (SIGINT) and not the end in the middle of a write.
	(void)reboot(RB_DISABLE_CAD);
}

void machine_fast_reset(void)
{
	cleanup_fd int fd = open("/sys/kernel/reboot/type", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, "triple", 6);
}

static void unmount_data(void)
{
	// Only what keeps data; the rest is read-only or RAM. A mount that is still busy (it cannot
	// be: nobody is left) is at least made read-only.
	if (umount2("/data", 0) < 0 && errno == EBUSY)
		(void)mount(NULL, "/data", NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

// A distribution's init ends its services and then resets; 39 is its SIGRTMIN+5, in the C library
// that it is built with.
static void down_as_service(void)
{
	if (geteuid() == 0 && access("/run/systemd/system", F_OK) == 0)
		(void)kill(1, 39);
	exit(0);
}

void machine_down(const char *why)
{
	cleanup_fd int console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);

	sync();
	if (getpid() == 1)
		unmount_data();
	sync();
	if (console >= 0) {
		dprintf(console, "\nmvm-guestd: going down: %s\n", why);
		(void)tcdrain(console); // or the reset takes its last bytes along
	}
	if (getpid() != 1)
		down_as_service();
	(void)reboot(RB_AUTOBOOT);
}
