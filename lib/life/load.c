// SPDX-License-Identifier: MIT
#include "life/load.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "fc/api.h"
#include "life/helper.h"
#include "life/push.h"
#include "life/vm.h"
#include "snap/gen.h"
#include "snap/rules.h"

#define API_UP_MS 10000
#define LOAD_MS	  120000 // mvm-fc-qemu copies the memory in this call

struct load {
	struct launch launch;
	struct vm vm;
	struct store store;
	struct snap_gen gen;
	struct start_record start;
	struct load_drive { // what its guest is to have
		enum drive_kind kind;
		uint64_t number;
	} drives[DRIVES];
	struct guest_told told[DRIVES];
	size_t drive_count;
};

static void stage(struct load *l, const char *name)
{
	start_stage_add(&l->start.stages, name, helper_ms(&l->launch));
}

static int open_launch(struct load *l, const struct address *a, int vmm_fd, struct err *e)
{
	address_text address;

	address_print(a, address);
	if (launch_load(a->instance, &l->launch, e) < 0)
		return -e->no;
	if (!str_eq(l->launch.address, address))
		return err_kind(e, ERR_DAMAGED, "launch.json is of %s", l->launch.address);
	if (l->launch.mode != LAUNCH_LOAD || !l->launch.capture[0])
		return err_kind(e, ERR_STATE, "launch.json is of a boot, not of a load");
	helper_begin(&l->launch, &l->start);
	return vm_open_started(&l->vm, a, vmm_fd, e);
}

// The very capture that prepare has found good: its seal stands for all that was compared and read.
static int open_capture(struct load *l, const struct address *a, int wait_ms, struct err *e)
{
	bool base = launch_from_base(&l->launch); // which many load, and none changes

	if (store_open(&l->store, base ? STORE_POOL : STORE_INSTANCE, a, e) < 0 ||
	    snap_gen_open(&l->store, l->launch.capture, base ? SNAP_SHARED : SNAP_EXCLUSIVE,
			  wait_ms, &l->gen, e) < 0 ||
	    snap_may_load(&l->gen.m, e) < 0)
		return -e->no;
	if (!str_eq(l->gen.m.seal, l->launch.capture_seal))
		return err_kind(e, ERR_CONFLICT, "%s: another one than it was a moment ago",
				l->gen.ref);
	return 0;
}

// On disk before the call goes out: from then on this memory may have met its disks.
static int spend(struct load *l, struct err *e)
{
	if (fault_point("life-load-spend"))
		return err_sys(e, "fault");
	if (snap_spend(&l->gen, e) < 0)
		return -e->no;
	stage(l, "spent");
	return fault_point("life-load-spent") ? err_sys(e, "fault") : 0;
}

// Where it cannot, nothing has gone out to the VMM: the memory is as good as it was. Without the
// right to write that down it is given up.
static int settle(struct load *l, const struct address *a, struct err *e)
{
	struct err lost = { 0 };

	if (fault_point("life-load-rights"))
		(void)err_sys(e, "fault");
	else if (helper_settle(a->instance, l->vm.jail.run, e) == 0)
		return 0;
	if (snap_unspend(&l->gen, &lost) < 0)
		log_warn(l->launch.address, "its memory is given up: %s", lost.msg);
	return err_wrap(e, "give up rights");
}

// A look without their lock: the commit compares once more, and gives what is newer by then. None,
// or one that is being rewritten, is left to it as well.
static void look_at_drives(struct load *l, const struct address *a)
{
	for (size_t i = 0; i < PUSH_DRIVES; i++) {
		const struct push_drive *d = &push_drives[i];
		struct guest_told *told = &l->told[l->drive_count];
		struct err ignored = { 0 };
		struct trailer t;

		if (drive_look(a->instance, d->kind, &t, &ignored) < 0)
			continue;
		told->which = d->which;
		memcpy(told->digest, t.digest, sizeof(told->digest));
		l->drives[l->drive_count++] = (struct load_drive){ d->kind, t.number };
	}
}

static int call_vmm(struct load *l, int wait_ms, const struct address *a, struct err *e)
{
	cleanup_fd int metrics = helper_hold_metrics(&l->launch, l->vm.jail.run);
	const struct launch_request *q = l->launch.requests.items;
	cleanup_api struct api *api = NULL;

	if (api_open(l->vm.jail.run, "api.sock", l->launch.uid, clock_ms() + API_UP_MS, l->vm.gone,
		     &api, e) < 0)
		return -e->no;
	stage(l, "api-up");
	if (open_capture(l, a, wait_ms, e) < 0 || spend(l, e) < 0)
		return -e->no;
	look_at_drives(l, a);
	if (settle(l, a, e) < 0)
		return -e->no;
	for (size_t i = 0; i < l->launch.requests.len; i++)
		if (api_call(api, q[i].method, q[i].path, q[i].body, LOAD_MS, NULL, e) < 0)
			return -e->no;
	stage(l, "loaded");
	return fault_point("life-load-loaded") ? err_sys(e, "fault") : 0;
}

// What was another's has its drives to find first.
static int repair(struct load *l, struct err *e)
{
	if (launch_adopts(&l->launch))
		return vm_adopt(&l->vm, e);
	if (vm_repair_telling(&l->vm, l->told, l->drive_count, e) < 0)
		return -e->no;
	for (size_t i = 0; i < l->drive_count; i++)
		if (l->told[i].taken)
			start_drive_add(&l->start, drive_names[l->drives[i].kind],
					l->drives[i].number);
	return 0;
}

static int run(struct load *l, const struct address *a, int vmm_fd, int wait_ms, struct err *e)
{
	if (open_launch(l, a, vmm_fd, e) < 0 || call_vmm(l, wait_ms, a, e) < 0)
		return -e->no;
	if (repair(l, e) < 0)
		return err_wrap(e, "repair the guest");
	stage(l, "repaired");
	if (fault_point("life-load-repaired"))
		return err_sys(e, "fault");
	l->start.total_ms = helper_ms(&l->launch);
	return launch_save_start(a->instance, &l->start, e);
}

static void leave_error(struct load *l, const struct address *a, const struct err *why)
{
	struct err e = { 0 };

	result_from_err(why, "", &l->start.error);
	if (launch_save_start(a->instance, &l->start, &e) < 0)
		log_error(a->instance, "%s", e.msg);
}

int load_run(const struct address *a, int vmm_fd, int wait_ms, struct err *e)
{
	struct load l = { .vm = VM_NONE,
			  .store = STORE_NONE,
			  .gen = SNAP_GEN_NONE,
			  .start = { .schema_version = 1, .load = true } };
	int r;

	clock_utc(l.start.at);
	r = run(&l, a, vmm_fd, wait_ms, e);
	if (r < 0)
		leave_error(&l, a, e);
	start_free(&l.start);
	snap_gen_close(&l.gen);
	store_close(&l.store);
	vm_close(&l.vm);
	launch_free(&l.launch);
	return r;
}
