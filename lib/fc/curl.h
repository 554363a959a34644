// SPDX-License-Identifier: MIT
// libcurl, loaded when it is first needed: with what it brings (TLS, Kerberos, LDAP) it is thirty
// libraries, and three quarters of the start of a tool that then asks no VMM anything.
#pragma once
#include "base/err.h"
#include <curl/curl.h>

struct curl_calls {
	typeof(curl_easy_init) *init;
	typeof(curl_easy_cleanup) *finish;
	typeof(curl_easy_reset) *reset;
	typeof(curl_easy_setopt) *setopt;
	typeof(curl_easy_perform) *perform;
	typeof(curl_easy_getinfo) *getinfo;
	typeof(curl_easy_strerror) *strerror;
	typeof(curl_slist_append) *slist_append;
	typeof(curl_slist_free_all) *slist_free_all;
};

// It stays until the process ends. To be called before rights to new code are given up.
int curl_load(const struct curl_calls **ret, struct err *e) MUST_CHECK;
