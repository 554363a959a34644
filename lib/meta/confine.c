// SPDX-License-Identifier: MIT
#include "meta/confine.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/num.h"

// Later than the kernel headers of Debian 12.
#define ACCESS_TRUNCATE (1ULL << 14)

int confine_user_find(const char *user, struct confine_user *ret, struct err *e)
{
	struct err ignored = { 0 };
	uint64_t number;
	const struct passwd *p;

	if (num_u64(user, 0, UINT32_MAX - 1, &number, &ignored) == 0) {
		p = getpwuid((uid_t)number);
		ret->uid = (uid_t)number;
		ret->gid = p ? p->pw_gid : (gid_t)number;
		return 0;
	}
	p = getpwnam(user);
	if (!p) {
		(void)err_kind(e, ERR_FAILED, "this machine has no user '%.40s' to run as", user);
		return err_hint(e,
				"systemd-sysusers makes it where mvm is installed; --user root, or "
				"MVM_METAD_USER=root, does without");
	}
	ret->uid = p->pw_uid;
	ret->gid = p->pw_gid;
	return 0;
}

static int limit(int what, rlim_t most, struct err *e)
{
	const struct rlimit l = { most, most };

	return setrlimit(what, &l) < 0 ? err_sys(e, "set a limit") : 0;
}

static int drop_capabilities(struct err *e)
{
	const struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[2] = { 0 };

	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, none) < 0)
		return err_sys(e, "drop capabilities");
	return 0;
}

static int drop_ids(const struct confine_user *u, struct err *e)
{
	// Not ours to drop without CAP_SETPCAP: fine, no_new_privs keeps what is dropped dropped.
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	if (geteuid() == 0 && setgroups(0, NULL) < 0)
		return err_sys(e, "drop groups");
	if (setresgid(u->gid, u->gid, u->gid) < 0 || setresuid(u->uid, u->uid, u->uid) < 0)
		return err_sys(e, "become user %u", u->uid);
	return drop_capabilities(e);
}

static uint64_t landlock_all(int version)
{
	uint64_t all = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
		       LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
		       LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
		       LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
		       LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
		       LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		       LANDLOCK_ACCESS_FS_MAKE_SYM;

	if (version >= 2)
		all |= LANDLOCK_ACCESS_FS_REFER;
	return version >= 3 ? all | ACCESS_TRUNCATE : all;
}

static int landlock(int dir, struct err *e)
{
	const int version =
		(int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	const struct landlock_ruleset_attr rules = { .handled_access_fs = landlock_all(version) };
	const struct landlock_path_beneath_attr below = {
		.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE,
		.parent_fd = dir,
	};
	cleanup_fd int fd = -1;

	if (version < 1) // the kernel has none, or has it switched off
		return 0;
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof(rules), 0);
	if (fd < 0 ||
	    syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return err_sys(e, "landlock");
	return 0;
}

int confine_drop(const struct confine_user *u, int dir, unsigned files, struct err *e)
{
	if (limit(RLIMIT_CORE, 0, e) < 0 || limit(RLIMIT_NOFILE, files, e) < 0 ||
	    drop_ids(u, e) < 0 || limit(RLIMIT_NPROC, 0, e) < 0)
		return -e->no;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, "no_new_privs");
	return landlock(dir, e);
}

struct rule {
	int call;
	unsigned args;
	struct scmp_arg_cmp arg;
};
#define PLAIN(name)                \
	{                          \
		SCMP_SYS(name), 0, \
		{                  \
			0          \
		}                  \
	}
#define MASKED(name, n, m, v)                                            \
	{                                                                \
		SCMP_SYS(name), 1, SCMP_CMP(n, SCMP_CMP_MASKED_EQ, m, v) \
	}

// What libc, libmicrohttpd and we do between two guests; no socket is made, nothing is executed,
// and files are opened for reading only.
static const struct rule rules[] = {
	PLAIN(accept4),
	PLAIN(recvfrom),
	PLAIN(recvmsg),
	PLAIN(sendto),
	PLAIN(sendmsg),
	PLAIN(writev),
	PLAIN(shutdown),
	PLAIN(setsockopt),
	PLAIN(getsockopt),
	PLAIN(getpeername),
	PLAIN(epoll_ctl),
	PLAIN(epoll_wait),
	PLAIN(epoll_pwait),
	PLAIN(poll),
	PLAIN(ppoll),
	PLAIN(read),
	PLAIN(write),
	PLAIN(pwrite64),
	PLAIN(ftruncate),
	PLAIN(close),
	PLAIN(fstat),
	PLAIN(newfstatat),
	PLAIN(lseek),
	PLAIN(fcntl),
	PLAIN(brk),
	PLAIN(munmap),
	PLAIN(mremap),
	PLAIN(madvise),
	PLAIN(futex),
	PLAIN(getrandom),
	PLAIN(clock_gettime),
	PLAIN(gettimeofday),
	PLAIN(clock_nanosleep),
	PLAIN(time),
	PLAIN(rt_sigprocmask),
	PLAIN(rt_sigaction),
	PLAIN(rt_sigreturn),
	PLAIN(restart_syscall),
	PLAIN(sched_yield),
	PLAIN(getpid),
	PLAIN(gettid),
	PLAIN(tgkill),
	PLAIN(exit),
	PLAIN(exit_group),
	MASKED(mmap, 2, PROT_EXEC, 0),
	MASKED(mprotect, 2, PROT_EXEC, 0),
	MASKED(openat, 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY),
	MASKED(ioctl, 1, UINT32_MAX, SIOCGIFINDEX),
};

int confine_filter_make(void **ret, struct err *e)
{
	// Another call than these fails, and the server goes on: a libc that is newer than this
	// list is a likelier reason than a guest that has taken over.
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = f ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < COUNT(rules); i++)
		r = seccomp_rule_add_array(f, SCMP_ACT_ALLOW, rules[i].call, rules[i].args,
					   &rules[i].arg);
	if (r < 0) {
		if (f)
			seccomp_release(f);
		return err_set(e, -r, "make the filter of system calls: %s", strerror(-r));
	}
	*ret = f;
	return 0;
}

void confine_filter_free(void *filter)
{
	seccomp_release(filter);
}

int confine_filter_load(void *filter, struct err *e)
{
	int r = seccomp_load(filter);

	seccomp_release(filter);
	return r < 0 ? err_set(e, -r, "load the filter of system calls: %s", strerror(-r)) : 0;
}
