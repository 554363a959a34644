// SPDX-License-Identifier: MIT
// Frames past the guest's IP stack, from the port of one to that of its neighbour on the same
// bridge. What must not get through is sent beside a proper frame that does.
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "life/net_deep_parts.h"
#include "sys/frame.h"

#define RESEND_MS     100
#define ROUNDS	      2 // that each frame is sent at least
#define PORT_DISCARD  9
#define SNIFF_BYTES   (1 << 20)
#define SNIFF_AT_ONCE 256
#define TAG	      0x8100
#define TAG_SERVICE   0x88a8
#define TYPE_LOCAL    0x88b5 // set aside for experiments

// What the frames are made of.
struct ends {
	const struct deep_port *me, *you;
	uint32_t gateway, outsider;
	uint64_t nonce;
};
struct frames {
	struct frame f[2];
	size_t len; // 1 or 2
};

static const uint8_t stranger[6] = { 0x02, 0xfc, 0xff, 0xff, 0xff, 0xfe }; // no net_id, no offset
static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static struct frame_udp udp_of(const struct ends *x, uint32_t from)
{
	return (struct frame_udp){ .from = from,
				   .to = x->you->ip,
				   .from_port = PORT_DISCARD,
				   .to_port = PORT_DISCARD,
				   .id = (uint16_t)x->nonce };
}

static void udp(const struct ends *x, struct frame *f, uint32_t from)
{
	const struct frame_udp u = udp_of(x, from);

	frame_udp(f, &u, x->nonce);
}

// An answer that nobody asked for, to the neighbour alone: what it claims reaches no real guest.
static void arp(const struct ends *x, struct frame *f, uint32_t from)
{
	struct frame_arp a = { .op = ARPOP_REPLY, .from = from, .to = x->you->ip };

	memcpy(a.from_mac, x->me->mac, 6);
	memcpy(a.to_mac, x->you->mac, 6);
	frame_ether(f, x->you->mac, x->me->mac);
	frame_arp(f, &a, x->nonce);
}

static void make_udp(const struct ends *x, struct frames *out)
{
	frame_ether(&out->f[0], x->you->mac, x->me->mac);
	udp(x, &out->f[0], x->me->ip);
}

static void make_arp(const struct ends *x, struct frames *out)
{
	arp(x, &out->f[0], x->me->ip);
}

static void make_mac(const struct ends *x, struct frames *out)
{
	frame_ether(&out->f[0], x->you->mac, stranger);
	udp(x, &out->f[0], x->me->ip);
}

// To all: a bridge that took the source for true would not send it back to where that is now.
static void make_mac_of_neighbour(const struct ends *x, struct frames *out)
{
	frame_ether(&out->f[0], everybody, x->you->mac);
	udp(x, &out->f[0], x->me->ip);
}

static void make_ip_of_neighbour(const struct ends *x, struct frames *out)
{
	frame_ether(&out->f[0], x->you->mac, x->me->mac);
	udp(x, &out->f[0], x->you->ip);
}

static void make_ip_of_outsider(const struct ends *x, struct frames *out)
{
	frame_ether(&out->f[0], x->you->mac, x->me->mac);
	udp(x, &out->f[0], x->outsider);
}

static void make_arp_of_gateway(const struct ends *x, struct frames *out)
{
	arp(x, &out->f[0], x->gateway);
}

static void make_arp_of_neighbour(const struct ends *x, struct frames *out)
{
	arp(x, &out->f[0], x->you->ip);
}

static void make_ipv6(const struct ends *x, struct frames *out)
{
	static const uint8_t all_nodes[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	const uint8_t source[16] = { 0xfe, 0x80, [14] = x->me->mac[4], [15] = x->me->mac[5] };
	const uint8_t target[16] = { 0xfe, 0x80, [14] = x->you->mac[4], [15] = x->you->mac[5] };

	frame_ether(&out->f[0], all_nodes, x->me->mac);
	frame_solicit(&out->f[0], source, target, x->nonce);
}

// Both halves: put together again on the way, the datagram would be seen as well.
static void make_fragment(const struct ends *x, struct frames *out)
{
	const struct frame_udp u = udp_of(x, x->me->ip);

	frame_ether(&out->f[0], x->you->mac, x->me->mac);
	frame_ether(&out->f[1], x->you->mac, x->me->mac);
	frame_udp_split(&out->f[0], &out->f[1], &u, x->nonce);
	out->len = 2;
}

static void tagged(const struct ends *x, struct frame *f, uint16_t outer, uint16_t id)
{
	frame_ether(f, x->you->mac, x->me->mac);
	frame_tag(f, outer, id);
	if (outer == TAG_SERVICE)
		frame_tag(f, TAG, id);
	udp(x, f, x->me->ip);
}

static void make_vlan(const struct ends *x, struct frames *out)
{
	tagged(x, &out->f[0], TAG, 5);
}

// Number 0 is a priority alone, and many take the frame for one without a tag.
static void make_vlan_zero(const struct ends *x, struct frames *out)
{
	tagged(x, &out->f[0], TAG, 0);
}

static void make_vlan_stack(const struct ends *x, struct frames *out)
{
	tagged(x, &out->f[0], TAG_SERVICE, 5);
}

static void make_type(const struct ends *x, struct frames *out)
{
	frame_ether(&out->f[0], x->you->mac, x->me->mac);
	frame_other(&out->f[0], TYPE_LOCAL, x->nonce);
}

static void make_llc(const struct ends *x, struct frames *out)
{
	frame_ether(&out->f[0], x->you->mac, x->me->mac);
	frame_llc(&out->f[0], x->nonce);
}

#define TWIN_UDP 0 // rows
#define TWIN_ARP 1
static const struct row {
	const char *name;
	void (*make)(const struct ends *x, struct frames *out);
	int twin; // -1: this is one, and passes
	const char *what;
} rows[] = {
	[TWIN_UDP] = { "frame-ipv4", make_udp, -1, "a datagram under its own addresses" },
	[TWIN_ARP] = { "frame-arp", make_arp, -1, "an ARP answer for its own address" },
	{ "spoof-mac", make_mac, TWIN_UDP, "an unknown source MAC" },
	{ "spoof-ip-neighbour", make_ip_of_neighbour, TWIN_UDP, "the neighbour's address" },
	{ "spoof-ip-outside", make_ip_of_outsider, TWIN_UDP, "an address from outside" },
	{ "spoof-arp-gateway", make_arp_of_gateway, TWIN_ARP, "ARP: the gateway's address" },
	{ "spoof-arp-neighbour", make_arp_of_neighbour, TWIN_ARP, "ARP: the neighbour's address" },
	{ "ipv6", make_ipv6, TWIN_UDP, "a neighbour solicitation to all nodes" },
	{ "ipv4-fragment", make_fragment, TWIN_UDP, "a datagram in two fragments" },
	{ "vlan", make_vlan, TWIN_UDP, "an 802.1Q tag" },
	{ "vlan-zero", make_vlan_zero, TWIN_UDP, "an 802.1Q tag with number 0" },
	{ "vlan-stack", make_vlan_stack, TWIN_UDP, "two tags" },
	{ "ether-other", make_type, TWIN_UDP, "neither IPv4 nor ARP" },
	{ "ether-llc", make_llc, TWIN_UDP, "802.3 with a length" },
	// last: a bridge that believes it sends what is for the neighbour astray
	{ "spoof-mac-neighbour", make_mac_of_neighbour, TWIN_UDP, "the neighbour's MAC" },
};

struct run {
	const struct deep_rig *rig;
	int from_fd, at_fd;
	struct frames frames[COUNT(rows)];
	uint64_t nonces[COUNT(rows)];
	bool arrived[COUNT(rows)];
};

static void run_drop(struct run **r)
{
	base_closep(&(*r)->from_fd);
	base_closep(&(*r)->at_fd);
	free(*r);
}

static int open_packet(const struct deep_port *p, int protocol, struct err *e)
{
	cleanup_fd int fd = netns_socket(p->ns, AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0, e);
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_protocol = htons((uint16_t)protocol),
				  .sll_ifindex = p->inner };

	if (fd < 0)
		return fd;
	if (bind(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
		return err_sys(e, "open %s for frames", p->name);
	return steal_fd(&fd);
}

static int prepare(struct run *r, struct err *e)
{
	const int room = SNIFF_BYTES;
	struct ends x = { .me = &r->rig->ports[AT_GUEST],
			  .you = &r->rig->ports[AT_NEIGHBOUR],
			  .gateway = r->rig->targets[TO_GATEWAY].ip,
			  .outsider = r->rig->targets[TO_PUBLIC].ip };

	r->at_fd = open_packet(x.you, ETH_P_ALL, e);
	if (r->at_fd < 0)
		return r->at_fd;
	(void)setsockopt(r->at_fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	r->from_fd = open_packet(x.me, 0, e);
	if (r->from_fd < 0)
		return r->from_fd;
	for (size_t i = 0; i < COUNT(rows); i++) {
		if (deep_nonce(&r->nonces[i], e) < 0)
			return -e->no;
		x.nonce = r->nonces[i];
		r->frames[i].len = 1;
		rows[i].make(&x, &r->frames[i]);
	}
	return 0;
}

static void send_all(struct run *r)
{
	for (size_t i = 0; i < COUNT(rows); i++)
		for (size_t k = 0; k < r->frames[i].len; k++)
			(void)send(r->from_fd, r->frames[i].f[k].data, r->frames[i].f[k].len, 0);
}

// What the neighbour itself sends (an error about such a datagram) quotes the number, too.
static void sniff(struct run *r)
{
	uint8_t in[2048];

	for (int n = 0; n < SNIFF_AT_ONCE; n++) {
		struct sockaddr_ll from = { 0 };
		socklen_t size = sizeof(from);
		ssize_t len =
			recvfrom(r->at_fd, in, sizeof(in), 0, (struct sockaddr *)&from, &size);

		if (len < 0)
			return;
		for (size_t i = 0; from.sll_pkttype != PACKET_OUTGOING && i < COUNT(rows); i++)
			if (frame_has(in, (size_t)len, r->nonces[i]))
				r->arrived[i] = true;
	}
}

// Until the proper frames were seen, and then long enough for the others of the last round.
static void run_rounds(struct run *r)
{
	const int64_t wait_ms = r->rig->a->wait_ms;
	int64_t until = clock_ms() + deep_patience(r->rig);

	for (int round = 1;; round++) {
		const bool last = round > ROUNDS && r->arrived[TWIN_UDP] && r->arrived[TWIN_ARP];
		int64_t again;

		if (last)
			until = clock_ms() + wait_ms;
		else
			send_all(r);
		again = last ? until : MIN(clock_ms() + RESEND_MS, until);
		while (clock_left(again) > 0) {
			struct pollfd p = { .fd = r->at_fd, .events = POLLIN };
			const int64_t ms = clock_left(again), from = clock_ms();

			(void)poll(&p, 1, (int)ms);
			until += deep_overslept(from, ms);
			again = last ? until : again;
			sniff(r);
		}
		if (last || clock_left(until) == 0)
			return;
	}
}

static void judge(const struct run *r, size_t i, struct net_flow *f)
{
	const struct row *row = &rows[i];
	const struct deep_port *me = &r->rig->ports[AT_GUEST], *you = &r->rig->ports[AT_NEIGHBOUR];
	const struct subnet ips[] = { { .base = me->ip }, { .base = you->ip } };

	base_cut(f->name, sizeof(f->name), "%s", row->name);
	subnet_ip(&ips[0], 0, f->from);
	subnet_ip(&ips[1], 0, f->to);
	f->expected = row->twin < 0 ? NET_FLOW_PASS : NET_FLOW_BLOCKED;
	f->seen = r->arrived[i] ? NET_FLOW_PASS : NET_FLOW_BLOCKED;
	f->ok = f->seen == f->expected;
	if (!r->arrived[i] && row->twin >= 0 && !r->arrived[row->twin]) {
		f->ok = false;
		base_cut(f->detail, sizeof(f->detail),
			 "%s; proves nothing: %s does not pass either", row->what,
			 rows[row->twin].name);
	} else {
		base_cut(f->detail, sizeof(f->detail), "%s: %s", row->what,
			 r->arrived[i] ? "arrived" : "did not arrive");
	}
}

int deep_frames(const struct deep_rig *rig, struct codec_list *flows, struct err *e)
{
	cleanup(run_drop) struct run *r = base_alloc(1, sizeof(*r));

	r->rig = rig;
	r->from_fd = r->at_fd = -1;
	if (prepare(r, e) < 0)
		return -e->no;
	run_rounds(r);
	for (size_t i = 0; i < COUNT(rows); i++)
		judge(r, i, codec_list_add(flows, sizeof(struct net_flow)));
	return 0;
}
