// SPDX-License-Identifier: MIT
// One digest over all that is below a directory: names, what links lead to, contents of files.
//	tree DIR [EXCEPT...]	without what has such a name (a pattern), and what is below that
// One process instead of a pipeline of five: tests ask before and after each refusal. Of a file
// what is not zero is added, each block with its place: memories and disks are holes for the most
// part.
#include <fcntl.h>
#include <fnmatch.h>
#include <fts.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sha256.h"

static struct sha256 sum;

static void add_text(const char *s)
{
	sha256_add(&sum, s, strlen(s) + 1);
}

#define BLOCK 4096

static void add_blocks(const char *bytes, size_t len, off_t at)
{
	static const char zeros[BLOCK];

	for (size_t i = 0; i < len; i += BLOCK) {
		size_t n = MIN(len - i, (size_t)BLOCK);
		off_t place = at + (off_t)i;

		if (memcmp(bytes + i, zeros, n) == 0)
			continue;
		sha256_add(&sum, &place, sizeof(place));
		sha256_add(&sum, bytes + i, n);
	}
}

// By content: which zeros are holes is the file system's business, and may change when it writes.
static int add_file(const FTSENT *f)
{
	cleanup_fd int fd = open(f->fts_accpath, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	static char bytes[16 * BLOCK];
	off_t at = 0;
	ssize_t n;

	if (fd < 0)
		return -1;
	sha256_add(&sum, &f->fts_statp->st_size, sizeof(f->fts_statp->st_size));
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		at -= at % BLOCK; // so that a block is the same one wherever the data begin
		n = pread(fd, bytes, sizeof(bytes), at);
		if (n <= 0)
			return n < 0 ? -1 : 0;
		add_blocks(bytes, (size_t)n, at);
		at += n;
	}
	return errno == ENXIO ? 0 : -1; // no data from there on
}

static int add(const FTSENT *f)
{
	char to[4096];
	ssize_t n;

	add_text(f->fts_path);
	switch (f->fts_info) {
	case FTS_F:
		return add_file(f);
	case FTS_SL:
	case FTS_SLNONE:
		n = readlink(f->fts_accpath, to, sizeof(to));
		sha256_add(&sum, to, n > 0 ? (size_t)n : 0);
		return n < 0 ? -1 : 0;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return -1;
	default:
		return 0;
	}
}

static bool excepted(const FTSENT *f, char **patterns)
{
	for (; f->fts_level > 0 && *patterns; patterns++)
		if (fnmatch(*patterns, f->fts_name, 0) == 0)
			return true;
	return false;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

int main(int argc, char **argv)
{
	char *const here[] = { (char[]){ "." }, NULL };
	uint8_t out[32];
	FTSENT *f;
	FTS *fts;

	if (argc < 2 || chdir(argv[1]) < 0) {
		perror(argc < 2 ? "tree DIR [EXCEPT...]" : argv[1]);
		return 1;
	}
	fts = fts_open(here, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	if (!fts)
		return 1;
	sha256_begin(&sum);
	while ((f = fts_read(fts)))
		if (excepted(f, argv + 2))
			(void)fts_set(fts, f, FTS_SKIP);
		else if (f->fts_info != FTS_DP && add(f) < 0) {
			perror(f->fts_path);
			return 1;
		}
	(void)fts_close(fts);
	sha256_end(&sum, out);
	for (size_t i = 0; i < sizeof(out); i++)
		printf("%02x", out[i]);
	(void)putchar('\n');
	return 0;
}
