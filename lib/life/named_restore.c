// SPDX-License-Identifier: MIT
#include "audit/audit.h"
#include "base/fault.h"
#include "life/ask.h"
#include "life/capture.h"
#include "life/held.h"
#include "life/named.h"
#include "life/wake.h"
#include "state/usage.h"

// A restore that was killed when all was in its place: what it sleeps in is that very memory, and
// nobody has gone on from it yet.
static bool is_given(const struct address *a, const struct snap_gen *g)
{
	cleanup_gen struct snap_gen own = SNAP_GEN_NONE;
	cleanup_store struct store s = STORE_NONE;
	struct err ignored = { 0 };
	snap_ref ref;

	return store_open(&s, STORE_INSTANCE, a, &ignored) == 0 &&
	       snap_current(&s, ref, &ignored) == 0 && ref[0] &&
	       snap_gen_open(&s, ref, SNAP_UNLOCKED, 0, &own, &ignored) == 0 && !own.m.spent &&
	       snap_shares(&own, g);
}

static int check_status(const struct instance *i, bool force, struct err *e)
{
	if (instance_has_vmm(i)) {
		(void)err_kind(e, ERR_STATE, "restore: not while it is %s",
			       instance_status_names[i->status]);
		return err_hint(e, "stop it first");
	}
	if (i->status != INSTANCE_SLEEPING || force)
		return 0;
	(void)err_kind(e, ERR_STATE, "restore: it sleeps, and its capture would be lost");
	return err_hint(e, "--force drops it");
}

// Before anything of it is another.
static int check_quota(const struct address *a, int wait_ms, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;
	struct usage u = { 0 };

	if (held_open(&h, a, wait_ms, e) < 0 || usage_of_tenant(&h.tenant, &u, e) < 0)
		return -e->no;
	if (usage_check_start(&h.tenant, &h.pool, &u, &h.i, e) == 0)
		return 0;
	audit_note_quota(a, e);
	return -e->no;
}

static int give(const struct address *a, const char *name, bool force, int wait_ms, struct err *e)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct instance i = { 0 };

	if (named_open(a, name, wait_ms, &g, e) < 0 || instance_load(a, NULL, &i, e) < 0)
		return -e->no;
	if (i.status == INSTANCE_SLEEPING && is_given(a, &g))
		return 0;
	if (check_status(&i, force, e) < 0 || check_quota(a, wait_ms, e) < 0)
		return -e->no;
	capture_stop_packing(a, wait_ms);
	return named_give(&g, a, "", wait_ms, e);
}

int named_restore(const struct address *a, const char *name, bool force, int wait_ms,
		  bool *ret_changed, struct err *e)
{
	struct instance i = { 0 };
	address_text address;

	address_print(a, address);
	if (name_check(name, e) < 0 || ask_settle(a, false, wait_ms, e) < 0 ||
	    instance_load(a, NULL, &i, e) < 0)
		return -e->no;
	if ((i.status != INSTANCE_SLEEPING && check_status(&i, force, e) < 0) ||
	    give(a, name, force, wait_ms, e) < 0) {
		(void)err_object(e, "%s", address);
		return err_wrap(e, "%s", address);
	}
	return wake_run(a, DO_WAKE, false, wait_ms, ret_changed, e);
}
