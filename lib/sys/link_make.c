// SPDX-License-Identifier: MIT
// Making bridges, changing and removing links.
#include "sys/link_impl.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/num.h"

struct ifinfomsg *link_put(struct nlmsghdr *req, const char *name)
{
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(req, sizeof(*info));

	info->ifi_family = AF_UNSPEC;
	if (name)
		mnl_attr_put_strz(req, IFLA_IFNAME, name);
	return info;
}

static bool mac_bytes(const char *text, uint8_t out[6])
{
	struct err why = { 0 };

	for (size_t i = 0; i < 6; i++) {
		char two[3] = { text[3 * i], text[3 * i + 1], '\0' };
		uint64_t byte;

		if (num_hex(two, 2, &byte, &why) < 0 || text[3 * i + 2] != (i < 5 ? ':' : '\0'))
			return false;
		out[i] = (uint8_t)byte;
	}
	return true;
}

int link_sysctl(const char *name, const char *value, bool optional, struct changes *c,
		struct err *e)
{
	cleanup_buf struct buf now = BUF_INIT;
	cleanup_fd int fd = -1;
	char path[128];

	if (base_fmt(path, sizeof(path), "/proc/sys/net/%s", name) < 0)
		return err_set(e, ENAMETOOLONG, "%s", name);
	if (fd_read_file(AT_FDCWD, path, 256, &now, e) < 0)
		return e->no == ENOENT && optional ? 0 : -e->no;
	if (str_starts(buf_text(&now), value) && buf_text(&now)[strlen(value)] == '\n')
		return 0;
	if (!changes_take(c, "set %s to %s", name, value))
		return 0;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", path);
	if (fd_write_all(fd, value, strlen(value), e) < 0)
		return err_wrap(e, "%s", path);
	return 0;
}

int link_no_ipv6(const char *name, struct changes *c, struct err *e)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "ipv6/conf/%s/disable_ipv6", name);
	return link_sysctl(path, "1", true, c, e);
}

// Bridge and alias in one send: the kernel works through both before a signal can end us, so there
// is never a bridge of ours that does not say so.
static int make_bridge(struct nl *nl, const struct link_bridge *b, const uint8_t mac[6],
		       const char *alias, struct err *e)
{
	struct nlmsghdr *make = nl_begin(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL), *name;
	struct nlattr *nest;

	(void)link_put(make, b->name);
	mnl_attr_put_u32(make, IFLA_MTU, b->mtu);
	mnl_attr_put(make, IFLA_ADDRESS, 6, mac);
	nest = mnl_attr_nest_start(make, IFLA_LINKINFO);
	mnl_attr_put_strz(make, IFLA_INFO_KIND, "bridge");
	mnl_attr_nest_end(make, nest);
	name = nl_more(nl, make, RTM_SETLINK, 0);
	(void)link_put(name, b->name);
	mnl_attr_put(name, IFLA_IFALIAS, strlen(alias), alias);
	if (nl_talk(nl, name, NULL, NULL, e) < 0)
		return err_wrap(e, "make bridge %s", b->name);
	return 0;
}

int link_row_mtu(struct nl *nl, const struct link_row *row, uint32_t mtu, struct changes *c,
		 struct err *e)
{
	struct nlmsghdr *req;

	if (row->mtu == mtu || !changes_take(c, "set the MTU of %s to %u", row->name, mtu))
		return 0;
	req = nl_begin(nl, RTM_SETLINK, 0);
	link_put(req, NULL)->ifi_index = row->index;
	mnl_attr_put_u32(req, IFLA_MTU, mtu);
	if (nl_talk(nl, req, NULL, NULL, e) < 0)
		return err_wrap(e, "set the MTU of %s to %u", row->name, mtu);
	return 0;
}

static int set_mac(struct nl *nl, const struct link_row *row, const uint8_t mac[6],
		   struct changes *c, struct err *e)
{
	struct nlmsghdr *req;

	if (memcmp(row->mac, mac, 6) == 0 || !changes_take(c, "set the MAC of %s", row->name))
		return 0;
	req = nl_begin(nl, RTM_SETLINK, 0);
	link_put(req, NULL)->ifi_index = row->index;
	mnl_attr_put(req, IFLA_ADDRESS, 6, mac);
	if (nl_talk(nl, req, NULL, NULL, e) < 0)
		return err_wrap(e, "set the MAC of %s", row->name);
	return 0;
}

// master: an index, 0 for none, -1 to leave it.
static int set_port(struct nl *nl, const struct link_row *row, int master, bool up,
		    struct changes *c, struct err *e)
{
	struct nlmsghdr *req;
	struct ifinfomsg *info;

	if (row->up == up && (master < 0 || row->master == master))
		return 0;
	if (!changes_take(c, "set %s %s%s", row->name, up ? "up" : "down",
			  master > 0	? ", on the bridge"
			  : master == 0 ? ", off its bridge"
					: ""))
		return 0;
	req = nl_begin(nl, RTM_SETLINK, 0);
	info = link_put(req, NULL);
	info->ifi_index = row->index;
	info->ifi_change = IFF_UP;
	info->ifi_flags = up ? IFF_UP : 0;
	if (master >= 0)
		mnl_attr_put_u32(req, IFLA_MASTER, (uint32_t)master);
	if (nl_talk(nl, req, NULL, NULL, e) < 0)
		return err_wrap(e, "set %s %s", row->name, up ? "up" : "down");
	return 0;
}

struct address_look {
	int index;
	uint32_t ip;
	uint8_t prefix;
	bool found;
};

static int look_local(const struct nlattr *attr, void *arg)
{
	struct address_look *l = arg;

	if (mnl_attr_get_type(attr) == IFA_LOCAL && mnl_attr_validate(attr, MNL_TYPE_U32) == 0 &&
	    mnl_attr_get_u32(attr) == htonl(l->ip))
		l->found = true;
	return MNL_CB_OK;
}

static int look_address(const struct nlmsghdr *h, void *arg)
{
	const struct ifaddrmsg *a = mnl_nlmsg_get_payload(h);
	const struct address_look *l = arg;

	if (h->nlmsg_type != RTM_NEWADDR || h->nlmsg_len < mnl_nlmsg_size(sizeof(*a)) ||
	    a->ifa_index != (uint32_t)l->index || a->ifa_prefixlen != l->prefix)
		return MNL_CB_OK;
	return mnl_attr_parse(h, sizeof(*a), look_local, arg);
}

// A list that changes while it is read may miss it; then the kernel says EEXIST below.
int link_has_address(struct nl *nl, int index, uint32_t ip, uint8_t prefix, bool *ret,
		     struct err *e)
{
	struct address_look l = { .index = index, .ip = ip, .prefix = prefix };
	struct nlmsghdr *req = nl_begin(nl, RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg *a = mnl_nlmsg_put_extra_header(req, sizeof(*a));

	a->ifa_family = AF_INET;
	if (nl_talk(nl, req, look_address, &l, e) < 0 && e->no != EINTR)
		return err_wrap(e, "list addresses");
	*ret = l.found;
	return 0;
}

static int add_address(struct nl *nl, int index, const struct link_bridge *b, struct changes *c,
		       struct err *e)
{
	struct nlmsghdr *req;
	struct ifaddrmsg *a;
	bool there = false;

	if (link_has_address(nl, index, b->ip, b->prefix, &there, e) < 0)
		return -e->no;
	if (there || !changes_take(c, "set the address of %s", b->name))
		return 0;
	req = nl_begin(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
	a = mnl_nlmsg_put_extra_header(req, sizeof(*a));
	a->ifa_family = AF_INET;
	a->ifa_prefixlen = b->prefix;
	a->ifa_index = (uint32_t)index;
	mnl_attr_put_u32(req, IFA_LOCAL, htonl(b->ip));
	mnl_attr_put_u32(req, IFA_ADDRESS, htonl(b->ip));
	mnl_attr_put_u32(req, IFA_BROADCAST, htonl(b->ip | UINT32_MAX >> b->prefix));
	if (nl_talk(nl, req, NULL, NULL, e) < 0 && e->no != EEXIST)
		return err_wrap(e, "set the address of %s", b->name);
	return 0;
}

int link_kind_check(const struct link_row *row, bool ok, const char *what, struct err *e)
{
	if (ok)
		return 0;
	(void)err_kind(e, ERR_CONFLICT, "link %s exists and is no %s", row->name, what);
	return err_hint(e, "remove it: ip link delete %s", row->name);
}

int link_bridge_ensure(struct nl *nl, const struct link_bridge *b, struct changes *c, struct err *e)
{
	struct link_row row = { 0 };
	link_alias alias;
	uint8_t mac[6];
	int r;

	link_owner_print(b->node_id, b->address, alias);
	if (!mac_bytes(b->mac, mac))
		return err_set(e, EINVAL, "'%s' is not a MAC", b->mac);
	r = link_get(nl, b->name, &row, e);
	if (r == -ENOENT) {
		if (!changes_take(c, "make bridge %s", b->name))
			return 0;
		if (make_bridge(nl, b, mac, alias, e) < 0 || link_get(nl, b->name, &row, e) < 0)
			return -e->no;
	} else if (r < 0) {
		return r;
	}
	if (link_kind_check(&row, str_eq(row.kind, "bridge"), "bridge", e) < 0 ||
	    link_owner_check(b->name, row.alias, b->node_id, b->address, e) < 0)
		return -e->no;
	if (fault_point("bridge-made"))
		return err_sys(e, "make bridge %s", b->name);
	// before it is up: else the kernel gives it a link-local address first
	if (link_no_ipv6(b->name, c, e) < 0 || link_row_mtu(nl, &row, b->mtu, c, e) < 0 ||
	    set_mac(nl, &row, mac, c, e) < 0 || add_address(nl, row.index, b, c, e) < 0)
		return -e->no;
	if (fault_point("bridge-address"))
		return err_sys(e, "set bridge %s up", b->name);
	return set_port(nl, &row, -1, true, c, e);
}

int link_adopt(struct nl *nl, const char *name, const char *as, const char *node_id,
	       const char *address, struct changes *c, struct err *e)
{
	struct link_row row = { 0 };
	struct ifinfomsg *info;
	struct nlmsghdr *req;
	link_alias alias;

	if (link_get(nl, name, &row, e) < 0)
		return -e->no;
	if (row.alias[0])
		return err_kind(e, ERR_CONFLICT, "%s belongs to '%s'", name, row.alias);
	if (!changes_take(c, "make %s the port %s", name, as))
		return 0;
	link_owner_print(node_id, address, alias);
	req = nl_begin(nl, RTM_SETLINK, 0);
	info = link_put(req, NULL);
	info->ifi_index = row.index;
	info->ifi_change = IFF_UP;
	mnl_attr_put_strz(req, IFLA_IFNAME, as);
	mnl_attr_put(req, IFLA_IFALIAS, strlen(alias), alias);
	if (nl_talk(nl, req, NULL, NULL, e) < 0)
		return err_wrap(e, "make %s the port %s", name, as);
	return 0;
}

int link_attach(struct nl *nl, const char *name, const char *bridge, struct changes *c,
		struct err *e)
{
	struct link_row row = { 0 }, to = { 0 };

	if (link_get(nl, name, &row, e) < 0 || link_get(nl, bridge, &to, e) < 0)
		return -e->no;
	return set_port(nl, &row, to.index, true, c, e);
}

int link_set_mtu(struct nl *nl, const char *name, uint32_t mtu, struct changes *c, struct err *e)
{
	struct link_row row = { 0 };

	if (link_get(nl, name, &row, e) < 0)
		return -e->no;
	return link_row_mtu(nl, &row, mtu, c, e);
}

int link_detach(struct nl *nl, const char *name, struct changes *c, struct err *e)
{
	struct link_row row = { 0 };
	int r = link_get(nl, name, &row, e);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (set_port(nl, &row, 0, false, c, e) < 0 && e->no != ENODEV)
		return -e->no;
	return 0;
}

int link_remove(struct nl *nl, const char *name, const char *node_id, const char *address,
		struct changes *c, struct err *e)
{
	struct link_row row = { 0 };
	struct nlmsghdr *req;
	int r = link_get(nl, name, &row, e);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (link_owner_check(name, row.alias, node_id, address, e) < 0)
		return -e->no;
	if (!changes_take(c, "remove %s", name))
		return 0;
	req = nl_begin(nl, RTM_DELLINK, 0);
	link_put(req, NULL)->ifi_index = row.index;
	if (nl_talk(nl, req, NULL, NULL, e) < 0 && e->no != ENODEV)
		return err_wrap(e, "remove %s", name);
	return 0;
}
