// SPDX-License-Identifier: MIT
#include "life/take.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "disk/data.h"
#include "life/capture.h"
#include "snap/rules.h"

#define QUIESCE_MIN 1000

int take_check_release(const struct address *a, struct err *e)
{
	struct instance i = { 0 };

	if (instance_load(a, NULL, &i, e) < 0)
		return -e->no;
	return instance_has_vmm(&i) ? snap_release_check(i.vmm, i.vmm_version, SNAP_USE_LOAD, 0, e)
				    : 0;
}

int take_open(struct take *t, struct err *e)
{
	if (pool_load(t->a->tenant, t->a->pool, &t->pool, e) < 0 || vm_open(&t->vm, t->a, e) < 0)
		return -e->no;
	return snap_release_check(t->i.vmm, t->i.vmm_version, SNAP_USE_LOAD,
				  t->pool.instance_resources.mem_mib, e);
}

void take_close(struct take *t)
{
	snap_draft_drop(&t->draft);
	snap_manifest_free(&t->m);
	codec_free_list(start_stage_fields, sizeof(struct start_stage), &t->stages);
	vm_close(&t->vm);
	pool_free(&t->pool);
}

int take_stage(struct take *t, const char *name, const char *fault, struct err *e)
{
	char point[64];

	start_stage_add(&t->stages, name, (uint64_t)(clock_ms() - t->begun));
	base_cut(point, sizeof(point), "life-%s-%s", t->what, fault);
	return fault_point(point) ? err_sys(e, "fault") : 0;
}

int take_lock(const struct take *t, struct store *s, struct instance *ret, struct err *e)
{
	if (store_lock(s, STORE_INSTANCE, t->a, t->wait_ms, e) < 0 ||
	    instance_load_from(s, t->a, NULL, ret, e) < 0)
		return -e->no;
	if (str_eq(ret->op.id, t->i.op.id) && ret->op.stage == OP_WORKING)
		return 0;
	return err_kind(e, ERR_STATE, "it ended meanwhile: the instance is %s",
			instance_status_names[ret->status]);
}

// Any create call, also one that fails, ends what the VMM knows of changed pages.
static int forget_base(struct take *t, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct instance i = { 0 };

	if (take_lock(t, &s, &i, e) < 0)
		return -e->no;
	snap_base_after(SNAP_EV_CREATE_ASKED, NULL, &i.diff_base);
	return instance_save(&s, &i, e);
}

static int quiesce(struct take *t, struct err *e)
{
	uint32_t ms = MAX(t->pool.runtime.drain_timeout_s * 1000, QUIESCE_MIN);

	t->quiesced = vm_quiesce(&t->vm, ms, t->force, e) == 0;
	if (t->quiesced)
		return 0;
	(void)err_wrap(e, "bring the guest to rest");
	if (!t->force)
		return err_hint(e, "'mvm instance %s --force' captures it as it is", t->verb);
	log_warn(t->a->instance, "%s; captured as it is", e->msg);
	err_clear(e);
	return 0;
}

// A warm one runs for the moment in which it comes to rest.
int take_stand_still(struct take *t, struct err *e)
{
	if (t->i.op.from == INSTANCE_WARM) {
		if (vm_run(&t->vm, e) < 0)
			return -e->no;
		if (vm_repair(&t->vm, e) < 0 && !t->force)
			return err_wrap(e, "repair the guest");
		err_clear(e);
		if (take_stage(t, "running", "running", e) < 0)
			return -e->no;
	}
	t->frozen = clock_ms();
	if (quiesce(t, e) < 0 || take_stage(t, "quiesced", "quiesced", e) < 0)
		return -e->no;
	if (forget_base(t, e) < 0 || take_stage(t, "base-forgotten", "base", e) < 0)
		return -e->no;
	if (vm_pause(&t->vm, e) < 0)
		return err_wrap(e, "pause the guest");
	return take_stage(t, "paused", "paused", e);
}

// The disk is to be as the memory knows it, also after a crash of the host.
static int sync_data(const struct take *t, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_fd int fd = -1;

	if (store_open(&s, STORE_INSTANCE, t->a, e) < 0)
		return -e->no;
	fd = openat(s.dir, "volumes/" DATA_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	return fd < 0 || fsync(fd) < 0 ? err_sys(e, "sync the data disk") : 0;
}

static int describe(struct take *t, struct err *e)
{
	struct vmm_choice vmm = { .kind = (enum instance_vmm)t->i.vmm };
	cleanup_revision struct revision rev = REVISION_NONE;
	const struct capture_of of = { .a = t->a,
				       .i = &t->i,
				       .tenant = &t->vm.tenant,
				       .pool = &t->pool,
				       .revision = &rev,
				       .vmm = &vmm };
	struct snap_wanted is = { 0 };

	// The program that runs, whatever has been installed in its place.
	base_cut(vmm.program, sizeof(vmm.program), "/proc/%u/exe", t->i.vmm_process.pid);
	base_cut(vmm.version, sizeof(vmm.version), "%s", t->i.vmm_version);
	if (revision_open_hash(t->a->tenant, t->a->pool, t->i.revision_hash, &rev, e) < 0 ||
	    capture_machine(&of, &is, e) < 0)
		return -e->no;
	t->m.machine = is.machine;
	t->m.guest = is.guest;
	t->m.quiesced = t->quiesced;
	return 0;
}

static int create(struct take *t, bool delta, struct err *e)
{
	const char *names[] = { SNAP_VMSTATE, delta ? SNAP_DELTA : SNAP_MEM };
	struct stat st;

	if (vm_drop_files(&t->vm, e) < 0)
		return -e->no;
	if (vm_create(&t->vm, delta ? FC_SNAPSHOT_DIFF : FC_SNAPSHOT_FULL, names[0], names[1],
		      t->pool.instance_resources.mem_mib, e) < 0)
		return err_wrap(e, "capture the guest");
	if (take_stage(t, "created", "created", e) < 0)
		return -e->no;
	for (size_t i = 0; i < COUNT(names); i++)
		if (snap_draft_take(&t->draft, t->vm.jail.snap, names[i], t->vm.uid, names[i], e) <
		    0)
			return -e->no;
	if (take_stage(t, "taken", "taken", e) < 0)
		return -e->no;
	if (fstatat(t->draft.draft.dir, names[1], &st, AT_SYMLINK_NOFOLLOW) == 0)
		t->bytes = (uint64_t)st.st_blocks * 512;
	return 0;
}

void take_goes_on(struct take *t)
{
	t->frozen_ms = (uint64_t)(clock_ms() - t->frozen);
}

void take_tell(struct take *t, struct taken *ret)
{
	*ret = (struct taken){ .quiesced = t->quiesced,
			       .bytes = t->bytes,
			       .frozen_ms = t->frozen_ms,
			       .total_ms = (uint64_t)(clock_ms() - t->begun),
			       .stages = t->stages };
	t->stages = (struct codec_list){ 0 };
	base_cut(ret->ref, sizeof(ret->ref), "%s", t->draft.ref);
}

void take_drop(struct take *t)
{
	struct err e = { 0 };

	snap_draft_drop(&t->draft);
	if (vm_drop_files(&t->vm, &e) < 0)
		log_warn(t->a->instance, "%s", e.msg);
}

int take_memory(struct take *t, bool delta, struct err *e)
{
	if (sync_data(t, e) < 0 || describe(t, e) < 0)
		return -e->no;
	if (create(t, delta, e) < 0)
		return -e->no;
	return capture_emulator(t->draft.draft.dir, &t->m.machine, e);
}
