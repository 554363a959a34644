// SPDX-License-Identifier: MIT
#include "meta/confine.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/num.h"
#include "sys/sandbox.h"

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

int confine_drop(const struct confine_user *u, int dir, unsigned files, struct err *e)
{
	const struct sandbox_path below = { dir, SANDBOX_READ };

	if (limit(RLIMIT_CORE, 0, e) < 0 || limit(RLIMIT_NOFILE, files, e) < 0 ||
	    sandbox_become(u->uid, u->gid, e) < 0 || limit(RLIMIT_NPROC, 0, e) < 0)
		return -e->no;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, "not dumpable");
	return sandbox_no_new_privs(e) < 0 ? -e->no : sandbox_paths(&below, 1, e);
}

// What libc, libmicrohttpd and we do between two guests; no socket is made, nothing is executed,
// and files are opened for reading only. Another call than these fails, and the server goes on: a
// libc that is newer than this list is a likelier reason than a guest that has taken over.
static const struct sandbox_rule rules[] = {
	SANDBOX_NO_CODE,
	{ .call = "openat", .arg = 2, .mask = O_ACCMODE | O_CREAT | O_TRUNC, .value = O_RDONLY },
	{ .call = "ioctl", .arg = 1, .mask = UINT32_MAX, .value = SIOCGIFINDEX },
	{ 0 }
};

int confine_filter_make(void **ret, struct err *e)
{
	static const struct sandbox_filter filter = {
		.calls = sandbox_calls_plain,
		.rules = rules,
		.other = SANDBOX_EPERM,
	};

	return sandbox_filter_make(&filter,
				   "accept4 recvfrom recvmsg sendto sendmsg shutdown setsockopt "
				   "getsockopt getpeername ftruncate",
				   ret, e);
}
