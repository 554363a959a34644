// SPDX-License-Identifier: MIT
#include "guest/host_session.h"

static int parse_key(const char *s, size_t len, char *out)
{
	if (len == 1 && s[0] > ' ' && s[0] < 127) {
		*out = s[0];
		return 0;
	}
	if (len != 6 || strncmp(s, "ctrl-", 5) != 0)
		return -1;
	if ((s[5] >= 'a' && s[5] <= 'z') || (s[5] >= '@' && s[5] <= '_')) {
		*out = (char)(s[5] & 0x1f);
		return 0;
	}
	return -1;
}

int guest_keys_parse(const char *s, struct guest_keys *out, struct err *e)
{
	*out = (struct guest_keys){ .count = 0 };
	if (str_eq(s, "none"))
		return 0;
	for (;;) {
		size_t len = strcspn(s, ",");

		if (out->count == GUEST_KEYS_MAX || parse_key(s, len, &out->key[out->count++]) < 0)
			return err_usage(e,
					 "detach keys: not 1 to %d of ctrl-X or X, with commas "
					 "between, or none",
					 GUEST_KEYS_MAX);
		if (!s[len])
			return 0;
		s += len + 1;
	}
}
