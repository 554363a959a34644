// SPDX-License-Identifier: MIT
#include "base/mux_wire.h"

#include "base/mux.h"

uint32_t mux_get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void mux_put32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

// The CRC of zlib and Ethernet, four bytes a step: tables[k][b] is what byte b still does to the
// sum when k more bytes follow it.
static uint32_t tables[4][256];

static void tables_fill(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
		tables[0][i] = c;
	}
	for (int k = 1; k < 4; k++)
		for (int i = 0; i < 256; i++) {
			uint32_t c = tables[k - 1][i];

			tables[k][i] = c >> 8 ^ tables[0][c & 0xff];
		}
}

uint32_t mux_crc32(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t c = ~crc;

	if (!tables[0][1])
		tables_fill();
	for (; len >= 4; len -= 4, p += 4) {
		c ^= mux_get32(p);
		c = tables[3][c & 0xff] ^ tables[2][c >> 8 & 0xff] ^ tables[1][c >> 16 & 0xff] ^
		    tables[0][c >> 24];
	}
	for (; len; len--, p++)
		c = c >> 8 ^ tables[0][(c ^ *p) & 0xff];
	return ~c;
}

void mux_put_frame(struct buf *b, uint32_t session, enum mux_type type, uint32_t conn,
		   const void *data, size_t len)
{
	uint8_t head[MUX_HEAD] = { 0 };
	uint32_t crc;

	mux_put32(head, MUX_MAGIC);
	mux_put32(head + 4, session);
	head[8] = (uint8_t)type;
	head[10] = (uint8_t)len;
	head[11] = (uint8_t)(len >> 8);
	mux_put32(head + 12, conn);
	crc = mux_crc32(0, head, sizeof(head));
	mux_put32(head + 16, mux_crc32(crc, data, len));
	buf_add(b, head, sizeof(head));
	if (len)
		buf_add(b, data, len);
}

// What the bytes at p are: a frame of *ret_len bytes, its beginning, or none.
static enum mux_scan frame_at(const uint8_t *p, size_t len, size_t *ret_len)
{
	static const uint8_t none[4];
	uint8_t magic[4];
	uint32_t crc;
	size_t body;

	mux_put32(magic, MUX_MAGIC);
	if (memcmp(p, magic, MIN(len, sizeof(magic))) != 0)
		return MUX_SCAN_EMPTY;
	if (len < MUX_HEAD)
		return MUX_SCAN_MORE;
	body = p[10] | (size_t)p[11] << 8;
	if (p[8] < MUX_HELLO || p[8] > MUX_RESET || p[9] || body > MUX_PAYLOAD)
		return MUX_SCAN_EMPTY;
	if (len < MUX_HEAD + body)
		return MUX_SCAN_MORE;
	crc = mux_crc32(0, p, MUX_HEAD - sizeof(none));
	crc = mux_crc32(crc, none, sizeof(none));
	if (mux_crc32(crc, p + MUX_HEAD, body) != mux_get32(p + MUX_HEAD - 4))
		return MUX_SCAN_EMPTY;
	*ret_len = MUX_HEAD + body;
	return MUX_SCAN_FRAME;
}

enum mux_scan mux_scan_frame(const uint8_t *p, size_t len, struct mux_frame *f, size_t *ret_used,
			     bool *ret_junk)
{
	size_t at = 0, size = 0;

	*ret_junk = false;
	for (; at < len; at++) {
		enum mux_scan what = p[at] ? frame_at(p + at, len - at, &size) : MUX_SCAN_EMPTY;

		*ret_used = at;
		if (what == MUX_SCAN_MORE)
			return what;
		if (what == MUX_SCAN_FRAME) {
			f->session = mux_get32(p + at + 4);
			f->type = p[at + 8];
			f->len = (uint16_t)(size - MUX_HEAD);
			f->conn = mux_get32(p + at + 12);
			f->data = p + at + MUX_HEAD;
			*ret_used = at + size;
			return what;
		}
		// One wrong byte may hide in a length, so the search goes on right behind it.
		*ret_junk |= p[at] != 0;
	}
	*ret_used = at;
	return MUX_SCAN_EMPTY;
}
