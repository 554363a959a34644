// SPDX-License-Identifier: MIT
// The rate of the time-stamp counter. Under emulation a guest sees the host's counter, and its own
// calibration of it may spin for ever on a busy host, so it is told the rate. A snapshot carries
// it: on a host of another rate the guest's clock would run wrong.
#include <time.h>

#include "base/clock.h"
#include "fc/qemu_parts.h"

#define BASE_MS 20 // the two reads are some 100 ns uncertain: 10 in a million

static uint64_t counter(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return 0;
#endif
}

static uint64_t raw_ns(void)
{
	struct timespec t;

	// MONOTONIC is steered by NTP, so its second is not the counter's.
	(void)clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void qemu_tsc_sample(struct qemu_tsc *out)
{
	uint64_t best = UINT64_MAX;

	// The pair with the shortest way between its two reads was not interrupted.
	for (int i = 0; i < 16; i++) {
		uint64_t before = raw_ns(), tsc = counter(), after = raw_ns();

		if (after - before < best) {
			best = after - before;
			out->ns = before + best / 2;
			out->tsc = tsc;
		}
	}
}

uint64_t qemu_tsc_khz(const struct qemu_tsc *since)
{
	struct qemu_tsc now;
	uint64_t passed = raw_ns() - since->ns;

	if (passed < (uint64_t)BASE_MS * 1000000)
		clock_sleep_ms(BASE_MS - (int64_t)(passed / 1000000u));
	qemu_tsc_sample(&now);
	// kHz = ticks per millisecond; ticks of an hour times 10^6 still fit, longer is cut short.
	uint64_t ticks = now.tsc - since->tsc, ns = now.ns - since->ns;

	while (ticks > UINT64_MAX / 1000000u) {
		ticks >>= 1;
		ns >>= 1;
	}
	return ns ? ticks * 1000000u / ns : 0;
}
