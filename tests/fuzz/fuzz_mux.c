// SPDX-License-Identifier: MIT
// A hostile peer of the mux: the input is what comes through the port of an engine. The first byte
// picks the role and how the rest is dressed; dressed bytes get right magics, sessions and
// checksums, so that the search reaches what lies behind them.
#include "base/mux.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "base/mux_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct mux *m;
	int peers[64];
	size_t count;
};

static int dialled(void *arg, uint32_t port)
{
	struct world *w = arg;
	int fds[2];

	if (port % 3 == 0 || w->count == COUNT(w->peers) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return -ECONNREFUSED;
	w->peers[w->count++] = fds[1];
	return fds[0];
}

static void answered(void *arg, bool taken)
{
	(void)arg;
	(void)taken;
}

static void turn(struct loop *l)
{
	struct err e = { 0 };

	for (int i = 0; i < 3; i++)
		if (loop_once(l, 0, &e) < 0)
			abort();
}

// The host's engine tells its session and nonce in its first HELLO.
static uint32_t greet(struct loop *l, int raw, bool host)
{
	static uint8_t bytes[1 << 16];
	struct mux_frame f = { 0 };
	struct buf b = BUF_INIT;
	size_t used;
	ssize_t n;
	bool junk;

	turn(l);
	n = recv(raw, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (!host) {
		mux_put_frame(&b, 5, MUX_HELLO, 0, "\5\0\0\0abcd", 8);
	} else {
		if (n <= 0 || mux_scan_frame(bytes, (size_t)n, &f, &used, &junk) != MUX_SCAN_FRAME)
			abort();
		mux_put_frame(&b, f.session, MUX_HELLO_ACK, 0, f.data, f.len);
	}
	if (write(raw, b.data, b.len) != (ssize_t)b.len)
		abort();
	buf_free(&b);
	turn(l);
	return host ? f.session : 5;
}

static void feed(struct loop *l, struct world *w, int raw, const struct buf *b)
{
	static uint8_t sink[1 << 16];

	for (size_t at = 0; at < b->len;) {
		ssize_t n = send(raw, b->data + at, MIN(b->len - at, 20000), MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN)
			break;
		at += n > 0 ? (size_t)n : 0;
		turn(l);
		while (recv(raw, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
	}
	if (mux_count(w->m) > MUX_CONNS)
		abort();
}

// Records of type, number, length and payload become frames with everything else right.
static void dress(struct world *w, uint32_t session, const uint8_t *data, size_t size,
		  struct buf *b)
{
	struct err e = { 0 };

	while (size >= 3) {
		size_t len = MIN(data[2], size - 3);
		int fds[2];

		if (data[0] == 0xff && len) { // our side does something instead
			if (data[1] % 2 && w->count)
				(void)send(w->peers[data[1] % w->count], data + 3, len,
					   MSG_DONTWAIT | MSG_NOSIGNAL);
			else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0) {
				(void)close(fds[1]);
				(void)!mux_dial(w->m, data[3], fds[0], answered, w, &e);
			}
		} else {
			mux_put_frame(b, session, (enum mux_type)(data[0] % 9), data[1], data + 3,
				      len);
		}
		data += 3 + len;
		size -= 3 + len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct mux_ops ops = { dialled, NULL, NULL };
	struct world w = { 0 };
	struct loop *l = NULL;
	struct buf b = BUF_INIT;
	struct err e = { 0 };
	uint32_t session = 0;
	int fds[2];

	if (size < 1 || loop_new(&l, &e) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0 ||
	    mux_new(l, fds[0], data[0] & 1 ? MUX_HOST : MUX_GUEST, &ops, &w, &w.m, &e) < 0) {
		loop_free(l);
		return 0;
	}
	if (data[0] & 2)
		session = greet(l, fds[1], data[0] & 1);
	if (data[0] & 4)
		dress(&w, session, data + 1, size - 1, &b);
	else
		buf_add(&b, data + 1, size - 1);
	feed(l, &w, fds[1], &b);
	for (size_t i = 0; i < w.count; i++)
		(void)close(w.peers[i]);
	turn(l);
	mux_free(w.m);
	loop_free(l);
	(void)close(fds[0]);
	(void)close(fds[1]);
	buf_free(&b);
	return 0;
}
