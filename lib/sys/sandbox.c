// SPDX-License-Identifier: MIT
#include "sys/sandbox.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fault.h"

// Later than the kernel headers of Debian 12.
#define ACCESS_TRUNCATE (1ULL << 14)

const char sandbox_calls_plain[] =
	"read write readv writev pread64 pwrite64 close fstat newfstatat lseek fcntl poll ppoll "
	"epoll_ctl epoll_wait epoll_pwait brk munmap mremap madvise futex getrandom clock_gettime "
	"clock_nanosleep nanosleep gettimeofday time rt_sigprocmask rt_sigaction rt_sigreturn "
	"sigaltstack restart_syscall sched_yield getpid gettid tgkill rseq exit exit_group";

int sandbox_no_new_privs(struct err *e)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? err_sys(e, "no_new_privs") : 0;
}

void sandbox_drop_bounding(void)
{
	for (int cap = 0; cap < 64; cap++) // also those of newer kernels
		(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

int sandbox_drop_capabilities(uint64_t keep, struct err *e)
{
	const struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = { 0 };

	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (keep && syscall(SYS_capget, &head, sets) < 0)
		return err_sys(e, "look at the capabilities");
	for (int i = 0; i < 2; i++) {
		sets[i].permitted &= (uint32_t)(keep >> 32 * i);
		sets[i].effective &= (uint32_t)(keep >> 32 * i);
		sets[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &head, sets) < 0)
		return err_sys(e, "drop capabilities");
	return 0;
}

int sandbox_become(uid_t uid, gid_t gid, struct err *e)
{
	sandbox_drop_bounding(); // before the ids: it takes a right
	if (geteuid() == 0 && setgroups(0, NULL) < 0)
		return err_sys(e, "drop groups");
	if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return err_sys(e, "become user %u", uid);
	return sandbox_drop_capabilities(0, e);
}

// --- files

#define OF_FILES (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | ACCESS_TRUNCATE)

static uint64_t handled(int version)
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

static uint64_t rights(const struct sandbox_path *p, uint64_t all)
{
	uint64_t of = 0;
	struct stat st;

	if (p->access & SANDBOX_READ)
		of |= LANDLOCK_ACCESS_FS_READ_FILE;
	if (p->access & SANDBOX_LIST)
		of |= LANDLOCK_ACCESS_FS_READ_DIR;
	if (p->access & SANDBOX_WRITE)
		of |= LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
		      LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE |
		      ACCESS_TRUNCATE;
	if (fstat(p->fd, &st) == 0 && !S_ISDIR(st.st_mode))
		of &= OF_FILES;
	return of & all;
}

int sandbox_paths(const struct sandbox_path *paths, size_t n, struct err *e)
{
	const int version =
		(int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	const struct landlock_ruleset_attr rules = { .handled_access_fs = handled(version) };
	cleanup_fd int fd = -1;

	if (version < 1) // the kernel has none, or has it switched off
		return 0;
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof(rules), 0);
	if (fd < 0)
		return err_sys(e, "landlock");
	for (size_t i = 0; i < n; i++) {
		const struct landlock_path_beneath_attr below = {
			.allowed_access = rights(&paths[i], rules.handled_access_fs),
			.parent_fd = paths[i].fd,
		};

		if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0)
			return err_sys(e, "landlock");
	}
	if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return err_sys(e, "landlock");
	return 0;
}

// --- system calls

static int allow_words(scmp_filter_ctx f, const char *words)
{
	char name[32];
	int r = 0;

	for (const char *at = words; r == 0 && *at;) {
		size_t len = strcspn(at, " ");
		int call;

		base_cut(name, sizeof(name), "%.*s", (int)len, at);
		call = seccomp_syscall_resolve_name(name);
		if (call != __NR_SCMP_ERROR)
			r = seccomp_rule_add_array(f, SCMP_ACT_ALLOW, call, 0, NULL);
		at += len + (at[len] == ' ');
	}
	return r;
}

static int add_rules(scmp_filter_ctx f, const struct sandbox_rule *rule)
{
	int r = 0;

	for (; r == 0 && rule && rule->call; rule++) {
		const struct scmp_arg_cmp is = { .arg = rule->arg,
						 .op = SCMP_CMP_MASKED_EQ,
						 .datum_a = rule->mask,
						 .datum_b = rule->value };
		int call = seccomp_syscall_resolve_name(rule->call);

		if (call != __NR_SCMP_ERROR)
			r = seccomp_rule_add_array(
				f, rule->error ? SCMP_ACT_ERRNO(rule->error) : SCMP_ACT_ALLOW, call,
				rule->mask != 0, &is);
	}
	return r;
}

int sandbox_filter_make(const struct sandbox_filter *f, const char *more, void **ret, struct err *e)
{
	scmp_filter_ctx made = seccomp_init(f->other == SANDBOX_KILL ? SCMP_ACT_KILL_PROCESS
								     : SCMP_ACT_ERRNO(EPERM));
	int r = made ? 0 : -ENOMEM;

	if (r == 0)
		r = allow_words(made, f->calls);
	if (r == 0 && more)
		r = allow_words(made, more);
	if (r == 0)
		r = add_rules(made, f->rules);
	if (r < 0) {
		if (made)
			seccomp_release(made);
		return err_set(e, -r, "make the filter of system calls: %s", strerror(-r));
	}
	*ret = made;
	return 0;
}

void sandbox_filter_free(void *filter)
{
	if (filter)
		seccomp_release(filter);
}

int sandbox_filter_load(void *filter, struct err *e)
{
	int r = seccomp_load(filter);

	seccomp_release(filter);
	return r < 0 ? err_set(e, -r, "load the filter of system calls: %s", strerror(-r)) : 0;
}

int sandbox_can_kill(struct err *e)
{
	const uint32_t action = SECCOMP_RET_KILL_PROCESS;

	if (!fault_point("sandbox-kill") &&
	    syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
		return 0;
	return err_kind(e, ERR_UNAVAILABLE, "the kernel has no filters of system calls: %s",
			strerror(errno));
}

int sandbox_settle(const struct sandbox_path *paths, size_t n, const char *more,
		   const struct sandbox_rule *rules, struct err *e)
{
	const struct sandbox_filter f = { .calls = more, .rules = rules, .other = SANDBOX_EPERM };
	void *filter = NULL;

	if (sandbox_no_new_privs(e) < 0 || sandbox_paths(paths, n, e) < 0 ||
	    sandbox_filter_make(&f, sandbox_calls_plain, &filter, e) < 0)
		return -e->no;
	return sandbox_filter_load(filter, e);
}
