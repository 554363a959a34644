// SPDX-License-Identifier: MIT
#include "guest/wire.h"

#include "guest/proto.h"

void wire_put_int(struct buf *b, uint64_t v, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		buf_char(b, (char)(v >> (8 * i)));
}

void wire_put_text(struct buf *b, const char *s)
{
	size_t len = strlen(s);

	wire_put_int(b, len, 2);
	buf_add(b, s, len);
}

void wire_put_words(struct buf *b, const struct guest_words *w)
{
	const char *p = w->text.data;

	wire_put_int(b, w->count, 2);
	for (uint32_t i = 0; i < w->count; i++) {
		size_t len = strlen(p);

		wire_put_int(b, len, 4);
		buf_add(b, p, len);
		p += len + 1;
	}
}

static const uint8_t *take(struct wire *w, size_t len)
{
	const uint8_t *p = w->p;

	if (w->bad || len > w->left) {
		w->bad = true;
		return NULL;
	}
	w->p += len;
	w->left -= len;
	return p;
}

uint64_t wire_int(struct wire *w, size_t bytes)
{
	const uint8_t *p = take(w, bytes);
	uint64_t v = 0;

	for (size_t i = 0; p && i < bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

void wire_bytes(struct wire *w, void *out, size_t len)
{
	const uint8_t *p = take(w, len);

	if (p)
		memcpy(out, p, len);
}

void wire_text(struct wire *w, char *out, size_t size)
{
	size_t len = (size_t)wire_int(w, 2);
	const uint8_t *p = take(w, len);

	out[0] = '\0';
	if (!p || len >= size || memchr(p, '\0', len)) {
		w->bad = true;
		return;
	}
	memcpy(out, p, len);
	out[len] = '\0';
}

void wire_words(struct wire *w, struct guest_words *out)
{
	size_t count = (size_t)wire_int(w, 2);

	guest_words_clear(out);
	if (count > GUEST_WORDS)
		w->bad = true;
	for (size_t i = 0; i < count && !w->bad; i++) {
		size_t len = (size_t)wire_int(w, 4);
		const uint8_t *p = take(w, len);

		if (!p || memchr(p, '\0', len)) {
			w->bad = true;
			return;
		}
		buf_add(&out->text, p, len);
		buf_char(&out->text, '\0');
		out->count++;
	}
}

int wire_done(const struct wire *w, const char *what, struct err *e)
{
	if (w->bad || w->left)
		return err_kind(e, ERR_FAILED, "%s: %s", what,
				w->bad ? "cut short or out of range" : "too long");
	return 0;
}
