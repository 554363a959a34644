// SPDX-License-Identifier: MIT
#include "fc/curl.h"
#include "tap.h"
#include <link.h>

static int is_curl(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	return strstr(info->dlpi_name, "libcurl") != NULL;
}

TEST(libcurl_is_loaded_by_its_first_use_and_once)
{
	const struct curl_calls *one = NULL, *two = NULL;
	struct err e = { 0 };

	CHECK(!dl_iterate_phdr(is_curl, NULL)); // nor does a tool have it from its start
	CHECK(curl_load(&one, &e) == 0);
	CHECK(dl_iterate_phdr(is_curl, NULL) != 0);
	CHECK(curl_load(&two, &e) == 0 && one == two);
}

TEST(its_calls_are_those_of_the_header)
{
	const struct curl_calls *calls = NULL;
	struct err e = { 0 };
	char *url = NULL;
	CURL *c;

	CHECK(curl_load(&calls, &e) == 0);
	c = calls->init();
	CHECK(c != NULL);
	CHECK(calls->setopt(c, CURLOPT_URL, "file:///nothing/there") == CURLE_OK);
	CHECK(calls->perform(c) == CURLE_FILE_COULDNT_READ_FILE);
	CHECK(calls->getinfo(c, CURLINFO_EFFECTIVE_URL, &url) == CURLE_OK);
	CHECK_STR(url, "file:///nothing/there");
	CHECK(*calls->strerror(CURLE_FILE_COULDNT_READ_FILE) != '\0');
	calls->reset(c);
	CHECK(calls->perform(c) == CURLE_URL_MALFORMAT); // it has none any more
	calls->finish(c);
	calls->slist_free_all(calls->slist_append(NULL, "a: b"));
}
