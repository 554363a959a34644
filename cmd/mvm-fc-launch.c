// SPDX-License-Identifier: MIT
// Becomes the VMM: reads launch.json, leaves a helper behind and *executes* jailer or mvm-fc-qemu,
// so that whoever started it (systemd, or the init below mvm-sup) has the VMM as its own child,
// with its exact end.
#include "base/fd.h"
#include "base/log.h"
#include "base/tool.h"
#include "fc/jail_filter.h"
#include "guest/proto.h"
#include "life/helper.h"
#include "state/pool.h"
#include "sys/jail.h"
#include "sys/sandbox.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

// R has to be there before any guest can dial it, and belongs to the VM: the VMM connects to it.
static int bind_ready(const struct launch *l, int run, struct err *e)
{
	cleanup_fd int sock = -1;
	char name[32];

	if (base_fmt(name, sizeof(name), "v.sock_%u", GUEST_PORT_READY) < 0)
		return err_set(e, ENAMETOOLONG, "socket name");
	sock = fd_unix_listen(run, name, 0600, 4, e);
	if (sock < 0)
		return -e->no;
	if (fchownat(run, name, l->uid, l->uid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "chown %s", name);
	return steal_fd(&sock);
}

// Ours alone to write: the VM reads it, and shall not be able to change even its mode. More names
// has only what is written by nobody any more, as the memory of a named snapshot.
static int bind_one(const struct launch_bind *b, const struct jail *jail, struct err *e)
{
	cleanup_fd int fd = open(b->from, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open %s", b->from);
	if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_nlink != 1 && st.st_mode & 0222))
		return err_kind(e, ERR_DENIED, "%s is not a plain file of root's", b->from);
	return jail_bind(fd, jail->root, b->name, true, e);
}

static int bind_files(const struct launch *l, const struct jail *jail, struct err *e)
{
	const struct launch_bind *b = l->binds.items;

	for (size_t i = 0; i < l->binds.len; i++)
		if (bind_one(&b[i], jail, e) < 0)
			return err_wrap(e, "drive");
	return 0;
}

// Twice forked, so that the VMM gets no child it did not make and never has to reap one.
static int leave_helper(struct helper *h, struct err *e)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return err_sys(e, "fork the helper");
	if (pid > 0) {
		if (waitpid(pid, &status, 0) < 0 || status != 0)
			return err_kind(e, ERR_FAILED, "the helper did not start");
		return 0;
	}
	pid = fork();
	if (pid != 0)
		_exit(pid < 0);
	_exit(helper_run(h));
}

// Around jailer and Firecracker; mvm-fc-qemu has lists of its own for each of its processes.
static int filter_around(const struct launch *l, struct err *e)
{
	void *filter = NULL;

	if (l->seccomp != POOL_SECCOMP_STRICT || !str_eq(l->vmm, "firecracker"))
		return 0;
	if (jail_filter_make(&filter, e) < 0 || sandbox_filter_load(filter, e) < 0)
		return err_wrap(e, "seccomp strict");
	return 0;
}

static int become(const struct launch *l, struct err *e)
{
	const struct rlimit none = { 0, 0 };
	char *const *items = l->argv.items;
	char **argv = base_alloc(l->argv.len + 1, sizeof(*argv));

	for (size_t i = 0; i < l->argv.len; i++)
		argv[i] = items[i];
	// NOTIFY_SOCKET is the helper's: nothing below the VMM may speak to the manager.
	(void)unsetenv("NOTIFY_SOCKET");
	// Whatever backend this is, and whatever VMM: a core file would be the guest's memory.
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return err_sys(e, "forbid core dumps");
	(void)signal(SIGPIPE, SIG_DFL);
	if (filter_around(l, e) < 0)
		return -e->no;
	execv(argv[0], argv);
	return err_sys(e, "execute %s", argv[0]);
}

static int run(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_launch struct launch l = { 0 };
	struct helper h = { .launch = &l, .listen_fd = -1, .vmm_fd = -1 };
	cleanup_jail struct jail jail = JAIL_NONE;
	struct address a;

	(void)out;
	if (address_parse(call->argv[0], ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0 ||
	    launch_load(a.instance, &l, e) < 0)
		return -e->no;
	if (!str_eq(l.address, call->argv[0]))
		return err_kind(e, ERR_DAMAGED, "launch.json is of %s", l.address);
	if (!l.argv.len || **(char *const *)l.argv.items != '/')
		return err_kind(e, ERR_DAMAGED, "launch.json names no program");
	h.instance = a.instance;
	h.vmm_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (h.vmm_fd < 0)
		return err_sys(e, "pidfd of the launcher");
	if (jail_unshare_mounts(e) < 0 || jail_open(l.vmm, a.instance, l.uid, &jail, e) < 0 ||
	    bind_files(&l, &jail, e) < 0)
		return -e->no;
	h.run_fd = jail.run;
	h.listen_fd = bind_ready(&l, jail.run, e);
	if (h.listen_fd < 0 || leave_helper(&h, e) < 0)
		return -e->no;
	return become(&l, e);
}

int main(int argc, char **argv)
{
	static const struct verb verbs[] = {
		{ .args = "TENANT/POOL/INSTANCE",
		  .summary = "become the VMM of a prepared instance",
		  .min_args = 1,
		  .max_args = 1,
		  .run = run,
		  .flags = VERB_RAW },
	};
	static const struct tool tool = {
		.name = "mvm-fc-launch",
		.summary = "starts the VMM that 'mvm-instance prepare' described",
		.verbs = verbs,
		.verb_count = COUNT(verbs),
		.details =
			"Run by mvm-instance@.service and by mvm-sup; it reads launch.json in the "
			"instance's run directory and executes the jailer or mvm-fc-qemu."
	};

	return tool_main(&tool, argc, argv);
}
