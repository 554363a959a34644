// SPDX-License-Identifier: MIT
// launch.json: the VMM's arguments and the bodies of its API, for a boot or a load.
#include "life/prepare.h"

#include <fcntl.h>

#include "base/fd.h"
#include "guest/probe.h"
#include "life/capture.h"
#include "life/figures.h"
#include "sys/jail.h"

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

static void add_metrics(struct plan *p)
{
	char pipe[] = "/run/" FIGURES_PIPE;
	const struct fc_metrics metrics = { .metrics_path = pipe };

	add_request(&p->launch, "configure", "/metrics", fc_metrics_fields, &metrics);
}

static void add_boot(struct plan *p)
{
	char iface[] = PREPARE_NET, vsock[] = "/run/v.sock";
	const struct fc_machine_config machine = { .vcpu_count = p->pool.instance_resources.vcpus,
						   .mem_size_mib =
							   p->pool.instance_resources.mem_mib };
	const struct fc_net net = { .iface_id = iface,
				    .host_dev_name = p->i.net.tap_dev,
				    .guest_mac = p->i.net.mac };
	const struct fc_vsock vs = { .guest_cid = GUEST_CID, .uds_path = vsock };
	const struct fc_entropy entropy = { 0 };
	const struct fc_action start = { .action_type = FC_INSTANCE_START };

	add_request(&p->launch, "configure", "/machine-config", fc_machine_config_fields, &machine);
	add_boot_source(p);
	add_drives(p);
	add_own_drives(p);
	add_request(&p->launch, "configure", "/network-interfaces/" PREPARE_NET, fc_net_fields,
		    &net);
	add_request(&p->launch, "configure", "/vsock", fc_vsock_fields, &vs);
	add_request(&p->launch, "configure", "/entropy", fc_entropy_fields, &entropy);
	add_request(&p->launch, "start", "/actions", fc_action_fields, &start);
}

// The guest's CPUs run when the call returns: one round trip less. What changes in its memory from
// then on is written down, for the next capture is a delta of this one.
static void add_load(struct plan *p)
{
	char state[] = "/" CAPTURE_STATE, memory[] = "/" CAPTURE_MEMORY, iface[] = PREPARE_NET;
	struct fc_net_override tap = { .iface_id = iface, .host_dev_name = p->i.net.tap_dev };
	struct fc_snapshot_load load = {
		.snapshot_path = state,
		.mem_backend = { .backend_path = memory, .backend_type = FC_BACKEND_FILE },
		.track_dirty_pages = true,
		.resume_vm = true,
	};

	if (launch_adopts(&p->launch)) // it knows the other's
		load.network_overrides = (struct codec_list){ .items = &tap, .len = 1 };
	add_request(&p->launch, "load", "/snapshot/load", fc_snapshot_load_fields, &load);
}

static void add_requests(struct plan *p)
{
	add_metrics(p);
	if (p->launch.mode == LAUNCH_LOAD)
		add_load(p);
	else
		add_boot(p);
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

static void free_ids(struct codec_list *ids)
{
	char **items = ids->items;

	for (size_t i = 0; i < ids->len; i++)
		free(items[i]);
	free(items);
}

static int begin_figures(const struct plan *p, struct err *e)
{
	const struct fc_drive *d = p->revision.base.drives.items;
	cleanup(free_ids) struct codec_list ids = { 0 };
	cleanup_jail struct jail jail = JAIL_NONE;

	for (size_t i = 0; i < p->revision.base.drives.len; i++)
		codec_texts_add(&ids, d[i].drive_id);
	for (enum drive_kind k = DRIVE_DATA; k < DRIVES; k++)
		if (p->drives[k])
			codec_texts_add(&ids, drive_names[k]);
	if (jail_open(instance_vmm_names[p->vmm.kind], p->a.instance, p->uid, &jail, e) < 0)
		return -e->no;
	return figures_begin(p->a.instance, p->i.net.tap_dev, &jail, &ids, e);
}

int prepare_launch(struct plan *p, struct err *e)
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
