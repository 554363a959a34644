// SPDX-License-Identifier: MIT
#include "guest/drive.h"
#include "guest/host_conn.h"

int guest_ask_drive(struct guest_conn *c, enum guest_drive which,
		    const uint8_t digest[GUEST_DIGEST], int64_t deadline_ms, struct err *e)
{
	enum guest_type type =
		which == GUEST_DRIVE_SECRETS ? GUEST_SECRETS_CHANGED : GUEST_CONFIG_CHANGED;
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;

	guest_frame_put(&c->out, type, 0, digest, GUEST_DIGEST);
	if (host_conn_flush(c, deadline_ms, e) < 0 || host_conn_read(c, deadline_ms, &h, &p, e) < 0)
		return -e->no;
	return h.type == GUEST_OK ? 0 : host_conn_refused(&h, p, e);
}
