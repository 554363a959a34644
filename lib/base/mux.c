// SPDX-License-Identifier: MIT
// The port and the session; the connections are in mux_conn.c, the frames in mux_wire.c.
#include "base/mux.h"

#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/mux_impl.h"

static void port_event(void *arg, uint32_t events);

static ssize_t port_write(struct mux *m, const void *data, size_t len)
{
	if (m->port_is_socket)
		return send(m->port, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	return write(m->port, data, len);
}

static void port_arm(struct mux *m)
{
	struct err e = { 0 };
	uint32_t events = m->tx.len < MUX_TX_FULL ? EPOLLIN : 0;

	if (m->tx.len)
		events |= EPOLLOUT;
	if (m->port_gone || m->rest_timer)
		return;
	if (!m->src)
		(void)!loop_add_fd(m->loop, m->port, events, port_event, m, &m->src, &e);
	else
		(void)!loop_set_events(m->src, events, &e);
}

void mux_queue(struct mux *m, enum mux_type type, uint32_t conn, const void *data, size_t len)
{
	mux_put_frame(&m->tx, m->session, type, conn, data, len);
}

void mux_flush(struct mux *m)
{
	bool was_busy = m->busy;
	size_t at = 0;

	while (at < m->tx.len) {
		ssize_t n = port_write(m, m->tx.data + at, MIN(m->tx.len - at, MUX_TX_BUSY));

		if (n < 0 && errno == EINTR)
			continue;
		// Any other failure shows as a hang-up of the port too, and is treated there.
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	if (at)
		buf_drop(&m->tx, at);
	m->busy = m->tx.len >= MUX_TX_BUSY;
	if (was_busy && !m->busy)
		for (size_t i = 0; i < MUX_BUCKETS; i++)
			for (struct mux_conn *c = m->conns[i], *next; c; c = next) {
				next = c->next;
				mux_conn_arm(c);
			}
	port_arm(m);
}

// Completes whatever frame the peer's parser may be in the middle of, so that what follows is seen.
static void queue_filler(struct mux *m)
{
	static const uint8_t zeros[MUX_HEAD + MUX_PAYLOAD];

	buf_clear(&m->tx);
	buf_add(&m->tx, zeros, sizeof(zeros));
}

static void greet(void *arg)
{
	static const uint8_t none[MUX_NONCE];
	struct mux *m = arg;
	bool host = m->role == MUX_HOST;
	int wait_ms = host ? m->hello_ms : MUX_NOTICE_MS;
	struct err e = { 0 };

	m->hello_ms = MIN(m->hello_ms * 2, MUX_HELLO_MAX_MS);
	loop_remove(m->hello_timer);
	m->hello_timer = NULL;
	if (m->up || m->port_gone)
		return;
	// What still waits says the same: a port that nobody reads is not filled further.
	if (!m->tx.len) {
		queue_filler(m);
		if (host)
			mux_queue(m, MUX_HELLO, 0, m->nonce, sizeof(m->nonce));
		else
			mux_put_frame(&m->tx, 0, MUX_HELLO_ACK, 0, none, sizeof(none));
	}
	mux_flush(m);
	(void)!loop_add_timer(m->loop, clock_ms() + wait_ms, greet, m, &m->hello_timer, &e);
}

// A number that no earlier session had is all that is needed: it is no secret.
static void fresh_nonce(struct mux *m)
{
	if (getrandom(m->nonce, sizeof(m->nonce), GRND_NONBLOCK) != (ssize_t)sizeof(m->nonce)) {
		int64_t now = clock_us();

		memcpy(m->nonce, &now, sizeof(m->nonce));
	}
	m->nonce[0] |= 1; // session 0 means none
	m->session = mux_get32(m->nonce);
	m->hello_ms = MUX_HELLO_MS;
}

static void session_end(struct mux *m)
{
	bool was_up = m->up;

	m->up = false;
	mux_conn_end_all(m);
	buf_clear(&m->tx);
	m->busy = false;
	if (was_up && m->ops->down)
		m->ops->down(m->arg);
}

// Ours or the peer's place in the stream is lost. The host opens a new session, the guest asks.
static void session_lost(struct mux *m)
{
	session_end(m);
	m->session = 0;
	memset(m->nonce, 0, sizeof(m->nonce));
	if (m->role == MUX_HOST)
		fresh_nonce(m);
	greet(m);
}

static void session_up(struct mux *m)
{
	m->up = true;
	loop_remove(m->hello_timer);
	m->hello_timer = NULL;
	if (m->ops->up)
		m->ops->up(m->arg);
}

static void take_hello(struct mux *m, const struct mux_frame *f)
{
	bool again = m->up && memcmp(f->data, m->nonce, MUX_NONCE) == 0;

	if (f->len != MUX_NONCE || !f->session || f->session != mux_get32(f->data))
		return;
	if (!again) {
		session_end(m);
		memcpy(m->nonce, f->data, MUX_NONCE);
		m->session = f->session;
		queue_filler(m);
	}
	mux_queue(m, MUX_HELLO_ACK, 0, m->nonce, MUX_NONCE);
	if (!again)
		session_up(m);
}

static void take_hello_ack(struct mux *m, const struct mux_frame *f)
{
	if (f->len != MUX_NONCE)
		return;
	if (f->session == m->session && memcmp(f->data, m->nonce, MUX_NONCE) == 0) {
		if (!m->up)
			session_up(m);
	} else if (f->session == 0 && m->up) {
		session_lost(m);
	}
}

static void take_frame(struct mux *m, const struct mux_frame *f)
{
	if (f->type == MUX_HELLO) {
		if (m->role == MUX_GUEST)
			take_hello(m, f);
	} else if (f->type == MUX_HELLO_ACK) {
		if (m->role == MUX_HOST)
			take_hello_ack(m, f);
	} else if (m->up && f->session == m->session) {
		if (mux_conn_frame(m, f) < 0)
			session_lost(m);
	}
}

static void parse(struct mux *m)
{
	size_t at = 0;

	for (;;) {
		struct mux_frame f = { 0 };
		size_t used = 0;
		bool junk = false;
		enum mux_scan what = mux_scan_frame(m->rx + at, m->rx_len - at, &f, &used, &junk);

		at += used;
		if (junk && m->up)
			session_lost(m);
		if (what != MUX_SCAN_FRAME)
			break;
		take_frame(m, &f);
	}
	memmove(m->rx, m->rx + at, m->rx_len - at);
	m->rx_len -= at;
}

static void port_rested(void *arg)
{
	struct mux *m = arg;

	loop_remove(m->rest_timer);
	m->rest_timer = NULL;
	mux_flush(m);
}

// A guest's port hangs up while no host has it open, and comes back by itself; a host's is gone.
static void port_hung_up(struct mux *m)
{
	struct err e = { 0 };

	loop_remove(m->src);
	m->src = NULL;
	if (m->role == MUX_HOST) {
		m->port_gone = true;
		session_end(m);
	} else if (!m->rest_timer) {
		(void)!loop_add_timer(m->loop, clock_ms() + MUX_REST_MS, port_rested, m,
				      &m->rest_timer, &e);
	}
}

static void port_event(void *arg, uint32_t events)
{
	struct mux *m = arg;
	ssize_t n = 0;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		n = read(m->port, m->rx + m->rx_len, sizeof(m->rx) - m->rx_len);
		if (n < 0 && (errno == EINTR || (errno == EAGAIN && !(events & EPOLLHUP))))
			n = 1; // nothing wrong, nothing there
		else if (n > 0)
			m->rx_len += (size_t)n;
		if (n <= 0) {
			port_hung_up(m);
			return;
		}
		parse(m);
	}
	mux_flush(m);
}

int mux_new(struct loop *l, int port_fd, enum mux_role role, const struct mux_ops *ops, void *arg,
	    struct mux **ret, struct err *e)
{
	struct mux *m = base_alloc(1, sizeof(*m));
	struct stat st;

	m->loop = l;
	m->port = port_fd;
	m->role = role;
	m->ops = ops;
	m->arg = arg;
	m->next_id = role == MUX_HOST ? 2 : 1;
	m->port_is_socket = fstat(port_fd, &st) == 0 && S_ISSOCK(st.st_mode);
	if (loop_add_fd(l, port_fd, EPOLLIN, port_event, m, &m->src, e) < 0) {
		free(m);
		return err_wrap(e, "mux");
	}
	if (role == MUX_HOST)
		fresh_nonce(m);
	greet(m);
	*ret = m;
	return 0;
}

void mux_free(struct mux *m)
{
	if (!m)
		return;
	m->up = false;
	mux_conn_end_all(m);
	loop_remove(m->src);
	loop_remove(m->hello_timer);
	loop_remove(m->rest_timer);
	buf_free(&m->tx);
	free(m);
}

bool mux_is_up(const struct mux *m)
{
	return m->up;
}

size_t mux_count(const struct mux *m)
{
	return m->count;
}

void mux_bytes(const struct mux *m, uint64_t *ret_from_peer, uint64_t *ret_to_peer)
{
	*ret_from_peer = m->from_peer;
	*ret_to_peer = m->to_peer;
}

void mux_restart(struct mux *m)
{
	session_lost(m);
}
