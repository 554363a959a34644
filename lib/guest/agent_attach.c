// SPDX-License-Identifier: MIT
// Connections that read a session's tape, one of which may write. A live reader gets every byte:
// when it falls behind, the command waits for it, as for a terminal; but not for one that does not
// move.
#include "guest/agent_session.h"

#include "base/clock.h"

static bool reads(const struct conn *c, const struct session *s)
{
	return c->session == s && !c->dead && !c->closing;
}

uint32_t agent_attach_count(const struct session *s)
{
	uint32_t n = 0;

	for (const struct conn *c = s->a->conns; c; c = c->next)
		n += reads(c, s);
	return n;
}

// What was overwritten before the connection could take it is told.
static void skip(struct conn *c)
{
	uint64_t start = tape_start(&c->session->tape);
	cleanup_buf struct buf b = BUF_INIT;

	if (c->tape_pos >= start)
		return;
	guest_u64_put(&b, start - c->tape_pos);
	agent_conn_send(c, GUEST_SKIPPED, 0, b.data, b.len);
	c->tape_pos = start;
}

static void finish(struct conn *c)
{
	agent_conn_send(c, GUEST_EOF, GUEST_STDOUT, NULL, 0);
	agent_conn_send(c, GUEST_EOF, GUEST_STDERR, NULL, 0);
	agent_conn_send_u32(c, GUEST_EXIT, 0, (uint32_t)c->session->exec->status);
	agent_conn_finish(c);
}

static void pump(struct conn *c)
{
	const struct tape *t = &c->session->tape;
	char bytes[GUEST_DATA_MAX];
	uint64_t end;
	int stream;

	skip(c);
	while ((stream = tape_peek(t, c->tape_pos, &end)) >= 0 && c->room[stream]) {
		size_t n = tape_read(t, &c->tape_pos, bytes, MIN(sizeof(bytes), c->room[stream]));

		agent_conn_send(c, GUEST_DATA, (uint16_t)stream, bytes, n);
		c->room[stream] -= (uint32_t)n;
	}
	if (stream >= 0)
		return;
	c->tape_slow = false;
	if (c->session->done)
		finish(c);
}

void agent_attach_pump(struct session *s)
{
	for (struct conn *c = s->a->conns; c; c = c->next)
		if (reads(c, s))
			pump(c);
}

static bool lags(const struct conn *c, const struct session *s)
{
	return reads(c, s) && !c->tape_slow && s->tape.bytes.end - c->tape_pos > SESSION_LAG_MAX;
}

static void on_patience(void *arg)
{
	struct session *s = arg;

	loop_remove(s->patience);
	s->patience = NULL;
	for (struct conn *c = s->a->conns; c; c = c->next)
		if (lags(c, s))
			c->tape_slow = true;
	agent_exec_watch(s->exec);
	agent_settle(s->a);
}

// May more be read from the command? Winds up the patience when it may not.
bool agent_session_may_read(struct session *s)
{
	bool lagging = false;
	struct err e = { 0 };

	for (const struct conn *c = s->a->conns; c && !lagging; c = c->next)
		lagging = lags(c, s);
	if (!lagging) {
		loop_remove(s->patience);
		s->patience = NULL;
		return true;
	}
	return !s->patience && loop_add_timer(s->a->loop, clock_ms() + SESSION_PATIENCE_MS,
					      on_patience, s, &s->patience, &e) < 0;
}

// The newest one writes. What its predecessor had sent stays, and is granted to nobody.
static void take_input(struct conn *c, struct session *s)
{
	struct exec *x = s->exec;

	if (x->conn)
		agent_conn_send(x->conn, GUEST_INPUT_TAKEN, 0, NULL, 0);
	x->conn = c;
	x->in_old = x->in.len;
	x->in_owed = 0;
	if (x->tty)
		x->in_eof = false;
	if (x->fd[GUEST_STDIN] < 0 || x->in_eof)
		agent_conn_send(c, GUEST_EOF, GUEST_STDIN, NULL, 0);
}

void agent_attach_to(struct conn *c, struct session *s, bool input)
{
	c->session = s;
	c->state = CONN_SESSION;
	c->tape_pos = tape_start(&s->tape);
	c->room[GUEST_STDOUT] = c->room[GUEST_STDERR] = GUEST_WINDOW;
	if (input && !s->done)
		take_input(c, s);
	if (input && s->exec->tty && c->size.rows)
		agent_pty_resize(s->exec->fd[GUEST_STDOUT], &c->size);
	pump(c);
}

int agent_attach(struct conn *c, const struct guest_attach *want, struct err *e)
{
	struct session *s = agent_session_find(c->a, want->name);
	bool input = !(want->flags & GUEST_ATTACH_NO_INPUT);
	cleanup_buf struct buf b = BUF_INIT;

	if (!s)
		return err_kind(e, ERR_MISSING, "no session '%s'", want->name);
	if (input && s->exec->in.len > GUEST_WINDOW)
		return err_kind(e, ERR_UNAVAILABLE,
				"session '%s' does not read its input, which is full", s->name);
	agent_session_describe(s, &b);
	agent_conn_send(c, GUEST_SESSION, 0, b.data, b.len);
	agent_attach_to(c, s, input);
	return 0;
}

void agent_session_left(struct conn *c)
{
	struct exec *x = c->session->exec;

	if (x->conn == c)
		x->conn = NULL;
	c->session = NULL;
	agent_exec_watch(x);
}

void agent_attach_drop(struct session *s)
{
	struct err e = { 0 };

	(void)err_kind(&e, ERR_MISSING, "session '%s' was forgotten", s->name);
	for (struct conn *c = s->a->conns; c; c = c->next) {
		if (c->session != s)
			continue;
		if (!c->closing)
			agent_conn_fail(c, &e);
		if (s->exec->conn == c)
			s->exec->conn = NULL;
		c->session = NULL;
	}
}

static int take_window(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	uint32_t more;

	if (guest_u32_get(p, h->len, &more, e) < 0)
		return -e->no;
	if (h->stream == GUEST_STDIN || more > GUEST_WINDOW - c->room[h->stream])
		return err_kind(e, ERR_FAILED, "window of stream %u beyond its limit", h->stream);
	c->room[h->stream] += more;
	pump(c);
	agent_exec_watch(c->session->exec);
	return 0;
}

// Input of a connection that does not write any more was under way when another one took over.
int agent_session_frame(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	struct exec *x = c->session->exec;

	if (h->type == GUEST_WINDOW_ADD)
		return take_window(c, h, p, e);
	if (x->conn != c && (h->type == GUEST_DATA || h->type == GUEST_EOF ||
			     h->type == GUEST_SIGNAL || h->type == GUEST_TERMINAL))
		return 0;
	return agent_exec_take(x, h, p, e);
}
