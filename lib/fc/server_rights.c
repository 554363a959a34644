// SPDX-License-Identifier: MIT
#include <fcntl.h>

#include "fc/qemu_confine.h"
#include "fc/server_parts.h"

// The jail, and the device that TAPs are attached by where everybody may open it.
static int keep_to_root(int root_fd, struct err *e)
{
	cleanup_fd int tun = open("/dev/net/tun", O_PATH | O_CLOEXEC);
	const struct sandbox_path paths[] = {
		{ root_fd, SANDBOX_READ | SANDBOX_LIST | SANDBOX_WRITE },
		{ tun, SANDBOX_READ | SANDBOX_WRITE },
	};

	return sandbox_paths(paths, tun < 0 ? 1 : 2, e);
}

int server_drop_rights(const struct server *s, struct err *e)
{
	void *filter = NULL;

	if (sandbox_become(s->confined.uid, s->confined.gid, e) < 0 || sandbox_no_new_privs(e) < 0)
		return -e->no;
	if (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0)
		return err_set(e, EPERM, "rights were dropped and came back");
	if (s->root_fd != AT_FDCWD && keep_to_root(s->root_fd, e) < 0)
		return -e->no;
	if (qemu_filter_make(QEMU_PROCESS_SERVER, s->confined.strict, &filter, e) < 0)
		return -e->no;
	return sandbox_filter_load(filter, e);
}
