// SPDX-License-Identifier: MIT
#include <stdarg.h>

#include "fc/qemu_parts.h"

// Of every boot without boot_args: upstream's default since 1.13, less its pci=off.
#define BOOT_ARGS                                                                          \
	"reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd " \
	"swiotlb=noforce"

void qemu_plan_init(struct qemu_plan *p)
{
	*p = (struct qemu_plan){
		.kernel = -1, .initrd = -1, .ram = -1, .console = -1, .qmp = -1, .mux = -1
	};
	for (size_t i = 0; i < QEMU_DRIVES; i++)
		p->drives[i] = -1;
	for (size_t i = 0; i < QEMU_NETS; i++)
		p->nets[i] = -1;
}

void qemu_plan_clear(struct qemu_plan *p)
{
	int *const single[] = { &p->kernel, &p->initrd, &p->ram, &p->console, &p->qmp, &p->mux };

	for (size_t i = 0; i < COUNT(single); i++)
		base_closep(single[i]);
	for (size_t i = 0; i < QEMU_DRIVES; i++)
		base_closep(&p->drives[i]);
	for (size_t i = 0; i < QEMU_NETS; i++)
		base_closep(&p->nets[i]);
	qemu_plan_init(p);
}

// A model of today's host would make snapshots depend on it, and costs emulation time.
const char *qemu_cpu_model(bool kvm)
{
	return kvm ? "host" : "qemu64";
}

size_t qemu_drive_order(const struct codec_list *drives, const struct fc_drive *out[QEMU_DRIVES])
{
	const struct fc_drive *d = drives->items;
	size_t n = 0;

	for (int root = 1; root >= 0; root--)
		for (size_t i = 0; i < drives->len && n < QEMU_DRIVES; i++)
			if (d[i].is_root_device == (root == 1))
				out[n++] = &d[i];
	return n;
}

const char *qemu_drive_node(size_t index, char kind, char out[16])
{
	base_cut(out, 16, "%c%zu", kind, index);
	return out;
}

void qemu_cmdline(const struct qemu_plan *p, struct buf *out)
{
	const char *given = p->config->boot.boot_args;
	const char *args = given ? given : BOOT_ARGS;
	const char *end = strstr(args, " -- "); // what follows is the guest's init's
	const struct fc_drive *root =
		p->order[0] && p->order[0]->is_root_device ? p->order[0] : NULL;

	buf_add(out, args, end ? (size_t)(end - args) : strlen(args));
	if (root) {
		if (root->partuuid)
			buf_fmt(out, " root=PARTUUID=%s", root->partuuid);
		else
			buf_str(out, " root=/dev/vda");
		buf_str(out, root->is_read_only ? " ro" : " rw");
	}
	if (p->tsc_khz && !p->kvm)
		buf_fmt(out, " tsc_early_khz=%llu tsc=reliable", (unsigned long long)p->tsc_khz);
	if (end)
		buf_str(out, end);
}

static void arg(struct qemu_args *a, const char *text)
{
	codec_texts_add(&a->argv, text);
}

static void argf(struct qemu_args *a, const char *name, const char *fmt, ...) PRINTF(3, 4);
static void argf(struct qemu_args *a, const char *name, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	arg(a, name);
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); // the longest is a drive's, with its id
	va_end(ap);
	arg(a, text);
}

static int arg_fd(struct qemu_args *a, int fd)
{
	a->fds[a->fd_count] = fd;
	return QEMU_FD_BASE + (int)a->fd_count++;
}

static void add_machine(const struct qemu_plan *p, struct qemu_args *a)
{
	const struct fc_machine_config *m = &p->config->machine;

	arg(a, p->program);
	argf(a, "-M", "microvm,memory-backend=m0,dump-guest-core=off");
	// Code is written through one mapping and run through another, so that a unit may forbid
	// memory that is both. QEMU would keep up to a GiB of it, as much as the guest gives it to
	// translate, and the VMM's own memory is limited; a boot fills a third of this.
	argf(a, "-accel", "%s", p->kvm ? "kvm" : "tcg,thread=multi,split-wx=on,tb-size=128");
	argf(a, "-cpu", "%s", qemu_cpu_model(p->kvm));
	argf(a, "-m", "%lluM", (unsigned long long)m->mem_size_mib);
	argf(a, "-smp", "cpus=%u,sockets=1,threads=%u", m->vcpu_count,
	     m->smt && m->vcpu_count % 2 == 0 ? 2 : 1);
	argf(a, "-object",
	     "memory-backend-file,id=m0,size=%lluM,mem-path=/proc/self/fd/%d,share=on",
	     (unsigned long long)m->mem_size_mib, arg_fd(a, p->ram));
	for (size_t i = 0; i < 4; i++) {
		static const char *const plain[] = { "-nodefaults", "-no-user-config", "-no-reboot",
						     "-S" };

		arg(a, plain[i]);
	}
	argf(a, "-display", "none");
	argf(a, "-chardev", "socket,id=qmp,fd=%d", arg_fd(a, p->qmp));
	argf(a, "-mon", "chardev=qmp,mode=control");
	argf(a, "-chardev", "socket,id=con,fd=%d", arg_fd(a, p->console));
	argf(a, "-serial", "chardev:con");
	argf(a, "-device", "i8042"); // Ctrl-Alt-Del
}

static void add_boot(const struct qemu_plan *p, struct qemu_args *a)
{
	cleanup_buf struct buf text = BUF_INIT;

	argf(a, "-kernel", "/proc/self/fd/%d", arg_fd(a, p->kernel));
	if (p->initrd >= 0)
		argf(a, "-initrd", "/proc/self/fd/%d", arg_fd(a, p->initrd));
	qemu_cmdline(p, &text);
	arg(a, "-append");
	arg(a, buf_text(&text));
}

static void add_drive(const struct qemu_plan *p, size_t i, struct qemu_args *a)
{
	const struct fc_drive *d = p->order[i];
	char file[16], node[16], device[16];

	(void)qemu_drive_node(i, 'f', file);
	(void)qemu_drive_node(i, 'd', node);
	(void)qemu_drive_node(i, 'b', device);
	argf(a, "-add-fd", "fd=%d,set=%zu", arg_fd(a, p->drives[i]), i + 1);
	argf(a, "-blockdev",
	     "driver=file,node-name=%s,filename=/dev/fdset/%zu,read-only=%s,auto-read-only=off,"
	     "cache.no-flush=%s,aio=threads,locking=off",
	     file, i + 1, d->is_read_only ? "on" : "off",
	     d->cache_type == FC_CACHE_UNSAFE ? "on" : "off");
	argf(a, "-blockdev", "driver=raw,node-name=%s,file=%s,read-only=%s,cache.no-flush=%s", node,
	     file, d->is_read_only ? "on" : "off", d->cache_type == FC_CACHE_UNSAFE ? "on" : "off");
	// A disk's serial number has 20 bytes. The drive's id is letters, digits and '_'. That the
	// host's disk is full is the guest's I/O error, as with Firecracker: else QEMU stops its
	// CPUs.
	argf(a, "-device",
	     "virtio-blk-device,id=%s,drive=%s,serial=%.20s,werror=report,rerror=report", device,
	     node, d->drive_id);
}

static void add_devices(const struct qemu_plan *p, struct qemu_args *a)
{
	// Transports are given out from the highest down, and the guest probes them in that order.
	for (size_t i = 0; i < QEMU_DRIVES && p->drives[i] >= 0; i++)
		add_drive(p, i, a);
	for (size_t i = 0; i < QEMU_NETS && p->nets[i] >= 0; i++) {
		argf(a, "-netdev", "tap,id=n%zu,fd=%d", i, arg_fd(a, p->nets[i]));
		argf(a, "-device", "virtio-net-device,id=e%zu,netdev=n%zu,mac=%s", i, i,
		     p->macs[i]);
	}
	if (p->mux >= 0) {
		argf(a, "-device", "virtio-serial-device,max_ports=2");
		argf(a, "-chardev", "socket,id=mux,fd=%d", arg_fd(a, p->mux));
		argf(a, "-device", "virtserialport,chardev=mux,nr=1,name=" QEMU_MUX_PORT);
	}
	if (p->config->has_entropy) {
		argf(a, "-object", "rng-builtin,id=rng");
		argf(a, "-device", "virtio-rng-device,rng=rng");
	}
}

void qemu_args_build(const struct qemu_plan *p, struct qemu_args *out)
{
	*out = (struct qemu_args){ .fd_count = 0 };
	add_machine(p, out);
	if (p->incoming)
		argf(out, "-incoming", "defer");
	else
		add_boot(p, out);
	add_devices(p, out);
	argf(out, "-sandbox", "on,obsolete=deny,spawn=deny,resourcecontrol=deny%s",
	     p->chroot_dir ? "" : ",elevateprivileges=deny");
	if (p->chroot_dir) {
		argf(out, "-chroot", "%s", p->chroot_dir);
		argf(out, "-runas", "%u:%u", p->uid, p->gid);
	}
	(void)codec_list_add(&out->argv, sizeof(char *)); // execv wants a NULL behind the last
	out->argv.len--;
}

void qemu_args_clear(struct qemu_args *a)
{
	char **v = a->argv.items;

	for (size_t i = 0; i < a->argv.len; i++)
		free(v[i]);
	free(v);
	*a = (struct qemu_args){ .fd_count = 0 };
}
