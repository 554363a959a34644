// SPDX-License-Identifier: MIT
// What a VM is here and now, in the words of a capture's manifest. What its disks are belongs to
// it: a memory that meets disks which have moved on destroys them, so the time of the data disk's
// last change is part of its identity.
#include "life/capture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/num.h"
#include "base/proc.h"
#include "disk/drive.h"
#include "fc/kvm.h"
#include "fc/qemu.h"
#include "guest/proto.h"
#include "life/prepare.h"

#define TOOL_MS	   5000
#define UUID_AT	   (1024 + 0x68) // in the superblock of an ext4
#define UUID_BYTES 16

void capture_machine_free(struct snap_wanted *w)
{
	codec_free(snap_machine_fields, &w->machine);
	codec_free(snap_guest_fields, &w->guest);
	*w = (struct snap_wanted){ 0 };
}

static struct snap_device *add(struct codec_list *to, const char *kind, const char *id,
			       uint64_t bytes)
{
	struct snap_device *d = codec_list_add(to, sizeof(*d));

	*d = (struct snap_device){ .bytes = bytes };
	base_cut(d->kind, sizeof(d->kind), "%s", kind);
	base_cut(d->id, sizeof(d->id), "%s", id);
	return d;
}

static int shared_drives(const struct revision *r, struct codec_list *to, struct err *e)
{
	const struct fc_drive *d = r->base.drives.items;

	for (size_t i = 0; i < r->base.drives.len; i++) {
		struct stat st;

		if (fstatat(r->dir, d[i].path_on_host, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_sys(e, "revision %s: %s", r->hash, d[i].path_on_host);
		(void)add(to, "drive", d[i].drive_id, (uint64_t)st.st_size);
	}
	return 0;
}

// The first line that the program says; a build may log more behind it.
static int state_format(const char *program, char out[32], struct err *e)
{
	const char *const argv[] = { program, "--snapshot-version", NULL };
	cleanup_proc_result struct proc_result r = { 0 };
	const char *text;

	if (proc_capture(argv, NULL, 64 * KIB, TOOL_MS, &r, e) < 0)
		return err_wrap(e, "%s --snapshot-version", program);
	text = buf_text(&r.out);
	if (r.status != 0 || !*text)
		return err_kind(e, ERR_FAILED, "%s --snapshot-version ended with %d", program,
				r.status);
	base_cut(out, 32, "%.*s", (int)MIN(strcspn(text, "\n"), 31), text);
	return 0;
}

// As mvm-fc-qemu itself decides (its --accel is not given).
static const char *accel_of(const struct vmm_choice *vmm)
{
	const char *word = getenv("MVM_QEMU_ACCEL");
	char why[200];

	if (vmm->kind == INSTANCE_VMM_FIRECRACKER)
		return "kvm";
	if (word && (str_eq(word, "kvm") || str_eq(word, "tcg")))
		return word;
	return kvm_usable(why) ? "kvm" : "tcg";
}

// By its path, which may be /proc/PID/exe: the program that runs, whatever lies in its place now.
static int program_digest(const char *program, digest_text out, struct err *e)
{
	cleanup_fd int fd = open(program, O_RDONLY | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "open %s", program);
	return digest_fd(fd, out, e);
}

// Firecracker's state is of Firecracker alone.
static int emulator(const struct capture_of *c, struct snap_machine *m, struct err *e)
{
	struct qemu_host here = { .tsc_khz = 0 };

	if (c->vmm->kind != INSTANCE_VMM_QEMU)
		return 0;
	if (qemu_host(&here, e) < 0)
		return -e->no;
	memcpy(m->emulator, here.version, sizeof(m->emulator));
	m->tsc_khz = here.tsc_khz;
	return 0;
}

int capture_emulator(int dir, struct snap_machine *m, struct err *e)
{
	cleanup_fd int fd = -1;
	struct qemu_host of = { .tsc_khz = 0 };

	if (m->vmm != INSTANCE_VMM_QEMU)
		return 0;
	fd = openat(dir, SNAP_VMSTATE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open " SNAP_VMSTATE);
	if (qemu_host_of(fd, &of, e) < 0)
		return err_wrap(e, SNAP_VMSTATE);
	memcpy(m->emulator, of.version, sizeof(m->emulator));
	m->tsc_khz = of.tsc_khz;
	return 0;
}

static int machine(const struct capture_of *c, struct snap_machine *m, struct err *e)
{
	m->vmm = (int)c->vmm->kind;
	m->vcpus = c->pool->instance_resources.vcpus;
	m->mem_mib = c->pool->instance_resources.mem_mib;
	m->agent_protocol = GUEST_VERSION;
	base_cut(m->revision_hash, sizeof(m->revision_hash), "%s", c->revision->hash);
	base_cut(m->vmm_version, sizeof(m->vmm_version), "%s", c->vmm->version);
	base_cut(m->accel, sizeof(m->accel), "%s", accel_of(c->vmm));
	if (snap_machine_host(m, e) < 0 || program_digest(c->vmm->program, m->vmm_sha256, e) < 0 ||
	    state_format(c->vmm->program, m->state_format, e) < 0 || emulator(c, m, e) < 0 ||
	    shared_drives(c->revision, &m->devices, e) < 0)
		return -e->no;
	(void)add(&m->devices, "net", PREPARE_NET, 0);
	(void)add(&m->devices, "vsock", "vsock", 0);
	(void)add(&m->devices, "entropy", "entropy", 0);
	return 0;
}

static int data_disk(const struct capture_of *c, struct codec_list *to, struct err *e)
{
	const char *name = c->data ? c->data : "volumes/" DATA_FILE;
	cleanup_store struct store s = STORE_NONE;
	uint8_t uuid[UUID_BYTES];
	struct snap_device *d;
	cleanup_fd int fd = -1;
	char hex[UUID_BYTES * 2 + 1];
	struct stat st;

	if (store_open(&s, STORE_INSTANCE, c->a, e) < 0)
		return -e->no;
	fd = openat(s.dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0 ||
	    pread(fd, uuid, sizeof(uuid), UUID_AT) != (ssize_t)sizeof(uuid))
		return err_sys(e, "read %s", name);
	d = add(to, "drive", drive_names[DRIVE_DATA], (uint64_t)st.st_size);
	num_to_hex(uuid, sizeof(uuid), hex);
	base_cut(d->identity, sizeof(d->identity), "%s %lld.%09ld", hex,
		 (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	return 0;
}

// Their content is made anew for each run; their size is part of the device.
static void made_drives(const struct pool *p, struct codec_list *to)
{
	(void)add(to, "drive", drive_names[DRIVE_SECRETS], p->instance_resources.secrets_mib * MIB);
	(void)add(to, "drive", drive_names[DRIVE_CONFIG], DRIVE_CONFIG_MIB * MIB);
}

void capture_drives(const struct pool *p, uint64_t data_bytes, struct codec_list *to)
{
	if (data_bytes)
		(void)add(to, "drive", drive_names[DRIVE_DATA], data_bytes);
	made_drives(p, to);
}

static int guest(const struct capture_of *c, struct snap_guest *g, struct err *e)
{
	const struct instance_net *net = &c->i->net;

	memcpy(g->tenant_id, c->a->tenant, sizeof(g->tenant_id));
	memcpy(g->pool_id, c->a->pool, sizeof(g->pool_id));
	memcpy(g->instance_id, c->a->instance, sizeof(g->instance_id));
	memcpy(g->guest_ip, net->guest_ip, sizeof(g->guest_ip));
	memcpy(g->gateway_ip, net->gateway_ip, sizeof(g->gateway_ip));
	memcpy(g->mac, net->mac, sizeof(g->mac));
	g->cidr = net->cidr;
	if (data_disk(c, &g->disks, e) < 0)
		return -e->no;
	made_drives(c->pool, &g->disks);
	return 0;
}

int capture_vm(const struct capture_of *c, struct snap_machine *ret, struct err *e)
{
	struct snap_machine m = { 0 };

	if (machine(c, &m, e) < 0) {
		codec_free(snap_machine_fields, &m);
		return -e->no;
	}
	*ret = m;
	return 0;
}

int capture_machine(const struct capture_of *c, struct snap_wanted *ret, struct err *e)
{
	struct snap_wanted w = { 0 };

	if (machine(c, &w.machine, e) < 0 || guest(c, &w.guest, e) < 0) {
		capture_machine_free(&w);
		return -e->no;
	}
	*ret = w;
	return 0;
}
