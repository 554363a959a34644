// SPDX-License-Identifier: MIT
// The parent of one VMM where there is no systemd: runs the same steps as mvm-instance@.service,
// keeps the console, and holds the instance's sup.lock for as long as anything of it lives.
#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/path.h"
#include "base/proc.h"
#include "base/tool.h"
#include "life/sup.h"
#include "life/sup_run.h"
#include "state/alloc.h"
#include "state/instance.h"
#include "state/node.h"
#include "sys/cgroup.h"
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>

#define STOP_MS 300000

static bool arg_force;
static const struct opt stop_opts[] = { { 0, OPT_FLAG, "force", NULL,
					  "end the VMM at once, without asking the guest",
					  &arg_force, 0, 0, NULL, NULL },
					OPT_END };

static int one_address(const struct call *call, struct address *a, struct err *e)
{
	return address_parse(call->argv[0], ADDRESS_INSTANCE, ADDRESS_INSTANCE, a, e);
}

static int run_start(const struct call *call, struct buf *out, struct err *e)
{
	struct address a;
	struct instance i;
	int told[2];
	char said = 'F';
	pid_t pid;

	(void)out;
	// Before anything is made: nobody would own the run directory of an instance that is not
	// there.
	if (one_address(call, &a, e) < 0 || instance_load(&a, NULL, &i, e) < 0)
		return -e->no;
	if (pipe2(told, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	pid = fork();
	switch (pid) {
	case -1:
		return err_sys(e, "fork");
	case 0:
		(void)close(told[0]);
		(void)setsid();
		_exit(sup_run(&a, told[1], e) < 0);
	default:
		(void)close(told[1]);
	}
	while (read(told[0], &said, 1) < 0 && errno == EINTR)
		;
	(void)close(told[0]);
	// Who failed has its lock until its end, and whoever asks next is to find nobody.
	while (said != 'R' && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (said == 'B')
		return err_kind(e, ERR_UNAVAILABLE, "another mvm-sup has it");
	return said == 'R' ? 0 : err_kind(e, ERR_FAILED, "the start failed");
}

// Killing the init ends all below it; an mvm-sup that lives sees its end and finishes.
static int end_init(const struct sup_record *r, struct err *e)
{
	struct err gone = { 0 };
	cleanup_fd int init = r->init.pid ? proc_id_open(&r->init, &gone) : -1;

	if (init < 0)
		return 0;
	return proc_kill(init, SIGKILL, e) < 0 ? -e->no : proc_wait_gone(init, STOP_MS, e);
}

static int run_stop(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_fd int sup = -1;
	struct sup_record r;
	struct err gone = { 0 };
	struct address a;

	(void)out;
	if (one_address(call, &a, e) < 0 || sup_read(a.instance, &r, e) < 0)
		return -e->no;
	if (r.phase == SUP_INACTIVE)
		return 0;
	sup = proc_id_open(&r.sup, &gone);
	if (sup >= 0 && proc_kill(sup, SIGTERM, e) < 0)
		return -e->no;
	if ((arg_force || sup < 0) && end_init(&r, e) < 0)
		return -e->no;
	return sup < 0 ? 0 : proc_wait_gone(sup, STOP_MS, e);
}

static int run_status(const struct call *call, struct buf *out, struct err *e)
{
	struct sup_record r;
	struct address a;

	(void)out;
	if (one_address(call, &a, e) < 0 || sup_read(a.instance, &r, e) < 0)
		return -e->no;
	return puts(sup_phase_names[r.phase]) < 0 ? err_sys(e, "write") : 0;
}

static int run_list(const struct call *call, struct buf *out, struct err *e)
{
	path_text dir;
	DIR *all;
	struct dirent *d;
	int r = 0;

	(void)call;
	(void)out;
	path_join(dir, path_run(), "instances");
	all = opendir(dir);
	if (!all)
		return errno == ENOENT ? 0 : err_sys(e, "open %s", dir);
	while (r == 0 && (d = readdir(all))) {
		struct err no_name = { 0 };
		struct sup_record rec;
		struct address a;
		address_text text;

		if (name_check_instance(d->d_name, &no_name) < 0 ||
		    alloc_find(d->d_name, &a, NULL, &no_name) < 0)
			continue;
		r = sup_read(d->d_name, &rec, e);
		address_print(&a, text);
		if (r == 0)
			(void)printf("%s %s\n", text, sup_phase_names[rec.phase]);
	}
	(void)closedir(all);
	return r;
}

static int run_limits(const struct call *call, struct buf *out, struct err *e)
{
	uint64_t memory, cpu, tasks;
	cleanup_fd int group = -1;
	struct cgroup_host host;
	struct address a;
	node_id_text node;
	bool set;

	(void)out;
	if (one_address(call, &a, e) < 0 || num_u64(call->argv[1], 1, 1 << 24, &memory, e) < 0 ||
	    num_u64(call->argv[2], 1, 100000, &cpu, e) < 0 ||
	    num_u64(call->argv[3], 1, 1 << 20, &tasks, e) < 0)
		return -e->no;
	if (cgroup_find(&host, e) < 0 || node_id_load(node, e) < 0)
		return -e->no;
	// "limits: none" is what stats and the warning at the start say then.
	if (!cgroup_has_limits(&host))
		return 0;
	group = cgroup_open(&host, node, &a, e);
	if (group < 0)
		return -e->no;
	const struct cgroup_limits l = { .memory_max = memory * MIB,
					 .cpu_quota_us = cpu * 1000,
					 .pids_max = tasks };

	return cgroup_limit(group, &l, &set, e);
}

static int run_forget(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_fd int run = -1;
	struct cgroup_host host;
	struct address a;
	node_id_text node;
	path_text dir;

	(void)out;
	if (one_address(call, &a, e) < 0 || cgroup_find(&host, e) < 0 || node_id_load(node, e) < 0)
		return -e->no;
	if (host.root[0] && cgroup_remove(&host, node, &a, 5000, e) < 0)
		return -e->no;
	path_join(dir, path_run(), "instances");
	run = open(dir, O_DIRECTORY | O_CLOEXEC);
	if (run < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open %s", dir);
	return fd_remove_tree(run, a.instance, e);
}

#define VERB(word, text, most, fn, table)                                             \
	{                                                                             \
		.name = (word), .args = "TENANT/POOL/INSTANCE", .summary = (text),    \
		.opts = (table), .min_args = (most), .max_args = (most), .run = (fn), \
		.flags = VERB_RAW                                                     \
	}

int main(int argc, char **argv)
{
	static const struct verb verbs[] = {
		VERB("start", "start it and return when it runs or has failed", 1, run_start, NULL),
		VERB("stop", "end it and return when nothing of it runs", 1, run_stop, stop_opts),
		VERB("status", "print inactive, activating, active or deactivating", 1, run_status,
		     NULL),
		VERB("forget", "remove its control group and run directory", 1, run_forget, NULL),
		{ .name = "limits",
		  .args = "TENANT/POOL/INSTANCE MEMORY_MIB CPU_PERCENT TASKS",
		  .summary = "set the limits of its control group",
		  .min_args = 4,
		  .max_args = 4,
		  .run = run_limits,
		  .flags = VERB_RAW },
		{ .name = "list",
		  .args = "",
		  .summary = "print address and status of each",
		  .run = run_list,
		  .flags = VERB_RAW },
	};
	static const struct tool tool = { .name = "mvm-sup",
					  .summary = "keeps a VMM where there is no systemd",
					  .verbs = verbs,
					  .verb_count = COUNT(verbs),
					  .details = "The direct backend's one program; users call "
						     "'mvm instance start' and 'stop'." };

	return tool_main(&tool, argc, argv);
}
