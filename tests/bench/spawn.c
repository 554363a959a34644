// SPDX-License-Identifier: MIT
// What one start and end of PROGRAM takes at least, told by who does nothing else: the median in
// us of COUNT times vfork, exec and wait. Static, for the inside of a guest.
//	spawn COUNT PROGRAM
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int by_size(const void *a, const void *b)
{
	const long *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv)
{
	static long took[1000];
	size_t n = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
	int status = 0;

	if (n < 1 || n > sizeof(took) / sizeof(*took))
		return 2;
	for (size_t i = 0; i < n; i++) {
		long begun = now_us();
		pid_t pid = vfork();

		if (pid == 0) {
			(void)execl(argv[2], argv[2], (char *)NULL);
			_exit(127);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			return 1;
		took[i] = now_us() - begun;
	}
	qsort(took, n, sizeof(*took), by_size);
	printf("%ld\n", took[n / 2]);
	return 0;
}
