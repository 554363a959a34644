// SPDX-License-Identifier: MIT
// The newest output of a session, both streams in the order in which they were written. Bytes lie
// in a ring; where the stream changes is kept beside it, in a ring of its own. Whichever is full
// loses its oldest.
#include "guest/agent_session.h"

#define TAPE_RUNS 16384

static struct tape_run *run_at(const struct tape *t, size_t i)
{
	return &t->runs[(t->first + i) % TAPE_RUNS];
}

void tape_init(struct tape *t)
{
	*t = (struct tape){ .bytes = { .size = GUEST_SESSION_KEEP } };
	t->bytes.data = base_alloc(t->bytes.size, 1);
	t->runs = base_alloc(TAPE_RUNS, sizeof(*t->runs));
}

void tape_free(struct tape *t)
{
	free(t->bytes.data);
	free(t->runs);
}

uint64_t tape_start(const struct tape *t)
{
	uint64_t start = agent_ring_start(&t->bytes);

	return t->count ? MAX(start, run_at(t, 0)->start) : start;
}

void tape_add(struct tape *t, int stream, const void *p, size_t len)
{
	if (t->count == 0 || run_at(t, t->count - 1)->stream != stream) {
		if (t->count == TAPE_RUNS) {
			t->first = (t->first + 1) % TAPE_RUNS;
			t->count--;
		}
		*run_at(t, t->count++) = (struct tape_run){ t->bytes.end, stream };
	}
	agent_ring_add(&t->bytes, p, len);
	while (t->count > 1 && run_at(t, 1)->start <= agent_ring_start(&t->bytes)) {
		t->first = (t->first + 1) % TAPE_RUNS;
		t->count--;
	}
}

int tape_peek(const struct tape *t, uint64_t pos, uint64_t *ret_end)
{
	size_t low = 0, high = t->count;

	if (pos >= t->bytes.end || !t->count)
		return -1;
	while (high - low > 1) { // the last run that starts at pos or before it
		size_t mid = low + (high - low) / 2;

		if (run_at(t, mid)->start <= pos)
			low = mid;
		else
			high = mid;
	}
	*ret_end = low + 1 < t->count ? run_at(t, low + 1)->start : t->bytes.end;
	return run_at(t, low)->stream;
}

size_t tape_read(const struct tape *t, uint64_t *pos, void *out, size_t len)
{
	uint64_t end = 0;

	if (tape_peek(t, *pos, &end) < 0)
		return 0;
	return agent_ring_read(&t->bytes, pos, out, (size_t)MIN(len, end - *pos));
}
