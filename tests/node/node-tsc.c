// SPDX-License-Identifier: MIT
// node-tsc: prints the rate of the time stamp counter in kHz. A guest on an emulated processor is
// told it, for its own calibration may spin for ever when the machine is busy.
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LOOKS 50

struct moment {
	double ns;
	uint64_t ticks;
};

static double raw_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

// On a busy machine anything may come between two clocks; the tightest of some looks is taken.
static struct moment look(void)
{
	struct moment best = { 0 };
	double tightest = 0;

	for (int n = 0; n < LOOKS; n++) {
		double before = raw_ns();
		uint64_t ticks = __builtin_ia32_rdtsc();
		double took = raw_ns() - before;

		if (n == 0 || took < tightest) {
			tightest = took;
			best = (struct moment){ .ns = before + took / 2, .ticks = ticks };
		}
	}
	return best;
}

int main(void)
{
	struct moment from = look(), to;

	(void)usleep(100 * 1000);
	to = look();
	return printf("%.0f\n", (double)(to.ticks - from.ticks) * 1e6 / (to.ns - from.ns)) < 0;
}
