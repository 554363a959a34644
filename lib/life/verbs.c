// SPDX-License-Identifier: MIT
#include "life/verbs.h"
#include "audit/context.h"
#include "base/fault.h"
#include "life/backend.h"
#include "life/held.h"
#include "life/steps.h"
#include "state/instances.h"
#include "state/transition.h"
#include "state/usage.h"

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

// Asked for, and then nobody was there to do it: no step has told of it, nor will one.
static void note_never_begun(const struct held *h)
{
	struct audit_context by;
	struct err why = { 0 };

	audit_context_of(h->store.dir, h->i.op.id, &by);
	(void)err_kind(&why, ERR_FAILED, "%s was asked for and never begun",
		       action_names[h->i.op.verb]);
	(void)audit_note_failed(
		&h->a, h->i.op.verb == DO_START ? AUDIT_START_FAILED : AUDIT_INSTANCE_STOPPED, &by,
		&why);
}

// What a dead op means (design.md section 4): asked is cleared; starting with a VM that runs is
// ended, since nobody knows how far it got; ending is stopped; what claims to run and does not is
// finished.
int verb_repair(const struct address *a, int wait_ms, struct err *e)
{
	struct instance i = { 0 };
	enum backend_status is;
	bool claims;

	if (instance_load(a, NULL, &i, e) < 0 || backend_status(a, &is, e) < 0)
		return -e->no;
	// Something that ended by itself, or was killed, is about to be gone: that moment is waited
	// for.
	if (is == BACKEND_DEACTIVATING && !instance_op_alive(&i) &&
	    (backend_stop(a, false, e) < 0 || backend_status(a, &is, e) < 0 ||
	     instance_load(a, NULL, &i, e) < 0))
		return -e->no;
	if (work_under_way(&i, is, e) < 0)
		return -e->no;
	claims = i.status == INSTANCE_RUNNING || i.status == INSTANCE_WARM;
	if (instance_has_op(&i) && i.op.stage == OP_ASKED) {
		cleanup_held struct held h = HELD_NONE;

		if (held_open(&h, a, wait_ms, e) < 0)
			return -e->no;
		if (str_eq(h.i.op.id, i.op.id)) {
			note_never_begun(&h);
			instance_op_clear(&h.i);
		}
		if (held_save(&h, e) < 0)
			return -e->no;
	}
	if (is == BACKEND_ACTIVE && instance_has_op(&i) &&
	    (i.op.stage == OP_STARTING || i.op.stage == OP_ENDING))
		return backend_stop(a, true, e);
	if (is == BACKEND_INACTIVE && (claims || (instance_has_op(&i) && i.op.stage != OP_ASKED)))
		return step_finish(a, wait_ms, e);
	return 0;
}

// Writes op {verb, asked}. *ret_to == the present status: there is nothing to do.
static int ask(const struct address *a, enum action verb, enum op_stage stage, int wait_ms,
	       bool *ret_changed, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;
	enum instance_status to;
	struct usage u = { 0 };

	if (held_open(&h, a, wait_ms, e) < 0)
		return -e->no;
	if (transition_check(verb, (enum instance_status)h.i.status, &to, e) < 0) {
		(void)err_object(e, "%s", h.address);
		return err_wrap(e, "%s", h.address);
	}
	*ret_changed = (int)to != h.i.status;
	if (!*ret_changed)
		return 0;
	if (verb == DO_START && (usage_of_tenant(&h.tenant, &u, e) < 0 ||
				 usage_check_start(&h.tenant, &h.pool, &u, &h.i, e) < 0)) {
		audit_note_quota(a, e);
		return -e->no;
	}
	if (instance_op_set(&h.i, (int)verb, e) < 0)
		return -e->no;
	h.i.op.stage = (int)stage;
	audit_context_leave(h.store.dir, h.i.op.id); // the steps act in this name
	return held_save(&h, e);
}

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

int verb_start(const struct address *a, int wait_ms, bool *ret_changed, struct err *e)
{
	struct err failed = { 0 };

	if (verb_repair(a, wait_ms, e) < 0 ||
	    ask(a, DO_START, OP_ASKED, wait_ms, ret_changed, e) < 0)
		return -e->no;
	if (!*ret_changed)
		return 0;
	if (fault_point("life-start-asked"))
		return err_sys(e, "fault");
	if (backend_start(a, &failed) == 0)
		return why_not_running(a, e);
	// The steps know better than the backend why, unless none of them ran.
	if (verb_repair(a, wait_ms, e) < 0 || why_not_running(a, e) < 0)
		return -e->no;
	*e = failed;
	return -e->no;
}

static int stop(const struct address *a, bool force, int wait_ms, bool *ret_changed, struct err *e)
{
	if (verb_repair(a, wait_ms, e) < 0 ||
	    ask(a, DO_STOP, force ? OP_ENDING : OP_ASKED, wait_ms, ret_changed, e) < 0)
		return -e->no;
	if (!*ret_changed)
		return 0;
	if (fault_point("life-stop-asked"))
		return err_sys(e, "fault");
	if (backend_stop(a, force, e) < 0)
		return -e->no;
	// Killed between the VMM's end and finish, the backend leaves that to us.
	struct instance i = { 0 };

	if (instance_load(a, NULL, &i, e) < 0)
		return -e->no;
	return i.status == INSTANCE_STOPPED ? 0 : step_finish(a, wait_ms, e);
}

int verb_stop(const struct address *a, bool force, int wait_ms, bool *ret_changed, struct err *e)
{
	if (stop(a, force, wait_ms, ret_changed, e) == 0)
		return 0;
	return audit_note_failed(a, AUDIT_INSTANCE_STOPPED, NULL, e);
}

// Until only the record is left.
static int end_all(const struct address *a, int wait_ms, struct err *e)
{
	struct instance i = { 0 };
	bool stopped = false;

	if (verb_repair(a, wait_ms, e) < 0 || instance_load(a, NULL, &i, e) < 0)
		return -e->no;
	if ((i.status == INSTANCE_RUNNING || i.status == INSTANCE_WARM) &&
	    stop(a, false, wait_ms, &stopped, e) < 0)
		return -e->no;
	if (fault_point("life-destroy-stopped"))
		return err_sys(e, "fault");
	// Also for one that never ran: a killed start may have left its TAP or jail.
	if (step_finish(a, wait_ms, e) < 0 || backend_forget(a, e) < 0)
		return -e->no;
	if (fault_point("life-destroy-forgotten"))
		return err_sys(e, "fault");
	return 0;
}

int verb_destroy(const struct address *a, bool keep_volumes, int wait_ms, bool *ret_changed,
		 struct err *e)
{
	struct instance i = { 0 };

	*ret_changed = false;
	if (instance_load(a, NULL, &i, e) < 0) {
		if (e->kind != ERR_MISSING)
			return -e->no;
		err_clear(e);
		return 0;
	}
	if (end_all(a, wait_ms, e) < 0)
		return audit_note_failed(a, AUDIT_INSTANCE_DESTROYED, NULL, e);
	*ret_changed = true;
	return instances_remove(a, keep_volumes, wait_ms, e);
}
