// SPDX-License-Identifier: MIT
// Addresses beyond the host that nobody here has a way to, so that they can be borrowed for a
// moment. A default route, also one in two halves, is no way.
#include "life/net_deep_parts.h"

#define A_WAY	    8  // prefix from which on a route means somebody
#define A_WAY_LOCAL 17 // the same within 169.254.0.0/16, which may be on a link

static const uint32_t test_nets[] = {
	0xcb0071f8, // 203.0.113.248
	0xc63364f8, // 198.51.100.248
	0xc00002f8, // 192.0.2.248
};
static const uint32_t private[] = {
	0x0afffff9, // 10.255.255.249
	0xac1ffff9, // 172.31.255.249
	0xc0a8fff9, // 192.168.255.249
	0x0afefef9, // 10.254.254.249
	0xac1efef9, // 172.30.254.249
	0xc0a8fef9, // 192.168.254.249
	0x0a80fdf9, // 10.128.253.249
	0x647ffff9, // 100.127.255.249: where all of RFC 1918 has routes, the other private ranges
	0xc613fff9, // 198.19.255.249
};
static const uint32_t link_local[] = {
	0xa9fea9fe, // 169.254.169.254
	0xa9feaa02, // 169.254.170.2
	0xa9fefff9, // 169.254.255.249
};

static bool is_free(const struct deep_rig *rig, const struct netns_routes *routes,
		    const struct subnet *s, uint8_t way)
{
	const struct net_deep_args *a = rig->a;

	return !netns_routed(routes, s, way) && !subnet_overlap(&a->own.subnet, s) &&
	       !(deep_has_other(rig) && subnet_overlap(&a->other.subnet, s));
}

static uint32_t first_free(const struct deep_rig *rig, const struct netns_routes *routes,
			   const uint32_t *list, size_t count, uint8_t prefix, uint8_t way)
{
	for (size_t i = 0; i < count; i++) {
		const struct subnet s = { .base = list[i], .prefix = prefix };

		if (is_free(rig, routes, &s, way))
			return list[i];
	}
	return 0;
}

int deep_choose(struct deep_rig *rig, struct err *e)
{
	cleanup_netns_routes struct netns_routes routes = NETNS_ROUTES_INIT;
	uint32_t net;

	if (netns_routes(rig->route, &routes, e) < 0)
		return -e->no;
	net = first_free(rig, &routes, test_nets, COUNT(test_nets), 30, A_WAY);
	if (net == 0) {
		(void)err_kind(e, ERR_UNAVAILABLE, "this host has routes to all test networks");
		return err_hint(e, "203.0.113.248/30, 198.51.100.248/30 or 192.0.2.248/30 is used");
	}
	for (int to = 0; to < DEEP_TARGETS; to++)
		rig->targets[to].at = AT_OUTSIDE;
	rig->targets[TO_HOST].at = AT_HOST;
	rig->targets[TO_HOST].ip = net + 1;
	rig->targets[TO_PUBLIC].ip = net + 2;
	rig->targets[TO_PRIVATE].ip = first_free(rig, &routes, private, COUNT(private), 32, A_WAY);
	rig->targets[TO_PRIVATE].why_not = "this host has routes to all private addresses";
	rig->targets[TO_LINK_LOCAL].ip =
		first_free(rig, &routes, link_local, COUNT(link_local), 32, A_WAY_LOCAL);
	rig->targets[TO_LINK_LOCAL].why_not = "this host has routes to the metadata addresses";
	return 0;
}
