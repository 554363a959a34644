// SPDX-License-Identifier: MIT
#include "life/base.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "audit/audit.h"
#include "base/fault.h"
#include "base/log.h"
#include "fc/qemu.h"
#include "life/base_impl.h"
#include "life/capture.h"
#include "snap/list.h"
#include "snap/rules.h"

#define START_WAIT_MS 170000 // of a start, for somebody who takes the base just now

const struct field base_result_fields[] = {
	{ FIELD_SLOT(struct base_result, schema_version, uint32_t), .kind = KIND_UINT, .doc = "1" },
	{ FIELD_SLOT(struct base_result, ref, snap_ref), .kind = KIND_TEXT, .doc = "the base" },
	{ FIELD_SLOT(struct base_result, changed, bool), .kind = KIND_BOOL,
	  .doc = "it was taken now" },
	{ FIELD_SLOT(struct base_result, revision_hash, char[65]), .kind = KIND_TEXT,
	  .doc = "the image that it is of" },
	{ FIELD_SLOT(struct base_result, sha256, char[65]), .kind = KIND_TEXT,
	  .doc = "digest of its memory" },
	{ FIELD_SLOT(struct base_result, allocated, uint64_t), .kind = KIND_UINT,
	  .doc = "bytes of its memory on the disk" },
	{ FIELD_SLOT(struct base_result, took_ms, uint64_t), .kind = KIND_UINT,
	  .doc = "until it was there" },
	FIELD_END
};

static void base_free(struct base *b)
{
	codec_free(snap_machine_fields, &b->machine);
	pool_free(&b->p);
}
#define cleanup_base cleanup(base_free)

static int describe(const struct vmm_choice *vmm, const struct revision *rev, struct base *b,
		    struct err *e)
{
	const struct capture_of of = { .pool = &b->p, .revision = rev, .vmm = vmm };

	if (capture_vm(&of, &b->machine, e) < 0)
		return -e->no;
	snap_base_ref(&b->machine, b->ref);
	// One that cannot be loaded again is no base.
	return snap_release_check(b->machine.vmm, b->machine.vmm_version, SNAP_USE_LOAD,
				  b->machine.mem_mib, e);
}

static int base_open(const struct address *a, struct base *b, struct err *e)
{
	cleanup_revision struct revision rev = REVISION_NONE;
	struct vmm_choice vmm = { 0 };

	b->pool = *a;
	b->pool.instance[0] = '\0';
	if (tenant_load(a->tenant, &b->tenant, e) < 0 ||
	    pool_load(a->tenant, a->pool, &b->p, e) < 0 ||
	    revision_open(a->tenant, a->pool, &rev, e) < 0 || vmm_choose(&vmm, e) < 0)
		return -e->no;
	return describe(&vmm, &rev, b, e);
}

// Of one that has none yet: what it is going to be.
static int data_bytes(const struct base *b, const struct address *a, uint64_t *ret, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct stat st;

	*ret = b->p.instance_resources.data_disk_mib * MIB;
	if (store_open(&s, STORE_INSTANCE, a, e) < 0)
		return -e->no;
	if (fstatat(s.dir, "volumes/" DATA_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0)
		*ret = (uint64_t)st.st_size;
	else if (errno != ENOENT)
		return err_sys(e, "volumes/" DATA_FILE);
	return 0;
}

int base_guest(const struct base *b, const struct address *a, struct snap_guest *ret, struct err *e)
{
	struct instance i = { 0 };
	struct address at = b->pool;
	uint64_t bytes;

	if (data_bytes(b, a, &bytes, e) < 0)
		return -e->no;
	instance_init(&i, &at, &b->tenant, 0);
	memcpy(ret->tenant_id, a->tenant, sizeof(ret->tenant_id));
	memcpy(ret->pool_id, a->pool, sizeof(ret->pool_id));
	memcpy(ret->instance_id, a->instance, sizeof(ret->instance_id));
	memcpy(ret->guest_ip, i.net.guest_ip, sizeof(ret->guest_ip));
	memcpy(ret->gateway_ip, i.net.gateway_ip, sizeof(ret->gateway_ip));
	memcpy(ret->mac, i.net.mac, sizeof(ret->mac));
	ret->cidr = i.net.cidr;
	capture_drives(&b->p, bytes, &ret->disks);
	return 0;
}

// --- made

// A base is named by all that it was taken on but for the rate, of which two readings differ.
static int check_rate(const struct base *b, const struct snap_gen *g, struct err *e)
{
	if (!g->m.machine.tsc_khz || qemu_tsc_same(g->m.machine.tsc_khz, b->machine.tsc_khz))
		return 0;
	return err_kind(e, ERR_DAMAGED, "%s: it is of a host with another TSC", g->ref);
}

// Kind missing when there is none, damaged when what is there is no good; read: all of it is read.
static int look(const struct base *b, bool read, struct base_result *ret, struct err *e)
{
	const struct pages_cancel never = { .fd = -1 };
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct stat st;

	if (store_open(&s, STORE_POOL, &b->pool, e) < 0 ||
	    snap_gen_open(&s, b->ref, SNAP_UNLOCKED, 0, &g, e) < 0 || check_rate(b, &g, e) < 0 ||
	    (read && snap_gen_verify(&g, true, &never, NULL, e) < 0))
		return -e->no;
	memcpy(ret->ref, g.ref, sizeof(ret->ref));
	memcpy(ret->revision_hash, g.m.machine.revision_hash, sizeof(ret->revision_hash));
	memcpy(ret->sha256, g.m.memory.sha256, sizeof(ret->sha256));
	if (fstatat(g.dir, SNAP_MEM, &st, AT_SYMLINK_NOFOLLOW) == 0)
		ret->allocated = (uint64_t)st.st_blocks * 512;
	return 0;
}

// What is damaged makes room for another.
static int remove_bad(const struct base *b, const struct err *why, int wait_ms, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;

	if (store_lock(&s, STORE_POOL, &b->pool, wait_ms, e) < 0)
		return -e->no;
	audit_note(&b->pool, AUDIT_SNAPSHOT_DELETED, NULL, "%s, which is damaged", b->ref);
	if (snap_base_remove(&s, b->ref, e) < 0)
		return audit_note_failed(&b->pool, AUDIT_SNAPSHOT_DELETED, NULL, e);
	log_warn(b->ref, "taken anew: %s", why->msg);
	return fault_point("base-removed") ? err_sys(e, "fault") : 0;
}

static int take(const struct base *b, int wait_ms, struct base_result *ret, struct err *e)
{
	int64_t begun = clock_ms();

	if (fault_point("base-begun"))
		return err_sys(e, "fault");
	if (base_take(b, wait_ms, e) < 0)
		return -e->no;
	if (look(b, false, ret, e) < 0)
		return err_wrap(e, "after it was taken");
	ret->changed = true;
	ret->took_ms = (uint64_t)(clock_ms() - begun);
	return 0;
}

static int make(const struct base *b, bool read, int wait_ms, struct base_result *ret,
		struct err *e)
{
	cleanup_fd int lock = base_lock(&b->pool, wait_ms, e);
	struct err why = { 0 };

	*ret = (struct base_result){ .schema_version = 1 };
	if (lock < 0 || base_sweep(&b->pool, wait_ms, e) < 0)
		return -e->no;
	if (look(b, read, ret, &why) == 0)
		return 0;
	if (why.kind != ERR_MISSING && why.kind != ERR_DAMAGED) {
		*e = why;
		return -e->no;
	}
	if (why.kind == ERR_DAMAGED && remove_bad(b, &why, wait_ms, e) < 0)
		return -e->no;
	return take(b, wait_ms, ret, e);
}

int base_make(const struct address *pool, int wait_ms, struct base_result *ret, struct err *e)
{
	cleanup_base struct base b = { .ref = "" };

	return base_open(pool, &b, e) < 0 ? -e->no : make(&b, true, wait_ms, ret, e);
}

// What a start would use is known where there are an image and a VMM; else all of the image stay.
int base_gc(const struct store *s, bool dry_run, struct codec_list *rows, struct err *e)
{
	cleanup_base struct base b = { .ref = "" };
	struct err unknown = { 0 };
	struct address a;

	if (s->level != STORE_POOL)
		return snap_gc(s, NULL, dry_run, rows, e);
	if (address_parse(s->name, ADDRESS_POOL, ADDRESS_POOL, &a, e) < 0)
		return -e->no;
	if (base_open(&a, &b, &unknown) == 0)
		return snap_gc_bases(s, b.ref, dry_run, rows, e);
	log_info(s->name, "what its base is called is not known: %s", unknown.msg);
	return snap_gc(s, NULL, dry_run, rows, e);
}

static bool wants_base(const struct instance *i, const struct pool *p)
{
	return p->start_from == POOL_START_TEMPLATE && i->role != INSTANCE_ROLE_TEMPLATE;
}

// A damaged one is somebody's to look at: no start replaces it, or would try to each time.
static int find_or_make(const struct address *a, int wait_ms, struct err *e)
{
	cleanup_base struct base b = { .ref = "" };
	struct base_result r = { 0 };

	if (base_open(a, &b, e) < 0)
		return -e->no;
	if (look(&b, false, &r, e) == 0)
		return 0;
	if (e->kind != ERR_MISSING)
		return err_hint(e, "'mvm snap base %s/%s' takes another", a->tenant, a->pool);
	err_clear(e);
	return make(&b, false, MAX(wait_ms, START_WAIT_MS), &r, e);
}

int base_before_start(const struct address *a, int wait_ms, struct err *ret_none, struct err *e)
{
	cleanup_pool struct pool p = { 0 };
	struct instance i = { 0 };

	if (instance_load(a, NULL, &i, e) < 0 || pool_load(a->tenant, a->pool, &p, e) < 0)
		return -e->no;
	if (wants_base(&i, &p) && !instance_has_vmm(&i) && i.status != INSTANCE_SLEEPING)
		(void)!find_or_make(a, wait_ms, ret_none);
	return 0;
}

// --- used

// Like a capture's, but for the guest: that of the template, with drives of the sizes of this
// one's.
static int wanted_of(const struct plan *p, const struct store *s, const struct base *b,
		     struct snap_wanted *ret, struct err *e)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;

	if (snap_gen_open(s, b->ref, SNAP_UNLOCKED, 0, &g, e) < 0 ||
	    base_guest(b, &p->a, &ret->guest, e) < 0)
		return -e->no;
	memcpy(ret->guest.instance_id, g.m.guest.instance_id, sizeof(ret->guest.instance_id));
	ret->machine = b->machine; // borrowed
	return 0;
}

static int open_checked(const struct plan *p, const struct base *b, struct snap_gen *g,
			struct err *e)
{
	const struct pages_cancel never = { .fd = -1 };
	cleanup_store struct store s = STORE_NONE;
	struct snap_wanted wanted = { 0 };
	int r;

	if (store_open(&s, STORE_POOL, &p->a, e) < 0)
		return -e->no;
	r = wanted_of(p, &s, b, &wanted, e);
	if (r == 0)
		r = snap_gen_open_as(&s, b->ref, SNAP_SHARED, p->wait_ms, &wanted, g, e);
	codec_free(snap_guest_fields, &wanted.guest);
	if (r < 0 || snap_may_load(&g->m, e) < 0)
		return -e->no;
	return snap_gen_verify(g, false, &never, NULL, e);
}

static int find(struct plan *p, struct err *e)
{
	cleanup_base struct base b = { .ref = "", .pool = p->a, .tenant = p->tenant };
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;

	if (pool_load(p->a.tenant, p->a.pool, &b.p, e) < 0 ||
	    describe(&p->vmm, &p->revision, &b, e) < 0 || open_checked(p, &b, &g, e) < 0)
		return err_wrap(e, "base");
	base_cut(p->launch.capture, sizeof(p->launch.capture), "%s", g.ref);
	base_cut(p->launch.capture_seal, sizeof(p->launch.capture_seal), "%s", g.m.seal);
	p->launch.mode = LAUNCH_LOAD;
	return 0;
}

// Whatever speaks against it, a boot is as good, only slower.
int base_prepare(struct plan *p, struct err *ret_refused, struct err *e)
{
	if (!wants_base(&p->i, &p->pool) || p->i.cold[0] || p->i.op.boot)
		return 0;
	if (fault_point("life-prepare-base"))
		return err_sys(e, "fault");
	if (find(p, ret_refused) == 0)
		prepare_stage(p, "base");
	return 0;
}
