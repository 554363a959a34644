// SPDX-License-Identifier: MIT
// Logs are rings of bytes in memory: what is kept is bounded, the oldest goes first.
#include "guest/agent_core.h"

#include <time.h>

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

static void time_text_of(uint64_t utc_us, char out[GUEST_LOG_TIME + 1])
{
	time_t s = (time_t)(utc_us / 1000000);
	char day[24] = "1970-01-01T00:00:00";
	struct tm tm;

	if (s <= (time_t)253402300799 && gmtime_r(&s, &tm))
		(void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	base_cut(out, GUEST_LOG_TIME + 1, "%s.%03uZ ", day, (unsigned)(utc_us / 1000 % 1000));
}

// One for all lines of a millisecond. A full table forgets what belongs to bytes that are gone,
// then every second time: a line has the time of the last one that is known before it.
static void stamp(struct log *l, uint64_t us)
{
	uint64_t start = agent_ring_start(&l->bytes);
	size_t from = 0, n = 0;

	if (l->count && l->stamps[l->count - 1].us / 1000 == us / 1000)
		return;
	if (l->count == COUNT(l->stamps)) {
		while (from + 1 < l->count && l->stamps[from + 1].pos <= start)
			from++;
		for (size_t i = from; i<l->count; i += from> l->count / 2 ? 1 : 2)
			l->stamps[n++] = l->stamps[i];
		l->count = n;
	}
	l->stamps[l->count++] = (struct log_stamp){ l->bytes.end, us };
}

void agent_log_add(struct agent *a, enum guest_log source, const char *p, size_t len)
{
	struct log *l = &a->logs[source];
	struct timespec now = { 0 };
	uint64_t us;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	while (len) {
		const char *end = memchr(p, '\n', len);
		size_t n = end ? (size_t)(end - p) + 1 : len;

		if (!l->line_begun)
			stamp(l, us);
		agent_ring_add(&l->bytes, p, n);
		l->line_begun = !end;
		p += n;
		len -= n;
	}
	for (struct conn *c = a->conns; c; c = c->next)
		if (c->state == CONN_LOGS && c->log.source == source)
			agent_log_pump(c);
}

// The last that begins at pos or before it.
static uint64_t time_at(const struct log *l, uint64_t pos)
{
	size_t low = 0, high = l->count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (l->stamps[middle].pos <= pos)
			low = middle;
		else
			high = middle;
	}
	return l->count ? l->stamps[low].us : 0;
}

// Behind the next end of a line, or the end of all.
static uint64_t next_line(const struct ring *r, uint64_t pos)
{
	while (pos < r->end) {
		size_t at = (size_t)(pos % r->size);
		size_t n = MIN(r->size - at, (size_t)(r->end - pos));
		const char *end = memchr(r->data + at, '\n', n);

		if (end)
			return pos + (uint64_t)(end - (r->data + at)) + 1;
		pos += n;
	}
	return r->end;
}

static uint64_t last_lines(const struct ring *r, uint64_t pos, uint32_t lines)
{
	uint64_t n = 0;

	for (uint64_t at = pos; at < r->end; at = next_line(r, at))
		n++;
	for (; n > lines; n--)
		pos = next_line(r, pos);
	return pos;
}

// Bytes of one line with its time before them, as many as there is room for.
static size_t read_timed(struct conn *c, char *out, size_t room)
{
	const struct log *l = &c->a->logs[c->log.source];
	uint64_t line = next_line(&l->bytes, c->log_pos);
	char when[GUEST_LOG_TIME + 1];
	size_t used = 0, n;

	if (c->log_pos == l->bytes.end || (!c->log_in_line && room <= GUEST_LOG_TIME))
		return 0;
	if (!c->log_in_line) {
		time_text_of(time_at(l, c->log_pos), when);
		memcpy(out, when, GUEST_LOG_TIME);
		used = GUEST_LOG_TIME;
	}
	n = agent_ring_read(&l->bytes, &c->log_pos, out + used,
			    MIN(room - used, (size_t)(line - c->log_pos)));
	c->log_in_line = !n || out[used + n - 1] != '\n';
	return used + n;
}

static size_t read_log(struct conn *c, char *out, size_t room)
{
	const struct ring *r = &c->a->logs[c->log.source].bytes;
	size_t used = 0, n;

	if (c->log_pos < agent_ring_start(r)) { // too slow: on with the oldest
		c->log_pos = agent_ring_start(r);
		c->log_in_line = false;
	}
	if (!c->log.times)
		return agent_ring_read(r, &c->log_pos, out, room);
	while ((n = read_timed(c, out + used, room - used)) > 0)
		used += n;
	return used;
}

void agent_log_pump(struct conn *c)
{
	const struct ring *r = &c->a->logs[c->log.source].bytes;
	char bytes[GUEST_DATA_MAX];

	while (c->log_window) {
		size_t n = read_log(c, bytes, MIN(sizeof(bytes), c->log_window));

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
	const struct log *l = &c->a->logs[what->source];
	const struct ring *r = &l->bytes;

	c->log = *what;
	c->log_window = GUEST_WINDOW;
	c->log_pos = agent_ring_start(r);
	while (what->since_us && c->log_pos < r->end && time_at(l, c->log_pos) < what->since_us)
		c->log_pos = next_line(r, c->log_pos);
	if (what->lines)
		c->log_pos = last_lines(r, c->log_pos, what->lines);
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
