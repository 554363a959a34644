// SPDX-License-Identifier: MIT
#include "guest/host.h"

#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "guest/host_conn.h"

#define SLACK_MS 2000 // the agent's own deadline is told by the agent, ours comes after it
#define DRIVE_MS 5000 // the guest copies a drive

static void clean(struct guest_hook_done *d)
{
	char *p = d->steps.text.data;

	for (uint32_t i = 0; i < d->steps.count; i++, p += strlen(p) + 1)
		log_clean(p);
}

static void put(struct guest_conn *c, enum guest_type type, const struct guest_hook *h)
{
	cleanup_buf struct buf b = BUF_INIT;

	guest_hook_put(&b, h);
	guest_frame_put(&c->out, type, 0, b.data, b.len);
}

static int await_done(struct guest_conn *c, const struct guest_hook *h, struct guest_hook_done *ret,
		      struct err *e)
{
	int64_t deadline = clock_ms() + h->deadline_ms + SLACK_MS;
	cleanup(guest_hook_done_clear) struct guest_hook_done done = { 0 };
	struct guest_head head = { 0 };
	const uint8_t *p = NULL;

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
	put(c, GUEST_SLEEP, h);
	return await_done(c, h, ret, e);
}

int guest_thaw(struct guest_conn *c, const struct guest_hook *h, struct guest_hook_done *ret,
	       struct err *e)
{
	put(c, GUEST_THAW, h);
	return await_done(c, h, ret, e);
}

int guest_repair(struct guest_conn *c, const struct guest_hook *h, struct guest_hook_done *ret,
		 struct err *e)
{
	static const uint8_t none[sizeof(h->seed)];
	struct guest_hook own = *h;
	struct timespec now = { 0 };

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (!own.time_us)
		own.time_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	if (memcmp(own.seed, none, sizeof(none)) == 0 &&
	    getrandom(own.seed, sizeof(own.seed), 0) != (ssize_t)sizeof(own.seed))
		return err_sys(e, "random numbers");
	put(c, GUEST_REPAIR, &own);
	explicit_bzero(&own.seed, sizeof(own.seed));
	return await_done(c, h, ret, e);
}

int guest_repair_telling(struct guest_conn *c, const struct guest_hook *h, struct guest_told *told,
			 size_t count, struct err *e)
{
	struct err untold = { 0 };
	int r;

	if (guest_repair(c, h, NULL, e) < 0)
		return -e->no;
	for (size_t i = 0; i < count; i++) {
		told[i].taken = false;
		host_drive_put(c, told[i].which, told[i].digest);
	}
	r = host_conn_flush(c, clock_ms() + DRIVE_MS, &untold);
	for (size_t i = 0; i < count && r == 0; i++) {
		r = host_drive_answer(c, clock_ms() + DRIVE_MS, &untold);
		told[i].taken = r == 0;
	}
	return 0;
}
