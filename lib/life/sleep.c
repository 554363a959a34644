// SPDX-License-Identifier: MIT
// From memory to disk. Until the record says "ending" the guest goes on whatever fails, and from
// then on the capture is what there is: it was whole and on the disk before.
#include "life/sleep.h"

#include <sys/resource.h>

#include "audit/audit.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/path.h"
#include "base/proc.h"
#include "life/ask.h"
#include "life/backend.h"
#include "life/capture.h"
#include "life/held.h"
#include "life/steps.h"
#include "life/take.h"
#include "life/verbs.h"
#include "snap/rules.h"

#define COMPOSE_MS 600000
#define PACK_NICE  10

const struct field sleep_fields[] = {
	{ FIELD_SLOT(struct sleep_record, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct sleep_record, op_id, char[11]), .kind = KIND_TEXT,
	  .doc = "the work it belongs to" },
	{ FIELD_SLOT(struct sleep_record, at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_time, .doc = "when it was asked for" },
	{ FIELD_SLOT(struct sleep_record, kind, int), .kind = KIND_ENUM, .names = snap_kind_names,
	  .doc = "delta or full" },
	{ FIELD_SLOT(struct sleep_record, why_full, char[120]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "why it is no delta" },
	{ FIELD_SLOT(struct sleep_record, parent, snap_ref), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "what a delta was laid over" },
	TAKEN_ROWS(struct sleep_record),
	FIELD_END
};

void sleep_free(struct sleep_record *r)
{
	codec_free(sleep_fields, r);
}

struct work {
	struct take t;
	struct snap_parent parent;
	enum snap_choice choice;
	struct sleep_record r;
};

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
	uint64_t mem_mib = w->t.pool.instance_resources.mem_mib;
	cleanup_store struct store s = STORE_NONE;
	struct instance i = { 0 };
	struct err bad = { 0 };

	if (take_lock(&w->t, &s, &i, e) < 0)
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
				w->choice == SNAP_TAKE_DIFF ? &w->parent : NULL, &w->t.draft, e);
}

// --- the capture

static void fill_record(struct work *w)
{
	struct sleep_record *r = &w->r;

	take_goes_on(&w->t);
	take_tell(&w->t, &r->taken);
	r->kind = w->t.m.kind;
	base_cut(r->parent, sizeof(r->parent), "%s",
		 w->choice == SNAP_TAKE_DIFF ? w->parent.ref : "");
}

// What was captured is what a wake loads; then nothing is left but to stop.
static int commit(struct work *w, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct instance i = { 0 };
	struct err unsaved = { 0 };

	if (take_lock(&w->t, &s, &i, e) < 0 || snap_draft_commit(&s, &w->t.draft, e) < 0)
		return -e->no;
	if (take_stage(&w->t, "committed", "linked", e) < 0 ||
	    instance_op_take(&i, OP_ENDING, e) < 0 || capture_disk_mib(&s, &i.capture_mib, e) < 0)
		return -e->no;
	fill_record(w);
	if (store_save(&s, SLEEP_FILE, sleep_fields, &w->r, &unsaved) < 0)
		log_warn(w->t.a->instance, "%s", unsaved.msg);
	return instance_save(&s, &i, e);
}

static int capture(struct work *w, struct err *e)
{
	const struct pages_cancel never = { .fd = -1 };
	struct take *t = &w->t;

	if (take_open(t, e) < 0 || begin(w, e) < 0 || take_stage(t, "begun", "draft", e) < 0 ||
	    take_stand_still(t, e) < 0 || take_memory(t, w->choice == SNAP_TAKE_DIFF, e) < 0 ||
	    snap_draft_seal(&t->draft, &t->m, &never, e) < 0 ||
	    take_stage(t, "sealed", "sealed", e) < 0)
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

	address_print(w->t.a, address);
	if (proc_tool(argv, NULL, NULL, COMPOSE_MS, &e) < 0) {
		log_warn(w->t.a->instance, "compose the capture: %s", e.msg);
		err_clear(&e);
	}
	if (held_open(&h, w->t.a, w->t.wait_ms, &e) < 0 || capture_sweep_held(&h, &e) < 0)
		log_warn(w->t.a->instance, "%s", e.msg);
	held_close(&h);
	pack_behind(address, w->t.pool.snapshot_compression);
}

static int end(const struct work *w, struct err *e)
{
	struct instance i = { 0 };

	if (fault_point("life-sleep-ending"))
		return err_sys(e, "fault");
	if (backend_stop(w->t.a, false, e) < 0 || instance_load(w->t.a, NULL, &i, e) < 0)
		return -e->no;
	// Killed between the VMM's end and finish, the backend leaves that to us.
	if (i.status != INSTANCE_SLEEPING &&
	    (step_finish(w->t.a, w->t.wait_ms, e) < 0 || instance_load(w->t.a, NULL, &i, e) < 0))
		return -e->no;
	if (i.status != INSTANCE_SLEEPING)
		return err_kind(e, ERR_STATE, "somebody stopped it meanwhile");
	if (i.unreleased && ask_settle(w->t.a, true, w->t.wait_ms, e) < 0)
		return -e->no;
	return fault_point("life-sleep-stopped") ? err_sys(e, "fault") : 0;
}

static int sleep_now(struct work *w, struct err *e)
{
	struct err later = { 0 };

	if (fault_point("life-sleep-asked"))
		return err_sys(e, "fault");
	if (capture(w, e) == 0)
		return end(w, e);
	take_drop(&w->t);
	if (ask_undo(w->t.a, &w->t.i, w->t.wait_ms, &later) < 0)
		log_warn(w->t.a->instance, "%s", later.msg);
	return -e->no;
}

int verb_sleep(const struct address *a, bool force, int wait_ms, bool *ret_changed, struct err *e)
{
	const struct ask q = { .verb = DO_SLEEP, .stage = OP_WORKING, .force = force };
	struct work w = { .t = TAKE_NONE, .r = { .schema_version = 1 } };
	address_text address;
	int r;

	w.t.a = a;
	w.t.what = w.t.verb = "sleep";
	w.t.wait_ms = wait_ms;
	w.t.force = force;
	w.t.begun = clock_ms();
	if (ask_settle(a, false, wait_ms, e) < 0 || take_check_release(a, e) < 0 ||
	    ask_op(a, &q, wait_ms, &w.t.i, ret_changed, e) < 0)
		return -e->no;
	if (!*ret_changed)
		return 0;
	clock_utc(w.r.at);
	memcpy(w.r.op_id, w.t.i.op.id, sizeof(w.r.op_id));
	r = sleep_now(&w, e);
	if (r == 0)
		tidy(&w);
	sleep_free(&w.r);
	take_close(&w.t);
	if (r == 0)
		return 0;
	address_print(a, address);
	(void)err_object(e, "%s", address);
	(void)err_wrap(e, "%s", address);
	return audit_note_failed(a, AUDIT_INSTANCE_SLEPT, NULL, e);
}
