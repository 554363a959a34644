// SPDX-License-Identifier: MIT
// The guest's part of torture.sh. It writes records, numbered and with a checksum, to DATA, which
// is on a disk, and to MEM, which is on a tmpfs; and a number counts in MEM after its record is
// synced on DATA. So the two never tell different stories, unless a memory met disks of another
// time.
//	recorder run MEM DATA	from the last whole record of DATA on, until it is killed
//	recorder check MEM DATA	prints MEM's count and DATA's, or says what is wrong (3)
//	recorder count DATA	prints how many whole records DATA begins with
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define RECORDS	 (1u << 18)
#define PAUSE_NS 4000000

struct record {
	uint64_t number, sum;
};
struct memory {
	volatile uint64_t first, count, beats;
	struct record records[RECORDS];
};

static uint64_t sum_of(uint64_t n)
{
	for (int i = 0; i < 3; i++)
		n = (n ^ n >> 31) * 0x9e3779b97f4a7c15u + 1;
	return n;
}

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct memory *map(const char *path, int flags)
{
	int fd = open(path, O_RDWR | flags, 0600);
	struct memory *m;

	if (fd < 0 || (flags && ftruncate(fd, sizeof(*m)) < 0))
		fail(path);
	m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		fail(path);
	(void)close(fd);
	return m;
}

static uint64_t whole(int fd)
{
	struct record r[256];
	uint64_t n = 0;

	for (;;) {
		ssize_t got = pread(fd, r, sizeof(r), (off_t)(n * sizeof(*r)));

		if (got < 0)
			fail("read");
		for (size_t i = 0; i < (size_t)got / sizeof(*r); i++, n++)
			if (r[i].number != n + 1 || r[i].sum != sum_of(n + 1))
				return n;
		if ((size_t)got < sizeof(r))
			return n;
	}
}

static int run(const char *mem, const char *data)
{
	const struct timespec pause = { 0, PAUSE_NS };
	char aside[256];
	struct memory *m;
	int fd = open(data, O_RDWR | O_CREAT, 0600);
	uint64_t n;

	(void)snprintf(aside, sizeof(aside), "%s.new", mem);
	m = map(aside, O_CREAT | O_EXCL);
	if (fd < 0)
		fail(data);
	n = whole(fd); // what a crash cut off was never told of
	if (ftruncate(fd, (off_t)(n * sizeof(struct record))) < 0 || fsync(fd) < 0)
		fail(data);
	m->first = n + 1;
	m->count = n;
	if (rename(aside, mem) < 0)
		fail(mem);
	while (++n < RECORDS) {
		struct record r = { n, sum_of(n) };

		m->records[n] = r;
		if (pwrite(fd, &r, sizeof(r), (off_t)((n - 1) * sizeof(r))) != sizeof(r) ||
		    fdatasync(fd) < 0)
			fail(data);
		m->count = n;
		m->beats++;
		(void)nanosleep(&pause, NULL);
	}
	return 1;
}

static int wrong(const char *what, uint64_t a, uint64_t b)
{
	printf("%s: %" PRIu64 ", %" PRIu64 "\n", what, a, b);
	return 3;
}

static int check(const char *mem, const char *data)
{
	struct memory *m = map(mem, 0);
	uint64_t before = m->count, beats = m->beats, on_disk, after;
	int fd = open(data, O_RDONLY);

	// What the disk has, not what the memory remembers of it.
	if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		fail(data);
	for (uint64_t n = m->first; n <= before; n++)
		if (m->records[n].number != n || m->records[n].sum != sum_of(n))
			return wrong("the memory's record is wrong", n, m->records[n].number);
	on_disk = whole(fd);
	after = m->count;
	if (on_disk < before)
		return wrong("the disk has lost what the memory knows to be there", on_disk,
			     before);
	if (on_disk > after + 1)
		return wrong("the memory is older than its disk", after, on_disk);
	for (int i = 0; m->beats == beats; i++) {
		if (i == 500)
			return wrong("the writer stands still", before, beats);
		(void)usleep(10000);
	}
	printf("%" PRIu64 " %" PRIu64 "\n", before, on_disk);
	return 0;
}

int main(int argc, char **argv)
{
	int fd;

	if (argc == 4 && strcmp(argv[1], "run") == 0)
		return run(argv[2], argv[3]);
	if (argc == 4 && strcmp(argv[1], "check") == 0)
		return check(argv[2], argv[3]);
	if (argc != 3 || strcmp(argv[1], "count") != 0)
		return 2;
	fd = open(argv[2], O_RDONLY);
	if (fd < 0)
		fail(argv[2]);
	printf("%" PRIu64 "\n", whole(fd));
	return 0;
}
