// SPDX-License-Identifier: MIT
#include "life/ask.h"

#include <fcntl.h>

#include "audit/context.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "life/backend.h"
#include "life/capture.h"
#include "life/held.h"
#include "life/steps.h"
#include "life/vm.h"
#include "snap/gen.h"
#include "state/usage.h"

#define SETTLE_LOCK "settle.lock"
#define LOOKS	    16

static bool to_running(enum action verb)
{
	return verb == DO_START || verb == DO_WAKE;
}

// --- what a dead predecessor left

// An op is alive while its process lives or the backend still works on it.
static int work_under_way(const struct instance *i, enum backend_status is, struct err *e)
{
	if (instance_op_check(i, e) < 0)
		return -e->no;
	if (is == BACKEND_ACTIVATING || is == BACKEND_DEACTIVATING)
		return err_kind(e, ERR_UNAVAILABLE, "busy: the instance is %s",
				is == BACKEND_ACTIVATING ? "being started" : "being stopped");
	return 0;
}

// Nothing of it can run: it was only asked for, or is work on what does not run, as a restore.
static bool never_ran(const struct instance *i)
{
	return instance_has_op(i) &&
	       (i->op.stage == OP_ASKED || (i->op.stage == OP_WORKING && !instance_has_vmm(i)));
}

// Asked for, and then nobody was there to do it: no step has told of it, nor will one.
static void note_never_begun(const struct held *h)
{
	bool start = to_running((enum action)h->i.op.verb);
	struct audit_context by;
	struct err why = { 0 };

	audit_context_of(h->store.dir, h->i.op.id, &by);
	(void)err_kind(&why, ERR_FAILED, "%s was asked for and never %s",
		       action_names[h->i.op.verb], h->i.op.stage == OP_ASKED ? "begun" : "ended");
	(void)audit_note_failed(&h->a, start ? AUDIT_START_FAILED : AUDIT_INSTANCE_STOPPED, &by,
				&why);
}

// Nobody has written it in between.
static bool same(const struct instance *a, const struct instance *b)
{
	return str_eq(a->op.id, b->op.id) && a->op.stage == b->op.stage && a->op.pid == b->op.pid &&
	       a->status == b->status && a->vmm_process.pid == b->vmm_process.pid &&
	       a->vmm_process.pid_start == b->vmm_process.pid_start;
}

static int clear_asked(const struct address *a, const struct instance *seen, int wait_ms,
		       struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	if (held_open(&h, a, wait_ms, e) < 0)
		return -e->no;
	if (!same(&h.i, seen))
		return 0;
	note_never_begun(&h);
	instance_op_clear(&h.i);
	return held_save(&h, e);
}

int ask_take_back(const struct address *a, int wait_ms, bool *ret_never, struct err *e)
{
	struct instance i = { 0 };
	struct proc_id self;

	*ret_never = false;
	if (instance_load(a, NULL, &i, e) < 0 || proc_id_get(getpid(), &self, e) < 0)
		return -e->no;
	*ret_never = instance_has_op(&i) && i.op.stage == OP_ASKED &&
		     i.op.pid == (uint32_t)self.pid && i.op.pid_start == self.start;
	return *ret_never ? clear_asked(a, &i, wait_ms, e) : 0;
}

// What was captured of a guest is older than its disks once its CPUs run again. A diff_base that is
// still there says that no capture was begun. When the disk is full the link goes all the same, and
// that suffices: what counts the space is put right by the next gc.
static int drop_half(const struct address *a, int wait_ms, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;
	struct err unsaved = { 0 };

	if (held_open(&h, a, wait_ms, e) < 0)
		return -e->no;
	if (!h.i.diff_base.ref[0] && snap_set_current(&h.store, "", e) < 0)
		return -e->no;
	if (capture_sweep_held(&h, &unsaved) < 0)
		log_warn(h.address, "%s", unsaved.msg);
	return 0;
}

// A guest whose agent never answered was not brought to rest by it. One that did may stand still
// until it is told to go on.
static int calm(struct vm *vm, struct err *e)
{
	struct err clock = { 0 };

	if (vm_repair(vm, &clock) < 0)
		log_warn(vm->a.instance, "%s", clock.msg);
	if (vm_thaw(vm, e) == 0)
		return 0;
	if (vm->heard) {
		(void)err_wrap(e, "let the guest go on");
		return err_hint(e, "'mvm instance settle' tries it again, "
				   "'mvm instance stop --force' ends it");
	}
	log_warn(vm->a.instance, "%s", e->msg);
	err_clear(e);
	return 0;
}

static int put_back(const struct address *a, const struct instance *seen, int wait_ms,
		    struct err *e)
{
	cleanup_vm struct vm vm = VM_NONE;
	bool warm = seen->op.from == INSTANCE_WARM;

	if ((seen->op.verb == DO_SLEEP || seen->op.verb == DO_SNAPSHOT) &&
	    drop_half(a, wait_ms, e) < 0)
		return -e->no;
	if (vm_open(&vm, a, e) < 0 || vm_run(&vm, e) < 0)
		return -e->no;
	if (calm(&vm, e) < 0)
		return -e->no;
	return warm ? vm_pause(&vm, e) : 0;
}

int ask_undo(const struct address *a, const struct instance *seen, int wait_ms, struct err *e)
{
	if (put_back(a, seen, wait_ms, e) < 0)
		return err_wrap(e, "undo the %s", action_names[seen->op.verb]);
	return ask_done(a, seen->op.id, (enum instance_status)seen->op.from, AUDIT_ACTIONS, wait_ms,
			e);
}

static int settle_working(const struct address *a, const struct instance *seen, bool ending,
			  int wait_ms, struct err *e)
{
	if (ask_undo(a, seen, wait_ms, e) == 0 || !ending)
		return e->no ? -e->no : 0;
	log_warn(a->instance, "%s", e->msg);
	err_clear(e);
	return ask_done(a, seen->op.id, (enum instance_status)seen->op.from, AUDIT_ACTIONS, wait_ms,
			e);
}

// One moment of it: between two looks at a record that is the same nobody began or ended anything,
// so what the backend said in between belongs to it.
static int look(const struct address *a, struct instance *ret, enum backend_status *is,
		struct err *e)
{
	struct instance before;

	if (instance_load(a, NULL, ret, e) < 0)
		return -e->no;
	for (int n = 0; n < LOOKS; n++) {
		before = *ret;
		if (backend_status(a, is, e) < 0)
			return -e->no;
		if (fault_point("life-look"))
			return err_sys(e, "fault");
		if (instance_load(a, NULL, ret, e) < 0)
			return -e->no;
		if (same(&before, ret))
			return 0;
	}
	return err_kind(e, ERR_UNAVAILABLE, "busy: others work on the instance");
}

// Something that ended by itself, or was killed, is about to be gone: that moment is waited for.
static int look_settled(const struct address *a, struct instance *ret, enum backend_status *is,
			struct err *e)
{
	if (look(a, ret, is, e) < 0)
		return -e->no;
	if (*is == BACKEND_DEACTIVATING && !instance_op_alive(ret) &&
	    (backend_stop(a, false, e) < 0 || look(a, ret, is, e) < 0))
		return -e->no;
	return work_under_way(ret, *is, e);
}

static bool needs_settling(const struct instance *i, enum backend_status is)
{
	return instance_has_op(i) ||
	       (is == BACKEND_INACTIVE && (instance_has_vmm(i) || i->unreleased));
}

// What a dead op means (design.md section 4): asked is cleared, and so is work without a VM;
// starting with a VM that runs is ended, since nobody knows how far it got; of working the VM goes
// on; ending is stopped; what claims to run and does not is finished, and what a run has left is
// released.
static int settle(const struct address *a, const struct instance *i, enum backend_status is,
		  bool ending, int wait_ms, struct err *e)
{
	bool op = instance_has_op(i), asked = never_ran(i);

	if (asked && clear_asked(a, i, wait_ms, e) < 0)
		return -e->no;
	// Where its VMM has ended the backend is about to see that.
	if (is == BACKEND_ACTIVE && op && i->op.stage == OP_WORKING && instance_vmm_alive(i))
		return settle_working(a, i, ending, wait_ms, e);
	if (is == BACKEND_ACTIVE && op && !asked)
		return backend_stop(a, true, e);
	if (is == BACKEND_INACTIVE && (instance_has_vmm(i) || i->unreleased || (op && !asked)))
		return step_finish(a, wait_ms, e);
	return 0;
}

// One at a time: two that resume a guest, or release what a run held, would meet what the first of
// them has begun behind it. Not one of the state's locks, since guest and backend are waited for.
static int lock_settling(const struct address *a, int wait_ms, struct err *e)
{
	cleanup_fd int dir = -1;
	path_text path;

	path_run_instance(a->instance, path);
	if (fd_mkdirs(path, 0700, e) < 0)
		return -e->no;
	dir = fd_open_dir(AT_FDCWD, path, e);
	return dir < 0 ? -e->no : fd_lock(dir, SETTLE_LOCK, true, wait_ms, e);
}

int ask_settle(const struct address *a, bool ending, int wait_ms, struct err *e)
{
	cleanup_fd int lock = -1;
	enum backend_status is = BACKEND_INACTIVE;
	struct instance i = { 0 };

	if (look_settled(a, &i, &is, e) < 0)
		return -e->no;
	if (!needs_settling(&i, is))
		return 0;
	lock = lock_settling(a, wait_ms, e);
	if (lock < 0 || look_settled(a, &i, &is, e) < 0)
		return -e->no;
	if (fault_point("life-settle"))
		return err_sys(e, "fault");
	return needs_settling(&i, is) ? settle(a, &i, is, ending, wait_ms, e) : 0;
}

// --- the op

// The pool says how young a guest policy leaves alone; a person knows better.
static int check_age(const struct held *h, enum action verb, struct err *e)
{
	const struct pool_runtime *r = &h->pool.runtime;
	bool warm = h->i.status == INSTANCE_WARM;
	uint32_t least = warm ? r->min_warm_s : r->min_running_s;
	struct audit_context by;
	int64_t since, now;
	time_text text;

	audit_context_now(&by);
	if (by.why != AUDIT_POLICY && by.why != AUDIT_RECONCILE)
		return 0;
	clock_utc(text);
	if (clock_parse_utc(text, &now, e) < 0 || clock_parse_utc(h->i.status_since, &since, e) < 0)
		return -e->no;
	if (now - since >= (int64_t)least)
		return 0;
	(void)err_kind(e, ERR_STATE, "%s: %s for %lld s, and the pool's %s is %u s",
		       action_names[verb], instance_status_names[h->i.status],
		       (long long)(now - since), warm ? "min_warm_s" : "min_running_s", least);
	return err_hint(e, "--force does it all the same");
}

static int check_quota(const struct held *h, enum action verb, struct err *e)
{
	struct usage u = { 0 };
	int r = 0;

	if (usage_of_tenant(&h->tenant, &u, e) < 0)
		return -e->no;
	if (to_running(verb))
		r = usage_check_start(&h->tenant, &h->pool, &u, &h->i, e);
	else if (verb == DO_WARM)
		r = usage_check_warm(&h->tenant, &u, &h->i, e);
	else if (verb == DO_SLEEP)
		r = usage_check_sleep(&h->tenant, &h->pool, &u, e);
	else if (verb == DO_SNAPSHOT)
		r = usage_check_snapshot(&h->tenant, &h->pool, &u, e);
	if (r < 0)
		audit_note_quota(&h->a, e);
	return r;
}

static int allowed(const struct held *h, const struct ask *q, bool *ret_changed,
		   const char **ret_cold, struct err *e)
{
	enum instance_status to;
	bool ages = q->verb == DO_WARM || q->verb == DO_SLEEP;

	if (transition_check_instance(q->verb, &h->i, &to, ret_cold, e) < 0)
		return -e->no;
	*ret_changed = (int)to != h->i.status || q->verb == DO_SNAPSHOT;
	if (!*ret_changed)
		return 0;
	if (ages && !q->force && check_age(h, q->verb, e) < 0)
		return err_wrap(e, "%s", h->address);
	return check_quota(h, q->verb, e);
}

int ask_check_free(const struct instance *i, struct err *e)
{
	address_text address;

	if (!instance_has_op(i) || instance_op_check(i, e) < 0)
		return e->no ? -e->no : 0;
	base_cut(address, sizeof(address), "%s/%s/%s", i->tenant_id, i->pool_id, i->instance_id);
	(void)err_kind(e, ERR_UNAVAILABLE, "%s: busy: %s is %s", address, action_names[i->op.verb],
		       op_stage_names[i->op.stage]);
	return err_object(e, "%s", address);
}

// ended: the cause where it is that the instance ended by itself.
static void set_cold(struct instance *i, const struct ask *q, const char *ended)
{
	if (q->cold)
		instance_set_cold(i, q->cold, instance_cold_counter(i, q->cold_kind));
	else
		instance_set_cold(i, ended, &i->cold_starts.ended);
}

int ask_op(const struct address *a, const struct ask *q, int wait_ms, struct instance *ret,
	   bool *ret_changed, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;
	const char *cold = "";

	if (fault_point("life-asking"))
		return err_sys(e, "fault");
	if (held_open(&h, a, wait_ms, e) < 0)
		return -e->no;
	if (allowed(&h, q, ret_changed, &cold, e) < 0)
		return err_object(e, "%s", h.address);
	if (*ret_changed) {
		if (ask_check_free(&h.i, e) < 0 || instance_op_set(&h.i, (int)q->verb, e) < 0)
			return -e->no;
		h.i.op.stage = h.i.status == INSTANCE_WARM && to_running(q->verb) ? OP_WORKING
										  : (int)q->stage;
		h.i.op.boot = q->boot;
		if (to_running(q->verb) && h.i.status != INSTANCE_WARM)
			set_cold(&h.i, q, cold);
		audit_context_leave(h.store.dir, h.i.op.id); // the steps act in this name
		if (held_save(&h, e) < 0)
			return -e->no;
	}
	if (ret)
		*ret = h.i;
	return 0;
}

int ask_done(const struct address *a, const char *op_id, enum instance_status status,
	     enum audit_action action, int wait_ms, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	if (held_open(&h, a, wait_ms, e) < 0)
		return -e->no;
	if (!str_eq(h.i.op.id, op_id)) {
		(void)err_kind(e, ERR_STATE, "%s: it ended meanwhile: the instance is %s",
			       h.address, instance_status_names[h.i.status]);
		return err_object(e, "%s", h.address);
	}
	if (action != AUDIT_ACTIONS)
		audit_note(a, action, NULL, "%s", "");
	instance_set_status(&h.i, status);
	instance_op_clear(&h.i);
	return held_save(&h, e);
}
