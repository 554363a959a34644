// SPDX-License-Identifier: MIT
#include "sys/frame.h"

#include <assert.h>
#include <linux/icmp.h>
#include <linux/if_ether.h>
#include <net/if_arp.h>
#include <netinet/in.h>

#define IP_HEADER	20
#define UDP_HEADER	8
#define IP_TTL_START	64
#define IP_MORE		0x2000u // of the fragment field
#define IP_UNIT		8	// that fragments are counted in
#define SOLICIT		24	// ICMPv6 header, target
#define SOLICIT_TYPE	135
#define OPTION_NONCE	14 // of neighbour discovery
#define OPTION_LEN	16
#define ALL_NODES_FIRST 0xff02u

static uint8_t *put(struct frame *f, const void *data, size_t len)
{
	uint8_t *at = f->data + f->len;

	assert(len <= sizeof(f->data) - f->len); // all that is built is of known size
	if (len > 0)
		memcpy(at, data, len);
	f->len += len;
	return at;
}

static void put8(struct frame *f, unsigned v)
{
	uint8_t byte = (uint8_t)v;

	(void)put(f, &byte, 1);
}

static void put16(struct frame *f, unsigned v)
{
	put8(f, v >> 8 & 255);
	put8(f, v & 255);
}

static void put32(struct frame *f, uint32_t v)
{
	put16(f, v >> 16);
	put16(f, v & 0xffff);
}

static void put_nonce(struct frame *f, uint64_t nonce)
{
	(void)put(f, &nonce, sizeof(nonce));
}

static void fill_up(struct frame *f)
{
	while (f->len < FRAME_LEAST)
		put8(f, 0);
}

static uint32_t sum(uint32_t start, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		start += (uint32_t)data[i] << (i % 2 ? 0 : 8);
	return start;
}

static void set_sum(uint8_t *at, uint32_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	at[0] = (uint8_t)(~total >> 8);
	at[1] = (uint8_t)~total;
}

void frame_ether(struct frame *f, const uint8_t to[6], const uint8_t from[6])
{
	f->len = 0;
	(void)put(f, to, 6);
	(void)put(f, from, 6);
}

void frame_tag(struct frame *f, uint16_t tpid, uint16_t tci)
{
	put16(f, tpid);
	put16(f, tci);
}

// fragment: the field with its flags; len: of what follows the header
static void put_ip(struct frame *f, const struct frame_udp *u, unsigned fragment, size_t len)
{
	uint8_t *ip = f->data + f->len + 2;

	put16(f, ETH_P_IP);
	put16(f, 0x4500);
	put16(f, (unsigned)(IP_HEADER + len));
	put16(f, u->id);
	put16(f, fragment);
	put8(f, IP_TTL_START);
	put8(f, IPPROTO_UDP);
	put16(f, 0);
	put32(f, u->from);
	put32(f, u->to);
	set_sum(ip + 10, sum(0, ip, IP_HEADER));
}

// words: how many times the number is sent
static void put_udp(struct frame *f, const struct frame_udp *u, uint64_t nonce, unsigned words)
{
	size_t len = UDP_HEADER + words * sizeof(nonce);
	uint8_t *udp = f->data + f->len;
	uint32_t pseudo = (u->from >> 16) + (u->from & 0xffff) + (u->to >> 16) + (u->to & 0xffff) +
			  IPPROTO_UDP + (uint32_t)len;

	put16(f, u->from_port);
	put16(f, u->to_port);
	put16(f, (unsigned)len);
	put16(f, 0);
	for (unsigned i = 0; i < words; i++)
		put_nonce(f, nonce);
	set_sum(udp + 6, sum(pseudo, udp, len));
}

void frame_udp(struct frame *f, const struct frame_udp *u, uint64_t nonce)
{
	put_ip(f, u, 0, UDP_HEADER + sizeof(nonce));
	put_udp(f, u, nonce, 1);
	fill_up(f);
}

void frame_udp_split(struct frame *f, struct frame *g, const struct frame_udp *u, uint64_t nonce)
{
	const size_t first = UDP_HEADER + sizeof(nonce);
	struct frame whole = { .len = 0 };

	put_udp(&whole, u, nonce, 2);
	put_ip(f, u, IP_MORE, first);
	(void)put(f, whole.data, first);
	fill_up(f);
	put_ip(g, u, (unsigned)(first / IP_UNIT), whole.len - first);
	(void)put(g, whole.data + first, whole.len - first);
	fill_up(g);
}

void frame_arp(struct frame *f, const struct frame_arp *a, uint64_t nonce)
{
	put16(f, ETH_P_ARP);
	put16(f, ARPHRD_ETHER);
	put16(f, ETH_P_IP);
	put8(f, 6);
	put8(f, 4);
	put16(f, a->op);
	(void)put(f, a->from_mac, 6);
	put32(f, a->from);
	(void)put(f, a->to_mac, 6);
	put32(f, a->to);
	put_nonce(f, nonce); // where a short frame is filled up
	fill_up(f);
}

void frame_solicit(struct frame *f, const uint8_t source[16], const uint8_t target[16],
		   uint64_t nonce)
{
	const size_t len = SOLICIT + OPTION_LEN;
	uint8_t *ip, *icmp;

	put16(f, ETH_P_IPV6);
	ip = f->data + f->len;
	put32(f, 6u << 28);
	put16(f, (unsigned)len);
	put8(f, IPPROTO_ICMPV6);
	put8(f, 255);
	(void)put(f, source, 16);
	put16(f, ALL_NODES_FIRST);
	for (int i = 0; i < 12; i++)
		put8(f, 0);
	put16(f, 1);
	icmp = f->data + f->len;
	put8(f, SOLICIT_TYPE);
	put8(f, 0);
	put16(f, 0);
	put32(f, 0);
	(void)put(f, target, 16);
	put8(f, OPTION_NONCE);
	put8(f, OPTION_LEN / 8);
	put_nonce(f, nonce);
	put32(f, 0);
	put16(f, 0);
	set_sum(icmp + 2, sum(sum((uint32_t)len + IPPROTO_ICMPV6, ip + 8, 32), icmp, len));
}

void frame_other(struct frame *f, uint16_t type, uint64_t nonce)
{
	put16(f, type);
	put_nonce(f, nonce);
	fill_up(f);
}

void frame_llc(struct frame *f, uint64_t nonce)
{
	put16(f, 3 + sizeof(nonce));
	put16(f, 0x4242); // both ends: spanning tree
	put8(f, 3);	  // unnumbered information
	put_nonce(f, nonce);
	fill_up(f);
}

bool frame_has(const void *data, size_t len, uint64_t nonce)
{
	return memmem(data, len, &nonce, sizeof(nonce)) != NULL;
}

void frame_echo(uint8_t out[FRAME_ECHO], uint16_t id, uint64_t nonce)
{
	memset(out, 0, FRAME_ECHO);
	out[0] = ICMP_ECHO;
	out[4] = (uint8_t)(id >> 8);
	out[5] = (uint8_t)id;
	memcpy(out + 8, &nonce, sizeof(nonce));
	set_sum(out + 2, sum(0, out, FRAME_ECHO));
}

bool frame_is_echo_reply(const void *data, size_t len, uint16_t id, uint64_t nonce)
{
	const uint8_t *ip = data, *icmp;
	size_t header = len > 0 ? (ip[0] & 15u) * 4u : 0;

	if (header < IP_HEADER || len < header + FRAME_ECHO || ip[0] >> 4 != 4 ||
	    ip[9] != IPPROTO_ICMP)
		return false;
	icmp = ip + header;
	return icmp[0] == ICMP_ECHOREPLY && icmp[4] == id >> 8 && icmp[5] == (id & 255) &&
	       memcmp(icmp + 8, &nonce, sizeof(nonce)) == 0;
}
