// SPDX-License-Identifier: MIT
#include "json/lines.h"

static int one_line(const struct field *tab, size_t rec_size, const char *text, size_t len,
		    lines_fn fn, void *arg, struct err *e)
{
	cleanup_free void *rec = base_alloc(1, rec_size);

	if (codec_parse(tab, text, len, rec, e) < 0)
		return -e->no;
	int rc = fn(arg, rec, e);
	codec_free(tab, rec);
	return rc;
}

int lines_each(const struct field *tab, size_t rec_size, const char *text, size_t len, lines_fn fn,
	       void *arg, bool *ret_torn, struct err *e)
{
	size_t number = 1;

	for (size_t at = 0; at < len; number++) {
		const char *end = memchr(text + at, '\n', len - at);

		if (!end) {
			*ret_torn = true;
			return 0;
		}
		size_t n = (size_t)(end - text) - at;
		if (one_line(tab, rec_size, text + at, n, fn, arg, e) < 0)
			return err_wrap(e, "line %zu", number);
		at += n + 1;
	}
	*ret_torn = false;
	return 0;
}

int lines_append(int fd, const struct field *tab, const void *rec, struct err *e)
{
	cleanup_buf struct buf line = BUF_INIT;
	ssize_t n;

	codec_print(tab, rec, &line);
	buf_char(&line, '\n');
	do
		n = write(fd, line.data, line.len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, "append");
	if ((size_t)n != line.len) // the rest would not be one write any more
		return err_set(e, ENOSPC, "append: only %zd of %zu bytes were written", n,
			       line.len);
	return 0;
}
