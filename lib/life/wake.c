// SPDX-License-Identifier: MIT
#include "life/wake.h"

#include "audit/audit.h"
#include "base/beside.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/proc.h"
#include "life/ask.h"
#include "life/backend.h"
#include "life/base.h"
#include "life/bridge.h"
#include "life/capture.h"
#include "life/helper.h"
#include "life/vm.h"

#define TOOL_MS 60000

// --- commit

// It has its drives' former content in its memory; whoever runs in it is not to see what was
// rotated out.
static int give_drives(const char *address, bool loaded, struct err *e)
{
	const char *const argv[] = { "mvm-disk", "resumed", address, loaded ? "--loaded" : NULL,
				     NULL };

	return proc_tool(argv, NULL, NULL, TOOL_MS, e);
}

struct attach {
	const struct address *a;
	bool metadata;
};

static int attach(const void *arg, struct err *e)
{
	const struct attach *t = arg;

	return bridge_attach(t->a, t->metadata, e);
}

static void add_stage(struct start_record *r, const struct launch *l, const char *stage)
{
	start_stage_add(&r->stages, stage, helper_ms(l));
	r->total_ms = helper_ms(l);
}

static int go_on(const struct address *a, const struct launch *l, struct vm *vm,
		 struct start_record *r, struct err *e)
{
	cleanup_beside struct beside network = BESIDE_NONE;
	cleanup_pool struct pool pool = { 0 };

	if (pool_load(a->tenant, a->pool, &pool, e) < 0)
		return -e->no;
	// It has its own address by now, and nobody in it goes on before both are done.
	const struct attach to = { a, pool.metadata_enabled };

	if (beside_begin(attach, &to, &network, e) < 0 || give_drives(l->address, true, e) < 0)
		return -e->no;
	add_stage(r, l, "drives-given");
	if (fault_point("life-commit-drives"))
		return err_sys(e, "fault");
	if (beside_end(&network, e) < 0)
		return -e->no;
	add_stage(r, l, "attached");
	if (fault_point("life-commit-attached"))
		return err_sys(e, "fault");
	if (vm_thaw(vm, e) < 0)
		return err_wrap(e, "thaw the guest");
	add_stage(r, l, "thawed");
	return fault_point("life-commit-thawed") ? err_sys(e, "fault") : 0;
}

int wake_commit(const struct address *a, const struct launch *l, int vmm_fd, struct err *e)
{
	cleanup_start struct start_record r = { 0 };
	cleanup_vm struct vm vm = VM_NONE;

	if (launch_load_start(a->instance, &r, e) < 0 || vm_open_started(&vm, a, vmm_fd, e) < 0 ||
	    go_on(a, l, &vm, &r, e) < 0)
		return -e->no;
	return launch_save_start(a->instance, &r, e);
}

// The very one that was loaded; since then another may have been put in its place.
static int open_loaded(const struct held *h, const struct launch *l, struct snap_gen *g,
		       struct err *e)
{
	cleanup_store struct store pool = STORE_NONE;

	if (!launch_from_base(l))
		return snap_gen_open(&h->store, l->capture, SNAP_UNLOCKED, 0, g, e);
	if (store_open(&pool, STORE_POOL, &h->a, e) < 0 ||
	    snap_gen_open(&pool, l->capture, SNAP_UNLOCKED, 0, g, e) < 0)
		return -e->no;
	return str_eq(g->m.seal, l->capture_seal)
		       ? 0
		       : err_kind(e, ERR_CONFLICT, "%s: another one by now", l->capture);
}

int wake_note_base(struct held *h, const struct launch *l, struct err *e)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct instance_base loaded = { 0 };

	if (open_loaded(h, l, &g, e) < 0) {
		if (!launch_from_base(l))
			return -e->no;
		log_info(h->address, "its next capture is a full one: %s", e->msg);
		err_clear(e);
		snap_base_after(SNAP_EV_ENDED, NULL, &h->i.diff_base);
		return 0;
	}
	base_cut(loaded.ref, sizeof(loaded.ref), "%s", g.ref);
	base_cut(loaded.sha256, sizeof(loaded.sha256), "%s", g.m.memory.sha256);
	snap_base_after(SNAP_EV_LOADED, &loaded, &h->i.diff_base);
	return 0;
}

// Nobody needs them but people: no reason to end a guest that runs.
void wake_keep_start(struct held *h, const struct start_record *r)
{
	struct start_record own = *r; // its list stays r's
	struct err e = { 0 };

	base_cut(own.op_id, sizeof(own.op_id), "%s", h->i.op.id);
	base_cut(own.cold, sizeof(own.cold), "%s", h->i.cold);
	if (store_save(&h->store, START_FILE, start_fields, &own, &e) < 0)
		log_warn(h->address, "%s", e.msg);
}

// --- warm

static int resume(const struct address *a, struct start_record *r, struct err *e)
{
	cleanup_vm struct vm vm = VM_NONE;
	int64_t begun = clock_ms();
	address_text address;

	address_print(a, address);
	if (vm_open(&vm, a, e) < 0 || vm_run(&vm, e) < 0)
		return -e->no;
	start_stage_add(&r->stages, "running", (uint64_t)(clock_ms() - begun));
	if (fault_point("life-resume-running"))
		return err_sys(e, "fault");
	// Its clock stood still.
	if (vm_repair(&vm, e) == 0 && give_drives(address, false, e) == 0) {
		r->total_ms = (uint64_t)(clock_ms() - begun);
		start_stage_add(&r->stages, "repaired", r->total_ms);
		return 0;
	}
	(void)err_wrap(e, "repair the guest");
	return err_hint(e, "'mvm instance stop --force' ends it");
}

static int keep_resume(const struct address *a, const struct start_record *r, int wait_ms,
		       struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	if (held_open(&h, a, wait_ms, e) < 0)
		return -e->no;
	wake_keep_start(&h, r);
	return 0;
}

int wake_warm(const struct address *a, const struct instance *i, int wait_ms, struct err *e)
{
	cleanup_start struct start_record r = { .schema_version = 1 };
	struct err later = { 0 };

	clock_utc(r.at);
	if (resume(a, &r, e) == 0) {
		if (keep_resume(a, &r, wait_ms, e) < 0)
			return -e->no;
		return ask_done(a, i->op.id, INSTANCE_RUNNING, AUDIT_INSTANCE_WOKEN, wait_ms, e);
	}
	if (ask_undo(a, i, wait_ms, &later) < 0)
		log_warn(a->instance, "%s", later.msg);
	return audit_note_failed(a, AUDIT_INSTANCE_WOKEN, NULL, e);
}

// --- the verbs

static int why_not_running(const struct address *a, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct exit_record r = { 0 };
	struct instance i = { 0 };
	address_text address;

	address_print(a, address);
	if (instance_load(a, NULL, &i, e) < 0)
		return -e->no;
	if (i.status == INSTANCE_RUNNING)
		return 0;
	if (store_open(&s, STORE_INSTANCE, a, e) < 0 || exit_load(&s, &r, e) < 0)
		return err_wrap(e, "%s: the start failed", address);
	if (r.error.code[0])
		(void)result_to_err(&r.error, e);
	else
		(void)err_kind(e, ERR_FAILED, "it ended at once: %s", r.message);
	(void)err_object(e, "%s", address);
	return err_wrap(e, "%s", address);
}

static void tell_restless(const struct address *a)
{
	cleanup_launch struct launch l = { 0 };
	struct err ignored = { 0 };

	if (launch_load(a->instance, &l, &ignored) == 0 && l.mode == LAUNCH_LOAD && l.restless)
		log_warn(a->instance, "%s", CAPTURE_RESTLESS);
}

static int start_backend(const struct address *a, int wait_ms, struct err *e)
{
	struct err failed = { 0 };
	bool never;

	if (backend_start(a, &failed) == 0) {
		if (why_not_running(a, e) < 0)
			return -e->no;
		tell_restless(a);
		return 0;
	}
	// The steps know better than the backend why, unless none of them ran.
	if (ask_take_back(a, wait_ms, &never, e) < 0)
		return -e->no;
	if (!never && (ask_settle(a, false, wait_ms, e) < 0 || why_not_running(a, e) < 0))
		return -e->no;
	*e = failed;
	return -e->no;
}

// The capture was spent and nothing runs: its memory is lost, its disks are not.
static bool lost(const struct address *a)
{
	struct instance i = { 0 };
	struct err ignored = { 0 };

	return instance_load(a, NULL, &i, &ignored) == 0 && i.status == INSTANCE_STOPPED &&
	       !i.cold[0] && !instance_has_op(&i);
}

// The last run was one from its pool's base. That it came to nothing costs no memory.
static bool from_base(const struct address *a)
{
	cleanup_launch struct launch l = { 0 };
	struct err ignored = { 0 };

	return launch_load(a->instance, &l, &ignored) == 0 && launch_from_base(&l);
}

// Somebody wanted it to end: no reason to have it run from its disks.
static bool was_stopped(const struct address *a)
{
	struct instance i = { 0 };
	struct err ignored = { 0 };

	return instance_load(a, NULL, &i, &ignored) == 0 &&
	       str_eq(i.last_exit, exit_cause_names[EXIT_ASKED]);
}

// What a guest wrote on its console stays out of records and logs.
static char *cause_of(const struct err *e)
{
	const char *console = strstr(e->msg, "; console: ");

	return base_printf("%.*s", console ? (int)(console - e->msg) : (int)strlen(e->msg), e->msg);
}

static int start_cold(const struct address *a, int wait_ms, struct err *e)
{
	cleanup_free char *cause = cause_of(e);
	const struct ask q = {
		.verb = DO_START, .stage = OP_ASKED, .cold = cause, .cold_kind = e->kind
	};
	bool changed = false;

	log_warn(a->instance, "cold start: %s", cause);
	err_clear(e);
	if (ask_op(a, &q, wait_ms, NULL, &changed, e) < 0)
		return -e->no;
	return changed ? start_backend(a, wait_ms, e) : 0;
}

// What the record has in one word, with what the start had to say; NULL for any other end.
static char *why_failed(const struct address *a)
{
	cleanup_store struct store s = STORE_NONE;
	struct exit_record r = { 0 };
	struct instance i = { 0 };
	struct err e = { 0 }, why = { 0 };
	cleanup_free char *cause = NULL;

	if (instance_load(a, NULL, &i, &e) < 0 || i.status != INSTANCE_STOPPED ||
	    !str_eq(i.last_exit, exit_cause_names[EXIT_START_FAILED]) ||
	    store_open(&s, STORE_INSTANCE, a, &e) < 0 || exit_load(&s, &r, &e) < 0 || !r.message[0])
		return NULL;
	(void)err_kind(&why, ERR_FAILED, "%s", r.message);
	cause = cause_of(&why);
	return base_printf("%s: %s", i.last_exit, cause);
}

int wake_run(const struct address *a, enum action verb, bool boot, int wait_ms, bool *ret_changed,
	     struct err *e)
{
	cleanup_free char *no_base = NULL, *no_memory = NULL;
	struct ask q = { .verb = verb, .stage = OP_ASKED, .boot = boot };
	struct err none = { 0 };
	struct instance i = { 0 };

	if (ask_settle(a, false, wait_ms, e) < 0)
		return -e->no;
	if (verb == DO_START && !boot && base_before_start(a, wait_ms, &none, e) < 0)
		return -e->no;
	if (none.no) {
		q.cold = no_base = cause_of(&none);
		q.cold_kind = none.kind;
		log_warn(a->instance, "cold start: %s", no_base);
	} else if (verb == DO_WAKE) {
		q.cold = no_memory = why_failed(a);
	}
	if (ask_op(a, &q, wait_ms, &i, ret_changed, e) < 0)
		return -e->no;
	if (!*ret_changed)
		return 0;
	if (fault_point("life-start-asked"))
		return err_sys(e, "fault");
	if (i.op.from == INSTANCE_WARM)
		return wake_warm(a, &i, wait_ms, e);
	// Behind the op, which keeps packers away.
	if (i.op.from == INSTANCE_SLEEPING)
		capture_make_whole_ahead(a);
	if (start_backend(a, wait_ms, e) == 0)
		return 0;
	if (was_stopped(a) || (i.op.from == INSTANCE_SLEEPING ? !lost(a) : !from_base(a)))
		return -e->no;
	return start_cold(a, wait_ms, e);
}
