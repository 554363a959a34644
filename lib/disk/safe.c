// SPDX-License-Identifier: MIT
#include "disk/safe.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define PIECE 65536u

void safe_free(struct safe *s)
{
	if (s->data) {
		explicit_bzero(s->data, s->size);
		(void)munmap(s->data, s->size);
	}
	*s = (struct safe)SAFE_NONE;
}

int safe_more(struct safe *s, size_t bytes, struct err *e)
{
	struct safe wider = { .len = s->len };

	if (bytes <= s->size - s->len)
		return 0;
	// Doubled, since each growth copies; whole pages, since only these are locked.
	wider.size = (MAX(s->len + bytes, 2 * s->size) + PIECE - 1) / PIECE * PIECE;
	wider.data =
		mmap(NULL, wider.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (wider.data == MAP_FAILED)
		return err_sys(e, "memory for secrets");
	if (mlock(wider.data, wider.size) < 0 ||
	    madvise(wider.data, wider.size, MADV_DONTDUMP) < 0) {
		(void)err_sys(e, "lock the memory for secrets");
		safe_free(&wider);
		return err_hint(e, "raise the limit of locked memory (ulimit -l)");
	}
	if (s->len)
		memcpy(wider.data, s->data, s->len);
	safe_free(s);
	*s = wider;
	return 0;
}

int safe_add(struct safe *s, const void *data, size_t len, struct err *e)
{
	if (safe_more(s, len, e) < 0)
		return -e->no;
	if (len)
		memcpy(s->data + s->len, data, len);
	s->len += len;
	return 0;
}

int safe_read(struct safe *s, int fd, size_t max, struct err *e)
{
	size_t total = 0;

	for (;;) {
		ssize_t n;

		if (safe_more(s, PIECE, e) < 0)
			return -e->no;
		n = read(fd, s->data + s->len, PIECE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read");
		if (n == 0)
			return 0;
		if ((size_t)n > max - total)
			return err_kind(e, ERR_USAGE, "larger than %zu bytes", max);
		s->len += (size_t)n;
		total += (size_t)n;
	}
}

int safe_process(struct err *e)
{
	const struct rlimit none = { 0, 0 };

	if (prctl(PR_SET_DUMPABLE, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
		return err_sys(e, "forbid core dumps");
	return 0;
}
