// SPDX-License-Identifier: MIT
#include "sys/netns.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include "sys/link.h"

#define TRIES 8 // a list that changes while it is read is read again

static int here(struct err *e)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "open /proc/self/ns/net") : fd;
}

// What follows would be done to the wrong network. It cannot fail: we were there.
static void leave(const int *home)
{
	if (*home >= 0 && setns(*home, CLONE_NEWNET) < 0)
		abort();
}

static int enter(int ns, struct err *e)
{
	return setns(ns, CLONE_NEWNET) < 0 ? err_sys(e, "enter a network namespace") : 0;
}

static int no_ipv6(struct err *e)
{
	struct changes done = CHANGES_INIT;
	int r = link_sysctl("ipv6/conf/all/disable_ipv6", "1", true, &done, e);

	if (r == 0)
		r = link_sysctl("ipv6/conf/default/disable_ipv6", "1", true, &done, e);
	changes_free(&done);
	return r;
}

int netns_new(struct err *e)
{
	cleanup_fd int home = here(e), fd = -1;

	if (home < 0)
		return home;
	if (unshare(CLONE_NEWNET) < 0)
		return err_sys(e, "make a network namespace");
	{
		cleanup(leave) const int back = home;

		(void)back;
		fd = here(e);
		if (fd < 0 || no_ipv6(e) < 0)
			return -e->no;
	}
	return steal_fd(&fd);
}

int netns_socket(int ns, int domain, int type, int protocol, struct err *e)
{
	cleanup_fd int home = here(e);
	cleanup(leave) int back = -1;
	int fd;

	if (home < 0 || enter(ns, e) < 0)
		return -e->no;
	back = home;
	fd = socket(domain, type | SOCK_CLOEXEC, protocol);
	return fd < 0 ? err_sys(e, "make a socket in a network namespace") : fd;
}

int netns_nl(int ns, struct nl **ret, struct err *e)
{
	cleanup_fd int home = here(e);
	cleanup(leave) int back = -1;

	if (home < 0 || enter(ns, e) < 0)
		return -e->no;
	back = home;
	return nl_new(NETLINK_ROUTE, ret, e);
}

static void put_peer(struct nlmsghdr *req, const struct netns_veth *v)
{
	struct nlattr *info = mnl_attr_nest_start(req, IFLA_LINKINFO), *data, *peer;

	mnl_attr_put_strz(req, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(req, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(req, VETH_INFO_PEER);
	(void)mnl_nlmsg_put_extra_header(req, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(req, IFLA_IFNAME, v->peer);
	mnl_attr_put_u32(req, IFLA_MTU, v->mtu);
	if (v->peer_mac)
		mnl_attr_put(req, IFLA_ADDRESS, 6, v->peer_mac);
	mnl_attr_put_u32(req, IFLA_NET_NS_FD, (uint32_t)v->ns);
	mnl_attr_nest_end(req, peer);
	mnl_attr_nest_end(req, data);
	mnl_attr_nest_end(req, info);
}

// Pair and owner text in one send, as for bridges: no link of ours is ever without it. The kernel
// does the second also when it refused the first, hence the look before.
int netns_veth_make(struct nl *nl, const struct netns_veth *v, struct err *e)
{
	struct link_row there = { 0 };
	struct nlmsghdr *make, *name;

	if (link_get(nl, v->name, &there, e) == 0)
		return err_set(e, EEXIST, "link %s exists", v->name);
	if (e->no != ENOENT)
		return -e->no;
	err_clear(e);
	make = nl_begin(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	(void)mnl_nlmsg_put_extra_header(make, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(make, IFLA_IFNAME, v->name);
	mnl_attr_put_u32(make, IFLA_MTU, v->mtu);
	put_peer(make, v);
	name = nl_more(nl, make, RTM_SETLINK, 0);
	(void)mnl_nlmsg_put_extra_header(name, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(name, IFLA_IFNAME, v->name);
	mnl_attr_put(name, IFLA_IFALIAS, strlen(v->alias), v->alias);
	return nl_talk(nl, name, NULL, NULL, e) < 0 ? err_wrap(e, "make %s", v->name) : 0;
}

int netns_up(struct nl *nl, int index, struct err *e)
{
	struct nlmsghdr *req = nl_begin(nl, RTM_SETLINK, 0);
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(req, sizeof(*info));

	info->ifi_index = index;
	info->ifi_change = info->ifi_flags = IFF_UP;
	if (nl_talk(nl, req, NULL, NULL, e) < 0)
		return err_wrap(e, "set a link up");
	return 0;
}

int netns_address_add(struct nl *nl, int index, const struct subnet *a, struct err *e)
{
	struct nlmsghdr *req = nl_begin(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
	struct ifaddrmsg *msg = mnl_nlmsg_put_extra_header(req, sizeof(*msg));
	ip_text ip;

	msg->ifa_family = AF_INET;
	msg->ifa_prefixlen = a->prefix;
	msg->ifa_index = (uint32_t)index;
	mnl_attr_put_u32(req, IFA_LOCAL, htonl(a->base));
	mnl_attr_put_u32(req, IFA_ADDRESS, htonl(a->base));
	if (nl_talk(nl, req, NULL, NULL, e) == 0)
		return 0;
	subnet_ip(a, 0, ip);
	return err_wrap(e, "set the address %s", ip);
}

int netns_route_add(struct nl *nl, int index, const struct subnet *to, uint32_t via, struct err *e)
{
	struct nlmsghdr *req = nl_begin(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
	struct rtmsg *msg = mnl_nlmsg_put_extra_header(req, sizeof(*msg));
	subnet_text text;

	msg->rtm_family = AF_INET;
	msg->rtm_dst_len = to->prefix;
	msg->rtm_table = RT_TABLE_MAIN;
	msg->rtm_protocol = RTPROT_STATIC;
	msg->rtm_scope = via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	msg->rtm_type = RTN_UNICAST;
	if (to->prefix > 0)
		mnl_attr_put_u32(req, RTA_DST, htonl(to->base));
	if (via)
		mnl_attr_put_u32(req, RTA_GATEWAY, htonl(via));
	mnl_attr_put_u32(req, RTA_OIF, (uint32_t)index);
	if (nl_talk(nl, req, NULL, NULL, e) == 0)
		return 0;
	subnet_print(to, text);
	return err_wrap(e, "set a route to %s", text);
}

int netns_neighbour_drop(struct nl *nl, int index, uint32_t ip, struct err *e)
{
	struct nlmsghdr *req = nl_begin(nl, RTM_DELNEIGH, 0);
	struct ndmsg *msg = mnl_nlmsg_put_extra_header(req, sizeof(*msg));

	msg->ndm_family = AF_INET;
	msg->ndm_ifindex = index;
	mnl_attr_put_u32(req, NDA_DST, htonl(ip));
	if (nl_talk(nl, req, NULL, NULL, e) < 0 && e->no != ENOENT && e->no != ENODEV)
		return err_wrap(e, "forget a neighbour");
	return 0;
}

static int take_destination(const struct nlattr *attr, void *arg)
{
	struct netns_route *r = arg;

	if (mnl_attr_get_type(attr) == RTA_DST && mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
		r->to.base = ntohl(mnl_attr_get_u32(attr));
	return MNL_CB_OK;
}

static int take_route(const struct nlmsghdr *h, void *arg)
{
	const struct rtmsg *msg = mnl_nlmsg_get_payload(h);
	struct netns_routes *all = arg;
	struct netns_route r = { 0 };

	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < mnl_nlmsg_size(sizeof(*msg)) ||
	    msg->rtm_family != AF_INET || msg->rtm_dst_len > 32)
		return MNL_CB_OK;
	r.to.prefix = msg->rtm_dst_len;
	r.local = msg->rtm_type == RTN_LOCAL;
	if (mnl_attr_parse(h, sizeof(*msg), take_destination, &r) < 0)
		return MNL_CB_ERROR;
	all->items = base_grow(all->items, all->len + 1, sizeof(*all->items));
	all->items[all->len++] = r;
	return MNL_CB_OK;
}

int netns_routes(struct nl *nl, struct netns_routes *ret, struct err *e)
{
	cleanup_netns_routes struct netns_routes all = NETNS_ROUTES_INIT;
	int r = -EINTR;

	for (int tries = 0; r == -EINTR && tries < TRIES; tries++) {
		struct nlmsghdr *req = nl_begin(nl, RTM_GETROUTE, NLM_F_DUMP);
		struct rtmsg *msg = mnl_nlmsg_put_extra_header(req, sizeof(*msg));

		netns_routes_free(&all);
		msg->rtm_family = AF_INET;
		r = nl_talk(nl, req, take_route, &all, e);
	}
	if (r < 0)
		return err_wrap(e, "list routes");
	*ret = all;
	all = (struct netns_routes)NETNS_ROUTES_INIT;
	return 0;
}

void netns_routes_free(struct netns_routes *r)
{
	free(r->items);
	*r = (struct netns_routes)NETNS_ROUTES_INIT;
}

static bool overlap(const struct subnet *a, const struct subnet *b)
{
	uint8_t prefix = MIN(a->prefix, b->prefix);

	return prefix == 0 || (a->base ^ b->base) >> (32 - prefix) == 0;
}

const struct netns_route *netns_routed(const struct netns_routes *r, const struct subnet *to,
				       uint8_t prefix)
{
	const struct netns_route *best = NULL;

	for (size_t i = 0; i < r->len; i++) {
		const struct netns_route *one = &r->items[i];

		if (one->to.prefix >= prefix && overlap(&one->to, to) &&
		    (!best || one->to.prefix > best->to.prefix))
			best = one;
	}
	return best;
}
