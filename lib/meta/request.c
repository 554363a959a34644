// SPDX-License-Identifier: MIT
#include "meta/request.h"

#include <ctype.h>
#include <strings.h>

#include "base/num.h"
#include "json/codec.h"

#define TOKEN_PATH "/latest/api/token"
#define TEXT	   "text/plain; charset=utf-8"
#define JSON	   "application/json"

static const char *const directories[] = { "meta-data", "tenant-data", "user-data" };

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int meta_path_decode(const char *path, char out[META_PATH_MAX + 1], struct err *e)
{
	size_t n = 0;

	if (strnlen(path, META_PATH_MAX + 1) > META_PATH_MAX)
		return err_usage(e, "the path is too long");
	if (path[0] != '/')
		return err_usage(e, "the path does not start with a slash");
	for (const char *s = path; *s; s++) {
		int c = (unsigned char)*s, high, low;

		if (c == '%') {
			high = hex(s[1]);
			low = high < 0 ? -1 : hex(s[2]);
			c = low < 0 ? 0 : high * 16 + low;
			if (c == '/') // a slash of a name's own: no name here has one
				c = 0;
			s += 2;
		}
		if (c < 0x20 || c == 0x7f)
			return err_usage(e, "the path holds a bad byte or escape");
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return 0;
}

// "application/json" among what is accepted, whatever its weight.
static bool wants_json(const char *accept)
{
	const size_t len = strlen(JSON);

	while (accept && *accept) {
		accept += strspn(accept, " \t,");
		if (strncasecmp(accept, JSON, len) == 0 && strchr(" \t,;", accept[len]))
			return true;
		accept += strcspn(accept, ",");
	}
	return false;
}

static const struct codec_node *child(const struct codec_node *n, const char *name, size_t len)
{
	for (const struct codec_node *c = codec_child(n); c; c = codec_next(c))
		if (strlen(codec_key(c)) == len && memcmp(codec_key(c), name, len) == 0)
			return c;
	return NULL;
}

// The node that a path below /latest/ names. Only directories may end in a slash.
static const struct codec_node *find(const struct codec_node *n, const char *path)
{
	while (n && *path) {
		size_t len = strcspn(path, "/");

		n = codec_type(n) == CODEC_OBJECT ? child(n, path, len) : NULL;
		path += len;
		if (*path == '/' && n && codec_type(n) != CODEC_OBJECT)
			return NULL;
		path += *path == '/';
	}
	return n;
}

static void print_text(const struct codec_node *n, struct buf *out)
{
	const char *newline = "";

	if (codec_type(n) == CODEC_TEXT) {
		buf_str(out, codec_text(n));
	} else if (codec_type(n) != CODEC_OBJECT) {
		codec_node_print(n, out);
	} else {
		for (const struct codec_node *c = codec_child(n); c; c = codec_next(c)) {
			buf_fmt(out, "%s%s%s", newline, codec_key(c),
				codec_type(c) == CODEC_OBJECT ? "/" : "");
			newline = "\n";
		}
	}
}

static void print_node(const struct codec_node *n, bool json, struct meta_answer *a)
{
	a->status = 200;
	a->type = json ? JSON : TEXT;
	if (json)
		codec_node_print(n, &a->body);
	else
		print_text(n, &a->body);
	if (a->body.len > META_ANSWER_MAX) {
		buf_clear(&a->body);
		a->status = 500;
		(void)err_set(&a->why, EFBIG, "the answer is too large");
	}
}

// What stands above the document is the same for everybody.
static void print_above(const char *path, bool json, struct meta_answer *a)
{
	const bool root = str_eq(path, "/");

	a->status = 200;
	a->type = json ? JSON : TEXT;
	buf_str(&a->body, json ? "[" : "");
	for (size_t i = 0; i < (root ? 1 : COUNT(directories)); i++) {
		buf_str(&a->body, i ? (json ? "," : "\n") : "");
		buf_fmt(&a->body, json ? "\"%s/\"" : "%s/", root ? "latest" : directories[i]);
	}
	buf_str(&a->body, json ? "]" : "");
}

static bool is_public(const char *path)
{
	for (size_t i = 0; i < COUNT(directories); i++) {
		size_t len = strlen(directories[i]);

		if (strncmp(path, directories[i], len) == 0 &&
		    (path[len] == '/' || path[len] == '\0'))
			return true;
	}
	return false;
}

static void answer_get(const struct meta_service *s, const struct meta_request *q, const char *path,
		       struct meta_answer *a)
{
	cleanup_tree struct codec_node *tree = NULL;
	cleanup_buf struct buf text = BUF_INIT;
	const struct codec_node *n;
	bool json = wants_json(q->accept);

	a->status = 500;
	if (s->read(s->arg, q->ip, &text, &a->why) < 0) {
		if (a->why.no == ENOENT)
			a->status = 404;
		return;
	}
	if (codec_tree(buf_text(&text), text.len, &tree, &a->why) < 0)
		return;
	if (str_eq(path, "/") || str_eq(path, "/latest") || str_eq(path, "/latest/")) {
		print_above(path, json, a);
		return;
	}
	a->status = 404;
	if (!str_starts(path, "/latest/") || !is_public(path + strlen("/latest/")))
		return;
	n = find(tree, path + strlen("/latest/"));
	if (n)
		print_node(n, json, a);
}

static void answer_token(const struct meta_service *s, const struct meta_request *q,
			 uint64_t now_ms, struct meta_answer *a)
{
	struct err ignored = { 0 };
	meta_token token;

	a->status = 400;
	if (!q->ttl || num_u64(q->ttl, 1, META_TTL_MAX_S, &a->ttl_s, &ignored) < 0) {
		a->ttl_s = 0;
		return;
	}
	meta_token_make(&s->key, q->ip, now_ms + a->ttl_s * 1000, token);
	buf_str(&a->body, token);
	a->status = 200;
}

void meta_answer(const struct meta_service *s, const struct meta_request *q, uint64_t now_ms,
		 struct meta_answer *ret)
{
	char path[META_PATH_MAX + 1] = "";
	struct err ignored = { 0 };
	bool token_path;

	*ret = (struct meta_answer){ .status = 400, .type = TEXT };
	if (!str_eq(q->version, "HTTP/1.1") && !str_eq(q->version, "HTTP/1.0")) {
		ret->status = 505;
		return;
	}
	if (q->forwarded) {
		ret->status = 403;
		return;
	}
	if (meta_path_decode(q->path, path, &ignored) < 0)
		return;
	token_path = str_eq(path, TOKEN_PATH);
	if (token_path ? !str_eq(q->method, "PUT")
		       : !str_eq(q->method, "GET") && !str_eq(q->method, "HEAD")) {
		ret->status = 405;
		ret->allow = token_path ? "PUT" : "GET, HEAD";
		return;
	}
	if (token_path)
		answer_token(s, q, now_ms, ret);
	else if (!q->token || !meta_token_good(&s->key, q->ip, now_ms, q->token))
		ret->status = 401;
	else
		answer_get(s, q, path, ret);
}
