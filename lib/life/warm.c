// SPDX-License-Identifier: MIT
// Paused in memory: the guest's CPUs stand still, its agent is not asked.
#include "audit/audit.h"
#include "base/fault.h"
#include "base/log.h"
#include "life/ask.h"
#include "life/verbs.h"
#include "life/vm.h"
#include "snap/manifest.h"

static int pause_guest(const struct address *a, struct err *e)
{
	cleanup_vm struct vm vm = VM_NONE;

	if (vm_open(&vm, a, e) < 0)
		return -e->no;
	if (fault_point("life-warm-asked"))
		return err_sys(e, "fault");
	if (vm_pause(&vm, e) < 0)
		return -e->no;
	return fault_point("life-warm-paused") ? err_sys(e, "fault") : 0;
}

// Some releases never find back to their guest after a pause.
static int check_release(const struct address *a, struct err *e)
{
	struct instance i = { 0 };

	if (instance_load(a, NULL, &i, e) < 0)
		return -e->no;
	return i.status == INSTANCE_RUNNING
		       ? snap_release_check(i.vmm, i.vmm_version, SNAP_USE_WARM, 0, e)
		       : 0;
}

int verb_warm(const struct address *a, bool force, int wait_ms, bool *ret_changed, struct err *e)
{
	const struct ask q = { .verb = DO_WARM, .stage = OP_WORKING, .force = force };
	struct err later = { 0 };
	struct instance i = { 0 };

	if (ask_settle(a, false, wait_ms, e) < 0 || check_release(a, e) < 0 ||
	    ask_op(a, &q, wait_ms, &i, ret_changed, e) < 0)
		return -e->no;
	if (!*ret_changed)
		return 0;
	if (pause_guest(a, e) == 0)
		return ask_done(a, i.op.id, INSTANCE_WARM, AUDIT_INSTANCE_WARMED, wait_ms, e);
	if (ask_undo(a, &i, wait_ms, &later) < 0)
		log_warn(a->instance, "%s", later.msg);
	return audit_note_failed(a, AUDIT_INSTANCE_WARMED, NULL, e);
}
