// SPDX-License-Identifier: MIT
// What the configuration names, opened. After this QEMU needs no path.
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "fc/qemu_parts.h"
#include "fc/resolve.h"

static bool given(const char *raw)
{
	return raw && !str_eq(raw, "null");
}

int qemu_check_config(const struct qemu_config *c, struct err *e)
{
	const struct fc_drive *d = c->drives.items;
	const struct fc_net *n = c->nets.items;
	size_t slots = c->drives.len + c->nets.len + c->has_vsock + c->has_entropy;

	if (fc_machine_config_check(&c->machine, e) < 0)
		return -e->no;
	if (c->machine.huge_pages != FC_HUGE_NONE)
		return err_usage(e, "huge pages are not to be had with QEMU");
	if (c->drives.len > QEMU_DRIVES || c->nets.len > QEMU_NETS || slots > QEMU_SLOTS)
		return err_usage(e, "more than %d drives, %d interfaces or %d devices", QEMU_DRIVES,
				 QEMU_NETS, QEMU_SLOTS);
	for (size_t i = 0; i < c->drives.len; i++)
		if (given(d[i].rate_limiter) || d[i].socket || !d[i].path_on_host)
			return err_usage(e,
					 "drive %s: rate limits and vhost-user are not to be "
					 "had with QEMU",
					 d[i].drive_id);
	for (size_t i = 0; i < c->nets.len; i++)
		if (given(n[i].rx_rate_limiter) || given(n[i].tx_rate_limiter))
			return err_usage(e, "interface %s: rate limits are not to be had with QEMU",
					 n[i].iface_id);
	return 0;
}

int qemu_open_drive(int root_fd, const struct fc_drive *d, const char *path, struct err *e)
{
	cleanup_fd int fd = qemu_resolve(root_fd, path, d->is_read_only ? O_RDONLY : O_RDWR, e);
	struct stat st;

	if (fd < 0)
		return err_wrap(e, "drive %s", d->drive_id);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "drive %s: stat %s", d->drive_id, path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, EINVAL, "drive %s: %s: neither a file nor a block device",
			       d->drive_id, path);
	// Opened with O_NONBLOCK, so that a FIFO cannot hold us; reads of a disk should wait.
	if (fd_set_nonblock(fd, false, e) < 0)
		return -e->no;
	return steal_fd(&fd);
}

// Attaches to the TAP of that name, which has to be there: who may make one is not ours to say. The
// kernel lets the TAP's owner do this without any right.
static int open_tap(const char *name, int *spare, struct err *e)
{
	struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	cleanup_fd int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 && *spare >= 0)
		fd = steal_fd(spare);
	if (fd < 0)
		return err_sys(e, "open /dev/net/tun");
	if (!*name || COPY(req.ifr_name, name) < 0 || strchr(name, '%'))
		return err_set(e, EINVAL, "'%.32s' is not the name of a network device", name);
	if (if_nametoindex(name) == 0)
		return err_sys(e, "TAP %s", name);
	if (ioctl(fd, TUNSETIFF, &req) < 0)
		return err_sys(e, "attach to TAP %s", name);
	return steal_fd(&fd);
}

static int pick_mac(const char *asked, mac_text out, struct err *e)
{
	uint8_t b[5];

	if (asked && base_copy(out, sizeof(mac_text), asked) < 0)
		return err_usage(e, "'%.32s' is not a MAC address", asked);
	if (asked)
		return 0;
	// QEMU's own default is the same for every guest.
	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return err_sys(e, "getrandom");
	base_cut(out, sizeof(mac_text), "02:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3],
		 b[4]);
	return 0;
}

static int open_nets(struct qemu_plan *p, int tun[QEMU_NETS], struct err *e)
{
	const struct fc_net *n = p->config->nets.items;

	for (size_t i = 0; i < p->config->nets.len; i++) {
		p->nets[i] = open_tap(n[i].host_dev_name, &tun[i], e);
		if (p->nets[i] < 0 || pick_mac(n[i].guest_mac, p->macs[i], e) < 0)
			return err_wrap(e, "interface %s", n[i].iface_id);
	}
	return 0;
}

int qemu_open_all(struct qemu_plan *p, int root_fd, int tun[QEMU_NETS], struct err *e)
{
	const struct fc_boot_source *boot = &p->config->boot;
	size_t n = qemu_drive_order(&p->config->drives, p->order);

	if (!p->incoming) {
		// QEMU reads both to their ends before it answers anything.
		p->kernel = qemu_resolve_file(root_fd, boot->kernel_image_path, O_RDONLY, e);
		if (p->kernel < 0)
			return err_wrap(e, "kernel");
		p->initrd = boot->initrd_path
				    ? qemu_resolve_file(root_fd, boot->initrd_path, O_RDONLY, e)
				    : -1;
		if (boot->initrd_path && p->initrd < 0)
			return err_wrap(e, "initrd");
	}
	for (size_t i = 0; i < n; i++) {
		p->drives[i] = qemu_open_drive(root_fd, p->order[i], p->order[i]->path_on_host, e);
		if (p->drives[i] < 0)
			return -e->no;
	}
	return open_nets(p, tun, e);
}
