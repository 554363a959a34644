// SPDX-License-Identifier: MIT
// QEMU's command line: what is in it, in which order, and what is left out.
#include "fc/qemu_parts.h"
#include "tap.h"

static char root_id[] = "root", data_id[] = "data", path[] = "/x", eth[] = "eth0", tap[] = "tap0";
static char kernel[] = "/k", boot[] = "console=ttyS0 quiet -- --init-option";

static struct fc_drive drives[] = {
	{ .drive_id = data_id, .path_on_host = path, .cache_type = FC_CACHE_WRITEBACK },
	{ .drive_id = root_id, .path_on_host = path, .is_root_device = true, .is_read_only = true },
};
static struct fc_net nets[] = { { .iface_id = eth, .host_dev_name = tap } };

static void fill(struct qemu_config *c, struct qemu_plan *p)
{
	*c = (struct qemu_config){ .machine = { .vcpu_count = 2, .mem_size_mib = 256 },
				   .boot = { .kernel_image_path = kernel, .boot_args = boot },
				   .drives = { drives, 2 },
				   .nets = { nets, 1 } };
	qemu_plan_init(p);
	p->config = c;
	p->program = "/usr/bin/qemu-system-x86_64";
	p->tsc_khz = 2596000;
	CHECK_INT(qemu_drive_order(&c->drives, p->order), 2);
	// Numbers that no test opens: nothing is done with them but counting.
	p->kernel = 100;
	p->ram = 101;
	p->console = 102;
	p->qmp = 103;
	p->drives[0] = 104;
	p->drives[1] = 105;
	p->nets[0] = 106;
	memcpy(p->macs[0], "02:fc:00:01:00:03", sizeof(mac_text));
}

static const char *const *argv_of(const struct qemu_args *a)
{
	return a->argv.items;
}

// Position of the first argument at or behind from that begins so; -1: none.
static int find(const struct qemu_args *a, int from, const char *text)
{
	for (size_t i = (size_t)from; i < a->argv.len; i++)
		if (str_starts(argv_of(a)[i], text))
			return (int)i;
	return -1;
}

TEST(devices_are_in_the_order_the_guest_sees_them)
{
	struct qemu_config c;
	struct qemu_plan p;
	struct qemu_args a;
	int root, data, net;

	fill(&c, &p);
	qemu_args_build(&p, &a);
	root = find(&a, 0, "virtio-blk-device,id=b0,drive=d0,serial=root,werror=");
	data = find(&a, 0, "virtio-blk-device,id=b1,drive=d1,serial=data,werror=");
	net = find(&a, 0, "virtio-net-device,id=e0,netdev=n0,mac=02:fc:00:01:00:03");
	CHECK(root > 0 && data > root && net > data);
	CHECK(find(&a, 0,
		   "driver=file,node-name=f0,filename=/dev/fdset/1,read-only=on,"
		   "auto-read-only=off,cache.no-flush=on") > 0);
	CHECK(find(&a, 0,
		   "driver=file,node-name=f1,filename=/dev/fdset/2,read-only=off,"
		   "auto-read-only=off,cache.no-flush=off") > 0);
	CHECK_STR(argv_of(&a)[0], "/usr/bin/qemu-system-x86_64");
	CHECK(argv_of(&a)[a.argv.len] == NULL);
	qemu_args_clear(&a);
}

TEST(descriptors_are_numbered_without_a_gap)
{
	struct qemu_config c;
	struct qemu_plan p;
	struct qemu_args a;
	char text[64];

	fill(&c, &p);
	qemu_args_build(&p, &a);
	CHECK_INT(a.fd_count, 7);
	for (size_t i = 0; i < a.fd_count; i++) {
		base_cut(text, sizeof(text), "%d", QEMU_FD_BASE + (int)i);
		bool named = false;

		for (size_t k = 0; k < a.argv.len; k++)
			named |= strstr(argv_of(&a)[k], text) != NULL;
		CHECK(named);
	}
	qemu_args_clear(&a);
}

TEST(only_what_is_configured_is_there)
{
	struct qemu_config c;
	struct qemu_plan p;
	struct qemu_args a;

	fill(&c, &p);
	qemu_args_build(&p, &a);
	CHECK(find(&a, 0, "virtio-serial-device") < 0 && find(&a, 0, "virtio-rng-device") < 0);
	CHECK(find(&a, 0, "-chroot") < 0 && find(&a, 0, "-initrd") < 0 && find(&a, 0, "i8042") > 0);
	CHECK(find(&a, 0,
		   "on,obsolete=deny,spawn=deny,resourcecontrol=deny,elevateprivileges=deny") > 0);
	qemu_args_clear(&a);

	c.has_entropy = c.has_vsock = true;
	p.mux = 107;
	p.initrd = 108;
	p.chroot_dir = "/run/mvm/empty";
	p.uid = p.gid = 77;
	qemu_args_build(&p, &a);
	CHECK(find(&a, 0, "virtio-serial-device") > 0 && find(&a, 0, "virtio-rng-device") > 0);
	CHECK(find(&a, 0, "virtserialport,chardev=mux,nr=1,name=mvm.0") > 0);
	CHECK_STR(argv_of(&a)[find(&a, 0, "-runas") + 1], "77:77");
	CHECK_STR(argv_of(&a)[find(&a, 0, "-chroot") + 1], "/run/mvm/empty");
	// QEMU itself changes its user then, which the filter has to let through.
	CHECK_STR(argv_of(&a)[find(&a, 0, "-sandbox") + 1],
		  "on,obsolete=deny,spawn=deny,resourcecontrol=deny");
	qemu_args_clear(&a);
}

TEST(a_load_names_no_kernel)
{
	struct qemu_config c;
	struct qemu_plan p;
	struct qemu_args a;

	fill(&c, &p);
	p.incoming = true;
	p.kernel = -1;
	qemu_args_build(&p, &a);
	CHECK(find(&a, 0, "-kernel") < 0 && find(&a, 0, "-append") < 0);
	CHECK_STR(argv_of(&a)[find(&a, 0, "-incoming") + 1], "defer");
	qemu_args_clear(&a);
}

static char *cmdline(const struct qemu_plan *p)
{
	struct buf b = BUF_INIT;

	qemu_cmdline(p, &b);
	return buf_steal(&b);
}

TEST(the_kernel_command_line_gets_the_root_and_the_clock_before_the_init_options)
{
	struct qemu_config c;
	struct qemu_plan p;

	fill(&c, &p);
	cleanup_free char *text = cmdline(&p);
	CHECK_STR(text, "console=ttyS0 quiet root=/dev/vda ro tsc_early_khz=2596000 tsc=reliable "
			"-- --init-option");

	char uuid[] = "1234-01";
	drives[1].partuuid = uuid;
	drives[1].is_read_only = false;
	p.kvm = true; // there the guest asks its own way
	cleanup_free char *kvm = cmdline(&p);
	CHECK_STR(kvm, "console=ttyS0 quiet root=PARTUUID=1234-01 rw -- --init-option");

	c.boot.boot_args = NULL;
	c.drives.len = 1; // no root device left
	p.order[0] = &drives[0];
	p.kvm = false;
	cleanup_free char *plain = cmdline(&p);
	CHECK_STR(plain, "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux "
			 "i8042.dumbkbd swiotlb=noforce tsc_early_khz=2596000 tsc=reliable");
}

TEST(the_rate_of_the_counter_is_plausible_and_steady)
{
	struct qemu_tsc since;
	uint64_t a, b;

	qemu_tsc_sample(&since);
	a = qemu_tsc_khz(&since);
	qemu_tsc_sample(&since);
	b = qemu_tsc_khz(&since);
	CHECK(a > 500000 && a < 10000000);
	CHECK((a > b ? a - b : b - a) < a / 2000); // what a load tolerates
}

static const struct {
	const char *says;
	struct qemu_config c;
} refused[] = {
	{ "huge pages",
	  { .machine = { .vcpu_count = 1, .mem_size_mib = 128, .huge_pages = FC_HUGE_2M } } },
	{ "vCPUs", { .machine = { .vcpu_count = 33, .mem_size_mib = 128 } } },
	{ "rate limits",
	  { .machine = { .vcpu_count = 1, .mem_size_mib = 128 },
	    .drives = { &(struct fc_drive){ .drive_id = data_id,
					    .path_on_host = path,
					    .rate_limiter = (char[]){ "{}" } },
			1 } } },
	{ "more than",
	  { .machine = { .vcpu_count = 1, .mem_size_mib = 128 }, .drives = { drives, 21 } } },
};

TEST(what_cannot_be_had_is_refused)
{
	for (size_t i = 0; i < COUNT(refused); i++) {
		struct err e = { 0 };

		CHECK(qemu_check_config(&refused[i].c, &e) < 0);
		if (!strstr(e.msg, refused[i].says))
			tap_fail(__FILE__, __LINE__, "'%s' says nothing of %s", e.msg,
				 refused[i].says);
	}
}
