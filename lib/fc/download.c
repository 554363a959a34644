// SPDX-License-Identifier: MIT
#include "fc/download.h"
#include "base/fd.h"
#include "base/tool.h"
#include <curl/curl.h>
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

static void set_options(CURL *c, const char *url, struct sink *s, char *why)
{
	// Plain HTTP only where nobody is in between.
	bool loopback = str_starts(url, "http://127.0.0.1:") || str_starts(url, "http://[::1]:");

	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, loopback ? "http" : "https");
	curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, loopback ? "http" : "https");
	curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(c, CURLOPT_MAXREDIRS, 5L);
	curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, 20000L);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1024L);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, 30L);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, s);
	curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, progress);
	curl_easy_setopt(c, CURLOPT_XFERINFODATA, s);
	curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, why);
}

int download(const char *url, int dirfd, const char *name, uint64_t max, struct err *e)
{
	char why[CURL_ERROR_SIZE] = "";
	cleanup_fd int fd =
		openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct sink s = { .fd = fd, .max = max, .what = url, .e = e };
	CURLcode rc;
	CURL *c;

	if (fd < 0)
		return err_sys(e, "create %s", name);
	c = curl_easy_init();
	if (!c)
		return err_set(e, ENOMEM, "libcurl");
	set_options(c, url, &s, why);
	rc = curl_easy_perform(c);
	curl_easy_cleanup(c);
	if (rc == CURLE_OK && fsync(fd) == 0)
		return 0;
	if (rc == CURLE_OK)
		(void)err_sys(e, "sync %s", name);
	else if (!e->no)
		(void)err_kind(e, rc == CURLE_HTTP_RETURNED_ERROR ? ERR_MISSING : ERR_UNAVAILABLE,
			       "%s", *why ? why : curl_easy_strerror(rc));
	(void)unlinkat(dirfd, name, 0);
	return err_wrap(e, "fetch %s", url);
}
