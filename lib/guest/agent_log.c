// SPDX-License-Identifier: MIT
// Logs are rings of bytes in memory: what is kept is bounded, the oldest goes first.
#include "guest/agent_core.h"

void agent_ring_add(struct ring *r, const void *p, size_t len)
{
	const char *from = p;

	if (len > r->size) {
		r->end += len - r->size;
		from += len - r->size;
		len = r->size;
	}
	while (len) {
		size_t at = (size_t)(r->end % r->size), n = MIN(len, r->size - at);

		memcpy(r->data + at, from, n);
		r->end += n;
		from += n;
		len -= n;
	}
}

uint64_t agent_ring_start(const struct ring *r)
{
	return r->end > r->size ? r->end - r->size : 0;
}

size_t agent_ring_read(const struct ring *r, uint64_t *pos, void *out, size_t len)
{
	size_t at, n;

	*pos = MAX(*pos, agent_ring_start(r));
	at = (size_t)(*pos % r->size);
	n = MIN(MIN(len, r->size - at), (size_t)(r->end - *pos));
	memcpy(out, r->data + at, n);
	*pos += n;
	return n;
}

void agent_log_pump(struct conn *c)
{
	const struct ring *r = &c->a->logs[c->log.source];
	char bytes[GUEST_DATA_MAX];

	while (c->log_window) {
		size_t n =
			agent_ring_read(r, &c->log_pos, bytes, MIN(sizeof(bytes), c->log_window));

		if (n == 0)
			break;
		agent_conn_send(c, GUEST_DATA, GUEST_STDOUT, bytes, n);
		c->log_window -= (uint32_t)n;
	}
	if (!c->log.follow && c->log_pos == r->end) {
		agent_conn_send(c, GUEST_EOF, GUEST_STDOUT, NULL, 0);
		agent_conn_finish(c);
	}
}

void agent_log_start(struct conn *c, const struct guest_logs *what)
{
	const struct ring *r = &c->a->logs[what->source];

	c->log = *what;
	c->log_window = GUEST_WINDOW;
	c->log_pos = agent_ring_start(r);
	if (what->tail && r->end - c->log_pos > what->tail)
		c->log_pos = r->end - what->tail;
	c->state = CONN_LOGS;
	agent_log_pump(c);
}

int agent_log_frame(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	uint32_t more;

	if (h->type != GUEST_WINDOW_ADD || h->stream != GUEST_STDOUT)
		return err_kind(e, ERR_FAILED, "%s frame for a log", guest_type_name(h->type));
	if (guest_u32_get(p, h->len, &more, e) < 0)
		return -e->no;
	if (more > GUEST_WINDOW - c->log_window)
		return err_kind(e, ERR_FAILED, "window beyond its limit");
	c->log_window += more;
	agent_log_pump(c);
	return 0;
}
