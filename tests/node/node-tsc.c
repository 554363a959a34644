// SPDX-License-Identifier: MIT
// node-tsc: prints the rate of the time stamp counter in kHz. A guest on an emulated processor is
// told it, for its own calibration may spin for ever when the machine is busy.
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double raw_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(void)
{
	double at = raw_ns(), ns;
	uint64_t from = __builtin_ia32_rdtsc();

	(void)usleep(100 * 1000);
	ns = raw_ns() - at;
	return printf("%.0f\n", (double)(__builtin_ia32_rdtsc() - from) * 1e6 / ns) < 0;
}
