// SPDX-License-Identifier: MIT
#include "life/prepare.h"

#include <inttypes.h>

#include "audit/audit.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "life/backend.h"
#include "life/base.h"
#include "life/bridge.h"
#include "life/capture.h"
#include "life/held.h"
#include "life/steps.h"
#include "state/transition.h"
#include "state/usage.h"

// Memory of a VMM beside its guest's, with room to spare for the kernel's: mvm-fc-qemu measures 92
// MiB and up to 128 of translated code (docs/benchmarks.md), Firecracker a few.
#define OVERHEAD_QEMU_MIB	 384
#define OVERHEAD_FIRECRACKER_MIB 96
#define OVERHEAD_CPU_PCT	 20
#define OVERHEAD_TASKS		 64

// Takes over the op that the caller wrote, or makes one: then the same check holds for a
// `systemctl start` by hand.
static int take_op(struct held *h, struct err *e)
{
	enum instance_status to;
	struct usage u = { 0 };

	if (instance_has_op(&h->i) && h->i.op.stage == OP_ASKED)
		return instance_op_take(&h->i, OP_STARTING, e);
	if (instance_op_check(&h->i, e) < 0)
		return -e->no;
	if (instance_has_vmm(&h->i))
		return err_kind(
			e, ERR_STATE,
			"the record says %s but nothing runs: 'mvm instance start' repairs it",
			instance_status_names[h->i.status]);
	if (transition_check(DO_START, (enum instance_status)h->i.status, &to, e) < 0 ||
	    usage_of_tenant(&h->tenant, &u, e) < 0 ||
	    usage_check_start(&h->tenant, &h->pool, &u, &h->i, e) < 0 ||
	    instance_op_set(&h->i, DO_START, e) < 0) {
		audit_note_quota(&h->a, e);
		return -e->no;
	}
	return instance_op_take(&h->i, OP_STARTING, e);
}

void prepare_stage(struct plan *p, const char *stage)
{
	start_stage_add(&p->launch.stages, stage, (uint64_t)clock_ms() - p->launch.begun_ms);
}

// What the record says of this run, as it is going to be. A boot leaves no capture behind that a
// wake could take for one of these disks.
static int record_plan(struct plan *p, struct held *h, struct err *e)
{
	bool boot = p->launch.mode == LAUNCH_BOOT;

	if (boot) { // else image and VMM stay those of the capture
		memcpy(h->i.revision_hash, p->revision.hash, sizeof(h->i.revision_hash));
		h->i.vmm = (int)p->vmm.kind;
		base_cut(h->i.vmm_version, sizeof(h->i.vmm_version), "%s", p->vmm.version);
	}
	h->i.seccomp = p->pool.seccomp_policy;
	h->i.unreleased = false; // what the last run has left is this one's
	if (boot && capture_drop_held(h, e) < 0)
		return -e->no;
	if (held_save(h, e) < 0)
		return -e->no;
	p->i = h->i;
	p->tenant = h->tenant;
	p->uid = name_uid(h->tenant.net.tenant_net_id, h->i.net.offset);
	return 0;
}

static int take_over(struct plan *p, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	if (held_open(&h, &p->a, p->wait_ms, e) < 0 || take_op(&h, e) < 0)
		return -e->no;
	// Of one that sleeps it is still to be seen whether its capture can be loaded.
	p->launch.mode = h.i.op.from == INSTANCE_SLEEPING ? LAUNCH_LOAD : LAUNCH_BOOT;
	return record_plan(p, &h, e);
}

static int make_tap(const void *arg, struct err *e)
{
	const struct plan *p = arg;

	if (bridge_run("ensure", p->a.tenant, e) < 0)
		return -e->no;
	return bridge_run("tap-add", p->address, e);
}

static int attach(struct plan *p, struct err *e)
{
	if (beside_end(&p->network, e) < 0)
		return -e->no;
	if (fault_point("life-prepare-tap"))
		return err_sys(e, "fault");
	// One that is restored is on no bridge before its clock and its address are right.
	// A template never is.
	if (p->launch.mode == LAUNCH_LOAD || p->i.role == INSTANCE_ROLE_TEMPLATE)
		return 0;
	return bridge_attach(&p->a, p->pool.metadata_enabled, e);
}

static int set_limits(const struct plan *p, struct err *e)
{
	const struct pool_resources *r = &p->pool.instance_resources;
	const struct backend_limits l = {
		// A guest that reads all of its drives on the ramfs makes all of their pages be
		// there.
		.memory_mib = r->mem_mib + r->secrets_mib + DRIVE_CONFIG_MIB +
			      (p->vmm.kind == INSTANCE_VMM_QEMU ? OVERHEAD_QEMU_MIB
								: OVERHEAD_FIRECRACKER_MIB),
		.cpu_pct = r->vcpus * 100 + OVERHEAD_CPU_PCT,
		.tasks = r->vcpus + OVERHEAD_TASKS,
	};

	return backend_limits(&p->a, &l, e);
}

static int forget_last_start(const struct plan *p, struct err *e)
{
	static const char *const files[] = { START_FILE, LAUNCH_FILE };
	path_text dir, file;

	path_run_instance(p->a.instance, dir);
	for (size_t i = 0; i < COUNT(files); i++) {
		path_join(file, dir, files[i]);
		if (unlink(file) < 0 && errno != ENOENT)
			return err_sys(e, "remove %s", file);
	}
	return 0;
}

// The image and the VMM of a boot: the present ones.
static int choose_boot(struct plan *p, struct err *e)
{
	revision_close(&p->revision);
	if (vmm_choose(&p->vmm, e) < 0 ||
	    revision_open(p->a.tenant, p->a.pool, &p->revision, e) < 0)
		return -e->no;
	return vmm_check_seccomp(&p->vmm, p->pool.seccomp_policy, &p->revision.base.drives, e);
}

// Its memory cannot be had: from the disks, and it is written down why.
static int go_cold(struct plan *p, const struct err *why, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	log_warn(p->address, "cold start: %s", why->msg);
	p->launch.mode = LAUNCH_BOOT;
	if (choose_boot(p, e) < 0 || held_open(&h, &p->a, p->wait_ms, e) < 0)
		return -e->no;
	instance_set_cold(&h.i, why->msg, instance_cold_counter(&h.i, why->kind));
	return record_plan(p, &h, e);
}

static int choose(struct plan *p, struct err *e)
{
	struct err refused = { 0 };

	if (choose_boot(p, e) < 0 || take_over(p, e) < 0)
		return -e->no;
	if (fault_point("life-prepare-taken"))
		return err_sys(e, "fault");
	if (beside_begin(make_tap, p, &p->network, e) < 0)
		return -e->no;
	if (p->launch.mode == LAUNCH_BOOT) {
		if (base_prepare(p, &refused, e) < 0)
			return -e->no;
		return refused.no ? go_cold(p, &refused, e) : 0;
	}
	if (prepare_capture(p, &refused, e) < 0)
		return -e->no;
	prepare_stage(p, "capture");
	return refused.no ? go_cold(p, &refused, e) : 0;
}

static int prepare(struct plan *p, struct err *e)
{
	if (pool_load(p->a.tenant, p->a.pool, &p->pool, e) < 0 || forget_last_start(p, e) < 0 ||
	    choose(p, e) < 0 || set_limits(p, e) < 0 || prepare_drives(p, e) < 0)
		return -e->no;
	prepare_stage(p, "drives");
	if (attach(p, e) < 0)
		return -e->no;
	prepare_stage(p, "network");
	if (fault_point("life-prepare-drives"))
		return err_sys(e, "fault");
	if (prepare_jail(p, e) < 0)
		return -e->no;
	prepare_stage(p, "jail");
	if (fault_point("life-prepare-jail"))
		return err_sys(e, "fault");
	return prepare_launch(p, e);
}

int step_prepare(const struct address *a, int wait_ms, struct err *e)
{
	struct plan p = { .a = *a,
			  .revision = REVISION_NONE,
			  .network = BESIDE_NONE,
			  .wait_ms = wait_ms,
			  .launch = { .begun_ms = (uint64_t)clock_ms() } };
	int r;

	// Of an instance that is not there nothing is left, no error either: nobody would own it.
	if (instance_load(a, NULL, &p.i, e) < 0)
		return -e->no;
	address_print(a, p.address);
	r = prepare(&p, e);
	beside_free(&p.network); // the step's end is finish's beginning
	if (r < 0)
		launch_leave_error(a, e);
	pool_free(&p.pool);
	revision_close(&p.revision);
	launch_free(&p.launch);
	return r;
}
