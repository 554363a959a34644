// SPDX-License-Identifier: MIT
// Packets byte by byte, for trying what a guest could send past its own IP stack. Each carries a
// number drawn by lot, by which it is known again where it arrives, whatever became of the rest.
// Everything is built in a fixed buffer; the pieces are added from the outside in:
//
//	frame_ether(&f, to, from);  [frame_tag(&f, 0x8100, 5);]  frame_udp(&f, &u, nonce);
#pragma once
#include "base/base.h"

#define FRAME_ROOM  160
#define FRAME_LEAST 60 // of a frame without its check sum: shorter ones are filled up

struct frame {
	uint8_t data[FRAME_ROOM];
	size_t len;
};

void frame_ether(struct frame *f, const uint8_t to[6], const uint8_t from[6]);
void frame_tag(struct frame *f, uint16_t tpid, uint16_t tci); // 802.1Q and the like
// The rest of the frame; each ends with the number and is filled up to FRAME_LEAST.
struct frame_udp { // addresses in host byte order
	uint32_t from, to;
	uint16_t from_port, to_port;
	uint16_t id;
};
void frame_udp(struct frame *f, const struct frame_udp *u, uint64_t nonce);
// The same datagram in two fragments, the number in each; f and g already have their headers.
void frame_udp_split(struct frame *f, struct frame *g, const struct frame_udp *u, uint64_t nonce);
struct frame_arp {
	uint16_t op; // ARPOP_REQUEST, ARPOP_REPLY
	uint8_t from_mac[6], to_mac[6];
	uint32_t from, to;
};
void frame_arp(struct frame *f, const struct frame_arp *a, uint64_t nonce);
// A neighbour solicitation for target, from source to all nodes.
void frame_solicit(struct frame *f, const uint8_t source[16], const uint8_t target[16],
		   uint64_t nonce);
void frame_other(struct frame *f, uint16_t type, uint64_t nonce);
void frame_llc(struct frame *f, uint64_t nonce); // 802.3 with a length instead of a type

// Whether the number stands anywhere in what was received.
bool frame_has(const void *data, size_t len, uint64_t nonce);

// An ICMP echo request without IP header, for a raw socket, and whether a received IP packet is the
// answer to it.
#define FRAME_ECHO 16
void frame_echo(uint8_t out[FRAME_ECHO], uint16_t id, uint64_t nonce);
bool frame_is_echo_reply(const void *data, size_t len, uint16_t id, uint64_t nonce);
