// SPDX-License-Identifier: MIT
#include "disk/numbered.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/num.h"

static bool parse(const char *name, const char *suffix, uint64_t *ret)
{
	const char *dot = strchr(name, '.');
	struct err ignored = { 0 };
	char number[24];

	return dot && str_eq(dot, suffix) &&
	       base_fmt(number, sizeof(number), "%.*s", (int)(dot - name), name) >= 0 &&
	       num_u64(number, 0, UINT64_MAX, ret, &ignored) == 0;
}

void numbered_prune(const struct store *s, const char *directory, const char *suffix,
		    uint64_t newest, uint64_t kept)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	struct err ignored = { 0 };
	cleanup_fd int dir = fd_open_dir(s->dir, directory, &ignored);
	uint64_t oldest = newest >= kept ? newest - kept + 1 : 0, n;

	if (dir < 0 || store_list(s, directory, &names, &ignored) < 0)
		return;
	for (size_t i = 0; i < names.len; i++)
		if (parse(names.items[i], suffix, &n) && (n > newest || n < oldest) &&
		    unlinkat(dir, names.items[i], 0) < 0)
			log_warn(s->name, "remove %s/%s: %s", directory, names.items[i],
				 strerror(errno));
}
