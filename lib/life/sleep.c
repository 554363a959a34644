// SPDX-License-Identifier: MIT
// From memory to disk. Until the record says "ending" the guest goes on whatever fails, and from
// then on the capture is what there is: it was whole and on the disk before.
#include "life/sleep.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "audit/audit.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "base/proc.h"
#include "life/ask.h"
#include "life/backend.h"
#include "life/capture.h"
#include "life/held.h"
#include "life/steps.h"
#include "life/verbs.h"
#include "life/vm.h"
#include "snap/rules.h"

#define COMPOSE_MS  600000
#define QUIESCE_MIN 1000
#define PACK_NICE   10

const struct field sleep_fields[] = {
	{ FIELD_SLOT(struct sleep_record, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct sleep_record, op_id, char[11]), .kind = KIND_TEXT,
	  .doc = "the work it belongs to" },
	{ FIELD_SLOT(struct sleep_record, at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_time, .doc = "when it was asked for" },
	{ FIELD_SLOT(struct sleep_record, ref, snap_ref), .kind = KIND_TEXT, .doc = "the capture" },
	{ FIELD_SLOT(struct sleep_record, kind, int), .kind = KIND_ENUM, .names = snap_kind_names,
	  .doc = "delta or full" },
	{ FIELD_SLOT(struct sleep_record, why_full, char[120]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "why it is no delta" },
	{ FIELD_SLOT(struct sleep_record, parent, snap_ref), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "what a delta was laid over" },
	{ FIELD_SLOT(struct sleep_record, quiesced, bool), .kind = KIND_BOOL,
	  .doc = "the guest was at rest" },
	{ FIELD_SLOT(struct sleep_record, bytes, uint64_t), .kind = KIND_UINT, .max = 1ULL << 52,
	  .doc = "of its memory on the disk, when it was taken" },
	{ FIELD_SLOT(struct sleep_record, frozen_ms, uint64_t), .kind = KIND_UINT,
	  .max = 1ULL << 40, .doc = "from the guest's standstill until the capture was safe" },
	{ FIELD_SLOT(struct sleep_record, total_ms, uint64_t), .kind = KIND_UINT,
	  .max = 1ULL << 40, .doc = "until then, since it was asked for" },
	{ FIELD_SLOT(struct sleep_record, stages, struct codec_list), .kind = KIND_LIST, .max = 64,
	  .sub = start_stage_fields, .item_size = sizeof(struct start_stage), .doc = "in order" },
	FIELD_END
};

void sleep_free(struct sleep_record *r)
{
	codec_free(sleep_fields, r);
}

struct work {
	const struct address *a;
	int wait_ms;
	bool force;
	int64_t begun, frozen;
	struct instance i; // with its op
	struct vm vm;
	struct pool pool;
	struct snap_draft draft;
	struct snap_parent parent;
	enum snap_choice choice;
	struct snap_manifest m;
	struct sleep_record r;
};

static int stage(struct work *w, const char *name, const char *fault, struct err *e)
{
	struct start_stage *s = codec_list_add(&w->r.stages, sizeof(*s));

	base_cut(s->stage, sizeof(s->stage), "%s", name);
	s->ms = (uint64_t)(clock_ms() - w->begun);
	return fault_point(fault) ? err_sys(e, "fault") : 0;
}

// The instance, locked, if this is still its op: the VM may have ended meanwhile.
static int lock_own(const struct work *w, struct store *s, struct instance *ret, struct err *e)
{
	if (store_lock(s, STORE_INSTANCE, w->a, w->wait_ms, e) < 0 ||
	    instance_load_from(s, w->a, NULL, ret, e) < 0)
		return -e->no;
	if (str_eq(ret->op.id, w->i.op.id) && ret->op.stage == OP_WORKING)
		return 0;
	return err_kind(e, ERR_STATE, "it ended meanwhile: the instance is %s",
			instance_status_names[ret->status]);
}

// --- what kind of capture

static void look_at_parent(const struct store *s, struct snap_before *b)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct snap_parent parent = { .ref = "" };
	struct err why = { 0 };

	if (!b->base.ref[0] || COPY(parent.ref, b->base.ref) < 0)
		return;
	memcpy(parent.sha256, b->base.sha256, sizeof(parent.sha256));
	b->parent_there = snap_parent_open(s, &parent, 0, &g, &why) == 0;
	b->parent_sha256 = b->parent_there ? b->base.sha256 : NULL;
	if (!b->parent_there && why.kind == ERR_CONFLICT) {
		b->parent_there = true;
		b->parent_sha256 = "";
	}
}

static int begin(struct work *w, struct err *e)
{
	uint64_t mem_mib = w->pool.instance_resources.mem_mib;
	cleanup_store struct store s = STORE_NONE;
	struct instance i = { 0 };
	struct err bad = { 0 };

	if (lock_own(w, &s, &i, e) < 0)
		return -e->no;
	struct snap_before b = { .base = i.diff_base };

	look_at_parent(&s, &b);
	b.release_good =
		snap_release_check(i.vmm, i.vmm_version, SNAP_USE_DIFF, mem_mib, &bad) == 0;
	err_clear(&bad);
	b.holes_by_page = pages_probe(s.dir, &bad) == 0;
	w->choice = snap_choose(&b, &w->parent);
	base_cut(w->r.why_full, sizeof(w->r.why_full), "%s", snap_choice_why[w->choice]);
	return snap_draft_begin(&s, w->choice == SNAP_TAKE_DIFF ? SNAP_DIFF : SNAP_FULL, "",
				w->choice == SNAP_TAKE_DIFF ? &w->parent : NULL, &w->draft, e);
}

// Any create call, also one that fails, ends what the VMM knows of changed pages.
static int forget_base(struct work *w, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct instance i = { 0 };

	if (lock_own(w, &s, &i, e) < 0)
		return -e->no;
	snap_base_after(SNAP_EV_CREATE_ASKED, NULL, &i.diff_base);
	return instance_save(&s, &i, e);
}

// --- the guest stands still

static int quiesce(struct work *w, struct err *e)
{
	uint32_t ms = MAX(w->pool.runtime.drain_timeout_s * 1000, QUIESCE_MIN);

	w->r.quiesced = vm_quiesce(&w->vm, ms, w->force, e) == 0;
	if (w->r.quiesced)
		return 0;
	(void)err_wrap(e, "bring the guest to rest");
	if (!w->force)
		return err_hint(e, "'mvm instance sleep --force' captures it as it is");
	log_warn(w->a->instance, "%s; captured as it is", e->msg);
	err_clear(e);
	return 0;
}

// A warm one runs for the moment in which it comes to rest.
static int stand_still(struct work *w, struct err *e)
{
	if (w->i.op.from == INSTANCE_WARM) {
		if (vm_run(&w->vm, e) < 0)
			return -e->no;
		if (vm_repair(&w->vm, e) < 0 && !w->force)
			return err_wrap(e, "repair the guest");
		err_clear(e);
		if (stage(w, "running", "life-sleep-running", e) < 0)
			return -e->no;
	}
	w->frozen = clock_ms();
	if (quiesce(w, e) < 0 || stage(w, "quiesced", "life-sleep-quiesced", e) < 0)
		return -e->no;
	if (forget_base(w, e) < 0 || stage(w, "base-forgotten", "life-sleep-base", e) < 0)
		return -e->no;
	if (vm_pause(&w->vm, e) < 0)
		return err_wrap(e, "pause the guest");
	return stage(w, "paused", "life-sleep-paused", e);
}

// The disk is to be as the memory knows it, also after a crash of the host.
static int sync_data(const struct work *w, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_fd int fd = -1;

	if (store_open(&s, STORE_INSTANCE, w->a, e) < 0)
		return -e->no;
	fd = openat(s.dir, "volumes/data.ext4", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	return fd < 0 || fsync(fd) < 0 ? err_sys(e, "sync the data disk") : 0;
}

// --- its memory

static int describe(struct work *w, struct err *e)
{
	struct vmm_choice vmm = { .kind = (enum instance_vmm)w->i.vmm };
	cleanup_revision struct revision rev = REVISION_NONE;
	struct capture_of of = { w->a, &w->i, &w->vm.tenant, &w->pool, &rev, &vmm };
	struct snap_wanted is = { 0 };

	// The program that runs, whatever has been installed in its place.
	base_cut(vmm.program, sizeof(vmm.program), "/proc/%u/exe", w->i.vmm_process.pid);
	base_cut(vmm.version, sizeof(vmm.version), "%s", w->i.vmm_version);
	if (revision_open_hash(w->a->tenant, w->a->pool, w->i.revision_hash, &rev, e) < 0 ||
	    capture_machine(&of, &is, e) < 0)
		return -e->no;
	w->m.machine = is.machine;
	w->m.guest = is.guest;
	return 0;
}

static int create(struct work *w, struct err *e)
{
	bool delta = w->choice == SNAP_TAKE_DIFF;
	const char *names[] = { SNAP_VMSTATE, delta ? SNAP_DELTA : SNAP_MEM };
	struct stat st;

	for (size_t i = 0; i < COUNT(names); i++)
		if (unlinkat(w->vm.jail.snap, names[i], 0) < 0 && errno != ENOENT)
			return err_sys(e, "remove %s", names[i]);
	if (vm_create(&w->vm, delta ? FC_SNAPSHOT_DIFF : FC_SNAPSHOT_FULL, names[0], names[1],
		      w->pool.instance_resources.mem_mib, e) < 0)
		return err_wrap(e, "capture the guest");
	if (stage(w, "created", "life-sleep-created", e) < 0)
		return -e->no;
	for (size_t i = 0; i < COUNT(names); i++)
		if (snap_draft_take(&w->draft, w->vm.jail.snap, names[i], w->vm.uid, names[i], e) <
		    0)
			return -e->no;
	if (stage(w, "taken", "life-sleep-taken", e) < 0)
		return -e->no;
	if (fstatat(w->draft.draft.dir, names[1], &st, AT_SYMLINK_NOFOLLOW) == 0)
		w->r.bytes = (uint64_t)st.st_blocks * 512;
	return 0;
}

// What was captured is what a wake loads; then nothing is left but to stop.
static int commit(struct work *w, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct instance i = { 0 };
	struct err unsaved = { 0 };

	if (lock_own(w, &s, &i, e) < 0 || snap_draft_commit(&s, &w->draft, e) < 0)
		return -e->no;
	if (stage(w, "committed", "life-sleep-linked", e) < 0 ||
	    instance_op_take(&i, OP_ENDING, e) < 0 ||
	    capture_disk_mib(&s, &i.capture_mib, e) < 0)
		return -e->no;
	w->r.total_ms = (uint64_t)(clock_ms() - w->begun);
	w->r.frozen_ms = (uint64_t)(clock_ms() - w->frozen);
	base_cut(w->r.ref, sizeof(w->r.ref), "%s", w->draft.ref);
	w->r.kind = w->m.kind;
	base_cut(w->r.parent, sizeof(w->r.parent), "%s",
		 w->choice == SNAP_TAKE_DIFF ? w->parent.ref : "");
	if (store_save(&s, SLEEP_FILE, sleep_fields, &w->r, &unsaved) < 0)
		log_warn(w->a->instance, "%s", unsaved.msg);
	return instance_save(&s, &i, e);
}

static int capture(struct work *w, struct err *e)
{
	const struct pages_cancel never = { .fd = -1 };

	if (pool_load(w->a->tenant, w->a->pool, &w->pool, e) < 0 || vm_open(&w->vm, w->a, e) < 0)
		return -e->no;
	// One that cannot be loaded again is no capture.
	if (snap_release_check(w->i.vmm, w->i.vmm_version, SNAP_USE_LOAD,
			       w->pool.instance_resources.mem_mib, e) < 0 ||
	    begin(w, e) < 0 || stage(w, "begun", "life-sleep-draft", e) < 0 ||
	    stand_still(w, e) < 0 || sync_data(w, e) < 0 || describe(w, e) < 0 ||
	    create(w, e) < 0 || snap_draft_seal(&w->draft, &w->m, &never, e) < 0 ||
	    stage(w, "sealed", "life-sleep-sealed", e) < 0)
		return -e->no;
	return commit(w, e);
}

// --- off the pause path

// By a process that nobody waits for, and that others go before. A wake ends it; killed or refused,
// the capture is what it was.
static void pack_behind(const char *address, int compression)
{
	path_text tool;

	if (compression == POOL_COMPRESSION_NONE)
		return;
	path_tool("mvm-snap", tool);
	if (fork() != 0)
		return;
	proc_leave(-1);
	(void)setpriority(PRIO_PROCESS, 0, PACK_NICE);
	(void)execlp(tool, "mvm-snap", "pack", address, (char *)NULL);
	_exit(127);
}

// The delta becomes whole and what it stood on goes. A failure costs the next wake some time.
static void tidy(const struct work *w)
{
	cleanup_held struct held h = HELD_NONE;
	address_text address;
	const char *const argv[] = { "mvm-snap", "compose", address, NULL };
	struct err e = { 0 };

	address_print(w->a, address);
	if (proc_tool(argv, NULL, NULL, COMPOSE_MS, &e) < 0) {
		log_warn(w->a->instance, "compose the capture: %s", e.msg);
		err_clear(&e);
	}
	if (held_open(&h, w->a, w->wait_ms, &e) < 0 || capture_sweep_held(&h, &e) < 0)
		log_warn(w->a->instance, "%s", e.msg);
	held_close(&h);
	pack_behind(address, w->pool.snapshot_compression);
}

static int end(const struct work *w, struct err *e)
{
	struct instance i = { 0 };

	if (fault_point("life-sleep-ending"))
		return err_sys(e, "fault");
	if (backend_stop(w->a, false, e) < 0 || instance_load(w->a, NULL, &i, e) < 0)
		return -e->no;
	// Killed between the VMM's end and finish, the backend leaves that to us.
	if (i.status != INSTANCE_SLEEPING && (step_finish(w->a, w->wait_ms, e) < 0 ||
					      instance_load(w->a, NULL, &i, e) < 0))
		return -e->no;
	if (i.status != INSTANCE_SLEEPING)
		return err_kind(e, ERR_STATE, "somebody stopped it meanwhile");
	return fault_point("life-sleep-stopped") ? err_sys(e, "fault") : 0;
}

static int sleep_now(struct work *w, struct err *e)
{
	struct err later = { 0 };

	if (fault_point("life-sleep-asked"))
		return err_sys(e, "fault");
	if (capture(w, e) == 0)
		return end(w, e);
	snap_draft_drop(&w->draft);
	if (ask_undo(w->a, &w->i, w->wait_ms, &later) < 0)
		log_warn(w->a->instance, "%s", later.msg);
	return -e->no;
}

int verb_sleep(const struct address *a, bool force, int wait_ms, bool *ret_changed, struct err *e)
{
	const struct ask q = { .verb = DO_SLEEP, .stage = OP_WORKING, .force = force };
	struct work w = { .a = a,
			  .wait_ms = wait_ms,
			  .force = force,
			  .begun = clock_ms(),
			  .vm = VM_NONE,
			  .draft = SNAP_DRAFT_NONE,
			  .r = { .schema_version = 1 } };
	address_text address;
	int r;

	if (ask_settle(a, false, wait_ms, e) < 0 ||
	    ask_op(a, &q, wait_ms, &w.i, ret_changed, e) < 0)
		return -e->no;
	if (!*ret_changed)
		return 0;
	clock_utc(w.r.at);
	memcpy(w.r.op_id, w.i.op.id, sizeof(w.r.op_id));
	r = sleep_now(&w, e);
	if (r == 0)
		tidy(&w);
	snap_draft_drop(&w.draft);
	snap_manifest_free(&w.m);
	sleep_free(&w.r);
	vm_close(&w.vm);
	pool_free(&w.pool);
	if (r == 0)
		return 0;
	address_print(a, address);
	(void)err_object(e, "%s", address);
	(void)err_wrap(e, "%s", address);
	return audit_note_failed(a, AUDIT_INSTANCE_SLEPT, NULL, e);
}
