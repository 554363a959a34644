// SPDX-License-Identifier: MIT
// TAPs: made by /dev/net/tun, named and changed by netlink.
#include "sys/link_impl.h"

#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "base/fault.h"
#include "base/fd.h"

static int tun_open(const char *name, struct err *e)
{
	cleanup_fd int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq req = { 0 };

	if (fd < 0 && (errno == ENOENT || errno == ENODEV))
		return err_kind(e, ERR_UNAVAILABLE, "no /dev/net/tun: load the tun module");
	if (fd < 0)
		return err_sys(e, "open /dev/net/tun");
	req.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL);
	if (COPY(req.ifr_name, name) < 0)
		return err_set(e, ENAMETOOLONG, "%s", name);
	if (ioctl(fd, TUNSETIFF, &req) < 0)
		return err_sys(e, "make TAP %s", name);
	return steal_fd(&fd);
}

static int tap_set_alias(struct nl *nl, const struct link_tap *t, const char *owner, struct err *e)
{
	struct nlmsghdr *req = nl_begin(nl, RTM_SETLINK, 0);
	link_alias alias;

	link_owner_print(t->node_id, owner, alias);
	(void)link_put(req, t->name);
	mnl_attr_put(req, IFLA_IFALIAS, strlen(alias), alias);
	mnl_attr_put_u32(req, IFLA_MTU, t->mtu);
	if (nl_talk(nl, req, NULL, NULL, e) < 0)
		return err_wrap(e, "name the owner of %s", t->name);
	return 0;
}

// Persistent last: until then the kernel removes it with our descriptor, so a kill leaves nothing.
static int make_tap(struct nl *nl, const struct link_tap *t, struct err *e)
{
	cleanup_fd int fd = tun_open(t->name, e);
	struct changes part = CHANGES_INIT; // of "make TAP": told as one step
	int r;

	if (fd < 0)
		return -e->no;
	if (ioctl(fd, TUNSETOWNER, (unsigned long)t->uid) < 0 ||
	    ioctl(fd, TUNSETGROUP, (unsigned long)t->gid) < 0)
		return err_sys(e, "give %s to uid %u", t->name, t->uid);
	r = link_no_ipv6(t->name, &part, e);
	changes_free(&part);
	if (r < 0 || tap_set_alias(nl, t, t->address, e) < 0)
		return -e->no;
	if (fault_point("tap-persist") || ioctl(fd, TUNSETPERSIST, 1UL) < 0)
		return err_sys(e, "keep TAP %s", t->name);
	return 0;
}

int link_tap_give(struct nl *nl, const struct link_tap *t, const char *to, struct changes *c,
		  struct err *e)
{
	struct link_row row = { 0 };

	if (link_get(nl, t->name, &row, e) < 0 || link_kind_check(&row, row.tap, "TAP", e) < 0 ||
	    link_owner_check(t->name, row.alias, t->node_id, t->address, e) < 0)
		return -e->no;
	return changes_take(c, "give TAP %s to %s", t->name, to) ? tap_set_alias(nl, t, to, e) : 0;
}

// Kept in store for whom t is made for.
static bool is_spare(const struct link_tap *t, const struct link_row *row)
{
	link_alias alias;

	if (!t->spare)
		return false;
	link_owner_print(t->node_id, t->spare, alias);
	return str_eq(row->alias, alias);
}

int link_tap_ensure(struct nl *nl, const struct link_tap *t, struct changes *c, struct err *e)
{
	struct link_row row = { 0 };
	int r = link_get(nl, t->name, &row, e);

	if (r == -ENOENT)
		return changes_take(c, "make TAP %s", t->name) ? make_tap(nl, t, e) : 0;
	if (r < 0 || link_kind_check(&row, row.tap, "TAP", e) < 0)
		return -e->no;
	if (is_spare(t, &row)) {
		struct link_tap spare = *t;

		spare.address = t->spare;
		if (link_tap_give(nl, &spare, t->address, c, e) < 0)
			return -e->no;
	} else if (link_owner_check(t->name, row.alias, t->node_id, t->address, e) < 0) {
		return -e->no;
	}
	if (!row.persistent || !row.vnet_hdr || row.multi_queue || !row.has_owner ||
	    row.uid != t->uid || row.gid != t->gid)
		return link_kind_check(&row, false, "TAP as mvm makes them", e);
	if (link_no_ipv6(t->name, c, e) < 0)
		return -e->no;
	return link_row_mtu(nl, &row, t->mtu, c, e);
}
