// SPDX-License-Identifier: MIT
// SECRETS_CHANGED and CONFIG_CHANGED: a few milliseconds, so the loop waits for them.
#include "guest/agent_core.h"
#include "guest/drive.h"

int agent_drive(struct conn *c, const struct guest_head *h, const uint8_t *p, struct err *e)
{
	struct agent *a = c->a;
	enum guest_drive which =
		h->type == GUEST_SECRETS_CHANGED ? GUEST_DRIVE_SECRETS : GUEST_DRIVE_CONFIG;

	if (h->len != GUEST_DIGEST)
		return err_kind(e, ERR_FAILED, "%s frame of %u bytes", guest_type_name(h->type),
				h->len);
	if (!a->ready || !a->hooks.changed)
		return err_kind(e, ERR_UNAVAILABLE, "the guest has no drives yet");
	if (a->hooks.changed(a->arg, which, a->welcome.user, p, e) < 0) {
		agent_say(a, "%s: %s", guest_type_name(h->type), e->msg);
		return -e->no;
	}
	agent_conn_send(c, GUEST_OK, 0, NULL, 0);
	agent_conn_set_timer(c, AGENT_IDLE_MS); // one drive after the other
	return 0;
}
