// SPDX-License-Identifier: MIT
#include "guest/hook.h"

#include <stdarg.h>

#include "base/log.h"
#include "guest/wire.h"

void guest_hook_put(struct buf *b, const struct guest_hook *in)
{
	wire_put_int(b, in->deadline_ms, 4);
	wire_put_int(b, in->flags, 4);
	wire_put_int(b, in->time_us, 8);
	buf_add(b, in->seed, sizeof(in->seed));
	wire_put_net(b, &in->net);
	if (in->flags & GUEST_HOOK_TEMPLATE)
		buf_add(b, in->mac, sizeof(in->mac));
}

int guest_hook_get(const void *p, size_t len, struct guest_hook *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_hook){ 0 };
	out->deadline_ms = (uint32_t)wire_int(&w, 4);
	out->flags = (uint32_t)wire_int(&w, 4);
	out->time_us = wire_int(&w, 8);
	wire_bytes(&w, out->seed, sizeof(out->seed));
	wire_net(&w, &out->net);
	if (out->flags & GUEST_HOOK_TEMPLATE)
		wire_bytes(&w, out->mac, sizeof(out->mac));
	w.bad |= out->flags > (GUEST_HOOK_QUIET | GUEST_HOOK_TEMPLATE);
	return wire_done(&w, "hook", e);
}

void guest_hook_done_clear(struct guest_hook_done *d)
{
	guest_words_clear(&d->steps);
}

void guest_hook_done_put(struct buf *b, const struct guest_hook_done *in)
{
	wire_put_int(b, in->elapsed_ms, 4);
	wire_put_words(b, &in->steps);
}

int guest_hook_done_get(const void *p, size_t len, struct guest_hook_done *out, struct err *e)
{
	struct wire w = { p, len, false };

	*out = (struct guest_hook_done){ 0 };
	out->elapsed_ms = (uint32_t)wire_int(&w, 4);
	wire_words(&w, &out->steps);
	w.bad |= out->steps.count > GUEST_STEPS;
	if (wire_done(&w, "result of a hook", e) < 0) {
		guest_hook_done_clear(out);
		return -e->no;
	}
	return 0;
}

void guest_step(struct guest_steps *s, const char *fmt, ...)
{
	struct err ignored = { 0 };
	char line[128];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_clean(line);
	if (s->done.steps.count < GUEST_STEPS)
		(void)!guest_words_add(&s->done.steps, line, &ignored);
	if (s->fd >= 0)
		dprintf(s->fd, "%s\n", line);
}
