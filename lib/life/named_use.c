// SPDX-License-Identifier: MIT
// Somebody goes on from a named capture. It is locked from its comparison until the memory and the
// disk are where they are loaded from; whoever holds the locks of an instance does not wait for it.
#include <fcntl.h>
#include <sys/stat.h>

#include "audit/audit.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "disk/data.h"
#include "life/ask.h"
#include "life/capture.h"
#include "life/held.h"
#include "life/named.h"
#include "life/prepare.h"
#include "snap/pack.h"
#include "snap/rules.h"
#include "state/transition.h"
#include "state/usage.h"

// --- compared

static int load_plan(struct plan *p, const struct snap_machine *m, struct err *e)
{
	if (prepare_look(p, e) < 0)
		return -e->no;
	// As they are going to be when it goes on.
	memcpy(p->i.revision_hash, m->revision_hash, sizeof(p->i.revision_hash));
	memcpy(p->i.vmm_version, m->vmm_version, sizeof(p->i.vmm_version));
	p->i.vmm = m->vmm;
	return 0;
}

static int compare(struct plan *p, const struct snap_gen *g, struct err *e)
{
	char data[sizeof(SNAP_DIR "/" SNAP_DATA) + SNAP_REF + 1];
	struct snap_wanted wanted = { 0 };
	int r;

	base_cut(data, sizeof(data), SNAP_DIR "/%s/" SNAP_DATA, g->ref);
	if (load_plan(p, &g->m.machine, e) < 0 || prepare_wanted(p, data, &wanted, e) < 0)
		return -e->no;
	r = snap_manifest_check(&g->m, &wanted, e);
	capture_machine_free(&wanted);
	return r;
}

static int complete(struct snap_gen *g, struct err *e)
{
	const struct pages_cancel never = { .fd = -1 };
	bool changed;

	if (g->m.memory.form == SNAP_FORM_PACK && snap_unpack(g, &never, &changed, e) < 0)
		return -e->no;
	if (snap_may_load(&g->m, e) < 0 || snap_gen_verify(g, false, &never, NULL, e) < 0)
		return -e->no;
	return snap_data_verify(g, &never, e);
}

static int open_gen(const struct address *a, const char *name, int wait_ms, struct snap_gen *ret,
		    struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	snap_ref ref;

	if (name_check(name, e) < 0 || store_open(&s, STORE_INSTANCE, a, e) < 0 ||
	    snap_named_find(&s, name, ref, e) < 0)
		return -e->no;
	return snap_gen_open(&s, ref, SNAP_EXCLUSIVE, wait_ms, ret, e);
}

int named_open(const struct address *a, const char *name, int wait_ms, struct snap_gen *ret,
	       struct err *e)
{
	struct plan p = { .a = *a, .revision = REVISION_NONE };
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	int r;

	if (open_gen(a, name, wait_ms, &g, e) < 0)
		return -e->no;
	r = compare(&p, &g, e);
	revision_close(&p.revision);
	pool_free(&p.pool);
	if (r < 0 || complete(&g, e) < 0)
		return err_wrap(e, "snapshot %s", name);
	*ret = g;
	g = (struct snap_gen)SNAP_GEN_NONE;
	return 0;
}

// --- given

struct give {
	const struct snap_gen *g;
	const struct address *to;
	const char *cloned_from;
	int wait_ms;
	struct instance i; // with its op
	struct snap_draft draft;
};

// The op keeps others away while the disk is copied: at work, so that no start takes it over.
static int begin(struct give *w, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	if (held_open(&h, w->to, w->wait_ms, e) < 0 || ask_check_free(&h.i, e) < 0)
		return -e->no;
	if (instance_has_vmm(&h.i))
		return err_kind(e, ERR_STATE, "it is %s", instance_status_names[h.i.status]);
	// Who has begun with a clone may be another than who made it.
	if (h.i.maker.pid && instance_own(&h.i, e) < 0)
		return -e->no;
	if (instance_op_set(&h.i, DO_WAKE, e) < 0 || instance_op_take(&h.i, OP_WORKING, e) < 0 ||
	    snap_draft_begin(&h.store, SNAP_FULL, "", NULL, &w->draft, e) < 0 ||
	    held_save(&h, e) < 0)
		return -e->no;
	w->i = h.i;
	return fault_point("life-give-begun") ? err_sys(e, "fault") : 0;
}

static int share(struct give *w, struct err *e)
{
	const struct pages_cancel never = { .fd = -1 };
	const struct instance_net *net = &w->i.net;
	struct snap_guest as = { .cidr = net->cidr }; // its disks are those of the capture

	memcpy(as.tenant_id, w->to->tenant, sizeof(as.tenant_id));
	memcpy(as.pool_id, w->to->pool, sizeof(as.pool_id));
	memcpy(as.instance_id, w->to->instance, sizeof(as.instance_id));
	memcpy(as.guest_ip, net->guest_ip, sizeof(as.guest_ip));
	memcpy(as.gateway_ip, net->gateway_ip, sizeof(as.gateway_ip));
	memcpy(as.mac, net->mac, sizeof(as.mac));
	return snap_share(&w->draft, w->g, &as, w->cloned_from, &never, e);
}

// One rename: until then it has its old disk, and no capture that could meet the new one.
static int put_disk(struct give *w, struct held *h, struct err *e)
{
	cleanup_fd int volumes = -1;

	if (!w->g->m.data.bytes)
		return 0;
	if (fd_mkdir(h->store.dir, "volumes", 0700, e) < 0)
		return -e->no;
	volumes = fd_open_dir(h->store.dir, "volumes", e);
	if (volumes < 0)
		return -e->no;
	if (fault_point("life-give-disk") ||
	    renameat(w->draft.draft.dir, SNAP_DATA, volumes, DATA_FILE) < 0)
		return err_sys(e, "put the data disk in place");
	if (fd_sync_dir(volumes, e) < 0)
		return -e->no;
	return fault_point("life-give-disked") ? err_sys(e, "fault") : 0;
}

static bool is_ours(const struct give *w, const struct held *h)
{
	const struct instance_op *op = &h->i.op;

	return str_eq(op->id, w->i.op.id) && op->stage == OP_WORKING && op->pid == w->i.op.pid;
}

static int drop_own(struct held *h, struct err *e)
{
	if (h->i.status == INSTANCE_SLEEPING) {
		audit_note(&h->a, AUDIT_SNAPSHOT_DELETED, NULL, "%s", "the capture it slept in");
		instance_set_status(&h->i, INSTANCE_STOPPED);
		if (held_save(h, e) < 0)
			return -e->no;
		if (fault_point("life-give-dropped"))
			return err_sys(e, "fault");
	}
	return capture_drop_held(h, e);
}

// First the record says that there is nothing to wake from, then the disk is another, then the link
// names the memory that belongs to it, then the record says so.
static int put(struct give *w, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;
	const struct snap_machine *m = &w->g->m.machine;

	if (held_open(&h, w->to, w->wait_ms, e) < 0)
		return -e->no;
	if (!is_ours(w, &h))
		return err_kind(e, ERR_STATE, "somebody else has begun with it: it is %s",
				instance_status_names[h.i.status]);
	audit_note(w->to, AUDIT_SNAPSHOT_RESTORED, NULL, "%s of %s%s", w->g->m.name,
		   w->g->m.guest.instance_id,
		   w->g->m.quiesced ? "" : ", captured while not at rest");
	if (drop_own(&h, e) < 0 || put_disk(w, &h, e) < 0 ||
	    snap_draft_commit(&h.store, &w->draft, e) < 0)
		return audit_note_failed(w->to, AUDIT_SNAPSHOT_RESTORED, NULL, e);
	if (fault_point("life-give-linked"))
		return err_sys(e, "fault");
	memcpy(h.i.revision_hash, m->revision_hash, sizeof(h.i.revision_hash));
	memcpy(h.i.vmm_version, m->vmm_version, sizeof(h.i.vmm_version));
	h.i.vmm = m->vmm;
	snap_base_after(SNAP_EV_ENDED, NULL, &h.i.diff_base);
	instance_set_status(&h.i, INSTANCE_SLEEPING);
	instance_op_clear(&h.i);
	if (capture_disk_mib(&h.store, &h.i.capture_mib, e) < 0 || held_save(&h, e) < 0)
		return -e->no;
	return fault_point("life-give-done") ? err_sys(e, "fault") : 0;
}

// It stays what it was.
static void give_up(const struct give *w)
{
	cleanup_held struct held h = HELD_NONE;
	struct err e = { 0 };

	if (!instance_has_op(&w->i))
		return;
	if (held_open(&h, w->to, w->wait_ms, &e) == 0 && is_ours(w, &h)) {
		instance_op_clear(&h.i);
		(void)!held_save(&h, &e); // told below
	}
	if (e.no)
		log_warn(w->to->instance, "%s", e.msg);
}

int named_give(const struct snap_gen *g, const struct address *to, const char *cloned_from,
	       int wait_ms, struct err *e)
{
	struct give w = { .g = g,
			  .to = to,
			  .cloned_from = cloned_from,
			  .wait_ms = wait_ms,
			  .draft = SNAP_DRAFT_NONE };
	int r = 0;

	if (begin(&w, e) < 0 || share(&w, e) < 0 || put(&w, e) < 0) {
		r = -e->no;
		snap_draft_drop(&w.draft);
		give_up(&w);
	}
	snap_draft_drop(&w.draft);
	return r;
}
