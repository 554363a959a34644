// SPDX-License-Identifier: MIT
// Who may dial the host's ready port; what is said there is in test_agent.c.
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/host.h"
#include "tap.h"

#define WAIT_MS 200

TEST(only_the_vms_user_may_say_that_the_guest_is_ready)
{
	struct guest_welcome w = { .net.prefix = 24 };
	struct guest_info info = { 0 };
	struct err e = { 0 };
	char byte;

	cleanup_fd int dir = fd_open_dir(-1, tap_dir(), &e);
	cleanup_fd int sock = fd_unix_listen(dir, "v.sock_1", 0666, 4, &e);
	cleanup_fd int peer = fd_unix_connect(dir, "v.sock_1", &e);

	CHECK(sock >= 0 && peer >= 0);
	CHECK(guest_serve_ready(sock, getuid() + 1, -1, &w, clock_ms() + WAIT_MS, &info, &e) < 0);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	cleanup_free char *says =
		base_printf("the peer is uid %u and not %u", getuid(), getuid() + 1);
	CHECK(strstr(e.msg, says) != NULL);
	CHECK_INT(recv(peer, &byte, 1, 0), 0); // closed without a word
}
