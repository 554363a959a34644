// SPDX-License-Identifier: MIT
// The other end of a guest's first dial: who it is, what it runs, and its READY.
#include "guest/host.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "guest/host_conn.h"

static int fill_in(struct guest_welcome *w, struct err *e)
{
	static const uint8_t none[sizeof(w->seed)];
	struct timespec now = { 0 };

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (!w->time_us)
		w->time_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	if (memcmp(w->seed, none, sizeof(none)) == 0 &&
	    getrandom(w->seed, sizeof(w->seed), 0) != (ssize_t)sizeof(w->seed))
		return err_sys(e, "random numbers");
	return 0;
}

// *final: no other connection will do better.
static int serve(struct guest_conn *c, const struct guest_welcome *w, int64_t deadline_ms,
		 struct guest_info *ret, bool *final, struct err *e)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct guest_welcome own = *w; // borrows the words
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;

	if (host_conn_greet(c, e) < 0 || fill_in(&own, e) < 0)
		return -e->no;
	guest_welcome_put(&b, &own);
	guest_frame_put(&c->out, GUEST_WELCOME, 0, b.data, b.len);
	if (host_conn_flush(c, deadline_ms, e) < 0 || host_conn_read(c, deadline_ms, &h, &p, e) < 0)
		return -e->no;
	*final = h.type == GUEST_ERROR;
	if (h.type != GUEST_READY)
		return host_conn_refused(&h, p, e);
	if (guest_info_get(p, h.len, ret, e) < 0)
		return -e->no;
	log_clean(ret->kernel);
	log_clean(ret->boot_id);
	// Without this OK the agent would dial once more, to nobody; no reason to fail.
	guest_frame_put(&c->out, GUEST_OK, 0, NULL, 0);
	if (host_conn_flush(c, clock_ms() + 1000, e) < 0)
		err_clear(e);
	return 0;
}

static int accept_guest(int listen_fd, uint32_t uid, struct err *e)
{
	cleanup_fd int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (fd < 0)
		return err_sys(e, "accept");
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return err_sys(e, "peer");
	if (uid != GUEST_ANY_UID && peer.uid != uid)
		return err_kind(e, ERR_DENIED, "the peer is uid %u and not %u", peer.uid, uid);
	return steal_fd(&fd);
}

static int give_up(const struct err *last, struct err *e)
{
	if (e->kind != ERR_TIMEOUT)
		return err_wrap(e, "wait for the guest");
	return err_kind(e, ERR_TIMEOUT, "the guest did not say that it is ready%s%s",
			last->no ? "; last: " : "", last->no ? last->msg : "");
}

int guest_serve_ready(int listen_fd, uint32_t uid, int gone_fd, const struct guest_welcome *w,
		      int64_t deadline_ms, struct guest_info *ret, struct err *e)
{
	struct err last = { 0 };

	for (;;) {
		cleanup_guest struct guest_conn *c = NULL;
		bool final = false;
		int fd;

		if (host_wait(listen_fd, POLLIN, gone_fd, deadline_ms, e) < 0)
			return give_up(&last, e);
		err_clear(&last);
		fd = accept_guest(listen_fd, uid, &last);
		if (fd < 0)
			continue;
		c = host_conn_new(fd, gone_fd, deadline_ms);
		if (serve(c, w, deadline_ms, ret, &final, &last) == 0)
			return 0;
		if (final) {
			*e = last;
			return -e->no;
		}
	}
}
