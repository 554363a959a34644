// SPDX-License-Identifier: MIT
// The guest's console and QEMU's messages: always drained, whoever reads them further on. A guest
// whose console is stuck crawls.
#include <poll.h>

#include "base/clock.h"
#include "base/log.h"
#include "fc/qemu_parts.h"

#define HELD_MAX (256 * KIB) // waits for a slow reader; what comes then is lost
#define RETRY_MS 20

struct qemu_pipe {
	struct loop *loop;
	struct loop_source *src, *retry;
	int fd, out;
	struct buf held;
	char line[512], last[512]; // the line that grows, the last whole one
	size_t line_len;
};

// Blocking writes would stop the VMM; out belongs to others, so it is not made non-blocking. A pipe
// or terminal that polls writable takes PIPE_BUF bytes at once.
static void hand_on(void *arg)
{
	struct qemu_pipe *p = arg;
	struct err e = { 0 };
	size_t at = 0;

	loop_remove(p->retry);
	p->retry = NULL;
	while (p->out >= 0 && at < p->held.len) {
		struct pollfd ready = { .fd = p->out, .events = POLLOUT };
		ssize_t n;

		if (poll(&ready, 1, 0) <= 0)
			break;
		n = write(p->out, p->held.data + at, MIN(p->held.len - at, 4096));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) { // the reader is gone for good
			p->out = -1;
			break;
		}
		at += (size_t)n;
	}
	if (p->out < 0)
		buf_clear(&p->held);
	else if (at)
		buf_drop(&p->held, at);
	if (p->held.len)
		(void)!loop_add_timer(p->loop, clock_ms() + RETRY_MS, hand_on, p, &p->retry, &e);
}

static void keep_line(struct qemu_pipe *p, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n') {
			if (p->line_len) {
				p->line[p->line_len] = '\0';
				memcpy(p->last, p->line, p->line_len + 1);
				log_clean(p->last);
			}
			p->line_len = 0;
		} else if (data[i] != '\r' && p->line_len < sizeof(p->line) - 1) {
			p->line[p->line_len++] = data[i];
		}
	}
}

// False: at the end, or nothing there.
static bool pull(struct qemu_pipe *p)
{
	char data[8192];
	ssize_t n = read(p->fd, data, sizeof(data));

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		loop_remove(p->src);
		p->src = NULL;
	}
	if (n <= 0)
		return false;
	keep_line(p, data, (size_t)n);
	if (p->out >= 0 && p->held.len + (size_t)n <= HELD_MAX)
		buf_add(&p->held, data, (size_t)n);
	if (!p->retry)
		hand_on(p);
	return true;
}

static void readable(void *arg, uint32_t events)
{
	(void)events;
	(void)pull(arg);
}

int qemu_pipe_new(struct loop *l, int fd, int out, struct qemu_pipe **ret, struct err *e)
{
	struct qemu_pipe *p = base_alloc(1, sizeof(*p));

	p->loop = l;
	p->fd = fd;
	p->out = out;
	if (loop_add_fd(l, fd, EPOLLIN, readable, p, &p->src, e) < 0) {
		qemu_pipe_free(p);
		return -e->no;
	}
	*ret = p;
	return 0;
}

void qemu_pipe_drain(struct qemu_pipe *p)
{
	for (int i = 0; i < 64 && pull(p); i++)
		;
	if (p->line_len)
		keep_line(p, "\n", 1);
}

const char *qemu_pipe_last(const struct qemu_pipe *p)
{
	return p->last;
}

void qemu_pipe_free(struct qemu_pipe *p)
{
	if (!p)
		return;
	hand_on(p);
	loop_remove(p->src);
	loop_remove(p->retry);
	(void)close(p->fd);
	buf_free(&p->held);
	free(p);
}
