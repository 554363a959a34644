// SPDX-License-Identifier: MIT
// What a host may ask, and the way to READY on our own dial.
#include "guest/agent_core.h"
#include "guest/agent_session.h"

// Whoever asks with a number understands the longer answer.
static int take_health(struct conn *c, const struct guest_head *h)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct guest_health health = { 0 };

	agent_health_read(c->a, &health);
	health.more = h->len > 0;
	guest_health_put(&b, &health);
	agent_conn_send(c, GUEST_HEALTH, 0, b.data, b.len);
	agent_conn_finish(c);
	return 0;
}

// Done when the host has closed the connection: a guest without processes is gone at once, and its
// answer would be with it.
static int take_shutdown(struct conn *c, const struct guest_head *h, const uint8_t *p,
			 struct err *e)
{
	struct guest_down down;

	if (guest_down_get(p, h->len, &down, e) < 0)
		return -e->no;
	c->a->down = down;
	c->down = true;
	agent_conn_send(c, GUEST_OK, 0, NULL, 0);
	agent_conn_finish(c);
	return 0;
}

static int take_logs(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	struct guest_logs logs;

	if (guest_logs_get(p, h->len, &logs, e) < 0)
		return -e->no;
	agent_conn_set_timer(c, 0);
	agent_log_start(c, &logs);
	return 0;
}

static int take_exec(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	struct guest_exec x;
	int r;

	if (guest_exec_get(p, h->len, &x, e) < 0)
		return -e->no;
	agent_conn_set_timer(c, 0);
	r = agent_exec_start(c, &x, e);
	guest_exec_clear(&x);
	return r;
}

static int take_session(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	struct guest_session_start s;
	int r;

	if (guest_session_start_get(p, h->len, &s, e) < 0)
		return -e->no;
	agent_conn_set_timer(c, 0);
	r = agent_session_start(c, &s, e);
	guest_session_start_clear(&s);
	return r;
}

static int take_attach(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	struct guest_attach want;

	if (guest_attach_get(p, h->len, &want, e) < 0)
		return -e->no;
	agent_conn_set_timer(c, 0);
	return agent_attach(c, &want, e);
}

static int take_session_signal(struct conn *c, const struct guest_head *h, const uint8_t *p,
			       struct err *e)
{
	struct guest_session_signal want;

	if (guest_session_signal_get(p, h->len, &want, e) < 0 ||
	    agent_session_signal(c->a, &want, e) < 0)
		return -e->no;
	agent_conn_send(c, GUEST_OK, 0, NULL, 0);
	agent_conn_finish(c);
	return 0;
}

// Frames 32 to 47.
static int take_terminals(struct conn *c, const struct guest_head *h, const uint8_t *p,
			  struct err *e)
{
	switch (h->type) {
	case GUEST_TERMINAL: // goes before a request
		return guest_size_get(p, h->len, &c->size, e);
	case GUEST_SESSION_START:
		return take_session(c, h, p, e);
	case GUEST_ATTACH:
		return take_attach(c, h, p, e);
	case GUEST_SESSIONS:
		agent_session_list(c);
		return 0;
	case GUEST_SESSION_SIGNAL:
		return take_session_signal(c, h, p, e);
	default:
		return err_kind(e, ERR_FAILED, "%s frame is no request", guest_type_name(h->type));
	}
}

static int take_idle(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	if (agent_awake(c->a, h, e) < 0)
		return -e->no;
	switch (h->type) {
	case GUEST_HEALTH:
		return take_health(c, h);
	case GUEST_SHUTDOWN:
		return take_shutdown(c, h, p, e);
	case GUEST_LOGS:
		return take_logs(c, h, p, e);
	case GUEST_EXEC:
		return take_exec(c, h, p, e);
	case GUEST_TERMINAL ... GUEST_SKIPPED:
		return take_terminals(c, h, p, e);
	case GUEST_SECRETS_CHANGED:
	case GUEST_CONFIG_CHANGED:
		return agent_drive(c, h, p, e);
	case GUEST_PUT ... GUEST_HOOK_DONE:
		return agent_service(c, h, p, e);
	default:
		return err_kind(e, ERR_FAILED, "%s frame is no request", guest_type_name(h->type));
	}
}

// A second welcome (the connection broke before the host had our READY) sets the system up again
// and leaves an entrypoint that was started alone.
static int take_welcome(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct agent *a = c->a;
	struct guest_welcome welcome;
	struct guest_info info = { 0 };

	if (h->type != GUEST_WELCOME)
		return err_kind(e, ERR_FAILED, "%s frame instead of welcome",
				guest_type_name(h->type));
	if (guest_welcome_get(p, h->len, &welcome, e) < 0)
		return -e->no;
	guest_welcome_clear(&a->welcome);
	a->welcome = welcome;
	if (a->hooks.welcome(a->arg, &a->welcome, &info, e) < 0 || agent_entry_start(a, e) < 0 ||
	    agent_probe_start(a, e) < 0 || agent_info_read(a, &info, e) < 0) {
		agent_say(a, "not ready: %s", e->msg);
		return -e->no;
	}
	guest_info_put(&b, &info);
	agent_conn_send(c, GUEST_READY, 0, b.data, b.len);
	c->state = CONN_READY;
	a->ready = true;
	return 0;
}

int agent_request(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	switch (c->state) {
	case CONN_IDLE:
		return take_idle(c, h, p, e);
	case CONN_WELCOME:
		return take_welcome(c, h, p, e);
	case CONN_READY:
		c->taken = c->dead = h->type == GUEST_OK;
		return c->dead ? 0 : err_kind(e, ERR_FAILED, "not OK after ready");
	case CONN_EXEC:
		return agent_exec_frame(c, h, p, e);
	case CONN_LOGS:
		return agent_log_frame(c, h, p, e);
	case CONN_SESSION:
		return agent_session_frame(c, h, p, e);
	case CONN_FORWARD:
		return agent_forward_frame(c, h, p, e);
	case CONN_HOOK:
	case CONN_HELLO:
	case CONN_LINGER:
		break;
	}
	return err_kind(e, ERR_FAILED, "unexpected %s frame", guest_type_name(h->type));
}
