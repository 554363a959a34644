// SPDX-License-Identifier: MIT
#include "life/steps.h"
#include "audit/context.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/num.h"
#include "base/path.h"
#include "base/proc.h"
#include "guest/host.h"
#include "life/backend.h"
#include "life/held.h"
#include "life/launch.h"
#include "life/vm.h"
#include "life/wake.h"
#include "state/transition.h"
#include "sys/cgroup.h"
#include "sys/jail.h"
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>

#define ASK_MS	       5000  // until the agent has taken the request
#define LOADED_WAIT_MS 60000 // for a lock, once a capture is loaded
#define KILL_MS	       2000  // from SIGTERM to SIGKILL, and from that to giving up

// The VMM's process as the backend tells it; 0 when it tells none.
static int main_pid(struct proc_id *ret, struct err *e)
{
	const char *text = getenv("MAINPID");
	uint64_t pid;

	memset(ret, 0, sizeof(*ret));
	if (!text || !*text)
		return 0;
	if (num_u64(text, 1, INT32_MAX, &pid, e) < 0)
		return err_wrap(e, "MAINPID");
	return proc_id_get((pid_t)pid, ret, e);
}

// The unit's limits hold for what is in its group, where we are too. A jailer may move its VMM to a
// group that happens to have the program's name.
static int check_group(const struct proc_id *vmm, struct err *e)
{
	cleanup_fd int ours = -1, theirs = -1;
	struct cgroup_host host = { 0 };
	enum backend_kind kind;
	struct stat a, b;

	if (backend_kind(&kind, e) < 0 || cgroup_find(&host, e) < 0)
		return -e->no;
	if (kind != BACKEND_SYSTEMD || !host.root[0])
		return 0;
	ours = cgroup_open_pid(&host, getpid(), e);
	if (ours < 0)
		return -e->no;
	theirs = cgroup_open_pid(&host, vmm->pid, e);
	if (theirs < 0)
		return -e->no;
	if (fstat(ours, &a) < 0 || fstat(theirs, &b) < 0)
		return err_sys(e, "cgroup");
	if (a.st_dev != b.st_dev || a.st_ino != b.st_ino)
		return err_kind(e, ERR_FAILED,
				"the VMM has left its unit's cgroup: no limit holds for it");
	return 0;
}

static void note_started(const struct held *h, bool woken, bool restless)
{
	const struct pool_resources *r = &h->pool.instance_resources;
	struct audit_context by;

	audit_context_of(h->store.dir, h->i.op.id, &by);
	audit_note(&h->a, woken ? AUDIT_INSTANCE_WOKEN : AUDIT_INSTANCE_STARTED, &by,
		   "%s%s%s%srevision %s, ip %s, mac %s, vmm %s %s, vcpus %u, mem_mib %" PRIu64
		   ", secrets epoch %" PRIu64 ", config version %" PRIu64,
		   h->i.cold[0] ? "cold: " : "", h->i.cold, h->i.cold[0] ? "; " : "",
		   restless ? "captured while not at rest; " : "", h->i.revision_hash,
		   h->i.net.guest_ip, h->i.net.mac, instance_vmm_names[h->i.vmm], h->i.vmm_version,
		   r->vcpus, r->mem_mib, h->i.secrets_epoch, h->i.config_version);
}

// What was launched, where there is a word of it.
static void find_launch(const struct address *a, struct launch *l)
{
	struct err e = { 0 };

	if (launch_load(a->instance, l, &e) == 0 || e.kind == ERR_MISSING)
		return;
	log_warn(a->instance, "%s", e.msg);
}

// Before the locks are taken: guest and bridge may take their time.
static int commit_load(const struct address *a, const struct launch *l, const struct proc_id *vmm,
		       struct err *e)
{
	cleanup_fd int fd = vmm->pid ? proc_id_open(vmm, e) : -1;

	if (!vmm->pid)
		return err_usage(e, "MAINPID is not set");
	return fd < 0 ? -e->no : wake_commit(a, l, fd, e);
}

static int check_starting(const struct instance *i, struct err *e)
{
	if (instance_has_op(i) && i->op.stage == OP_STARTING)
		return 0;
	return err_kind(e, ERR_STATE, "%s/%s/%s: no start is in flight", i->tenant_id, i->pool_id,
			i->instance_id);
}

static int record_running(struct held *h, const struct launch *l, const struct proc_id *vmm,
			  struct err *e)
{
	cleanup_start struct start_record r = { 0 };
	bool loaded = l->mode == LAUNCH_LOAD;
	struct err none = { 0 };

	instance_set_status(&h->i, INSTANCE_RUNNING);
	h->i.vmm_process.pid = (uint32_t)vmm->pid;
	h->i.vmm_process.pid_start = vmm->start;
	memcpy(h->i.boot_id, h->i.op.boot_id, sizeof(h->i.boot_id));
	memcpy(h->i.last_started_at, h->i.status_since, sizeof(h->i.last_started_at));
	h->i.failures = 0;
	if (loaded && wake_note_base(h, l, e) < 0)
		return -e->no;
	if (launch_load_start(h->a.instance, &r, &none) == 0)
		wake_keep_start(h, &r);
	note_started(h, loaded && !launch_from_base(l), loaded && l->restless);
	instance_op_clear(&h->i);
	return held_save(h, e);
}

static int commit(const struct address *a, const struct launch *l, const struct proc_id *vmm,
		  int wait_ms, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;
	struct instance seen = { 0 };

	if (instance_load(a, NULL, &seen, e) < 0 || check_starting(&seen, e) < 0)
		return -e->no;
	if (l->mode == LAUNCH_LOAD && commit_load(a, l, vmm, e) < 0)
		return -e->no;
	if (held_open(&h, a, wait_ms, e) < 0 || check_starting(&h.i, e) < 0)
		return -e->no;
	if (fault_point("life-commit"))
		return err_sys(e, "fault");
	return record_running(&h, l, vmm, e);
}

// Its memory would be lost: others' locks are waited for as long as the backend has patience, by
// the tools that do parts of it as well.
static int be_patient(int wait_ms, struct err *e)
{
	char text[16];

	if (wait_ms >= LOADED_WAIT_MS)
		return wait_ms;
	base_cut(text, sizeof(text), "%d", LOADED_WAIT_MS);
	return setenv("MVM_LOCK_TIMEOUT_MS", text, 1) < 0 ? err_sys(e, "setenv") : LOADED_WAIT_MS;
}

int step_commit(const struct address *a, int wait_ms, struct err *e)
{
	cleanup_launch struct launch l = { 0 };
	struct proc_id vmm;
	int r;

	if (main_pid(&vmm, e) < 0)
		return -e->no;
	find_launch(a, &l);
	if (l.mode == LAUNCH_LOAD && (wait_ms = be_patient(wait_ms, e)) < 0)
		return -e->no;
	r = vmm.pid ? check_group(&vmm, e) : 0;
	if (r == 0)
		r = commit(a, &l, &vmm, wait_ms, e);
	if (r < 0 && (l.mode == LAUNCH_LOAD || e->kind != ERR_STATE))
		launch_leave_error(a, e);
	return r;
}

// The op that ends this run: the caller's, or for a stop by hand one of ours.
static int take_ending(const struct address *a, int wait_ms, struct instance *ret,
		       uint32_t *drain_s, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	if (held_open(&h, a, wait_ms, e) < 0)
		return -e->no;
	if (!instance_has_op(&h.i) && instance_op_set(&h.i, DO_STOP, e) < 0)
		return -e->no;
	// A start that is stopped half-way is a stop too: what it came from does not count any
	// more.
	if (h.i.op.stage != OP_ENDING && (h.i.op.verb == DO_START || h.i.op.verb == DO_WAKE ||
					  h.i.op.verb == DO_SLEEP || h.i.op.verb == DO_SNAPSHOT))
		h.i.op.verb = DO_STOP;
	if (h.i.op.stage != OP_ENDING && instance_op_take(&h.i, OP_ENDING, e) < 0)
		return -e->no;
	if (held_save(&h, e) < 0)
		return -e->no;
	*ret = h.i;
	*drain_s = h.pool.runtime.drain_timeout_s;
	return 0;
}

static int ask_guest(const struct address *a, const struct tenant_net *net,
		     const struct instance *i, int vmm_fd, uint32_t grace_s, struct err *e)
{
	cleanup_jail struct jail jail = JAIL_NONE;
	cleanup_guest struct guest_conn *c = NULL;
	uint32_t uid = name_uid(net->tenant_net_id, i->net.offset);
	struct guest_down down = { .reason = "stop", .grace_ms = grace_s * 1000 / 2 };

	if (jail_open(instance_vmm_names[i->vmm], a->instance, uid, &jail, e) < 0)
		return -e->no;
	const struct guest_place at = {
		.dirfd = jail.run, .name = "v.sock", .uid = uid, .gone_fd = vmm_fd
	};

	if (guest_open(&at, clock_ms() + ASK_MS, &c, e) < 0)
		return -e->no;
	return guest_ask_shutdown(c, &down, clock_ms() + ASK_MS, e);
}

static int end_vmm(int vmm_fd, struct err *e)
{
	if (proc_kill(vmm_fd, SIGTERM, e) < 0)
		return -e->no;
	if (proc_wait_gone(vmm_fd, KILL_MS, e) == 0)
		return 0;
	err_clear(e);
	if (proc_kill(vmm_fd, SIGKILL, e) < 0)
		return -e->no;
	return proc_wait_gone(vmm_fd, KILL_MS, e);
}

// One that is paused cannot be asked.
static void resume_paused(const struct address *a)
{
	cleanup_vm struct vm vm = VM_NONE;
	struct err e = { 0 };

	if (vm_open(&vm, a, &e) < 0 || vm_run(&vm, &e) < 0)
		log_info(a->instance, "%s", e.msg);
}

int step_drain(const struct address *a, int wait_ms, struct err *e)
{
	cleanup_fd int vmm_fd = -1;
	struct proc_id vmm;
	struct tenant t = { 0 };
	struct instance i = { 0 };
	struct err why = { 0 };
	uint32_t drain_s = 0;

	if (main_pid(&vmm, &why) < 0 || vmm.pid == 0)
		return 0; // it has ended: finish says how
	if (take_ending(a, wait_ms, &i, &drain_s, e) < 0)
		return -e->no;
	vmm_fd = proc_id_open(&vmm, &why);
	if (vmm_fd < 0)
		return 0;
	if (fault_point("life-drain"))
		return err_sys(e, "fault");
	if (i.status == INSTANCE_WARM && i.op.verb != DO_SLEEP)
		resume_paused(a);
	if (i.op.verb != DO_SLEEP && tenant_load(a->tenant, &t, e) == 0 &&
	    ask_guest(a, &t.net, &i, vmm_fd, drain_s, e) == 0 &&
	    proc_wait_gone(vmm_fd, (int)drain_s * 1000, e) == 0)
		return 0;
	if (e->no)
		log_info(i.instance_id, "did not shut down by itself: %s", e->msg);
	err_clear(e);
	return end_vmm(vmm_fd, e);
}
