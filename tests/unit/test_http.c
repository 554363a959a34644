// SPDX-License-Identifier: MIT
#include "fc/http.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "tap.h"

// ---- the parser alone ----

// What comes out of bytes fed in pieces of n: "GET /a; PUT /b [body]; ! why; 100".
static char *parsed(const char *in, size_t len, size_t n)
{
	struct http_parse *p = http_parse_new(64);
	struct buf out = BUF_INIT;

	for (size_t at = 0; at < len; at += n) {
		http_parse_feed(p, in + at, MIN(n, len - at));
		for (struct http_item *it; (it = http_parse_take(p));) {
			buf_str(&out, out.len ? "; " : "");
			if (it->what == HTTP_ITEM_CONTINUE)
				buf_str(&out, "100");
			else if (it->what == HTTP_ITEM_REFUSED)
				buf_fmt(&out, "! %s", it->text);
			else
				buf_fmt(&out, "%s %s", http_verb_name(it->verb), it->path);
			if (it->body)
				buf_fmt(&out, " [%s]", it->body);
			http_item_free(it);
		}
	}
	http_parse_free(p);
	return buf_steal(&out);
}

static const struct {
	const char *in, *out;
} good[] = {
	{ "GET / HTTP/1.1\r\n\r\n", "GET /" },
	{ "GET / HTTP/1.0\r\n\r\n", "GET /" },
	{ "GET version HTTP/1.1\r\n\r\n", "GET /" },
	{ "GET http://localhost/version HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /version" },
	{ "GET http://localhost HTTP/1.1\r\n\r\n", "GET /" },
	{ "PUT /a HTTP/1.1\r\ncontent-LENGTH:2\r\n\r\n{}GET /b HTTP/1.1\r\n\r\n",
	  "PUT /a [{}]; GET /b" },
	{ "PATCH /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "PATCH /a" },
	{ "GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\n\r\n", "GET /; GET /b" },
	{ "PUT / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nab"
	  "GET /b HTTP/1.1\r\n\r\n",
	  "PUT / [ab]; GET /b" },
	{ "PUT / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nab",
	  "100; PUT / [ab]" },
	{ "GET / HTTP/1.1\r\nExpect: miracles\r\nTransfer-Encoding: gzip\r\n\r\n", "GET /" },
	{ "GET / HTTP/1.1\n\n", "" },
	{ "GET / HTTP/1.1\r\n", "" },
	{ "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", "" },
};

TEST(a_request_is_the_same_in_whatever_pieces_it_comes)
{
	for (size_t i = 0; i < COUNT(good); i++)
		for (size_t n = 1; n <= strlen(good[i].in); n++) {
			cleanup_free char *out = parsed(good[i].in, strlen(good[i].in), n);

			CHECK_STR(out, good[i].out);
		}
}

static const struct {
	const char *in, *why;
} refused[] = {
	{ "nonsense\r\n\r\n", "Invalid request." },
	{ "GET /\r\n\r\n", "Invalid request." },
	{ "GET  HTTP/1.1\r\n\r\n", "Empty URI" },
	{ "GET / HTTP/2.0\r\n\r\n", "HTTP version" },
	{ "Get / HTTP/1.1\r\n\r\n", "Invalid request." },
	{ "POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "HTTP method" },
	{ "DELETE /a HTTP/1.1\r\n\r\n", "HTTP method" },
	{ "GET / HTTP/1.1\r\nHost localhost\r\n\r\n", "incorrectly formatted" },
	{ "GET / HTTP/1.1\r\nX: \xff\xfe\r\n\r\n", "invalid characters" },
	{ "GET / HTTP/1.1\r\nX: a\nY: b\r\n\r\n", "invalid characters" },
	{ "PUT / HTTP/1.1\r\nContent-Length: many\r\n\r\n", "Invalid request." },
	{ "PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "Invalid request." },
	{ "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "Invalid request." },
	{ "PUT / HTTP/1.1\r\nContent-Length: 4294967296\r\n\r\n", "Content-Length" },
	{ "PUT / HTTP/1.1\r\nContent-Length: 65\r\n\r\n", "larger than the limit" },
	{ "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked" },
	{ "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
	  "Invalid request." },
	{ "GET / HTTP/1.1\r\nAccept-Encoding: identity;q=0\r\n\r\n", "Accept-Encoding" },
	{ "GET / HTTP/1.1\r\nAccept-Encoding: *;q=0\r\nA: b\r\n\r\n", "Accept-Encoding" },
};

TEST(what_cannot_be_understood_is_refused_once_and_the_next_request_is_served)
{
	for (size_t i = 0; i < COUNT(refused); i++) {
		struct http_parse *p = http_parse_new(64);
		struct http_item *it;

		http_parse_feed(p, refused[i].in, strlen(refused[i].in));
		it = http_parse_take(p);
		CHECK(it && it->what == HTTP_ITEM_REFUSED && strstr(it->text, refused[i].why));
		http_item_free(it);
		CHECK(!http_parse_take(p));
		if (strstr(refused[i].why, "larger")) // its body may still come
			http_parse_feed(p,
					"0123456789012345678901234567890123456789012345678901234567"
					"8901234",
					65);
		http_parse_feed(p, "GET /next HTTP/1.1\r\n\r\n", 22);
		it = http_parse_take(p);
		CHECK(it && it->what == HTTP_ITEM_REQUEST && str_eq(it->path, "/next"));
		http_item_free(it);
		CHECK(!http_parse_is_busy(p));
		http_parse_free(p);
	}
}

TEST(a_broken_request_takes_unanswered_ones_with_it)
{
	static const char in[] = "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nnonsense\r\n\r\n";
	cleanup_free char *out = parsed(in, sizeof(in) - 1, sizeof(in));

	CHECK_STR(out, "! Invalid request.");
}

TEST(a_line_may_hold_1023_bytes_and_a_head_64_KiB)
{
	struct http_parse *p = http_parse_new(64);
	char line[1100];
	struct http_item *it;

	memset(line, 'x', sizeof(line));
	http_parse_feed(p, "GET / HTTP/1.1\r\nX: ", 19);
	http_parse_feed(p, line, 1020);
	http_parse_feed(p, "\r\n\r\n", 4);
	it = http_parse_take(p);
	CHECK(it && it->what == HTTP_ITEM_REQUEST);
	http_item_free(it);
	http_parse_feed(p, "GET / HTTP/1.1\r\nX: ", 19);
	http_parse_feed(p, line, 1024);
	it = http_parse_take(p);
	CHECK(it && it->what == HTTP_ITEM_REFUSED);
	http_item_free(it);
	http_parse_feed(p, "GET / HTTP/1.1\r\n", 16);
	for (int i = 0; i < 70; i++) {
		http_parse_feed(p, "X: ", 3);
		http_parse_feed(p, line, 1000);
		http_parse_feed(p, "\r\n", 2);
		it = http_parse_take(p);
		CHECK(!it || it->what == HTTP_ITEM_REFUSED);
		if (it)
			break;
	}
	CHECK(it != NULL);
	http_item_free(it);
	http_parse_free(p);
}

// ---- the server ----

struct world {
	struct loop *loop;
	struct http *http;
	int dir, listen_fd, handled;
};

static void handle(void *arg, const struct http_item *rq, struct http_answer *a)
{
	struct world *w = arg;

	w->handled++;
	if (rq->verb != HTTP_VERB_GET)
		return;
	a->status = 200;
	a->deprecated = str_eq(rq->path, "/old");
	buf_fmt(&a->body, "{\"path\":\"%s\"}", rq->path);
}

static void world_open(struct world *w)
{
	struct err e;

	*w = (struct world){ .dir = -1 };
	w->dir = open(tap_dir(), O_DIRECTORY | O_CLOEXEC);
	w->listen_fd = fd_unix_listen(w->dir, "s", 0600, 16, &e);
	CHECK(w->listen_fd >= 0 && loop_new(&w->loop, &e) == 0);
	CHECK(http_new(w->loop, w->listen_fd, 64, handle, w, &w->http, &e) == 0);
}

static void world_close(struct world *w)
{
	http_free(w->http);
	loop_free(w->loop);
	(void)close(w->listen_fd);
	(void)close(w->dir);
}

static int dial(struct world *w)
{
	struct err e;
	int fd = fd_unix_connect(w->dir, "s", &e);

	CHECK(fd >= 0);
	return fd;
}

static void turn(struct world *w)
{
	struct err e;

	for (int i = 0; i < 40; i++)
		CHECK(loop_once(w->loop, 0, &e) == 0);
}

// Everything that can be read now; ends with "<eof>" when the server hung up.
static char *answers(struct world *w, int fd)
{
	struct buf b = BUF_INIT;
	char data[4096];
	ssize_t n;

	turn(w);
	while ((n = recv(fd, data, sizeof(data), MSG_DONTWAIT)) > 0) {
		buf_add(&b, data, (size_t)n);
		turn(w);
	}
	if (n == 0)
		buf_str(&b, "<eof>");
	return buf_steal(&b);
}

static void say(int fd, const char *text)
{
	CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

TEST(answers_look_like_upstreams)
{
	cleanup_free char *a = NULL, *b = NULL, *c = NULL;
	struct world w;
	int fd;

	world_open(&w);
	fd = dial(&w);
	say(fd, "GET /old HTTP/1.1\r\n\r\n");
	a = answers(&w, fd);
	CHECK_STR(a, "HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
		     "Deprecation: true\r\nContent-Type: application/json\r\n"
		     "Content-Length: 15\r\n\r\n{\"path\":\"/old\"}");
	say(fd, "PUT /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}");
	b = answers(&w, fd);
	CHECK_STR(b, "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n");
	say(fd, "DELETE /a HTTP/1.1\r\n\r\n");
	c = answers(&w, fd);
	CHECK(str_starts(c, "HTTP/1.1 400 \r\n") && strstr(c, "{\"error\":\"Invalid HTTP Method"));
	(void)close(fd);
	world_close(&w);
}

TEST(a_hanging_client_holds_nobody_up)
{
	cleanup_free char *a = NULL, *b = NULL;
	struct world w;
	int hangs, fd;

	world_open(&w);
	hangs = dial(&w);
	say(hangs, "PUT /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{");
	fd = dial(&w);
	say(fd, "GET /b HTTP/1.1\r\n\r\n");
	a = answers(&w, fd);
	CHECK(str_starts(a, "HTTP/1.1 200 "));
	CHECK_INT(w.handled, 1);
	say(hangs, "}");
	b = answers(&w, hangs);
	CHECK(str_starts(b, "HTTP/1.1 204 "));
	(void)close(fd);
	(void)close(hangs);
	world_close(&w);
}

TEST(the_eleventh_connection_is_answered_503_and_a_place_is_free_again_at_once)
{
	cleanup_free char *a = NULL, *b = NULL;
	struct world w;
	int fds[10], fd; // as many as upstream takes

	world_open(&w);
	for (size_t i = 0; i < COUNT(fds); i++)
		fds[i] = dial(&w);
	turn(&w);
	fd = dial(&w);
	a = answers(&w, fd);
	CHECK(str_starts(a, "HTTP/1.1 503 ") && str_ends(a, "<eof>"));
	(void)close(fd);
	(void)close(fds[3]);
	fd = dial(&w); // before the server had time to look
	say(fd, "GET / HTTP/1.1\r\n\r\n");
	b = answers(&w, fd);
	CHECK(str_starts(b, "HTTP/1.1 200 "));
	world_close(&w);
}

// A client that sends and never reads must not fill our memory.
TEST(a_client_that_does_not_read_is_not_read_from)
{
	struct world w;
	int fd, before;

	world_open(&w);
	fd = dial(&w);
	for (int i = 0; i < 20000; i++)
		if (send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			turn(&w);
	turn(&w);
	before = w.handled;
	for (int i = 0; i < 100; i++)
		turn(&w);
	CHECK(before > 0 && w.handled == before);
	(void)close(fd);
	world_close(&w);
}

TEST(what_is_written_at_the_end_still_goes_out)
{
	cleanup_free char *a = NULL;
	struct world w;
	int fd;

	world_open(&w);
	fd = dial(&w);
	say(fd, "GET / HTTP/1.1\r\n\r\n");
	turn(&w);
	http_finish(w.http, 100);
	say(fd, "GET / HTTP/1.1\r\n\r\n");
	a = answers(&w, fd);
	CHECK(str_starts(a, "HTTP/1.1 200 "));
	CHECK_INT(w.handled, 1);
	(void)close(fd);
	world_close(&w);
}
