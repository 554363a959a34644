// SPDX-License-Identifier: MIT
// Echo requests, datagrams and connections, each with a listener of ours.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "life/net_deep_parts.h"
#include "sys/frame.h"

#define RESEND_MS 100
#define PORT_META 81 // of link-local addresses: 80 may be the metadata service of our own
#define AT_ONCE	  16 // packets taken from a socket before the next one's turn
#define PROBE_FDS 2

static void shut(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

void deep_probes_freep(struct deep_probes **all)
{
	for (size_t i = 0; *all && i < (*all)->len; i++) {
		shut(&(*all)->items[i].from_fd);
		shut(&(*all)->items[i].at_fd);
		shut(&(*all)->items[i].conn_fd);
	}
	free(*all);
}

int deep_nonce(uint64_t *ret, struct err *e)
{
	if (getrandom(ret, sizeof(*ret), 0) != (ssize_t)sizeof(*ret))
		return err_sys(e, "getrandom");
	return 0;
}

// --- one kind after the other -------------------------------------------------------------------

static int open_socket(const struct deep_rig *rig, enum deep_place at, int type, int protocol,
		       struct err *e)
{
	int ns = rig->ports[at].ns, fd;

	if (ns >= 0)
		return netns_socket(ns, AF_INET, type | SOCK_NONBLOCK, protocol, e);
	fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	return fd < 0 ? err_sys(e, "make a socket") : fd;
}

static int listen_at(const struct deep_rig *rig, struct deep_probe *p, int type, struct err *e)
{
	socklen_t len = sizeof(p->to);

	p->at_fd = open_socket(rig, rig->targets[p->row->to].at, type, 0, e);
	if (p->at_fd < 0)
		return p->at_fd;
	if (bind(p->at_fd, (const struct sockaddr *)&p->to, sizeof(p->to)) < 0 ||
	    (type == SOCK_STREAM && listen(p->at_fd, AT_ONCE) < 0) ||
	    getsockname(p->at_fd, (struct sockaddr *)&p->to, &len) < 0)
		return err_sys(e, "listen for %s", p->row->name);
	return 0;
}

static int open_probe(const struct deep_rig *rig, struct deep_probe *p, struct err *e)
{
	static const int types[] = {
		[DEEP_ICMP] = SOCK_RAW, [DEEP_UDP] = SOCK_DGRAM, [DEEP_TCP] = SOCK_STREAM
	};
	const bool icmp = p->row->kind == DEEP_ICMP;
	int type = types[p->row->kind];

	if (deep_nonce(&p->nonce, e) < 0)
		return -e->no;
	p->id = (uint16_t)p->nonce;
	p->to.sin_family = AF_INET;
	p->to.sin_addr.s_addr = htonl(rig->targets[p->row->to].ip);
	if (!icmp && p->row->to == TO_LINK_LOCAL)
		p->to.sin_port = htons(PORT_META);
	if (!icmp && listen_at(rig, p, type, e) < 0)
		return -e->no;
	p->from_fd = open_socket(rig, p->row->from, type, icmp ? IPPROTO_ICMP : 0, e);
	return p->from_fd < 0 ? p->from_fd : 0;
}

int deep_probe_add(const struct deep_rig *rig, struct deep_probes *all, const struct deep_row *row,
		   struct err *e)
{
	struct deep_probe *p = &all->items[all->len++];

	*p = (struct deep_probe){ .row = row, .from_fd = -1, .at_fd = -1, .conn_fd = -1 };
	return rig->targets[row->to].ip ? open_probe(rig, p, e) : 0;
}

static bool busy(int no)
{
	return no == EAGAIN || no == EINPROGRESS || no == ENOTCONN || no == EINTR;
}

static void refuse(struct deep_probe *p, int no)
{
	p->refused = no;
	shut(&p->from_fd);
}

// A packet that cannot be sent may be so for a moment only (no neighbour yet); it is sent again.
static void send_probe(struct deep_probe *p)
{
	uint8_t echo[FRAME_ECHO];
	const void *data = p->row->kind == DEEP_ICMP ? (const void *)echo : &p->nonce;
	size_t len = p->row->kind == DEEP_ICMP ? sizeof(echo) : sizeof(p->nonce);

	if (p->row->kind != DEEP_TCP) {
		frame_echo(echo, p->id, p->nonce);
		(void)sendto(p->from_fd, data, len, 0, (const struct sockaddr *)&p->to,
			     sizeof(p->to));
	} else if (!p->started) {
		p->started = true;
		if (connect(p->from_fd, (const struct sockaddr *)&p->to, sizeof(p->to)) < 0 &&
		    !busy(errno))
			refuse(p, errno);
	}
}

static void take_echo(struct deep_probe *p)
{
	uint8_t in[256];

	for (int i = 0; i < AT_ONCE; i++) {
		ssize_t n = recv(p->from_fd, in, sizeof(in), 0);

		if (n < 0)
			return;
		if (frame_is_echo_reply(in, (size_t)n, p->id, p->nonce))
			p->arrived = p->answered = true;
	}
}

// False with errno: nothing yet, or what is there is not ours.
static bool take_nonce(const struct deep_probe *p, int fd, struct sockaddr_in *from)
{
	socklen_t len = sizeof(*from);
	uint64_t got;

	for (int i = 0; i < AT_ONCE; i++) {
		ssize_t n = recvfrom(fd, &got, sizeof(got), 0, (struct sockaddr *)from,
				     from ? &len : NULL);

		if (n < 0)
			return false;
		if (n == (ssize_t)sizeof(got) && got == p->nonce)
			return true;
		if (n == 0)
			break; // the end of a connection
	}
	errno = EBADMSG;
	return false;
}

// The answer is the number again; only where one may come back.
static void take_datagram(struct deep_probe *p)
{
	struct sockaddr_in from = { 0 };

	if (take_nonce(p, p->at_fd, &from)) {
		p->arrived = true;
		p->source = ntohl(from.sin_addr.s_addr);
		if (p->row->pass)
			(void)sendto(p->at_fd, &p->nonce, sizeof(p->nonce), 0,
				     (const struct sockaddr *)&from, sizeof(from));
	}
	if (p->row->pass && take_nonce(p, p->from_fd, NULL))
		p->answered = true;
}

static void take_accepted(struct deep_probe *p)
{
	const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
	struct sockaddr_in from = { 0 };
	socklen_t len = sizeof(from);

	if (p->conn_fd < 0) {
		p->conn_fd = accept4(p->at_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (p->conn_fd < 0)
			return;
		// nothing of it stays behind in the host's tables
		(void)setsockopt(p->conn_fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	}
	if (take_nonce(p, p->conn_fd, NULL)) {
		p->arrived = true;
		if (getpeername(p->conn_fd, (struct sockaddr *)&from, &len) == 0)
			p->source = ntohl(from.sin_addr.s_addr);
		(void)send(p->conn_fd, &p->nonce, sizeof(p->nonce), MSG_NOSIGNAL);
	} else if (!busy(errno)) {
		shut(&p->conn_fd); // somebody else's
	}
}

static void take_connection(struct deep_probe *p)
{
	if (p->from_fd >= 0 && !p->said) {
		if (send(p->from_fd, &p->nonce, sizeof(p->nonce), MSG_NOSIGNAL) > 0)
			p->said = true;
		else if (!busy(errno))
			refuse(p, errno);
	}
	if (!p->arrived)
		take_accepted(p);
	if (p->said && take_nonce(p, p->from_fd, NULL))
		p->answered = true;
}

// --- all of them --------------------------------------------------------------------------------

static bool settled(const struct deep_probe *p)
{
	return p->refused || (p->row->pass ? p->answered : p->arrived);
}

static void take_probe(struct deep_probe *p)
{
	static void (*const take[])(struct deep_probe *) = {
		[DEEP_ICMP] = take_echo, [DEEP_UDP] = take_datagram, [DEEP_TCP] = take_connection
	};

	take[p->row->kind](p);
}

static void wait_for(const struct deep_probes *all, bool pass, int64_t ms)
{
	struct pollfd fds[DEEP_PROBES_MAX * PROBE_FDS];
	nfds_t n = 0;

	for (size_t i = 0; i < all->len; i++) {
		const struct deep_probe *p = &all->items[i];
		const bool connecting = p->row->kind == DEEP_TCP && !p->said;

		if (p->row->pass != pass || settled(p))
			continue;
		fds[n++] = (struct pollfd){ .fd = p->from_fd,
					    .events = connecting ? POLLOUT : POLLIN };
		fds[n++] = (struct pollfd){ .fd = p->conn_fd < 0 ? p->at_fd : p->conn_fd,
					    .events = POLLIN };
	}
	(void)poll(fds, n, (int)ms);
}

// Ends when all of these have come to an end, or nothing more is waited for.
void deep_probe_run(struct deep_probes *all, bool pass, int64_t wait_ms)
{
	int64_t until = clock_ms() + wait_ms, again = clock_ms();

	for (;;) {
		bool resend = clock_left(again) == 0, done = true;

		if (resend)
			again = clock_ms() + RESEND_MS;
		for (size_t i = 0; i < all->len; i++) {
			struct deep_probe *p = &all->items[i];

			if (p->row->pass != pass || settled(p) || p->to.sin_addr.s_addr == 0)
				continue;
			if (resend)
				send_probe(p);
			take_probe(p);
			done = done && settled(p);
		}
		if (done || clock_left(until) == 0)
			return;
		const int64_t ms = MIN(clock_left(until), clock_left(again)) + 1;
		const int64_t from = clock_ms();

		wait_for(all, pass, ms);
		until += deep_overslept(from, ms);
	}
}
