// SPDX-License-Identifier: MIT
// The flows through IP stacks, and what to make of how they went. First all that shall pass, which
// also fills the neighbour tables; then all that shall not, at once.
#include <arpa/inet.h>

#include "life/net_deep_parts.h"

static const struct deep_row rows[] = {
	{ "east-west-icmp", DEEP_ICMP, AT_GUEST, TO_NEIGHBOUR, .pass = true },
	{ "east-west-udp", DEEP_UDP, AT_GUEST, TO_NEIGHBOUR, .pass = true },
	{ "east-west-tcp", DEEP_TCP, AT_GUEST, TO_NEIGHBOUR, .pass = true },
	{ "gateway-icmp", DEEP_ICMP, AT_GUEST, TO_GATEWAY, .pass = true },
	{ "gateway-udp", DEEP_UDP, AT_GUEST, TO_GATEWAY, .twin = "gateway-icmp" },
	{ "gateway-tcp", DEEP_TCP, AT_GUEST, TO_GATEWAY, .twin = "gateway-icmp" },
	{ "host-icmp", DEEP_ICMP, AT_GUEST, TO_HOST, .twin = "gateway-icmp" },
	{ "host-udp", DEEP_UDP, AT_GUEST, TO_HOST, .twin = "gateway-icmp" },
	{ "host-tcp", DEEP_TCP, AT_GUEST, TO_HOST, .twin = "gateway-icmp" },
	{ "egress-udp", DEEP_UDP, AT_GUEST, TO_PUBLIC, .pass = true, .forwarded = true,
	  .nat = true },
	{ "egress-tcp", DEEP_TCP, AT_GUEST, TO_PUBLIC, .pass = true, .forwarded = true,
	  .nat = true },
	{ "private-udp", DEEP_UDP, AT_GUEST, TO_PRIVATE, .forwarded = true, .twin = "egress-udp" },
	{ "private-tcp", DEEP_TCP, AT_GUEST, TO_PRIVATE, .forwarded = true, .twin = "egress-tcp" },
	{ "metadata-udp", DEEP_UDP, AT_GUEST, TO_LINK_LOCAL, .forwarded = true,
	  .twin = "egress-udp" },
	{ "metadata-tcp", DEEP_TCP, AT_GUEST, TO_LINK_LOCAL, .forwarded = true,
	  .twin = "egress-tcp" },
	{ "inward-icmp", DEEP_ICMP, AT_OUTSIDE, TO_GUEST, .forwarded = true, .twin = "egress-udp" },
	{ "inward-udp", DEEP_UDP, AT_OUTSIDE, TO_GUEST, .forwarded = true, .twin = "egress-udp" },
	{ "inward-tcp", DEEP_TCP, AT_OUTSIDE, TO_GUEST, .forwarded = true, .twin = "egress-tcp" },
	{ "other-own-gateway", DEEP_ICMP, AT_OTHER, TO_OTHER_GATEWAY, .pass = true },
	{ "other-gateway-icmp", DEEP_ICMP, AT_GUEST, TO_OTHER_GATEWAY, .twin = "gateway-icmp" },
	{ "other-gateway-udp", DEEP_UDP, AT_GUEST, TO_OTHER_GATEWAY, .twin = "gateway-icmp" },
	{ "other-gateway-tcp", DEEP_TCP, AT_GUEST, TO_OTHER_GATEWAY, .twin = "gateway-icmp" },
	{ "other-guest-icmp", DEEP_ICMP, AT_GUEST, TO_OTHER, .forwarded = true,
	  .twin = "other-own-gateway" },
	{ "other-guest-udp", DEEP_UDP, AT_GUEST, TO_OTHER, .forwarded = true,
	  .twin = "other-own-gateway" },
	{ "other-guest-tcp", DEEP_TCP, AT_GUEST, TO_OTHER, .forwarded = true,
	  .twin = "other-own-gateway" },
	{ "from-other-icmp", DEEP_ICMP, AT_OTHER, TO_GUEST, .forwarded = true,
	  .twin = "other-own-gateway" },
	{ "from-other-udp", DEEP_UDP, AT_OTHER, TO_GUEST, .forwarded = true,
	  .twin = "other-own-gateway" },
	{ "from-other-tcp", DEEP_TCP, AT_OTHER, TO_GUEST, .forwarded = true,
	  .twin = "other-own-gateway" },
};
_Static_assert(COUNT(rows) <= DEEP_PROBES_MAX, "all rows fit");

// --- what became of them ------------------------------------------------------------------------

static bool passed(const struct deep_probe *p)
{
	return p->row->pass ? p->answered : p->arrived;
}

static const struct deep_probe *twin_of(const struct deep_probes *all, const struct deep_probe *p)
{
	for (size_t i = 0; p->row->twin && i < all->len; i++)
		if (str_eq(all->items[i].row->name, p->row->twin))
			return &all->items[i];
	return NULL;
}

static void ip_print(uint32_t ip, ip_text out)
{
	const struct subnet s = { .base = ip };

	subnet_ip(&s, 0, out);
}

static void name_ends(const struct deep_rig *rig, const struct deep_probe *p, struct net_flow *f)
{
	static const char *const words[] = { [DEEP_UDP] = "udp", [DEEP_TCP] = "tcp" };
	ip_text ip;

	ip_print(rig->ports[p->row->from].ip, ip);
	base_cut(f->from, sizeof(f->from), "%s", ip);
	ip_print(rig->targets[p->row->to].ip, ip);
	if (p->row->kind == DEEP_ICMP)
		base_cut(f->to, sizeof(f->to), "%s icmp", ip);
	else
		base_cut(f->to, sizeof(f->to), "%s:%u %s", ip, ntohs(p->to.sin_port),
			 words[p->row->kind]);
}

static void tell_blocked(const struct deep_rig *rig, const struct deep_probe *p, struct net_flow *f)
{
	if (p->refused)
		base_cut(f->detail, sizeof(f->detail), "%s", strerror(p->refused));
	else if (p->arrived)
		base_cut(f->detail, sizeof(f->detail), "arrived, but the answer did not come back");
	else
		base_cut(f->detail, sizeof(f->detail), "nothing arrived in %lld ms",
			 p->row->pass ? (long long)deep_patience(rig) : rig->a->wait_ms);
}

static void tell_passed(const struct deep_rig *rig, const struct deep_probe *p, struct net_flow *f)
{
	ip_text source, host;

	ip_print(p->source, source);
	ip_print(rig->targets[TO_HOST].ip, host);
	if (p->source)
		base_cut(f->detail, sizeof(f->detail), "seen from %s", source);
	if (p->row->nat && p->source != rig->targets[TO_HOST].ip) {
		f->ok = false;
		base_cut(f->detail, sizeof(f->detail), "seen from %s, not from the host's %s",
			 source, host);
	}
}

static void judge(const struct deep_rig *rig, const struct deep_probes *all,
		  const struct deep_probe *p, struct net_flow *f)
{
	const struct deep_probe *twin = twin_of(all, p);

	base_cut(f->name, sizeof(f->name), "%s", p->row->name);
	f->expected = p->row->pass ? NET_FLOW_PASS : NET_FLOW_BLOCKED;
	f->seen = passed(p) ? NET_FLOW_PASS : NET_FLOW_BLOCKED;
	f->ok = f->seen == f->expected;
	name_ends(rig, p, f);
	if (rig->targets[p->row->to].ip == 0) {
		base_cut(f->to, sizeof(f->to), "none");
		f->ok = false;
		base_cut(f->detail, sizeof(f->detail), "not tried: %s",
			 rig->targets[p->row->to].why_not);
	} else if (passed(p)) {
		tell_passed(rig, p, f);
	} else if (p->row->forwarded && !rig->forwarding) {
		f->ok = false;
		base_cut(f->detail, sizeof(f->detail), "IPv4 forwarding is off on this host");
	} else if (twin && !passed(twin)) {
		f->ok = false;
		base_cut(f->detail, sizeof(f->detail), "proves nothing: %s does not pass either",
			 twin->row->name);
	} else {
		tell_blocked(rig, p, f);
	}
}

static bool is_tried(const struct deep_rig *rig, const struct deep_row *r)
{
	return deep_has_other(rig) ||
	       !(r->from == AT_OTHER || r->to == TO_OTHER || r->to == TO_OTHER_GATEWAY);
}

int deep_flows(const struct deep_rig *rig, struct codec_list *flows, struct err *e)
{
	cleanup_deep_probes struct deep_probes *all = base_alloc(1, sizeof(*all));

	for (size_t i = 0; i < COUNT(rows); i++)
		if (is_tried(rig, &rows[i]) && deep_probe_add(rig, all, &rows[i], e) < 0)
			return -e->no;
	deep_probe_run(all, true, deep_patience(rig));
	deep_probe_run(all, false, rig->a->wait_ms);
	for (size_t i = 0; i < all->len; i++)
		judge(rig, all, &all->items[i], codec_list_add(flows, sizeof(struct net_flow)));
	return 0;
}
