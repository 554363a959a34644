// SPDX-License-Identifier: MIT
#include "guest/host.h"

#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "guest/host_conn.h"

#define SLACK_MS 2000 // the agent's own deadline is told by the agent, ours comes after it

static void clean(struct guest_hook_done *d)
{
	char *p = d->steps.text.data;

	for (uint32_t i = 0; i < d->steps.count; i++, p += strlen(p) + 1)
		log_clean(p);
}

static int ask(struct guest_conn *c, enum guest_type type, const struct guest_hook *h,
	       struct guest_hook_done *ret, struct err *e)
{
	int64_t deadline = clock_ms() + h->deadline_ms + SLACK_MS;
	cleanup(guest_hook_done_clear) struct guest_hook_done done = { 0 };
	cleanup_buf struct buf b = BUF_INIT;
	struct guest_head head = { 0 };
	const uint8_t *p = NULL;

	guest_hook_put(&b, h);
	guest_frame_put(&c->out, type, 0, b.data, b.len);
	if (host_conn_flush(c, deadline, e) < 0 || host_conn_read(c, deadline, &head, &p, e) < 0)
		return -e->no;
	if (head.type != GUEST_HOOK_DONE)
		return host_conn_refused(&head, p, e);
	if (guest_hook_done_get(p, head.len, &done, e) < 0)
		return err_wrap(e, "the guest's agent");
	clean(&done);
	if (ret) {
		*ret = done;
		done = (struct guest_hook_done){ 0 };
	}
	return 0;
}

int guest_prepare_sleep(struct guest_conn *c, const struct guest_hook *h,
			struct guest_hook_done *ret, struct err *e)
{
	return ask(c, GUEST_SLEEP, h, ret, e);
}

int guest_thaw(struct guest_conn *c, const struct guest_hook *h, struct guest_hook_done *ret,
	       struct err *e)
{
	return ask(c, GUEST_THAW, h, ret, e);
}

int guest_repair(struct guest_conn *c, const struct guest_hook *h, struct guest_hook_done *ret,
		 struct err *e)
{
	static const uint8_t none[sizeof(h->seed)];
	struct guest_hook own = *h;
	struct timespec now = { 0 };
	int r;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (!own.time_us)
		own.time_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	if (memcmp(own.seed, none, sizeof(none)) == 0 &&
	    getrandom(own.seed, sizeof(own.seed), 0) != (ssize_t)sizeof(own.seed))
		return err_sys(e, "random numbers");
	r = ask(c, GUEST_REPAIR, &own, ret, e);
	explicit_bzero(&own.seed, sizeof(own.seed));
	return r;
}
