// SPDX-License-Identifier: MIT
// QEMU's machine protocol: one JSON document a line. QEMU runs a guest that we do not trust, so
// what comes from it is parsed strictly, bounded, and nonsense ends the connection.
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "fc/qemu_parts.h"

#define LINE_MAX_LEN (256 * KIB)

struct qmp {
	struct loop *loop;
	struct loop_source *src;
	int fd;
	bool ended;
	const struct qmp_ops *ops;
	void *arg;
	struct buf in;
	uint64_t last_id;
	struct codec_node *answer; // to last_id
	bool greeted;
	char version[128];
};

static void take_greeting(struct qmp *m, const struct codec_node *hello)
{
	const struct codec_node *v = codec_get(hello, "version");
	const struct codec_node *q = v ? codec_get(v, "qemu") : NULL;
	const struct codec_node *package = v ? codec_get(v, "package") : NULL;
	static const char *const parts[] = { "major", "minor", "micro" };
	int n[3] = { 0 };

	for (size_t i = 0; q && i < COUNT(parts); i++) {
		const struct codec_node *part = codec_get(q, parts[i]);

		if (part && codec_type(part) == CODEC_NUMBER)
			n[i] = (int)codec_number(part);
	}
	base_cut(m->version, sizeof(m->version), "%d.%d.%d (%s)", n[0], n[1], n[2],
		 package && codec_type(package) == CODEC_TEXT ? codec_text(package) : "");
	m->greeted = true;
}

// Keeps or frees doc. -1: not of the protocol.
static int take_document(struct qmp *m, struct codec_node *doc)
{
	const struct codec_node *event = codec_get(doc, "event"), *id = codec_get(doc, "id");
	const struct codec_node *hello = codec_get(doc, "QMP");
	int r = 0;

	if (event && codec_type(event) == CODEC_TEXT) {
		m->ops->event(m->arg, codec_text(event), codec_get(doc, "data"));
	} else if (hello && codec_type(hello) == CODEC_OBJECT) {
		take_greeting(m, hello);
	} else if (codec_get(doc, "return") || codec_get(doc, "error")) {
		// An answer that came after its deadline is nobody's any more.
		if (id && codec_type(id) == CODEC_NUMBER &&
		    codec_number(id) == (double)m->last_id && !m->answer) {
			m->answer = doc;
			return 0;
		}
	} else {
		r = -1;
	}
	codec_tree_free(doc);
	return r;
}

static int take_lines(struct qmp *m)
{
	for (;;) {
		char *end = m->in.len ? memchr(m->in.data, '\n', m->in.len) : NULL;
		struct codec_node *doc = NULL;
		struct err e = { 0 };
		size_t len;

		if (!end)
			return m->in.len > LINE_MAX_LEN ? -1 : 0;
		len = (size_t)(end - m->in.data);
		if (len && m->in.data[len - 1] == '\r')
			m->in.data[len - 1] = ' ';
		if (codec_tree(m->in.data, len, &doc, &e) < 0)
			return -1;
		buf_drop(&m->in, len + 1);
		if (codec_type(doc) != CODEC_OBJECT) {
			codec_tree_free(doc);
			return -1;
		}
		if (take_document(m, doc) < 0)
			return -1;
	}
}

// Reads what is there. After the end, or nonsense, m->ended is set.
static void pull(struct qmp *m)
{
	char data[16384];

	while (!m->ended) {
		ssize_t n = recv(m->fd, data, sizeof(data), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n > 0)
			buf_add(&m->in, data, (size_t)n);
		if (n <= 0 || take_lines(m) < 0)
			m->ended = true;
	}
}

static void readable(void *arg, uint32_t events)
{
	struct qmp *m = arg;

	(void)events;
	pull(m);
	if (!m->ended)
		return;
	loop_remove(m->src);
	m->src = NULL;
	m->ops->closed(m->arg);
}

void qmp_drain(struct qmp *m)
{
	pull(m);
}

// Until the answer (or the greeting) is there.
static int await(struct qmp *m, bool greeting, int timeout_ms, struct err *e)
{
	int64_t deadline = clock_ms() + timeout_ms;

	for (;;) {
		struct pollfd p = { .fd = m->fd, .events = POLLIN };

		pull(m);
		if (greeting ? m->greeted : m->answer != NULL)
			return 0;
		if (m->ended)
			return err_set(e, EPIPE, "QEMU has ended");
		if (clock_left(deadline) == 0)
			return err_kind(e, ERR_TIMEOUT, "no answer from QEMU in %d ms", timeout_ms);
		if (poll(&p, 1, (int)clock_left(deadline)) < 0 && errno != EINTR)
			return err_sys(e, "poll");
	}
}

static int take_answer(struct qmp *m, struct codec_node **ret, struct err *e)
{
	struct codec_node *doc = steal_ptr(&m->answer);
	const struct codec_node *error = codec_get(doc, "error");
	const struct codec_node *desc = error ? codec_get(error, "desc") : NULL;

	if (error)
		(void)err_set(e, EIO, "%s",
			      desc && codec_type(desc) == CODEC_TEXT ? codec_text(desc)
								     : "refused");
	if (error || !ret)
		codec_tree_free(doc);
	else
		*ret = doc;
	return error ? -e->no : 0;
}

int qmp_call(struct qmp *m, const char *command, const char *args, int fd, int timeout_ms,
	     struct codec_node **ret, struct err *e)
{
	cleanup_buf struct buf line = BUF_INIT;

	if (m->ended)
		return err_set(e, EPIPE, "QEMU has ended");
	codec_tree_free(steal_ptr(&m->answer));
	buf_fmt(&line, "{\"execute\":\"%s\",\"arguments\":%s,\"id\":%llu}\n", command,
		args ? args : "{}", (unsigned long long)++m->last_id);
	if (fd_send(m->fd, &fd, fd >= 0 ? 1 : 0, line.data, line.len, e) < 0 ||
	    await(m, false, timeout_ms, e) < 0 || take_answer(m, ret, e) < 0)
		return err_wrap(e, "%s", command);
	return 0;
}

int qmp_new(struct loop *l, int fd, const struct qmp_ops *ops, void *arg, int timeout_ms,
	    struct qmp **ret, struct err *e)
{
	struct qmp *m = base_alloc(1, sizeof(*m));

	*m = (struct qmp){ .loop = l, .fd = fd, .ops = ops, .arg = arg };
	if (await(m, true, timeout_ms, e) < 0 ||
	    qmp_call(m, "qmp_capabilities", NULL, -1, timeout_ms, NULL, e) < 0 ||
	    loop_add_fd(l, fd, EPOLLIN, readable, m, &m->src, e) < 0) {
		qmp_free(m);
		return -e->no;
	}
	*ret = m;
	return 0;
}

void qmp_free(struct qmp *m)
{
	if (!m)
		return;
	loop_remove(m->src);
	(void)close(m->fd);
	buf_free(&m->in);
	codec_tree_free(m->answer);
	free(m);
}

const char *qmp_version(const struct qmp *m)
{
	return m->version;
}
