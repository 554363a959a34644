// SPDX-License-Identifier: MIT
// One request of a guest and the answer to it, without a socket: what the server is asked by
// somebody who is hostile is decided here. The order of the questions is fixed:
//	version, X-Forwarded-For (403), path (400), method (405), token (401), document (404), key.
#pragma once
#include "base/buf.h"
#include "meta/token.h"

#define META_PATH_MAX	1024u // of a request's path, as it was sent
#define META_ANSWER_MAX 262144u

struct meta_request {
	const char *method, *path, *version; // path: as it was sent, without the query
	const char *token, *ttl, *accept;    // headers, NULL: not there
	bool forwarded;			     // by somebody, for somebody else
	uint32_t ip;			     // who asks; host byte order
};

// The text of the document of that address; -ENOENT when there is none.
typedef int (*meta_read_fn)(void *arg, uint32_t ip, struct buf *out, struct err *e);

struct meta_service {
	struct meta_key key;
	meta_read_fn read;
	void *arg;
};

struct meta_answer {
	unsigned status;
	const char *type;  // of the body
	const char *allow; // NULL: no such header
	uint64_t ttl_s;	   // of a token, 0: none was given
	struct buf body;   // empty unless status is 200
	struct err why;	   // of status 500
};

// ret->body is the caller's to free.
void meta_answer(const struct meta_service *s, const struct meta_request *q, uint64_t now_ms,
		 struct meta_answer *ret);
// Decodes the escapes of a path: two hex digits each, none for a slash or a control byte.
int meta_path_decode(const char *path, char out[META_PATH_MAX + 1], struct err *e) MUST_CHECK;
