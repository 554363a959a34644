// SPDX-License-Identifier: MIT
#include "guest/host_session.h"

#include "base/log.h"
#include "guest/host_run.h"

// A session goes on when the way to it breaks; the caller is told so.
static int stay(struct host_run *r, struct guest_parting *ret, struct err *e)
{
	int n = host_run_all(r, e);

	if (n < 0 && r->started && e->kind != ERR_TIMEOUT) {
		e->kind = ERR_EXEC_LOST;
		(void)err_wrap(e, "the connection was lost");
		return err_hint(e, "the session goes on if the guest does: attach to it again");
	}
	if (n < 0)
		return n;
	if (r->ends)
		return err_kind(e, ERR_TIMEOUT, "the session was ended: it took too long");
	*ret = (struct guest_parting){ .detached = r->detached || r->left,
				       .signal = r->left,
				       .status = r->status };
	return 0;
}

static struct host_run make(struct guest_conn *c, const struct guest_io *io,
			    const struct guest_seat *seat, uint8_t answer)
{
	return (struct host_run){ .conn = c,
				  .io = io,
				  .seat = *seat,
				  .session = true,
				  .answer = answer,
				  .fd = { io->in, io->out, io->err },
				  .room = { GUEST_WINDOW, GUEST_WINDOW, GUEST_WINDOW },
				  .deadline = io->start_deadline_ms };
}

// Its first answer only.
static int begin_detached(struct guest_conn *c, const struct guest_io *io, struct err *e)
{
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;
	uint32_t pid;

	if (host_conn_flush(c, io->start_deadline_ms, e) < 0 ||
	    host_conn_read(c, io->start_deadline_ms, &h, &p, e) < 0)
		return -e->no;
	return h.type == GUEST_STARTED ? guest_u32_get(p, h.len, &pid, e)
				       : host_conn_refused(&h, p, e);
}

int guest_session_begin(struct guest_conn *c, const struct guest_session_start *s, bool detach,
			const struct guest_io *io, const struct guest_seat *seat,
			struct guest_parting *ret, struct err *e)
{
	struct host_run r = make(c, io, seat, GUEST_STARTED);
	cleanup_buf struct buf b = BUF_INIT;

	host_run_size(&r);
	guest_session_start_put(&b, s);
	guest_frame_put(&c->out, GUEST_SESSION_START, 0, b.data, b.len);
	if (!detach)
		return stay(&r, ret, e);
	*ret = (struct guest_parting){ .detached = true };
	return begin_detached(c, io, e);
}

int guest_session_attach(struct guest_conn *c, const char *name, const struct guest_io *io,
			 const struct guest_seat *seat, struct guest_parting *ret, struct err *e)
{
	struct guest_attach want = { .flags = io->in < 0 ? GUEST_ATTACH_NO_INPUT : 0 };
	struct host_run r = make(c, io, seat, GUEST_SESSION);
	cleanup_buf struct buf b = BUF_INIT;

	if (COPY(want.name, name) < 0 || !guest_session_name_ok(name))
		return err_usage(e, "session: not [a-z0-9][a-z0-9._-]{0,38}");
	host_run_size(&r);
	guest_attach_put(&b, &want);
	guest_frame_put(&c->out, GUEST_ATTACH, 0, b.data, b.len);
	return stay(&r, ret, e);
}

void guest_session_list_clear(struct guest_session_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		guest_session_clear(&l->items[i]);
	l->count = 0;
}

int guest_ask_sessions(struct guest_conn *c, int64_t deadline_ms, struct guest_session_list *ret,
		       struct err *e)
{
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;

	*ret = (struct guest_session_list){ .count = 0 };
	guest_frame_put(&c->out, GUEST_SESSIONS, 0, NULL, 0);
	if (host_conn_flush(c, deadline_ms, e) < 0)
		return -e->no;
	for (;;) {
		if (host_conn_read(c, deadline_ms, &h, &p, e) < 0)
			return -e->no;
		if (h.type == GUEST_OK)
			return 0;
		if (h.type != GUEST_SESSION)
			return host_conn_refused(&h, p, e);
		if (ret->count == GUEST_SESSIONS_MAX)
			return err_kind(e, ERR_FAILED, "the guest's agent: too many sessions");
		if (guest_session_get(p, h.len, &ret->items[ret->count], e) < 0)
			return -e->no;
		ret->count++;
	}
}

int guest_ask_session_signal(struct guest_conn *c, const char *name, uint32_t signal,
			     int64_t deadline_ms, struct err *e)
{
	struct guest_session_signal want = { .signal = signal };
	cleanup_buf struct buf b = BUF_INIT;
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;

	if (COPY(want.name, name) < 0 || !guest_session_name_ok(name))
		return err_usage(e, "session: not [a-z0-9][a-z0-9._-]{0,38}");
	guest_session_signal_put(&b, &want);
	guest_frame_put(&c->out, GUEST_SESSION_SIGNAL, 0, b.data, b.len);
	if (host_conn_flush(c, deadline_ms, e) < 0 || host_conn_read(c, deadline_ms, &h, &p, e) < 0)
		return -e->no;
	return h.type == GUEST_OK ? 0 : host_conn_refused(&h, p, e);
}
