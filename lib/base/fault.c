// SPDX-License-Identifier: MIT
#include "base/fault.h"

#include <signal.h>

#include "base/clock.h"
#include "base/num.h"

#define ENTRIES 8

static int errno_named(const char *name)
{
	static const struct {
		const char *name;
		int no;
	} names[] = {
		{ "EACCES", EACCES }, { "EAGAIN", EAGAIN },	    { "EBUSY", EBUSY },
		{ "EDQUOT", EDQUOT }, { "EINTR", EINTR },	    { "EIO", EIO },
		{ "EMFILE", EMFILE }, { "ENOENT", ENOENT },	    { "ENOMEM", ENOMEM },
		{ "ENOSPC", ENOSPC }, { "EPERM", EPERM },	    { "EPIPE", EPIPE },
		{ "EROFS", EROFS },   { "ECONNRESET", ECONNRESET }, { "ETIMEDOUT", ETIMEDOUT },
	};

	for (size_t i = 0; i < COUNT(names); i++)
		if (str_eq(name, names[i].name))
			return names[i].no;
	return EIO;
}

static bool act(const char *action)
{
	struct err ignored = { 0 };
	uint64_t ms;

	if (str_eq(action, "kill")) {
		(void)kill(getpid(), SIGKILL);
		__builtin_trap(); // behind a filter that forbids the call
	}
	if (str_eq(action, "stop"))
		(void)kill(getpid(), SIGSTOP);
	if (str_starts(action, "sleep=") && num_u64(action + 6, 0, 600000, &ms, &ignored) == 0)
		clock_sleep_ms((int64_t)ms);
	if (!str_starts(action, "err="))
		return false;
	errno = errno_named(action + 4);
	return true;
}

bool fault_point(const char *point)
{
	static uint64_t passed[ENTRIES];
	const char *list = getenv("MVM_FAULT");
	bool fail = false;

	for (size_t i = 0; list && list[0] && i < ENTRIES; i++) {
		size_t len = strcspn(list, ",");
		char entry[128], *action, *nth;
		struct err ignored = { 0 };
		uint64_t only = 0;

		if (base_fmt(entry, sizeof(entry), "%.*s", (int)len, list) < 0)
			return false;
		list += list[len] ? len + 1 : len;
		action = strchr(entry, ':');
		if (!action)
			continue;
		*action++ = '\0';
		nth = strchr(action, '@');
		if (nth)
			*nth++ = '\0';
		if (nth && num_u64(nth, 1, UINT64_MAX, &only, &ignored) < 0)
			continue;
		if (!str_eq(entry, point))
			continue;
		passed[i]++;
		if (only == 0 || only == passed[i])
			fail = act(action) || fail;
	}
	return fail;
}
