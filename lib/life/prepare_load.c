// SPDX-License-Identifier: MIT
// The capture that a wake goes on from: found, compared with what is here, completed, read.
#include "life/prepare.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "life/capture.h"
#include "snap/packer.h"

#define LOCK_WAIT_MS 120000 // for somebody who composes or packs it just now

// What speaks against this capture for good. A lock that is held, a disk that is full or a failing
// one do not: the same wake may work later.
static bool is_refusal(const struct err *e)
{
	return e->kind == ERR_CONFLICT || e->kind == ERR_DAMAGED || e->kind == ERR_STATE ||
	       e->kind == ERR_MISSING;
}

// Image and VMM are those of the capture: a pool may have another image by now, and a host another
// default of its VMM.
static int choose(struct plan *p, struct err *e)
{
	struct vmm_choice same;
	struct err missing = { 0 };

	revision_close(&p->revision);
	if (revision_open_hash(p->a.tenant, p->a.pool, p->i.revision_hash, &p->revision, e) < 0)
		return -e->no;
	if (p->vmm.kind == INSTANCE_VMM_FIRECRACKER && p->i.vmm == INSTANCE_VMM_FIRECRACKER &&
	    !str_eq(p->vmm.version, p->i.vmm_version) &&
	    vmm_find_firecracker(p->i.vmm_version, &same, &missing) == 0)
		p->vmm = same;
	return vmm_check_seccomp(&p->vmm, p->pool.seccomp_policy, &p->revision.base.drives, e);
}

int prepare_look(struct plan *p, struct err *e)
{
	if (tenant_load(p->a.tenant, &p->tenant, e) < 0 ||
	    pool_load(p->a.tenant, p->a.pool, &p->pool, e) < 0 ||
	    instance_load(&p->a, &p->tenant, &p->i, e) < 0)
		return -e->no;
	return vmm_choose(&p->vmm, e);
}

int prepare_wanted(struct plan *p, const char *data, struct snap_wanted *ret, struct err *e)
{
	const struct capture_of of = { .a = &p->a,
				       .i = &p->i,
				       .tenant = &p->tenant,
				       .pool = &p->pool,
				       .revision = &p->revision,
				       .vmm = &p->vmm,
				       .data = data };

	return choose(p, e) < 0 ? -e->no : capture_machine(&of, ret, e);
}

static int complete(const struct store *s, struct snap_gen *g, struct err *e)
{
	const struct pages_cancel never = { .fd = -1 };

	if (capture_make_whole(s, g, e) < 0 || snap_may_load(&g->m, e) < 0)
		return -e->no;
	return snap_gen_verify(g, false, &never, NULL, e);
}

// Readable by the VM's user, as its other drives are; still root's to write. What it shares with a
// named capture is readable already, and its mode is that one's too.
static int give(const struct plan *p, const struct snap_gen *g, struct err *e)
{
	static const char *const files[] = { SNAP_VMSTATE, SNAP_MEM };

	for (size_t i = 0; i < COUNT(files); i++) {
		cleanup_fd int fd = openat(g->dir, files[i], O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		struct stat st;

		if (fd < 0 || fstat(fd, &st) < 0)
			return err_sys(e, "open %s", files[i]);
		if (st.st_mode & S_IROTH)
			continue;
		if (fchown(fd, 0, p->uid) < 0 || fchmod(fd, 0640) < 0)
			return err_sys(e, "give %s to the VM", files[i]);
	}
	return 0;
}

static int find(struct plan *p, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct snap_wanted wanted = { 0 };
	snap_ref ref;
	int r;

	if (store_open(&s, STORE_INSTANCE, &p->a, e) < 0 || snap_current(&s, ref, e) < 0)
		return -e->no;
	if (!ref[0])
		return err_kind(e, ERR_MISSING, "it has no capture");
	// Its memory is still there while it is being packed.
	if (snap_packer_end(&s, ref, e) < 0 || prepare_wanted(p, NULL, &wanted, e) < 0)
		return -e->no;
	r = snap_gen_open_as(&s, ref, SNAP_EXCLUSIVE, LOCK_WAIT_MS, &wanted, &g, e);
	capture_machine_free(&wanted);
	if (r < 0 || complete(&s, &g, e) < 0 || give(p, &g, e) < 0)
		return -e->no;
	base_cut(p->launch.capture, sizeof(p->launch.capture), "%s", g.ref);
	base_cut(p->launch.capture_seal, sizeof(p->launch.capture_seal), "%s", g.m.seal);
	p->launch.clone = g.m.cloned_from[0] != '\0';
	p->launch.restless = !g.m.quiesced;
	return 0;
}

int prepare_capture(struct plan *p, struct err *ret_refused, struct err *e)
{
	if (fault_point("life-prepare-capture"))
		return err_sys(e, "fault");
	if (find(p, e) == 0)
		return 0;
	if (!is_refusal(e))
		return -e->no;
	*ret_refused = *e;
	err_clear(e);
	return 0;
}
