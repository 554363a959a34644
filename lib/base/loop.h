// SPDX-License-Identifier: MIT
// One epoll loop for the daemons: descriptors and timers call back, nothing else. No threads.
// A callback may remove any source, its own included.
#pragma once
#include "base/err.h"
#include <sys/epoll.h>

struct loop;
struct loop_source;
typedef void (*loop_fd_fn)(void *arg, uint32_t events); // EPOLLIN, EPOLLOUT, ...
typedef void (*loop_timer_fn)(void *arg);

int loop_new(struct loop **ret, struct err *e) MUST_CHECK;
void loop_free(struct loop *l); // and all its sources; descriptors stay their owners'
#define cleanup_loop cleanup(loop_freep)
void loop_freep(struct loop **l);
int loop_add_fd(struct loop *l, int fd, uint32_t events, loop_fd_fn fn, void *arg,
		struct loop_source **ret, struct err *e) MUST_CHECK;
int loop_set_events(struct loop_source *s, uint32_t events, struct err *e) MUST_CHECK;
// Calls fn once at deadline_ms (clock_ms()). The source stays, idle, until loop_remove or
// loop_free: loop_set_timer winds it up again. ret may be NULL here and above.
int loop_add_timer(struct loop *l, int64_t deadline_ms, loop_timer_fn fn, void *arg,
		   struct loop_source **ret, struct err *e) MUST_CHECK;
void loop_set_timer(struct loop_source *s, int64_t deadline_ms);
void loop_remove(struct loop_source *s);		// NULL is fine
int loop_run(struct loop *l, struct err *e) MUST_CHECK; // until loop_stop
int loop_once(struct loop *l, int timeout_ms, struct err *e) MUST_CHECK;
void loop_stop(struct loop *l);
