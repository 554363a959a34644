// SPDX-License-Identifier: MIT
// Little-endian fields of the guest protocol's payloads. A reader that ran over its end, or met
// something out of range, stays bad: the caller asks once, at the end (wire_done).
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "guest/proto.h"

struct wire {
	const uint8_t *p;
	size_t left;
	bool bad;
};

void wire_put_int(struct buf *b, uint64_t v, size_t bytes);
void wire_put_text(struct buf *b, const char *s);		 // u16 length, no NUL
void wire_put_words(struct buf *b, const struct guest_words *w); // u16 count, u32 length each
void wire_put_net(struct buf *b, const struct guest_net *in);	 // message.c
void wire_net(struct wire *w, struct guest_net *out);
uint64_t wire_int(struct wire *w, size_t bytes);
void wire_bytes(struct wire *w, void *out, size_t len);
void wire_text(struct wire *w, char *out, size_t size);
void wire_words(struct wire *w, struct guest_words *out);
int wire_done(const struct wire *w, const char *what, struct err *e) MUST_CHECK;
