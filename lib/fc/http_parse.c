// SPDX-License-Identifier: MIT
#include "fc/http_parse.h"

#include <http_parser.h>
#include <strings.h>

struct http_parse {
	http_parser parser;
	size_t max_body;
	struct buf line; // of the head, so far
	struct buf path, field, value, body;
	size_t head_len;
	bool in_value;	     // the last header bytes were of a value
	bool in_body;	     // bytes go to the parser as they come
	bool expect;	     // Expect: 100-continue
	bool done;	     // the parser reported the end of the message
	bool known;	     // GET, PUT or PATCH
	const char *refused; // why, once it is
	uint64_t skip;	     // bytes of a refused body still to come
	struct http_item *first, **last;
};

static int on_url(http_parser *hp, const char *at, size_t len)
{
	struct http_parse *p = hp->data;

	buf_add(&p->path, at, len);
	return 0;
}

static int refuse(struct http_parse *p, const char *why)
{
	if (!p->refused)
		p->refused = why;
	return -1;
}

// Clients that cannot take plain text are refused, as upstream refuses them.
static bool identity_forbidden(char *list)
{
	bool any = strstr(list, "identity");
	char *save = NULL;

	for (char *w = strtok_r(list, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		w += strspn(w, " \t");
		w[strcspn(w, " \t")] = '\0';
		if (str_eq(w, "identity;q=0") || (str_eq(w, "*;q=0") && !any))
			return true;
	}
	return false;
}

static int header_ready(struct http_parse *p)
{
	const char *name = buf_text(&p->field);
	int r = 0;

	if (strcasecmp(name, "Expect") == 0 && str_eq(buf_text(&p->value), "100-continue"))
		p->expect = true;
	if (strcasecmp(name, "Accept-Encoding") == 0 && p->value.len &&
	    identity_forbidden(p->value.data))
		r = refuse(p, "Invalid header. Reason: Invalid value. Key: Accept-Encoding");
	buf_clear(&p->field);
	buf_clear(&p->value);
	p->in_value = false;
	return r;
}

static int on_field(http_parser *hp, const char *at, size_t len)
{
	struct http_parse *p = hp->data;

	if (p->in_value && header_ready(p) < 0)
		return -1;
	buf_add(&p->field, at, len);
	return 0;
}

static int on_value(http_parser *hp, const char *at, size_t len)
{
	struct http_parse *p = hp->data;

	buf_add(&p->value, at, len);
	p->in_value = true;
	return 0;
}

static struct http_item *item_add(struct http_parse *p, enum http_what what)
{
	struct http_item *it = base_alloc(1, sizeof(*it));

	it->what = what;
	*p->last = it;
	p->last = &it->next;
	return it;
}

static int on_head(http_parser *hp)
{
	struct http_parse *p = hp->data;
	bool body = hp->content_length && hp->content_length != UINT64_MAX;

	if (p->in_value && header_ready(p) < 0)
		return -1;
	if (hp->http_major != 1 || hp->http_minor > 1)
		return refuse(p, "Invalid HTTP Version: Unsupported HTTP version.");
	if (hp->flags & F_CHUNKED)
		return refuse(p, "Invalid header. Reason: Unsupported feature. "
				 "Key: Transfer-Encoding; Value: chunked");
	if (body && hp->content_length > UINT32_MAX)
		return refuse(p, "Invalid header. Reason: Invalid value. Key:Content-Length");
	if (body && hp->content_length > p->max_body) {
		// The client may not have heard yet and send it all: it is no request.
		p->skip = p->expect ? 0 : hp->content_length;
		return refuse(p, "Request payload is larger than the limit allowed by server.");
	}
	p->known = hp->method == HTTP_GET || hp->method == HTTP_PUT || hp->method == HTTP_PATCH;
	if (body && p->expect && p->known)
		(void)item_add(p, HTTP_ITEM_CONTINUE);
	hp->upgrade = 0; // "Connection: Upgrade" is not taken up: the body is a body
	p->in_body = true;
	return 0;
}

static int on_body(http_parser *hp, const char *at, size_t len)
{
	struct http_parse *p = hp->data;

	buf_add(&p->body, at, len);
	return 0;
}

static int on_end(http_parser *hp)
{
	struct http_parse *p = hp->data;

	p->done = true;
	http_parser_pause(hp, 1); // the next byte is the next request's
	return 0;
}

static const http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_head,
	.on_body = on_body,
	.on_message_complete = on_end,
};

static void reset(struct http_parse *p)
{
	http_parser_init(&p->parser, HTTP_REQUEST);
	p->parser.data = p;
	buf_clear(&p->line);
	buf_clear(&p->path);
	buf_clear(&p->field);
	buf_clear(&p->value);
	buf_free(&p->body); // a large one is not kept for the next request
	p->head_len = 0;
	p->in_value = p->in_body = p->expect = p->done = p->known = false;
	p->refused = NULL;
}

struct http_parse *http_parse_new(size_t max_body)
{
	struct http_parse *p = base_alloc(1, sizeof(*p));

	p->max_body = max_body;
	p->last = &p->first;
	reset(p);
	return p;
}

struct http_item *http_parse_take(struct http_parse *p)
{
	struct http_item *it = p->first;

	if (!it)
		return NULL;
	p->first = it->next;
	if (!p->first)
		p->last = &p->first;
	it->next = NULL;
	return it;
}

void http_item_free(struct http_item *it)
{
	if (!it)
		return;
	free(it->path);
	free(it->body);
	free(it);
}

static void drop_items(struct http_parse *p)
{
	for (struct http_item *it; (it = http_parse_take(p));)
		http_item_free(it);
}

void http_parse_free(struct http_parse *p)
{
	if (!p)
		return;
	drop_items(p);
	buf_free(&p->line);
	buf_free(&p->path);
	buf_free(&p->field);
	buf_free(&p->value);
	buf_free(&p->body);
	free(p);
}

bool http_parse_is_busy(const struct http_parse *p)
{
	return p->line.len || p->head_len || p->in_body || p->skip;
}

static void finish(struct http_parse *p)
{
	if (p->known) {
		struct http_item *it = item_add(p, HTTP_ITEM_REQUEST);

		it->verb = p->parser.method == HTTP_GET	  ? HTTP_VERB_GET
			   : p->parser.method == HTTP_PUT ? HTTP_VERB_PUT
							  : HTTP_VERB_PATCH;
		it->body_len = p->body.len;
		it->body = p->body.len ? buf_steal(&p->body) : NULL;
		it->path = buf_steal(&p->path);
	} else {
		item_add(p, HTTP_ITEM_REFUSED)->text =
			"Invalid HTTP Method: Unsupported HTTP method.";
	}
	reset(p);
}

// What was said so far cannot be relied on: see the header.
static void give_up(struct http_parse *p, const char *why)
{
	drop_items(p);
	item_add(p, HTTP_ITEM_REFUSED)->text = p->refused ? p->refused : why;
	reset(p);
}

// Rewrites the address of a request line as the path it means: without scheme and host, and empty
// when it does not begin with a slash. The parser gets "/" for the empty one.
static int request_line(struct http_parse *p, struct buf *out)
{
	const char *line = buf_text(&p->line);
	size_t method = strcspn(line, " "), len;
	const char *at = line + method + 1;

	if (!line[method])
		return refuse(p, "Invalid request.");
	len = strcspn(at, " ");
	if (!at[len])
		return refuse(p, "Invalid request.");
	if (!len)
		return refuse(p, "Invalid URI: Empty URI not allowed.");
	buf_add(out, line, method);
	buf_char(out, ' ');
	if (len > 7 && strncmp(at, "http://", 7) == 0) {
		at += 7 + strcspn(at + 7, "/ ");
		len = strcspn(at, " ");
	}
	if (*at == '/')
		buf_add(out, at, len);
	else
		buf_char(out, '/');
	buf_str(out, at + len);
	return 0;
}

static bool line_is_text(const struct buf *b)
{
	for (size_t i = 0, n; i < b->len; i += n) {
		n = utf8_length(b->data + i, b->len - i);
		if (!n || (n == 1 && (unsigned char)b->data[i] < 0x20 && b->data[i] != '\t'))
			return false;
	}
	return true;
}

// A transfer encoding nobody knows says nothing, as any unknown header; the parser would refuse it.
static bool passed_over(const struct buf *line)
{
	return strncasecmp(buf_text(line), "Transfer-Encoding:", 18) == 0 &&
	       !strcasestr(buf_text(line), "chunked");
}

// One line of the head, without its CR LF.
static int head_line(struct http_parse *p)
{
	cleanup_buf struct buf rewritten = BUF_INIT;
	bool first = p->head_len == 0;
	struct buf *b = &p->line;

	p->head_len += b->len + 2;
	if (p->head_len > HTTP_HEAD_MAX)
		return refuse(p, "Invalid header. Reason: The head is too long.");
	if (!line_is_text(b))
		return refuse(p, "Invalid header. Reason: Header contains invalid characters.");
	if (first && request_line(p, &rewritten) < 0)
		return -1;
	if (!first && b->len && !strchr(b->data, ':'))
		return refuse(p, "Invalid header. Reason: Header is incorrectly formatted.");
	if (first)
		b = &rewritten;
	if (!passed_over(b)) {
		buf_str(b, "\r\n");
		if (http_parser_execute(&p->parser, &settings, b->data, b->len) != b->len &&
		    !p->done)
			return refuse(p, "Invalid request.");
	}
	buf_clear(&p->line);
	return 0;
}

// Returns how many bytes were used: all of them when what follows cannot be understood.
static size_t feed_head(struct http_parse *p, const char *data, size_t len)
{
	const char *lf = memchr(data, '\n', len);
	size_t n = lf ? (size_t)(lf - data) + 1 : len;
	size_t room = HTTP_LINE_MAX;
	bool whole;

	buf_add(&p->line, data, n);
	whole = lf && p->line.len >= 2 && p->line.data[p->line.len - 2] == '\r';
	if (whole) {
		p->line.len -= 2;
		p->line.data[p->line.len] = '\0';
	} else if (p->line.len && p->line.data[p->line.len - 1] == '\r') {
		room++; // the LF may be all that is missing
	}
	if (p->line.len > room)
		(void)refuse(p, p->head_len ? "Invalid header. Reason: Invalid content length."
					    : "Invalid request.");
	else if (!whole || head_line(p) == 0)
		return n;
	give_up(p, "Invalid request.");
	return p->skip ? n : len;
}

static size_t feed_body(struct http_parse *p, const char *data, size_t len)
{
	size_t n = http_parser_execute(&p->parser, &settings, data, len);

	if (n == len || p->done)
		return n;
	give_up(p, "Invalid request.");
	return len;
}

void http_parse_feed(struct http_parse *p, const char *data, size_t len)
{
	while (len) {
		size_t n;

		if (p->skip) {
			n = (size_t)MIN(p->skip, (uint64_t)len);
			p->skip -= n;
		} else if (p->in_body) {
			n = feed_body(p, data, len);
		} else {
			n = feed_head(p, data, len);
		}
		data += n;
		len -= n;
		if (p->done)
			finish(p);
	}
}

const char *http_verb_name(enum http_verb v)
{
	static const char *const names[] = { "GET", "PUT", "PATCH" };

	return names[v];
}
