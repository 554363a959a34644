// SPDX-License-Identifier: MIT
#include "fc/server_parts.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

// Whoever is not root has none; what could come back by an exec goes too.
static int drop_capabilities(struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_sys(e, "clear ambient capabilities");
	if (syscall(SYS_capset, &head, none) < 0)
		return err_sys(e, "clear capabilities");
	return 0;
}

static int drop_bounding(struct err *e)
{
	for (int cap = 0; cap < 64; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 1)
			continue; // none, or beyond the kernel's last one
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return err_sys(e, "drop capability %d", cap);
	}
	return 0;
}

int server_drop_rights(uint32_t uid, uint32_t gid, struct err *e)
{
	// Needs CAP_SETPCAP, so before the ids; without that one the set stays, and no_new_privs
	// makes it useless.
	if (prctl(PR_CAPBSET_READ, CAP_SETPCAP, 0, 0, 0) == 1 && drop_bounding(e) < 0)
		return -e->no;
	if (setgroups(0, NULL) < 0)
		return err_sys(e, "drop groups");
	if (setresgid(gid, gid, gid) < 0)
		return err_sys(e, "become group %u", gid);
	if (setresuid(uid, uid, uid) < 0)
		return err_sys(e, "become user %u", uid);
	if (drop_capabilities(e) < 0)
		return -e->no;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "set no_new_privs");
	if (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0)
		return err_set(e, EPERM, "rights were dropped and came back");
	return 0;
}
