// SPDX-License-Identifier: MIT
#include "fc/jail_filter.h"

#include <linux/sched.h>
#include <sys/socket.h>

#include "sys/sandbox.h"

// The list stands in mvm-fc-launch(8) as well. Not in it though upstream's own filters have them:
// io_uring (drives are of the Sync engine).
static const char begin_calls[] =
	"execve arch_prctl set_tid_address set_robust_list prlimit64 getrlimit setrlimit access "
	"faccessat faccessat2 open openat creat stat lstat statx fstatfs statfs readlink "
	"readlinkat getdents64 getcwd uname sysinfo umask mkdir mkdirat mknod mknodat chown fchown "
	"fchownat chmod fchmod fchmodat unlink unlinkat rmdir rename chdir fchdir chroot "
	"pivot_root mount umount2 unshare setsid setuid setgid setgroups setresuid setresgid "
	"getuid geteuid getgid getegid getppid capget sendfile copy_file_range dup dup2 dup3 "
	"close_range prctl seccomp wait4";
static const char run_calls[] =
	" accept4 bind listen connect getsockopt setsockopt getsockname getpeername shutdown "
	"recvfrom recvmsg sendto sendmsg epoll_create1 eventfd2 timerfd_create timerfd_settime "
	"pipe2 ioctl ftruncate fallocate fsync fdatasync memfd_create mincore msync tkill kill "
	"sched_getaffinity preadv pwritev mmap mprotect";
static const struct sandbox_rule rules[] = {
	{ .call = "clone", .arg = 0, .mask = CLONE_THREAD, .value = CLONE_THREAD },
	{ .call = "clone3", .error = ENOSYS },
	{ .call = "socket", .arg = 0, .mask = UINT32_MAX, .value = AF_UNIX },
	{ .call = "socketpair", .arg = 0, .mask = UINT32_MAX, .value = AF_UNIX },
	{ 0 }
};

int jail_filter_make(void **ret, struct err *e)
{
	cleanup_free char *calls = base_printf("%s%s", begin_calls, run_calls);
	const struct sandbox_filter f = { .calls = calls, .rules = rules, .other = SANDBOX_KILL };

#ifndef __x86_64__
	return err_kind(e, ERR_UNAVAILABLE, "seccomp strict has no list for this architecture yet");
#endif
	return sandbox_filter_make(&f, sandbox_calls_plain, ret, e);
}
