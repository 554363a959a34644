// SPDX-License-Identifier: MIT
#include "fc/download.h"
#include "base/fd.h"
#include "base/tool.h"
#include "fc/curl.h"
#include <fcntl.h>

struct sink {
	int fd;
	uint64_t used, max;
	const char *what;
	struct err *e;
};

static size_t take(char *data, size_t size, size_t count, void *arg)
{
	struct sink *s = arg;
	size_t len = size * count;

	if (s->used + len > s->max) {
		(void)err_kind(s->e, ERR_FAILED, "more than %llu bytes",
			       (unsigned long long)s->max);
		return 0;
	}
	if (fd_write_all(s->fd, data, len, s->e) < 0)
		return 0;
	s->used += len;
	return len;
}

static int progress(void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total,
		    curl_off_t up_now)
{
	struct sink *s = arg;

	(void)up_total;
	(void)up_now;
	tool_progress(s->what, "download", (uint64_t)now, (uint64_t)total);
	return 0;
}

static void set_options(typeof(curl_easy_setopt) *set, CURL *c, const char *url, struct sink *s,
			char *why)
{
	// Plain HTTP only where nobody is in between.
	bool loopback = str_starts(url, "http://127.0.0.1:") || str_starts(url, "http://[::1]:");

	set(c, CURLOPT_URL, url);
	set(c, CURLOPT_PROTOCOLS_STR, loopback ? "http" : "https");
	set(c, CURLOPT_REDIR_PROTOCOLS_STR, loopback ? "http" : "https");
	set(c, CURLOPT_FOLLOWLOCATION, 1L);
	set(c, CURLOPT_MAXREDIRS, 5L);
	set(c, CURLOPT_FAILONERROR, 1L);
	set(c, CURLOPT_NOSIGNAL, 1L);
	set(c, CURLOPT_CONNECTTIMEOUT_MS, 20000L);
	set(c, CURLOPT_LOW_SPEED_LIMIT, 1024L);
	set(c, CURLOPT_LOW_SPEED_TIME, 30L);
	set(c, CURLOPT_WRITEFUNCTION, take);
	set(c, CURLOPT_WRITEDATA, s);
	set(c, CURLOPT_XFERINFOFUNCTION, progress);
	set(c, CURLOPT_XFERINFODATA, s);
	set(c, CURLOPT_NOPROGRESS, 0L);
	set(c, CURLOPT_ERRORBUFFER, why);
}

int download(const char *url, int dirfd, const char *name, uint64_t max, struct err *e)
{
	const struct curl_calls *calls = NULL;
	char why[CURL_ERROR_SIZE] = "";
	struct sink s = { .max = max, .what = url, .e = e };
	cleanup_fd int fd = -1;
	CURLcode rc;
	CURL *c;

	if (curl_load(&calls, e) < 0)
		return err_wrap(e, "fetch %s", url);
	fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "create %s", name);
	s.fd = fd;
	c = calls->init();
	if (!c)
		return err_set(e, ENOMEM, "libcurl");
	set_options(calls->setopt, c, url, &s, why);
	rc = calls->perform(c);
	calls->finish(c);
	if (rc == CURLE_OK && fsync(fd) == 0)
		return 0;
	if (rc == CURLE_OK)
		(void)err_sys(e, "sync %s", name);
	else if (!e->no)
		(void)err_kind(e, rc == CURLE_HTTP_RETURNED_ERROR ? ERR_MISSING : ERR_UNAVAILABLE,
			       "%s", *why ? why : calls->strerror(rc));
	(void)unlinkat(dirfd, name, 0);
	return err_wrap(e, "fetch %s", url);
}
