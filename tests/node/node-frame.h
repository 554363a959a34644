// SPDX-License-Identifier: MIT
// The frames between node-run (host) and node-agent (node VM) on one virtio-serial port.
//
// A port has no connections: a new client's bytes may follow half a frame of the last one, in both
// directions, and hang-ups may go unseen. So a frame lies between two END bytes, which occur
// nowhere else (ESC stuffing), and carries its session and its length: what is torn or of another
// session is dropped. A session is the nonce of the HELLO that opened it; the host repeats HELLO
// until READY.
//
//	host: HELLO RUN{flags rows cols argv…} IN… IN_END SIGNAL{number}
//	node: READY OUT… ERR… CREDIT{bytes of IN taken} ALIVE EXIT{status}
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	FRAME_END = 0xc0,
	FRAME_ESC = 0xdb,
	FRAME_FLIP = 0x20,	 // ESC x stands for x ^ FLIP
	FRAME_MAX = 32 << 10,	 // payload
	FRAME_WINDOW = 64 << 10, // bytes of IN that may be under way
	FRAME_ALIVE_S = 5,	 // the node says something at least this often
	FRAME_LOST_S = 90,	 // silence that the host takes for a dead node: emulation may crawl
};

enum frame_type {
	FRAME_HELLO = 1,
	FRAME_READY,
	FRAME_RUN,
	FRAME_IN,
	FRAME_IN_END,
	FRAME_SIGNAL,
	FRAME_OUT,
	FRAME_ERR,
	FRAME_CREDIT,
	FRAME_ALIVE,
	FRAME_EXIT,
};

struct frame {
	uint64_t session;
	uint32_t len, type;
	unsigned char data[FRAME_MAX];
};

struct frame_run { // the payload of RUN, before argv, each word ended by NUL
	uint32_t tty;
	uint16_t rows, cols;
};

// The head is session, len, type, with no gap.
enum { FRAME_HEAD = offsetof(struct frame, data) };
enum { FRAME_WIRE = 2 * (FRAME_HEAD + FRAME_MAX) + 2 };

struct frame_reader {
	struct frame frame;
	size_t have;
	bool escaped, bad;
};

static inline size_t frame_stuff(unsigned char *wire, size_t n, const void *data, size_t len)
{
	const unsigned char *from = (const unsigned char *)data;

	for (size_t i = 0; i < len; i++) {
		bool special = from[i] == FRAME_END || from[i] == FRAME_ESC;

		if (special)
			wire[n++] = FRAME_ESC;
		wire[n++] = special ? from[i] ^ FRAME_FLIP : from[i];
	}
	return n;
}

// Returns the bytes to send; wire has room for FRAME_WIRE.
static inline size_t frame_pack(unsigned char *wire, uint64_t session, enum frame_type type,
				const void *data, size_t len)
{
	uint32_t rest[2] = { (uint32_t)len, type };
	size_t n = 0;

	wire[n++] = FRAME_END;
	n = frame_stuff(wire, n, &session, sizeof(session));
	n = frame_stuff(wire, n, rest, sizeof(rest));
	n = frame_stuff(wire, n, data, len);
	wire[n++] = FRAME_END;
	return n;
}

// Takes one byte; true when it has completed a whole frame, which is valid until the next call.
static inline bool frame_take(struct frame_reader *r, unsigned char c)
{
	if (c == FRAME_END) {
		bool whole = !r->bad && !r->escaped && r->have >= FRAME_HEAD &&
			     r->have - FRAME_HEAD == r->frame.len;

		r->have = 0;
		r->escaped = r->bad = false;
		return whole;
	}
	if (c == FRAME_ESC) {
		r->escaped = true;
		return false;
	}
	if (r->escaped)
		c ^= FRAME_FLIP;
	r->escaped = false;
	if (r->have == FRAME_HEAD + FRAME_MAX)
		r->bad = true;
	else
		((unsigned char *)&r->frame)[r->have++] = c;
	return false;
}
