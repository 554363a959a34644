// SPDX-License-Identifier: MIT
// The payloads of guest/session.h, each once to write and once to read.
#include "guest/session.h"

#include "guest/wire.h"

bool guest_session_name_ok(const char *name)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";

	return name[0] && strchr(first, name[0]) && strlen(name) < sizeof(guest_session_name) &&
	       name[strspn(name, rest)] == '\0';
}

static void name_get(struct wire *w, guest_session_name out)
{
	wire_text(w, out, sizeof(guest_session_name));
	w->bad |= !guest_session_name_ok(out);
}

static bool flag_get(struct wire *w)
{
	uint64_t v = wire_int(w, 1);

	w->bad |= v > 1;
	return v == 1;
}

void guest_session_start_clear(struct guest_session_start *s)
{
	guest_exec_clear(&s->exec);
}

void guest_session_clear(struct guest_session *s)
{
	guest_words_clear(&s->argv);
}

void guest_size_put(struct buf *b, const struct guest_size *in)
{
	wire_put_int(b, in->rows, 2);
	wire_put_int(b, in->cols, 2);
}

int guest_size_get(const void *p, size_t len, struct guest_size *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_size){ 0 };
	out->rows = (uint16_t)wire_int(&w, 2);
	out->cols = (uint16_t)wire_int(&w, 2);
	return wire_done(&w, "terminal", e);
}

// Behind the name the payload is that of EXEC, which checks its own end.
void guest_session_start_put(struct buf *b, const struct guest_session_start *in)
{
	wire_put_text(b, in->name);
	guest_exec_put(b, &in->exec);
}

int guest_session_start_get(const void *p, size_t len, struct guest_session_start *out,
			    struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_session_start){ 0 };
	name_get(&w, out->name);
	if (w.bad)
		return wire_done(&w, "session", e);
	return guest_exec_get(w.p, w.left, &out->exec, e);
}

void guest_attach_put(struct buf *b, const struct guest_attach *in)
{
	wire_put_text(b, in->name);
	wire_put_int(b, in->flags, 4);
}

int guest_attach_get(const void *p, size_t len, struct guest_attach *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_attach){ 0 };
	name_get(&w, out->name);
	out->flags = (uint32_t)wire_int(&w, 4);
	w.bad |= (out->flags & ~(uint32_t)GUEST_ATTACH_NO_INPUT) != 0;
	return wire_done(&w, "attach", e);
}

void guest_session_put(struct buf *b, const struct guest_session *in)
{
	wire_put_text(b, in->name);
	wire_put_words(b, &in->argv);
	wire_put_int(b, in->started_us, 8);
	wire_put_int(b, in->kept, 8);
	wire_put_int(b, in->pid, 4);
	wire_put_int(b, in->status, 4);
	wire_put_int(b, in->attached, 4);
	wire_put_int(b, in->ended, 1);
	wire_put_int(b, in->tty, 1);
}

int guest_session_get(const void *p, size_t len, struct guest_session *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_session){ 0 };
	name_get(&w, out->name);
	wire_words(&w, &out->argv);
	out->started_us = wire_int(&w, 8);
	out->kept = wire_int(&w, 8);
	out->pid = (uint32_t)wire_int(&w, 4);
	out->status = (uint32_t)wire_int(&w, 4);
	out->attached = (uint32_t)wire_int(&w, 4);
	out->ended = flag_get(&w);
	out->tty = flag_get(&w);
	if (wire_done(&w, "session", e) < 0) {
		guest_session_clear(out);
		return -e->no;
	}
	return 0;
}

void guest_session_signal_put(struct buf *b, const struct guest_session_signal *in)
{
	wire_put_text(b, in->name);
	wire_put_int(b, in->signal, 4);
}

int guest_session_signal_get(const void *p, size_t len, struct guest_session_signal *out,
			     struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_session_signal){ 0 };
	name_get(&w, out->name);
	out->signal = (uint32_t)wire_int(&w, 4);
	w.bad |= out->signal > 64;
	return wire_done(&w, "session's signal", e);
}
