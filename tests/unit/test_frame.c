// SPDX-License-Identifier: MIT
// Frames against the layouts of the RFCs, written out here once more.
#include "sys/frame.h"

#include <net/if_arp.h>

#include "tap.h"

#define NONCE 0x1122334455667788ull

static const uint8_t me[6] = { 2, 0xfc, 0, 7, 0, 3 }, you[6] = { 2, 0xfc, 0, 7, 0, 4 };
static const struct frame_udp udp = {
	.from = 0x0a140703, .to = 0x0a140704, .from_port = 1000, .to_port = 2000, .id = 0x4242
};

static unsigned word(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

// A checksum is right when everything that it covers adds up to all ones.
static unsigned total(const uint8_t *data, size_t len, unsigned start)
{
	for (size_t i = 0; i < len; i += 2)
		start += i + 1 < len ? word(data + i) : (unsigned)data[i] << 8;
	while (start >> 16)
		start = (start & 0xffff) + (start >> 16);
	return start;
}

TEST(a_datagram_is_byte_for_byte)
{
	static const uint8_t head[] = { 2,  0xfc, 0,  7,  0,	4,    2,  0xfc, 0,    7,
					0,  3,	  8,  0,  69,	0,    0,  36,	0x42, 0x42,
					0,  0,	  64, 17, 0,	0,    10, 0x14, 7,    3,
					10, 20,	  7,  4,  0x03, 0xe8, 7,  0xd0, 0,    16 };
	struct frame f;

	frame_ether(&f, you, me);
	frame_udp(&f, &udp, NONCE);
	CHECK_INT(f.len, FRAME_LEAST);
	CHECK_INT(total(f.data + 14, 20, 0), 0xffff);
	CHECK_INT(total(f.data + 34, 16, 0x0a14 + 0x0703 + 0x0a14 + 0x0704 + 17 + 16), 0xffff);
	CHECK(memcmp(f.data, head, 24) == 0);
	CHECK(memcmp(f.data + 26, head + 26, sizeof(head) - 26) == 0);
	CHECK(frame_has(f.data, f.len, NONCE));
	CHECK(!frame_has(f.data, f.len, NONCE + 1));
	for (size_t i = 50; i < f.len; i++)
		CHECK_INT(f.data[i], 0);
}

TEST(tags_stand_before_the_type)
{
	struct frame f;

	frame_ether(&f, you, me);
	frame_tag(&f, 0x88a8, 5);
	frame_tag(&f, 0x8100, 6);
	frame_udp(&f, &udp, NONCE);
	CHECK_INT(word(f.data + 12), 0x88a8);
	CHECK_INT(word(f.data + 14), 5);
	CHECK_INT(word(f.data + 16), 0x8100);
	CHECK_INT(word(f.data + 18), 6);
	CHECK_INT(word(f.data + 20), 0x0800);
	CHECK_INT(total(f.data + 22, 20, 0), 0xffff);
}

TEST(two_fragments_make_the_datagram)
{
	uint8_t whole[24];
	struct frame f, g;

	frame_ether(&f, you, me);
	frame_ether(&g, you, me);
	frame_udp_split(&f, &g, &udp, NONCE);
	CHECK_INT(word(f.data + 20), 0x2000); // more follow
	CHECK_INT(word(g.data + 20), 2);      // at byte 16
	CHECK_INT(word(f.data + 16), 20 + 16);
	CHECK_INT(word(g.data + 16), 20 + 8);
	CHECK_INT(word(f.data + 18), word(g.data + 18));
	CHECK_INT(total(f.data + 14, 20, 0), 0xffff);
	CHECK_INT(total(g.data + 14, 20, 0), 0xffff);
	memcpy(whole, f.data + 34, 16);
	memcpy(whole + 16, g.data + 34, 8);
	CHECK_INT(word(whole + 4), 24);
	CHECK_INT(total(whole, 24, 0x0a14 + 0x0703 + 0x0a14 + 0x0704 + 17 + 24), 0xffff);
	CHECK(frame_has(f.data, f.len, NONCE));
	CHECK(frame_has(g.data, g.len, NONCE));
}

TEST(an_arp_answer_holds_both_ends)
{
	static const uint8_t want[] = { 8, 6,  0,  1, 8, 0, 6,	  4, 0, 2, 2, 0xfc, 0,	7, 0,
					3, 10, 20, 7, 1, 2, 0xfc, 0, 7, 0, 4, 10,   20, 7, 4 };
	struct frame_arp a = { .op = ARPOP_REPLY, .from = 0x0a140701, .to = 0x0a140704 };
	struct frame f;

	memcpy(a.from_mac, me, 6);
	memcpy(a.to_mac, you, 6);
	frame_ether(&f, you, me);
	frame_arp(&f, &a, NONCE);
	CHECK_INT(f.len, FRAME_LEAST);
	CHECK(memcmp(f.data + 12, want, sizeof(want)) == 0);
	CHECK(frame_has(f.data + 42, f.len - 42, NONCE)); // behind what ARP reads
}

TEST(a_neighbour_solicitation_is_whole)
{
	static const uint8_t source[16] = { 0xfe, 0x80, [15] = 3 },
			     target[16] = { 0xfe, 0x80, [15] = 4 };
	struct frame f;

	frame_ether(&f, you, me);
	frame_solicit(&f, source, target, NONCE);
	CHECK_INT(word(f.data + 12), 0x86dd);
	CHECK_INT(f.data[14] >> 4, 6);
	CHECK_INT(word(f.data + 18), 40); // behind the header
	CHECK_INT(f.len, 14 + 40 + 40);
	CHECK_INT(f.data[20], 58);
	CHECK_INT(f.data[21], 255); // else nobody takes it
	CHECK(memcmp(f.data + 22, source, 16) == 0);
	CHECK_INT(word(f.data + 38), 0xff02);
	CHECK_INT(f.data[53], 1);
	CHECK_INT(f.data[54], 135);
	CHECK(memcmp(f.data + 62, target, 16) == 0);
	CHECK_INT(f.data[79], 2); // units of 8 bytes
	CHECK_INT(total(f.data + 54, 40, total(f.data + 22, 32, 40 + 58)), 0xffff);
	CHECK(frame_has(f.data, f.len, NONCE));
}

TEST(other_frames_have_a_type_or_a_length)
{
	struct frame f;

	frame_ether(&f, you, me);
	frame_other(&f, 0x88b5, NONCE);
	CHECK_INT(word(f.data + 12), 0x88b5);
	CHECK_INT(f.len, FRAME_LEAST);
	CHECK(frame_has(f.data, f.len, NONCE));
	frame_ether(&f, you, me);
	frame_llc(&f, NONCE);
	CHECK_INT(word(f.data + 12), 11);
	CHECK_INT(f.len, FRAME_LEAST);
	CHECK(frame_has(f.data, f.len, NONCE));
}

TEST(the_number_is_found_wherever_it_stands)
{
	uint8_t data[40] = { 0 };
	const uint64_t nonce = NONCE;

	for (size_t at = 0; at + sizeof(nonce) <= sizeof(data); at++) {
		memset(data, 0, sizeof(data));
		memcpy(data + at, &nonce, sizeof(nonce));
		CHECK(frame_has(data, sizeof(data), NONCE));
		CHECK(!frame_has(data, at + sizeof(nonce) - 1, NONCE)); // cut off
	}
	CHECK(!frame_has(data, 0, NONCE));
}

// An IP packet as a raw socket gets it.
static size_t reply(uint8_t out[64], unsigned header)
{
	memset(out, 0, 64);
	frame_echo(out + header, 77, NONCE);
	out[0] = (uint8_t)(0x40 | header / 4);
	out[9] = 1;
	out[header] = 0;
	return header + FRAME_ECHO;
}

TEST(an_echo_is_known_by_its_answer)
{
	uint8_t in[64], out[FRAME_ECHO];
	size_t len = reply(in, 20);

	frame_echo(out, 77, NONCE);
	CHECK_INT(total(out, sizeof(out), 0), 0xffff);
	CHECK_INT(out[0], 8);
	CHECK(frame_is_echo_reply(in, len, 77, NONCE));
	CHECK(frame_is_echo_reply(in, reply(in, 60 - FRAME_ECHO), 77, NONCE)); // with options
	len = reply(in, 20);
	CHECK(!frame_is_echo_reply(in, len, 78, NONCE));
	CHECK(!frame_is_echo_reply(in, len, 77, NONCE + 1));
	for (size_t cut = 0; cut < len; cut++)
		CHECK(!frame_is_echo_reply(in, cut, 77, NONCE));
	in[20] = 8; // the question
	CHECK(!frame_is_echo_reply(in, len, 77, NONCE));
	len = reply(in, 20);
	in[9] = 17;
	CHECK(!frame_is_echo_reply(in, len, 77, NONCE));
	len = reply(in, 20);
	in[0] = 0x4f; // a header longer than what came
	CHECK(!frame_is_echo_reply(in, len, 77, NONCE));
	in[0] = 0x44; // shorter than a header
	CHECK(!frame_is_echo_reply(in, len, 77, NONCE));
	in[0] = 0x65;
	CHECK(!frame_is_echo_reply(in, len, 77, NONCE));
}
