// SPDX-License-Identifier: MIT
// Bytes of an HTTP/1.x client in, whole requests out, in whatever pieces they come. The only module
// that includes http_parser.h.
//
// Lines end with CR LF, are UTF-8 and hold at most 1,023 bytes, the head of a request at most
// 64 KiB, a body what max_body says. What is understood and what is refused is upstream's: methods
// GET, PUT and PATCH, Content-Length only, Expect: 100-continue answered.
//
// After a refusal that leaves no telling where the next request starts, the rest of that call's
// bytes is dropped, with all requests that were not taken yet; the next byte starts a new request.
// A body over the limit is refused by its length alone, read, and forgotten.
#pragma once
#include "base/buf.h"
#include "base/err.h"

#define HTTP_LINE_MAX 1023u
#define HTTP_HEAD_MAX 65536u
#define HTTP_READ     1024u // bytes to feed at once, which bounds the requests of one call

enum http_verb { HTTP_VERB_GET, HTTP_VERB_PUT, HTTP_VERB_PATCH };

enum http_what {
	HTTP_ITEM_REQUEST,
	HTTP_ITEM_CONTINUE, // the client waits for a 100 before it sends its body
	HTTP_ITEM_REFUSED,  // to be answered with 400; text says why
};

struct http_item {
	enum http_what what;
	enum http_verb verb;
	char *path; // a request's, begins with '/'
	char *body; // NUL-terminated, NULL when there is none
	size_t body_len;
	const char *text; // a refusal's
	struct http_item *next;
};

struct http_parse;
struct http_parse *http_parse_new(size_t max_body);
void http_parse_free(struct http_parse *p);
void http_parse_feed(struct http_parse *p, const char *data, size_t len);
// The oldest item, or NULL; the caller's from then on.
struct http_item *http_parse_take(struct http_parse *p);
void http_item_free(struct http_item *it);
// In the middle of a request.
bool http_parse_is_busy(const struct http_parse *p);
const char *http_verb_name(enum http_verb v);
