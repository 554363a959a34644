// SPDX-License-Identifier: MIT
// The monitor's protocol against a peer of ours: a forked process that says what it is told.
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "fc/qemu_parts.h"
#include "tap.h"

#define WAIT_MS 20000
#define HELLO                                                                     \
	"{\"QMP\":{\"version\":{\"qemu\":{\"major\":7,\"minor\":2,\"micro\":22}," \
	"\"package\":\"p\"},\"capabilities\":[]}}\r\n"
#define OK1 "{\"return\":{},\"id\":1}\r\n"

struct seen {
	int events, closed;
	char last[64];
};

static void event(void *arg, const char *name, const struct codec_node *data)
{
	struct seen *s = arg;

	(void)data;
	s->events++;
	base_cut(s->last, sizeof(s->last), "%s", name);
}

static void closed(void *arg)
{
	((struct seen *)arg)->closed++;
}

static const struct qmp_ops ops = { event, closed };

// Sends the parts with a pause between, so that they are read apart, then waits for the end. The
// part "?" waits for a request.
static int peer(const char *const *parts)
{
	int fds[2];
	char c;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	if (fork() == 0) {
		(void)close(fds[0]);
		for (; *parts; parts++) {
			if (str_eq(*parts, "?"))
				while (read(fds[1], &c, 1) > 0 && c != '\n')
					;
			else
				(void)!write(fds[1], *parts, strlen(*parts));
			clock_sleep_ms(5);
		}
		(void)shutdown(fds[1], SHUT_WR);
		while (read(fds[1], &c, 1) > 0)
			;
		_exit(0);
	}
	(void)close(fds[1]);
	return fds[0];
}

static struct loop *new_loop(void)
{
	struct loop *l = NULL;
	struct err e = { 0 };

	CHECK(loop_new(&l, &e) == 0);
	return l;
}

static int open_to(const char *const *parts, struct loop *l, struct seen *s, struct qmp **ret,
		   struct err *e)
{
	return qmp_new(l, peer(parts), &ops, s, WAIT_MS, ret, e);
}

TEST(greeting_answers_and_events_in_any_pieces)
{
	static const char *const parts[] = {
		"{\"QMP\":{\"version\":{\"qemu\":{\"major\":7,\"mi",
		"nor\":2,\"micro\":22},\"package\":\"p\"},\"capabilities\":[]}}\r",
		"\n{\"event\":\"RESUME\",\"timestamp\":{}}\r\n",
		"?",
		OK1,
		"?",
		"{\"return\":{\"status\":\"late\"},\"id\":1}\r\n{\"event\":\"STOP\"}\r\n",
		"{\"return\":{\"n\":5},\"id\":2}\r\n",
		"?",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such thing\"},\"id\":3}\r\n",
		"{\"event\":\"SHUTDOWN\",\"data\":{\"reason\":\"guest-reset\"}}\r\n",
		NULL
	};
	struct loop *l = new_loop();
	struct codec_node *doc = NULL;
	struct seen s = { 0 };
	struct qmp *m = NULL;
	struct err e = { 0 };

	CHECK(open_to(parts, l, &s, &m, &e) == 0);
	CHECK_STR(qmp_version(m), "7.2.22 (p)");
	CHECK(qmp_call(m, "second", NULL, -1, WAIT_MS, &doc, &e) == 0);
	CHECK_INT((int)codec_number(codec_get(codec_get(doc, "return"), "n")), 5);
	codec_tree_free(doc);
	CHECK(qmp_call(m, "third", "{\"a\":1}", -1, WAIT_MS, NULL, &e) < 0);
	CHECK_STR(e.msg, "third: no such thing");
	for (int64_t until = clock_ms() + WAIT_MS; clock_left(until) && !s.closed;)
		CHECK(loop_once(l, 50, &e) == 0);
	CHECK_INT(s.events, 3);
	CHECK_STR(s.last, "SHUTDOWN");
	CHECK_INT(s.closed, 1);
	e = (struct err){ 0 };
	CHECK_INT(qmp_call(m, "fourth", NULL, -1, WAIT_MS, NULL, &e), -EPIPE);
	qmp_free(m);
	loop_free(l);
}

static const char *const bad[][5] = {
	{ "", NULL },						  // the end at once
	{ "hello\r\n", NULL },					  // no JSON
	{ "[1,2]\r\n", NULL },					  // no object
	{ "{\"what\":1}\r\n", NULL },				  // of no kind
	{ "{\"QMP\":{\"QMP\":", NULL },				  // cut
	{ "{\"QMP\":1}\r\n", NULL },				  // a greeting of the wrong type
	{ "\r\n\r\n", NULL },					  // empty lines
	{ HELLO, "?", "\xff\xfe\r\n", NULL },			  // broken after the greeting
	{ HELLO, "?", "{\"id\":1}\r\n", NULL },			  // an answer with nothing in it
	{ HELLO, "?", "{\"return\":{},\"id\":\"1\"}\r\n", NULL }, // to another question
};

TEST(nonsense_is_an_error_and_not_waited_out)
{
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct loop *l = new_loop();
		struct seen s = { 0 };
		struct qmp *m = NULL;
		struct err e = { 0 };
		int64_t since = clock_ms();

		if (open_to(bad[i], l, &s, &m, &e) == 0)
			tap_fail(__FILE__, __LINE__, "case %zu is taken", i);
		CHECK(clock_ms() - since < WAIT_MS / 2);
		loop_free(l);
	}
}

TEST(a_peer_that_says_nothing_is_given_up)
{
	struct loop *l = new_loop();
	struct seen s = { 0 };
	struct qmp *m = NULL;
	struct err e = { 0 };
	int fds[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	CHECK(qmp_new(l, fds[0], &ops, &s, 100, &m, &e) < 0);
	CHECK_INT(err_exit(&e), 124);
	loop_free(l);
}

TEST(a_line_without_an_end_is_cut_off)
{
	size_t len = 600000;
	char *line = base_alloc(1, len + 1);
	const char *parts[] = { HELLO, "?", OK1, line, NULL };
	struct loop *l = new_loop();
	struct seen s = { 0 };
	struct qmp *m = NULL;
	struct err e = { 0 };

	memset(line, 'a', len);
	CHECK(open_to(parts, l, &s, &m, &e) == 0);
	for (int i = 0; i < 200 && !s.closed; i++)
		CHECK(loop_once(l, 20, &e) == 0);
	CHECK_INT(s.closed, 1);
	qmp_free(m);
	loop_free(l);
	free(line);
}
