// SPDX-License-Identifier: MIT
#include "fc/curl.h"
#include <dlfcn.h>

#define LIBRARY "libcurl.so.4"

#define CALL(member, symbol)                                 \
	{                                                    \
		offsetof(struct curl_calls, member), #symbol \
	}

static const struct {
	size_t at;
	const char *symbol;
} calls[] = {
	CALL(init, curl_easy_init),
	CALL(finish, curl_easy_cleanup),
	CALL(reset, curl_easy_reset),
	CALL(setopt, curl_easy_setopt),
	CALL(perform, curl_easy_perform),
	CALL(getinfo, curl_easy_getinfo),
	CALL(strerror, curl_easy_strerror),
	CALL(slist_append, curl_slist_append),
	CALL(slist_free_all, curl_slist_free_all),
};

static int look_up(void *library, struct curl_calls *to, struct err *e)
{
	for (size_t i = 0; i < COUNT(calls); i++) {
		void *call = dlsym(library, calls[i].symbol);

		if (!call)
			return err_kind(e, ERR_FAILED, LIBRARY " has no %s", calls[i].symbol);
		memcpy((char *)to + calls[i].at, &call,
		       sizeof(call)); // POSIX: they are of one size
	}
	return 0;
}

int curl_load(const struct curl_calls **ret, struct err *e)
{
	static struct curl_calls loaded;
	struct curl_calls found;
	void *library;

	if (!loaded.init) {
		library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
		if (!library)
			return err_kind(e, ERR_FAILED, "load libcurl: %s", dlerror());
		if (look_up(library, &found, e) < 0)
			return -e->no;
		loaded = found;
	}
	*ret = &loaded;
	return 0;
}
