// SPDX-License-Identifier: MIT
// The frames of mux.h on the wire. Internal to the mux.
//
// Two things go beyond what mux.h lists. A zero byte between frames is filler. HELLO_ACK with
// session and nonce 0 says "I have no session": the guest's engine sends it once a second until a
// HELLO comes, so that a restarted agent, or one that lost its place, is noticed by the host.
#pragma once
#include "base/buf.h"

#define MUX_HEAD  20u
#define MUX_MAGIC 0xa558764du // 'M' 'v' 'X' 0xa5; the first byte is not a filler
#define MUX_NONCE 8u

enum mux_type {
	MUX_HELLO = 1,
	MUX_HELLO_ACK,
	MUX_OPEN,
	MUX_OPEN_OK,
	MUX_DATA,
	MUX_CREDIT,
	MUX_EOF,
	MUX_RESET,
};

struct mux_frame {
	uint32_t session, conn;
	uint8_t type;
	uint16_t len;
	const uint8_t *data; // into the scanned bytes
};

enum mux_scan {
	MUX_SCAN_FRAME, // *f is whole and its checksum right
	MUX_SCAN_MORE,	// a frame has begun
	MUX_SCAN_EMPTY, // nothing but what was skipped
};

uint32_t mux_get32(const uint8_t *p);
void mux_put32(uint8_t *p, uint32_t v);
void mux_put_frame(struct buf *b, uint32_t session, enum mux_type type, uint32_t conn,
		   const void *data, size_t len);
// Looks for the first frame in len bytes. *ret_used: bytes that are done with, the frame included.
// *ret_junk: bytes other than filler were skipped.
enum mux_scan mux_scan_frame(const uint8_t *p, size_t len, struct mux_frame *f, size_t *ret_used,
			     bool *ret_junk);
