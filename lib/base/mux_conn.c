// SPDX-License-Identifier: MIT
// The connections of a session: each joins one local descriptor to the peer, both ways, by credit.
#include <sys/socket.h>

#include "base/fd.h"
#include "base/mux_impl.h"

enum { READS_PER_EVENT = 4 }; // then it is the next connection's turn

struct mux_conn *mux_conn_find(struct mux *m, uint32_t id)
{
	struct mux_conn *c = m->conns[id % MUX_BUCKETS];

	while (c && c->id != id)
		c = c->next;
	return c;
}

struct mux_conn *mux_conn_new(struct mux *m, uint32_t id, int fd)
{
	struct mux_conn **head = &m->conns[id % MUX_BUCKETS];
	struct mux_conn *c = base_alloc(1, sizeof(*c));

	c->m = m;
	c->id = id;
	c->fd = fd;
	c->credit = c->window = MUX_WINDOW;
	c->next = *head;
	*head = c;
	m->count++;
	return c;
}

void mux_conn_end(struct mux_conn *c)
{
	struct mux_conn **at = &c->m->conns[c->id % MUX_BUCKETS];
	mux_dialled_fn done = c->opening ? c->done : NULL;
	void *arg = c->arg;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->m->count--;
	loop_remove(c->src);
	(void)close(c->fd);
	buf_free(&c->out);
	free(c);
	if (done)
		done(arg, false);
}

void mux_conn_end_all(struct mux *m)
{
	for (size_t i = 0; i < MUX_BUCKETS; i++)
		while (m->conns[i])
			mux_conn_end(m->conns[i]);
}

static void conn_reset(struct mux_conn *c)
{
	if (!c->orphan)
		mux_queue(c->m, MUX_RESET, c->id, NULL, 0);
	mux_conn_end(c);
}

static bool wants_read(const struct mux_conn *c)
{
	return !c->opening && !c->local_ended && !c->orphan && c->credit && !c->m->busy;
}

// Writes what the peer sent. False: the connection is over and freed.
static bool conn_drain(struct mux_conn *c)
{
	while (c->out.len) {
		ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			conn_reset(c);
			return false;
		}
		buf_drop(&c->out, (size_t)n);
		c->owed += (uint32_t)n;
	}
	if (c->owed >= MUX_WINDOW / 2 && !c->orphan && !c->peer_ended) {
		uint8_t bytes[4];

		mux_put32(bytes, c->owed);
		mux_queue(c->m, MUX_CREDIT, c->id, bytes, sizeof(bytes));
		c->window += c->owed;
		c->owed = 0;
	}
	if (c->out.len)
		return true;
	buf_free(&c->out); // idle connections hold no memory
	if (c->peer_ended)
		(void)shutdown(c->fd, SHUT_WR);
	if (c->orphan || (c->peer_ended && c->local_ended)) {
		mux_conn_end(c);
		return false;
	}
	return true;
}

// Reads what the local side sent. False: the connection is over and freed.
static bool conn_pull(struct mux_conn *c)
{
	uint8_t data[MUX_PAYLOAD];

	for (int i = 0; i < READS_PER_EVENT && wants_read(c); i++) {
		ssize_t n = recv(c->fd, data, MIN(sizeof(data), c->credit), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n < 0) {
			conn_reset(c);
			return false;
		}
		if (n > 0) {
			mux_queue(c->m, MUX_DATA, c->id, data, (size_t)n);
			c->credit -= (uint32_t)n;
			c->m->to_peer += (uint64_t)n;
			c->m->busy = c->m->tx.len >= MUX_TX_BUSY;
			continue;
		}
		mux_queue(c->m, MUX_EOF, c->id, NULL, 0);
		c->local_ended = true;
		if (c->peer_ended && !c->out.len) {
			mux_conn_end(c);
			return false;
		}
	}
	return true;
}

static bool conn_work(struct mux_conn *c, uint32_t events)
{
	bool hung_up = events & (EPOLLHUP | EPOLLERR);

	if (c->opening) { // nothing but a hang-up is asked for then: the caller went away
		conn_reset(c);
		return false;
	}
	if (c->out.len && (hung_up || events & EPOLLOUT) && !conn_drain(c))
		return false;
	if (c->local_ended && hung_up) { // closed, not only shut down: nobody will read
		conn_reset(c);
		return false;
	}
	return !(hung_up || events & EPOLLIN) || conn_pull(c);
}

static void conn_event(void *arg, uint32_t events)
{
	struct mux_conn *c = arg;
	struct mux *m = c->m;

	if (conn_work(c, events))
		mux_conn_arm(c);
	mux_flush(m);
}

// A hang-up is reported whether asked for or not, so a descriptor of which nothing is wanted leaves
// the loop, unless the hang-up is what is waited for.
void mux_conn_arm(struct mux_conn *c)
{
	uint32_t events = wants_read(c) ? EPOLLIN : 0;
	struct err e = { 0 };
	int r = 0;

	if (c->out.len)
		events |= EPOLLOUT;
	if (!events && !c->opening && !c->local_ended) {
		loop_remove(c->src);
		c->src = NULL;
	} else if (c->src) {
		r = loop_set_events(c->src, events, &e);
	} else {
		r = loop_add_fd(c->m->loop, c->fd, events, conn_event, c, &c->src, &e);
	}
	if (r < 0)
		conn_reset(c);
}

static int take_open(struct mux *m, const struct mux_frame *f)
{
	uint32_t ours = m->role == MUX_HOST ? 0 : 1;
	struct mux_conn *c;
	int fd = -ENOSPC;

	if (f->len != 4 || f->conn % 2 == ours || mux_conn_find(m, f->conn))
		return -1;
	if (m->count < MUX_CONNS)
		fd = m->ops->dialled(m->arg, mux_get32(f->data));
	if (!m->up || f->session != m->session) { // ended by the callback
		base_closep(&fd);
		return 0;
	}
	mux_queue(m, fd >= 0 ? MUX_OPEN_OK : MUX_RESET, f->conn, NULL, 0);
	if (fd < 0)
		return 0;
	c = mux_conn_new(m, f->conn, fd);
	if (conn_pull(c)) // who speaks first has its words in the same write
		mux_conn_arm(c);
	return 0;
}

static int take_open_ok(struct mux *m, struct mux_conn *c)
{
	mux_dialled_fn done = c->done;
	uint32_t id = c->id;

	if (!c->opening)
		return -1;
	c->opening = false;
	done(c->arg, true);
	if (mux_conn_find(m, id) == c) // the callback may have ended the session
		mux_conn_arm(c);
	return 0;
}

static int take_data(struct mux_conn *c, const struct mux_frame *f)
{
	if (c->peer_ended || f->len > c->window)
		return -1;
	c->window -= f->len;
	c->m->from_peer += f->len;
	buf_add(&c->out, f->data, f->len);
	if (conn_drain(c))
		mux_conn_arm(c);
	return 0;
}

static int take_credit(struct mux_conn *c, const struct mux_frame *f)
{
	uint32_t more = f->len == 4 ? mux_get32(f->data) : 0;

	if (!more || more > MUX_WINDOW - c->credit)
		return -1;
	c->credit += more;
	mux_conn_arm(c);
	return 0;
}

// The peer has dropped the connection. What it had sent to its end is still delivered.
static void take_reset(struct mux_conn *c)
{
	if (c->peer_ended && c->out.len) {
		c->orphan = true;
		mux_conn_arm(c);
	} else {
		mux_conn_end(c);
	}
}

static int take_eof(struct mux_conn *c)
{
	if (c->peer_ended)
		return -1;
	c->peer_ended = true;
	if (conn_drain(c))
		mux_conn_arm(c);
	return 0;
}

int mux_conn_frame(struct mux *m, const struct mux_frame *f)
{
	struct mux_conn *c = mux_conn_find(m, f->conn);

	if (f->type == MUX_OPEN)
		return take_open(m, f);
	// A frame may cross our own RESET on its way: not an error.
	if (!c || c->orphan)
		return 0;
	if (f->type == MUX_RESET) {
		take_reset(c);
		return 0;
	}
	if (f->type == MUX_OPEN_OK)
		return take_open_ok(m, c);
	if (c->opening)
		return -1;
	if (f->type == MUX_DATA)
		return take_data(c, f);
	return f->type == MUX_CREDIT ? take_credit(c, f) : take_eof(c);
}

int mux_dial(struct mux *m, uint32_t port, int fd, mux_dialled_fn done, void *arg, struct err *e)
{
	cleanup_fd int held = fd;
	struct mux_conn *c;
	uint8_t bytes[4];

	if (!m->up)
		return err_set(e, EAGAIN, "the guest's end is not there yet");
	if (m->count >= MUX_CONNS)
		return err_set(e, ENOSPC, "%u connections are open", MUX_CONNS);
	while (mux_conn_find(m, m->next_id))
		m->next_id += 2;
	c = mux_conn_new(m, m->next_id, steal_fd(&held));
	m->next_id += 2;
	c->opening = true;
	c->done = done;
	c->arg = arg;
	mux_put32(bytes, port);
	mux_queue(m, MUX_OPEN, c->id, bytes, sizeof(bytes));
	mux_conn_arm(c);
	mux_flush(m);
	return 0;
}
