// SPDX-License-Identifier: MIT
// For the tests of the mux: engines on socketpairs in one loop, and applications at their ends.
#pragma once
#include "base/mux.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/mux_wire.h"
#include "tap.h"

#define ECHO_PORT   7
#define NOBODY	    9
#define DRAIN_PORT  11
#define MUX_RX_TEST (1 << 17)

struct end {
	struct mux *m;
	int port;
	int ups, downs;
	int dials;
	int fds[2048]; // the application's ends of what the peer dialled
};

struct rig {
	struct loop *l;
	struct end host, guest;
};

struct answer {
	int taken, refused;
};

static inline void pair(int fds[2])
{
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
}

static inline int dialled(void *arg, uint32_t port)
{
	struct end *end = arg;
	int fds[2];

	if (port == NOBODY)
		return -ECONNREFUSED;
	pair(fds);
	end->fds[end->dials++] = fds[1];
	return fds[0];
}

static inline void up(void *arg)
{
	((struct end *)arg)->ups++;
}

static inline void down(void *arg)
{
	((struct end *)arg)->downs++;
}

static inline void answered(void *arg, bool taken)
{
	struct answer *a = arg;

	if (taken)
		a->taken++;
	else
		a->refused++;
}

static const struct mux_ops ops = { dialled, up, down };

static inline void end_new(struct rig *r, struct end *end, int port, enum mux_role role)
{
	struct err e = { 0 };

	end->port = port;
	CHECK(mux_new(r->l, port, role, &ops, end, &end->m, &e) == 0);
}

static inline void turn(struct rig *r, int ms)
{
	int64_t until = clock_ms() + ms;
	struct err e = { 0 };

	do
		CHECK(loop_once(r->l, 5, &e) == 0);
	while (clock_ms() < until);
}

#define UNTIL(r, cond)                               \
	do {                                         \
		int64_t _end = clock_ms() + 20000;   \
		while (!(cond) && clock_ms() < _end) \
			turn(r, 0);                  \
		CHECK(cond);                         \
	} while (0)

static inline struct rig *rig_new(bool wait)
{
	struct rig *r = base_alloc(1, sizeof(*r));
	struct rlimit lim = { 16384, 16384 };
	struct err e = { 0 };
	int fds[2];

	(void)setrlimit(RLIMIT_NOFILE, &lim);
	CHECK(loop_new(&r->l, &e) == 0);
	pair(fds);
	end_new(r, &r->host, fds[0], MUX_HOST);
	end_new(r, &r->guest, fds[1], MUX_GUEST);
	if (wait)
		UNTIL(r, mux_is_up(r->host.m) && mux_is_up(r->guest.m));
	return r;
}

static inline void rig_free(struct rig *r)
{
	mux_free(r->host.m);
	mux_free(r->guest.m);
	loop_free(r->l);
	free(r);
}

static inline int dial(struct end *end, uint32_t port, struct answer *a)
{
	struct err e = { 0 };
	int fds[2];

	pair(fds);
	if (mux_dial(end->m, port, fds[0], answered, a, &e) < 0) {
		(void)close(fds[1]);
		return -e.no;
	}
	return fds[1];
}

static inline int dial_wait(struct rig *r, struct end *end, uint32_t port)
{
	struct answer a = { 0 };
	int fd = dial(end, port, &a);

	UNTIL(r, a.taken);
	return fd;
}

// Reads what is there; -1 with EAGAIN counts as nothing.
static inline size_t take(int fd, uint8_t *out, size_t size)
{
	ssize_t n = recv(fd, out, size, MSG_DONTWAIT);

	return n > 0 ? (size_t)n : 0;
}

static inline bool at_end(int fd)
{
	uint8_t c;

	return recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

static inline bool says(struct rig *r, int from, int to, const char *text)
{
	char got[64] = { 0 };
	size_t len = 0;
	int64_t until = clock_ms() + 10000;

	CHECK(write(from, text, strlen(text)) == (ssize_t)strlen(text));
	while (len < strlen(text) && clock_ms() < until) {
		turn(r, 0);
		len += take(to, (uint8_t *)got + len, sizeof(got) - 1 - len);
	}
	return str_eq(got, text);
}
