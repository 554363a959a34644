// SPDX-License-Identifier: MIT
// What the three processes of a confined guest may ask of the kernel. The lists stand in
// mvm-fc-qemu(8) as well.
#include <linux/sched.h>
#include <sys/socket.h>

#include "fc/qemu_confine.h"

// QEMU 7.2 with libc, glib and what they begin with, TCG or KVM. Not here, among much else:
// sockets, io_uring, namespaces and mounts, tracing, keys, BPF, making or naming files. Its own
// filter, which it loads when it has begun, denies execve and other users' ids on top.
static const char qemu_calls[] =
	"execve arch_prctl set_tid_address set_robust_list prlimit64 getrlimit setrlimit access "
	"faccessat faccessat2 open openat preadv pwritev preadv2 pwritev2 stat statx fstatfs "
	"statfs "
	"readlink readlinkat getdents64 getcwd chdir fchdir chroot umask uname sysinfo getuid "
	"geteuid "
	"getgid getegid getgroups setgroups setgid setuid getppid gettid capget prctl seccomp "
	"pipe2 eventfd2 signalfd4 timerfd_create timerfd_settime timerfd_gettime timer_create "
	"timer_settime timer_delete epoll_create1 select pselect6 dup dup2 dup3 close_range ioctl "
	"ftruncate fallocate fadvise64 fdatasync fsync sync_file_range memfd_create mincore msync "
	"mlock "
	"membarrier recvmsg recvfrom sendmsg sendto getsockopt setsockopt getsockname getpeername "
	"shutdown rt_sigpending rt_sigtimedwait tkill clock_getres times getrusage "
	"sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam "
	"sched_getscheduler get_mempolicy set_mempolicy mbind mmap mprotect";
static const struct sandbox_rule qemu_rules[] = {
	// Threads and nothing else; clone3 hides its flags, and libc does without.
	{ .call = "clone", .arg = 0, .mask = CLONE_THREAD, .value = CLONE_THREAD },
	{ .call = "clone3", .error = ENOSYS },
	// QEMU tries it for its event loop and goes on without.
	{ .call = "io_uring_setup", .error = ENOSYS },
	// libc asks for a name service's daemon when it looks a user up, and can do without.
	{ .call = "socket", .arg = 0, .mask = UINT32_MAX, .value = AF_UNIX, .error = EACCES },
	{ 0 }
};

static const char server_calls[] =
	"openat openat2 statx fstatfs readlink readlinkat access faccessat faccessat2 unlink "
	"unlinkat "
	"chmod fchmod fchmodat umask getrlimit prlimit64 setrlimit uname sysinfo getuid geteuid "
	"getgid "
	"getegid sched_getaffinity prctl bind listen accept4 connect recvfrom recvmsg sendto "
	"sendmsg shutdown getsockopt setsockopt getsockname getpeername dup dup2 dup3 pipe2 "
	"eventfd2 timerfd_create timerfd_settime epoll_create1 memfd_create ftruncate fallocate "
	"fsync fdatasync msync mincore signalfd4 copy_file_range sendfile ioctl kill wait4 waitid "
	"pidfd_open "
	"pidfd_send_signal flock";
static const struct sandbox_rule server_rules[] = {
	SANDBOX_NO_CODE,
	{ .call = "socket", .arg = 0, .mask = UINT32_MAX, .value = AF_UNIX },
	{ .call = "socketpair", .arg = 0, .mask = UINT32_MAX, .value = AF_UNIX },
	{ 0 }
};

static const char starter_calls[] = "recvmsg sendmsg kill wait4 waitid getuid getppid prctl";
static const struct sandbox_rule starter_rules[] = { SANDBOX_NO_CODE, { 0 } };

// Plain QEMU keeps to its own filter, a list of what is denied; the other two are ours and small.
int qemu_filter_make(enum qemu_process of, bool strict, void **ret, struct err *e)
{
	static const struct sandbox_filter all[] = {
		[QEMU_PROCESS_QEMU] = { .calls = qemu_calls, .rules = qemu_rules },
		[QEMU_PROCESS_SERVER] = { .calls = server_calls, .rules = server_rules },
		[QEMU_PROCESS_STARTER] = { .calls = starter_calls, .rules = starter_rules },
	};
	struct sandbox_filter f = all[of];

	*ret = NULL;
	if (of == QEMU_PROCESS_QEMU && !strict)
		return 0;
	f.other = strict ? SANDBOX_KILL : SANDBOX_EPERM;
	return sandbox_filter_make(&f, sandbox_calls_plain, ret, e);
}
