// SPDX-License-Identifier: MIT
#include "guest/drive.h"
#include "guest/host_conn.h"

void host_drive_put(struct guest_conn *c, enum guest_drive which,
		    const uint8_t digest[GUEST_DIGEST])
{
	enum guest_type type =
		which == GUEST_DRIVE_SECRETS ? GUEST_SECRETS_CHANGED : GUEST_CONFIG_CHANGED;

	guest_frame_put(&c->out, type, 0, digest, GUEST_DIGEST);
}

int host_drive_answer(struct guest_conn *c, int64_t deadline_ms, struct err *e)
{
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;

	if (host_conn_read(c, deadline_ms, &h, &p, e) < 0)
		return -e->no;
	return h.type == GUEST_OK ? 0 : host_conn_refused(&h, p, e);
}

int guest_ask_drive(struct guest_conn *c, enum guest_drive which,
		    const uint8_t digest[GUEST_DIGEST], int64_t deadline_ms, struct err *e)
{
	host_drive_put(c, which, digest);
	if (host_conn_flush(c, deadline_ms, e) < 0)
		return -e->no;
	return host_drive_answer(c, deadline_ms, e);
}
