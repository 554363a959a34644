// SPDX-License-Identifier: MIT
#include "guest/host.h"

#include <signal.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/host_stream.h"

#define START_MS 15000 // the agent's own time to connect is less

int guest_forward(struct guest_conn *c, const struct guest_forward *to, int sock, struct err *e)
{
	cleanup(host_stream_clear) struct stream s = { .conn = c,
						       .in = sock,
						       .out = sock,
						       .out_socket = true,
						       .start_ms = clock_ms() + START_MS };
	cleanup_buf struct buf b = BUF_INIT;

	if (fd_set_nonblock(sock, true, e) < 0)
		return -e->no;
	guest_forward_put(&b, to);
	guest_frame_put(&c->out, GUEST_FORWARD, 0, b.data, b.len);
	if (host_stream_run(&s, e) < 0 && !s.out_lost)
		return -e->no;
	err_clear(e); // a client that hangs up is none
	return 0;
}
