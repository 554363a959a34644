// SPDX-License-Identifier: MIT
#include "life/verbs.h"
#include "audit/audit.h"
#include "base/fault.h"
#include "life/ask.h"
#include "life/backend.h"
#include "life/capture.h"
#include "life/held.h"
#include "life/steps.h"
#include "life/wake.h"
#include "state/instances.h"

int verb_start(const struct address *a, bool cold, int wait_ms, bool *ret_changed, struct err *e)
{
	struct instance i = { 0 };
	bool dropped;

	if (cold && (instance_load(a, NULL, &i, e) < 0 ||
		     (i.status == INSTANCE_SLEEPING && verb_discard(a, wait_ms, &dropped, e) < 0)))
		return -e->no;
	return wake_run(a, DO_START, cold, wait_ms, ret_changed, e);
}

int verb_wake(const struct address *a, int wait_ms, bool *ret_changed, struct err *e)
{
	return wake_run(a, DO_WAKE, false, wait_ms, ret_changed, e);
}

int verb_discard(const struct address *a, int wait_ms, bool *ret_changed, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;
	enum instance_status to;

	capture_stop_packing(a, wait_ms);
	if (ask_settle(a, false, wait_ms, e) < 0 || held_open(&h, a, wait_ms, e) < 0)
		return -e->no;
	if (ask_check_free(&h.i, e) < 0)
		return -e->no;
	if (transition_check(DO_DISCARD, (enum instance_status)h.i.status, &to, e) < 0) {
		(void)err_object(e, "%s", h.address);
		return err_wrap(e, "%s", h.address);
	}
	*ret_changed = (int)to != h.i.status;
	if (!*ret_changed)
		return 0;
	audit_note(a, AUDIT_SNAPSHOT_DELETED, NULL, "%s", "the capture it slept in");
	// What is stopped is never loaded: first this, then the capture.
	instance_set_status(&h.i, to);
	if (held_save(&h, e) < 0)
		return audit_note_failed(a, AUDIT_SNAPSHOT_DELETED, NULL, e);
	if (fault_point("life-discarded"))
		return err_sys(e, "fault");
	return capture_drop_held(&h, e);
}

static int stop(const struct address *a, bool force, int wait_ms, bool *ret_changed, struct err *e)
{
	const struct ask q = { .verb = DO_STOP, .stage = force ? OP_ENDING : OP_ASKED };

	if (ask_settle(a, true, wait_ms, e) < 0 || ask_op(a, &q, wait_ms, NULL, ret_changed, e) < 0)
		return -e->no;
	if (!*ret_changed)
		return 0;
	if (fault_point("life-stop-asked"))
		return err_sys(e, "fault");
	if (backend_stop(a, force, e) < 0)
		return -e->no;
	// Killed between the VMM's end and finish, the backend leaves that to us; or half of it.
	struct instance i = { 0 };

	if (instance_load(a, NULL, &i, e) < 0)
		return -e->no;
	if (i.status != INSTANCE_STOPPED)
		return step_finish(a, wait_ms, e);
	return i.unreleased ? ask_settle(a, true, wait_ms, e) : 0;
}

int verb_stop(const struct address *a, bool force, int wait_ms, bool *ret_changed, struct err *e)
{
	if (stop(a, force, wait_ms, ret_changed, e) == 0)
		return 0;
	return audit_note_failed(a, AUDIT_INSTANCE_STOPPED, NULL, e);
}

// Until only the record is left.
static int end_all(const struct address *a, bool idle, int wait_ms, struct err *e)
{
	struct instance i = { 0 };
	bool stopped = false;

	if (ask_settle(a, true, wait_ms, e) < 0 || instance_load(a, NULL, &i, e) < 0)
		return -e->no;
	if (instance_has_vmm(&i) && idle)
		return err_kind(e, ERR_STATE, "it is %s", instance_status_names[i.status]);
	if (instance_has_vmm(&i) && stop(a, false, wait_ms, &stopped, e) < 0)
		return -e->no;
	if (fault_point("life-destroy-stopped"))
		return err_sys(e, "fault");
	capture_stop_packing(a, wait_ms);
	// Also for one that never ran: a killed start may have left its TAP or jail.
	if (instance_load(a, NULL, &i, e) < 0 || ask_check_free(&i, e) < 0 ||
	    step_finish(a, wait_ms, e) < 0 || backend_forget(a, e) < 0)
		return -e->no;
	if (fault_point("life-destroy-forgotten"))
		return err_sys(e, "fault");
	return 0;
}

static int destroy(const struct address *a, bool idle, bool keep_volumes, int wait_ms,
		   bool *ret_changed, struct err *e)
{
	struct instance i = { 0 };

	*ret_changed = false;
	if (instance_load(a, NULL, &i, e) < 0) {
		if (e->kind != ERR_MISSING)
			return -e->no;
		err_clear(e);
		return 0;
	}
	if (end_all(a, idle, wait_ms, e) < 0)
		return audit_note_failed(a, AUDIT_INSTANCE_DESTROYED, NULL, e);
	*ret_changed = true;
	return instances_remove(a, keep_volumes, wait_ms, e);
}

int verb_destroy(const struct address *a, bool keep_volumes, int wait_ms, bool *ret_changed,
		 struct err *e)
{
	return destroy(a, false, keep_volumes, wait_ms, ret_changed, e);
}

int verb_destroy_idle(const struct address *a, int wait_ms, bool *ret_changed, struct err *e)
{
	return destroy(a, true, false, wait_ms, ret_changed, e);
}
