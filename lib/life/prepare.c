// SPDX-License-Identifier: MIT
#include "audit/audit.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/proc.h"
#include "disk/drive.h"
#include "fc/config.h"
#include "guest/probe.h"
#include "life/backend.h"
#include "life/figures.h"
#include "life/held.h"
#include "life/launch.h"
#include "life/metad.h"
#include "life/revision.h"
#include "life/steps.h"
#include "life/vmm.h"
#include "state/transition.h"
#include "state/usage.h"
#include "sys/jail.h"
#include <fcntl.h>
#include <inttypes.h>

// Memory of a VMM beside its guest's, with room to spare for the kernel's: mvm-fc-qemu measures 92
// MiB and up to 128 of translated code (docs/benchmarks.md), Firecracker a few.
#define OVERHEAD_QEMU_MIB	 384
#define OVERHEAD_FIRECRACKER_MIB 96
#define OVERHEAD_CPU_PCT	 20
#define OVERHEAD_TASKS		 64
#define TOOL_MS			 60000
#define DRIVES_MS		 170000 // a data disk is copied from its seed in that time

// Everything that prepare puts together for one run.
struct plan {
	struct address a;
	address_text address;
	struct instance i;
	struct pool pool;
	struct tenant tenant;
	struct vmm_choice vmm;
	struct revision revision;
	uint32_t uid;
	bool drives[DRIVES]; // which of them it has
	struct launch launch;
};

// Takes over the op that the caller wrote, or makes one: then the same check holds for a
// `systemctl start` by hand.
static int take_op(struct held *h, struct err *e)
{
	enum instance_status to;
	struct usage u = { 0 };

	if (instance_has_op(&h->i) && h->i.op.stage == OP_ASKED)
		return instance_op_take(&h->i, OP_STARTING, e);
	if (instance_op_check(&h->i, e) < 0)
		return -e->no;
	if (h->i.status == INSTANCE_RUNNING || h->i.status == INSTANCE_WARM)
		return err_kind(
			e, ERR_STATE,
			"the record says %s but nothing runs: 'mvm instance start' repairs it",
			instance_status_names[h->i.status]);
	if (transition_check(DO_START, (enum instance_status)h->i.status, &to, e) < 0 ||
	    usage_of_tenant(&h->tenant, &u, e) < 0 ||
	    usage_check_start(&h->tenant, &h->pool, &u, &h->i, e) < 0 ||
	    instance_op_set(&h->i, DO_START, e) < 0) {
		audit_note_quota(&h->a, e);
		return -e->no;
	}
	return instance_op_take(&h->i, OP_STARTING, e);
}

static int take_over(struct plan *p, int wait_ms, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;

	if (held_open(&h, &p->a, wait_ms, e) < 0 || take_op(&h, e) < 0)
		return -e->no;
	memcpy(h.i.revision_hash, p->revision.hash, sizeof(h.i.revision_hash));
	h.i.vmm = (int)p->vmm.kind;
	(void)snprintf(h.i.vmm_version, sizeof(h.i.vmm_version), "%s", p->vmm.version);
	h.i.seccomp = p->pool.seccomp_policy;
	if (held_save(&h, e) < 0)
		return -e->no;
	p->i = h.i;
	p->tenant = h.tenant;
	p->uid = name_uid(h.tenant.net.tenant_net_id, h.i.net.offset);
	return 0;
}

static int bridge(const char *verb, const char *object, struct err *e)
{
	const char *const argv[] = { "mvm-bridge", verb, object, NULL };

	return proc_tool(argv, NULL, NULL, TOOL_MS, e);
}

static int make_network(const struct plan *p, struct err *e)
{
	if (bridge("ensure", p->a.tenant, e) < 0 || bridge("tap-add", p->address, e) < 0)
		return -e->no;
	if (fault_point("life-prepare-tap"))
		return err_sys(e, "fault");
	if (bridge("tap-attach", p->address, e) < 0)
		return -e->no;
	// A guest that was promised metadata does not start without: it could not tell the reason.
	if (!p->pool.metadata_enabled || p->i.role == INSTANCE_ROLE_TEMPLATE)
		return 0;
	return metad_offer(&p->a, e);
}

static int set_limits(const struct plan *p, struct err *e)
{
	const struct pool_resources *r = &p->pool.instance_resources;
	const struct backend_limits l = {
		// A guest that reads all of its drives on the ramfs makes all of their pages be
		// there.
		.memory_mib = r->mem_mib + r->secrets_mib + DRIVE_CONFIG_MIB +
			      (p->vmm.kind == INSTANCE_VMM_QEMU ? OVERHEAD_QEMU_MIB
								: OVERHEAD_FIRECRACKER_MIB),
		.cpu_pct = r->vcpus * 100 + OVERHEAD_CPU_PCT,
		.tasks = r->vcpus + OVERHEAD_TASKS,
	};

	return backend_limits(&p->a, &l, e);
}

// A revision is never changed: a file that it names and does not have is damage.
static int link_shared(const struct plan *p, const struct jail *jail, const char *name,
		       struct err *e)
{
	if (jail_link(jail, p->revision.dir, name, jail->root, name, JAIL_SHARED, e) == 0)
		return 0;
	if (e->kind != ERR_MISSING)
		return -e->no;
	e->kind = ERR_DAMAGED;
	(void)err_wrap(e, "revision %s", p->revision.hash);
	return err_hint(e, "run 'mvm pool build %s/%s' again", p->a.tenant, p->a.pool);
}

// By a process of its own: what handles secrets is short and has nothing else to do.
static int make_drives(struct plan *p, struct err *e)
{
	const char *const argv[] = { "mvm-disk", "ensure", p->address, NULL };
	cleanup_drive_rows struct codec_list rows = { 0 };
	cleanup_buf struct buf out = BUF_INIT;
	const struct drive_row *r;

	if (proc_tool(argv, NULL, &out, DRIVES_MS, e) < 0)
		return -e->no;
	if (codec_parse_list(drive_row_fields, sizeof(*r), buf_text(&out), out.len, &rows, e) < 0)
		return err_wrap(e, "mvm-disk");
	r = rows.items;
	for (size_t i = 0; i < rows.len; i++)
		p->drives[r[i].drive] = r[i].present;
	return 0;
}

// The data disk is a link, as it lies on the same file system, and the VM's own while it runs; the
// ramfs is another file system and is bound.
static int link_drives(struct plan *p, const struct jail *jail, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct launch_bind *b;
	path_text path;

	if (p->drives[DRIVE_DATA] && (store_open(&s, STORE_INSTANCE, &p->a, e) < 0 ||
				      jail_link(jail, s.dir, "volumes/" DATA_FILE, jail->root,
						DATA_FILE, JAIL_PRIVATE, e) < 0))
		return -e->no;
	for (enum drive_kind k = DRIVE_SECRETS; k < DRIVES; k++) {
		if (!p->drives[k])
			continue;
		place_path(p->a.instance, drive_files[k], path);
		b = codec_list_add(&p->launch.binds, sizeof(*b));
		b->from = base_strdup(path);
		base_cut(b->name, sizeof(b->name), "%s", drive_files[k]);
	}
	return 0;
}

static int fill_jail(struct plan *p, struct err *e)
{
	const struct fc_base *b = &p->revision.base;
	const struct fc_drive *d = b->drives.items;
	cleanup_jail struct jail jail = JAIL_NONE;
	const char *initrd = b->boot_source.initrd_path;

	if (jail_make(instance_vmm_names[p->vmm.kind], p->a.instance, p->uid, &jail, e) < 0 ||
	    link_shared(p, &jail, b->boot_source.kernel_image_path, e) < 0)
		return -e->no;
	if (initrd && link_shared(p, &jail, initrd, e) < 0)
		return -e->no;
	for (size_t i = 0; i < b->drives.len; i++)
		if (link_shared(p, &jail, d[i].path_on_host, e) < 0)
			return -e->no;
	p->launch.jail = base_strdup(jail.path);
	return link_drives(p, &jail, e);
}

static void add_request(struct launch *l, const char *stage, const char *path,
			const struct field *tab, const void *body)
{
	struct launch_request *q = codec_list_add(&l->requests, sizeof(*q));
	cleanup_buf struct buf text = BUF_INIT;

	codec_print(tab, body, &text);
	q->stage = base_strdup(stage);
	q->method = base_strdup("PUT");
	q->path = base_strdup(path);
	q->body = buf_steal(&text);
}

// Inside the jail every file lies in its root: the same bodies serve both VMMs.
static char *in_jail(const char *name)
{
	return base_printf("/%s", name);
}

static void add_boot_source(struct plan *p)
{
	const struct fc_boot_source *b = &p->revision.base.boot_source;
	struct fc_boot_source body = { .kernel_image_path = in_jail(b->kernel_image_path),
				       .initrd_path =
					       b->initrd_path ? in_jail(b->initrd_path) : NULL,
				       .boot_args = b->boot_args };

	add_request(&p->launch, "configure", "/boot-source", fc_boot_source_fields, &body);
	free(body.kernel_image_path);
	free(body.initrd_path);
}

static void add_drives(struct plan *p)
{
	const struct fc_drive *d = p->revision.base.drives.items;

	for (size_t i = 0; i < p->revision.base.drives.len; i++) {
		struct fc_drive body = d[i];
		cleanup_free char *path = base_printf("/drives/%s", d[i].drive_id);

		body.path_on_host = in_jail(d[i].path_on_host);
		add_request(&p->launch, "configure", path, fc_drive_fields, &body);
		free(body.path_on_host);
	}
}

// Behind the root, in a fixed order. What a guest has flushed to its data is to be there after a
// crash of the host as well; the others are only read.
static void add_own_drives(struct plan *p)
{
	for (enum drive_kind k = DRIVE_DATA; k < DRIVES; k++) {
		cleanup_free char *path = base_printf("/drives/%s", drive_names[k]);
		cleanup_free char *id = base_strdup(drive_names[k]);
		cleanup_free char *file = in_jail(drive_files[k]);
		const struct fc_drive body = {
			.drive_id = id,
			.path_on_host = file,
			.is_read_only = k != DRIVE_DATA,
			.cache_type = k == DRIVE_DATA ? FC_CACHE_WRITEBACK : FC_CACHE_UNSAFE,
		};

		if (p->drives[k])
			add_request(&p->launch, "configure", path, fc_drive_fields, &body);
	}
}

static void add_requests(struct plan *p)
{
	char iface[] = "eth0", vsock[] = "/run/v.sock", pipe[] = "/run/" FIGURES_PIPE;
	const struct fc_machine_config machine = { .vcpu_count = p->pool.instance_resources.vcpus,
						   .mem_size_mib =
							   p->pool.instance_resources.mem_mib };
	const struct fc_net net = { .iface_id = iface,
				    .host_dev_name = p->i.net.tap_dev,
				    .guest_mac = p->i.net.mac };
	const struct fc_vsock vs = { .guest_cid = GUEST_CID, .uds_path = vsock };
	const struct fc_entropy entropy = { 0 };
	const struct fc_action start = { .action_type = FC_INSTANCE_START };
	const struct fc_metrics metrics = { .metrics_path = pipe };

	add_request(&p->launch, "configure", "/metrics", fc_metrics_fields, &metrics);
	add_request(&p->launch, "configure", "/machine-config", fc_machine_config_fields, &machine);
	add_boot_source(p);
	add_drives(p);
	add_own_drives(p);
	add_request(&p->launch, "configure", "/network-interfaces/eth0", fc_net_fields, &net);
	add_request(&p->launch, "configure", "/vsock", fc_vsock_fields, &vs);
	add_request(&p->launch, "configure", "/entropy", fc_entropy_fields, &entropy);
	add_request(&p->launch, "start", "/actions", fc_action_fields, &start);
}

static void add_argv(struct plan *p)
{
	cleanup_free char *id = base_printf("%u", p->uid);
	struct codec_list *v = &p->launch.argv;
	const char *const qemu[] = { p->vmm.program,
				     "--root",
				     p->launch.jail,
				     "--uid",
				     id,
				     "--gid",
				     id,
				     "--id",
				     p->a.instance,
				     "--seccomp",
				     pool_seccomp_names[p->pool.seccomp_policy],
				     "--api-sock",
				     "/run/api.sock",
				     NULL };
	path_text base;
	const char *const firecracker[] = { p->vmm.jailer,
					    "--id",
					    p->a.instance,
					    "--exec-file",
					    p->vmm.program,
					    "--uid",
					    id,
					    "--gid",
					    id,
					    "--chroot-base-dir",
					    base,
					    "--",
					    "--api-sock",
					    "/run/api.sock",
					    NULL };
	const char *const *words = p->vmm.kind == INSTANCE_VMM_QEMU ? qemu : firecracker;

	path_join(base, path_state(), "jails");
	for (; *words; words++)
		codec_texts_add(v, *words);
}

// The pool's probe as the guest's agent reads it.
static int add_probe(struct plan *p, struct err *e)
{
	const struct pool_probe *from = &p->pool.probe;
	cleanup(guest_words_clear) struct guest_words words = GUEST_WORDS_INIT;
	cleanup(guest_probe_clear) struct guest_probe to = { .kind = from->kind,
							     .interval_s = from->interval_s,
							     .timeout_s = from->timeout_s,
							     .failures = from->failures,
							     .port = (uint16_t)from->port };
	char *const *command = from->command.items;

	memcpy(to.path, from->path, sizeof(to.path));
	for (size_t i = 0; i < from->command.len; i++)
		if (guest_words_add(&to.command, command[i], e) < 0)
			return err_wrap(e, "probe");
	if (guest_probe_put(&words, &to, e) < 0)
		return -e->no;
	for (uint32_t i = 0; i < words.count; i++)
		codec_texts_add(&p->launch.probes, guest_words_at(&words, i));
	return 0;
}

static int begin_figures(const struct plan *p, struct err *e)
{
	cleanup_jail struct jail jail = JAIL_NONE;

	if (jail_open(instance_vmm_names[p->vmm.kind], p->a.instance, p->uid, &jail, e) < 0)
		return -e->no;
	return figures_begin(p->a.instance, p->i.net.tap_dev, &jail, &p->launch.requests, e);
}

static int write_launch(struct plan *p, struct err *e)
{
	struct launch *l = &p->launch;
	path_text dir;

	path_run_instance(p->a.instance, dir);
	if (fd_mkdirs(dir, 0700, e) < 0)
		return -e->no;
	memcpy(l->address, p->address, sizeof(l->address));
	(void)snprintf(l->vmm, sizeof(l->vmm), "%s", instance_vmm_names[p->vmm.kind]);
	(void)snprintf(l->hostname, sizeof(l->hostname), "%s", p->a.instance);
	memcpy(l->guest_ip, p->i.net.guest_ip, sizeof(l->guest_ip));
	memcpy(l->gateway_ip, p->i.net.gateway_ip, sizeof(l->gateway_ip));
	l->mode = LAUNCH_BOOT;
	l->seccomp = p->pool.seccomp_policy;
	l->uid = p->uid;
	l->prefix = (uint8_t)p->i.net.cidr;
	l->ready_timeout_ms = (uint64_t)p->pool.runtime.start_timeout_s * 1000;
	if (add_probe(p, e) < 0)
		return -e->no;
	add_argv(p);
	add_requests(p);
	if (begin_figures(p, e) < 0)
		return -e->no;
	return launch_save(p->a.instance, l, e);
}

static int forget_last_start(const struct plan *p, struct err *e)
{
	static const char *const files[] = { START_FILE, LAUNCH_FILE };
	path_text dir, file;

	path_run_instance(p->a.instance, dir);
	for (size_t i = 0; i < COUNT(files); i++) {
		path_join(file, dir, files[i]);
		if (unlink(file) < 0 && errno != ENOENT)
			return err_sys(e, "remove %s", file);
	}
	return 0;
}

static int prepare(struct plan *p, int wait_ms, struct err *e)
{
	if (pool_load(p->a.tenant, p->a.pool, &p->pool, e) < 0 || vmm_choose(&p->vmm, e) < 0 ||
	    revision_open(p->a.tenant, p->a.pool, &p->revision, e) < 0 ||
	    forget_last_start(p, e) < 0 ||
	    vmm_check_seccomp(&p->vmm, p->pool.seccomp_policy, &p->revision.base.drives, e) < 0 ||
	    take_over(p, wait_ms, e) < 0)
		return -e->no;
	if (fault_point("life-prepare-taken"))
		return err_sys(e, "fault");
	if (make_network(p, e) < 0 || set_limits(p, e) < 0 || make_drives(p, e) < 0)
		return -e->no;
	if (fault_point("life-prepare-drives"))
		return err_sys(e, "fault");
	if (fill_jail(p, e) < 0)
		return -e->no;
	if (fault_point("life-prepare-jail"))
		return err_sys(e, "fault");
	return write_launch(p, e);
}

int step_prepare(const struct address *a, int wait_ms, struct err *e)
{
	struct plan p = { .a = *a, .revision = REVISION_NONE };
	int r;

	// Of an instance that is not there nothing is left, no error either: nobody would own it.
	if (instance_load(a, NULL, &p.i, e) < 0)
		return -e->no;
	address_print(a, p.address);
	r = prepare(&p, wait_ms, e);
	if (r < 0)
		launch_leave_error(a, e);
	pool_free(&p.pool);
	revision_close(&p.revision);
	launch_free(&p.launch);
	return r;
}
