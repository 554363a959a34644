// SPDX-License-Identifier: MIT
// A small HTTP/1.1 server over a unix stream socket, as Firecracker's API has it: keep-alive,
// pipelining, answers in the order of the requests, at most HTTP_CONNS connections (one more is
// answered 503 and closed). One handler at a time, called from the loop.
//
// A client that hangs wastes its own slot only, and not for ever: a request that is not whole, or
// an answer that is not read, after HTTP_HANG_MS ends the connection. A connection between two
// requests may idle. Nothing is read from a client while answers to it wait to be written.
#pragma once
#include "base/loop.h"
#include "fc/http_parse.h"

#define HTTP_CONNS   10
#define HTTP_HANG_MS 60000

struct http_answer {
	int status; // 200 with body, 204, 400 with body
	bool deprecated;
	struct buf body;
};
// The answer comes as 204, empty.
typedef void (*http_fn)(void *arg, const struct http_item *request, struct http_answer *a);

struct http;
// listen_fd stays the caller's. max_body: longest body in bytes.
int http_new(struct loop *l, int listen_fd, size_t max_body, http_fn fn, void *arg,
	     struct http **ret, struct err *e) MUST_CHECK;
// No further request is handled; may be called by the handler.
void http_stop(struct http *h);
// The same, and what is still to be written goes out, for up to ms.
void http_finish(struct http *h, int ms);
void http_free(struct http *h);
