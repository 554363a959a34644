// SPDX-License-Identifier: MIT
// Preloaded into a tool it makes the tool's time pass ten times as fast: a limit of 30 s is over
// after 3. What is waited for is waited for in full by the tool's own clock, so that a test of a
// time-out runs the code that a user's call runs, and not a shorter constant. The time of day stays
// what it is.
//	LD_PRELOAD=hurry COMMAND...
#include <dlfcn.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>

#define TIMES 10

// Looked up at the first call: other libraries may ask for the time before a constructor here.
static void *real(void **known, const char *name)
{
	if (!*known)
		*known = dlsym(RTLD_NEXT, name);
	return *known;
}

static struct timespec scaled(const struct timespec *t, long long times, long long parts)
{
	long long ns = (t->tv_sec * 1000000000LL + t->tv_nsec) * times / parts;

	return (struct timespec){ ns / 1000000000, (long)(ns % 1000000000) };
}

// Rounded up: a wait that ends a little early by the tool's clock is begun again and again.
static int shorter(int ms)
{
	return ms > 0 ? (ms + TIMES - 1) / TIMES : ms;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
	static void *known;
	int (*const call)(clockid_t, struct timespec *) = real(&known, "clock_gettime");
	int r = call(clock, t);

	if (r == 0 && clock == CLOCK_MONOTONIC)
		*t = scaled(t, TIMES, 1);
	return r;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *t, struct timespec *left)
{
	static void *known;
	int (*const call)(clockid_t, int, const struct timespec *, struct timespec *) =
		real(&known, "clock_nanosleep");
	struct timespec less = scaled(t, 1, TIMES);

	if (clock != CLOCK_MONOTONIC)
		return call(clock, flags, t, left);
	int r = call(clock, flags, &less, left);
	if (r != 0 && left && !flags)
		*left = scaled(left, TIMES, 1);
	return r;
}

int poll(struct pollfd *p, nfds_t n, int ms)
{
	static void *known;
	int (*const call)(struct pollfd *, nfds_t, int) = real(&known, "poll");

	return call(p, n, shorter(ms));
}

int epoll_wait(int fd, struct epoll_event *events, int n, int ms)
{
	static void *known;
	int (*const call)(int, struct epoll_event *, int, int) = real(&known, "epoll_wait");

	return call(fd, events, n, shorter(ms));
}
