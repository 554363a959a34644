// SPDX-License-Identifier: MIT
// HTTP around request.h: one thread, one request for each connection, everything bounded. The only
// module that includes libmicrohttpd.
#pragma once
#include "base/err.h"

#define SERVER_CONNECTIONS 256u
#define SERVER_FILES	   (SERVER_CONNECTIONS + 32) // with what is open beside them

struct server;
// listen_fd and dir stay the caller's; bridge: the link that listen_fd is bound to, of index
// ifindex. After this call nothing more is opened but documents below dir.
int server_new(int listen_fd, int dir, const char *bridge, unsigned ifindex, struct server **ret,
	       struct err *e) MUST_CHECK;
// Until SIGTERM or SIGINT: 0. Fails when the bridge has gone or is another one by now: what
// is bound to the old one hears nobody.
int server_run(struct server *s, struct err *e) MUST_CHECK;
void server_freep(struct server **s);
#define cleanup_server cleanup(server_freep)
