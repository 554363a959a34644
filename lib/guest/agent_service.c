// SPDX-License-Identifier: MIT
// Requests of types 48 and up: files, port forward, hooks.
#include "guest/agent_core.h"

static int check(const struct agent *a, struct err *e)
{
	if (!a->ready)
		return err_kind(e, ERR_UNAVAILABLE, "the guest is not ready");
	return 0;
}

int agent_service(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	if (check(c->a, e) < 0)
		return -e->no;
	switch (h->type) {
	case GUEST_PUT:
	case GUEST_GET:
		agent_conn_set_timer(c, 0);
		return agent_files_start(c, h, p, e);
	case GUEST_FORWARD:
		return agent_forward_start(c, h, p, e);
	case GUEST_SLEEP:
	case GUEST_REPAIR:
	case GUEST_THAW:
		return agent_hook_start(c, h, p, e);
	default:
		return err_kind(e, ERR_FAILED, "%s frame is no request", guest_type_name(h->type));
	}
}

int agent_awake(const struct agent *a, const struct guest_head *h, struct err *e)
{
	const uint8_t fine[] = { GUEST_HEALTH, GUEST_SHUTDOWN, GUEST_LOGS, GUEST_SESSIONS,
				 GUEST_SLEEP,  GUEST_REPAIR,   GUEST_THAW };

	if (!a->asleep && !a->hook)
		return 0;
	if (memchr(fine, h->type, sizeof(fine)))
		return 0;
	// What was rotated meanwhile has to be in place before anybody is thawed.
	if (!a->hook && (h->type == GUEST_SECRETS_CHANGED || h->type == GUEST_CONFIG_CHANGED))
		return 0;
	return err_kind(e, ERR_UNAVAILABLE, "the guest is %s",
			a->asleep ? "asleep" : "going to sleep or waking");
}
