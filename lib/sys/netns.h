// SPDX-License-Identifier: MIT
// Throw-away network namespaces, for trying the network with packets. A namespace has no name, only
// a descriptor (and the sockets made in it): when the process ends, however, the kernel removes it
// with all its links, the other ends of its veth pairs, and their addresses and routes.
//
// What is made by netlink is made in the namespace in which the socket `nl` was opened. Needs
// CAP_NET_ADMIN and CAP_SYS_ADMIN, and a process without threads: to make a socket elsewhere, the
// whole process goes there and comes back.
#pragma once
#include "base/name.h"
#include "sys/nl.h"

int netns_new(struct err *e) MUST_CHECK; // a descriptor; IPv6 is off in there
int netns_socket(int ns, int domain, int type, int protocol, struct err *e) MUST_CHECK;
int netns_nl(int ns, struct nl **ret, struct err *e) MUST_CHECK; // NETLINK_ROUTE

// A pair: `name` here, down, with the owner text, and `peer` in the namespace `ns`.
struct netns_veth {
	const char *name, *alias;
	const char *peer;
	const uint8_t *peer_mac; // NULL: by lot
	int ns;
	uint32_t mtu;
};
// A link of that name is -EEXIST and left as it is.
int netns_veth_make(struct nl *nl, const struct netns_veth *v, struct err *e) MUST_CHECK;
int netns_up(struct nl *nl, int index, struct err *e) MUST_CHECK;
int netns_address_add(struct nl *nl, int index, const struct subnet *a,
		      struct err *e) MUST_CHECK; // base: with the bits of the host
// via 0: directly. There already, on whatever link: -EEXIST.
int netns_route_add(struct nl *nl, int index, const struct subnet *to, uint32_t via,
		    struct err *e) MUST_CHECK;
// What was learnt about ip on that link; nothing is fine.
int netns_neighbour_drop(struct nl *nl, int index, uint32_t ip, struct err *e) MUST_CHECK;

// All IPv4 routes and addresses of this namespace, in all tables.
struct netns_route {
	struct subnet to;
	bool local; // an address of this host
};
struct netns_routes {
	struct netns_route *items;
	size_t len;
};
#define NETNS_ROUTES_INIT \
	{                 \
		NULL, 0   \
	}
#define cleanup_netns_routes cleanup(netns_routes_free)
int netns_routes(struct nl *nl, struct netns_routes *ret, struct err *e) MUST_CHECK;
void netns_routes_free(struct netns_routes *r);
// A route that overlaps `to` and whose own prefix is at least `prefix`, the longest; NULL: none.
const struct netns_route *netns_routed(const struct netns_routes *r, const struct subnet *to,
				       uint8_t prefix);
