// SPDX-License-Identifier: MIT
#include "state/confirm.h"

#include "base/fd.h"

#define SHOWN 10

static void question(const char *what, const struct buf *victims, struct buf *out)
{
	const char *p = victims ? buf_text(victims) : "";
	unsigned n = 0;

	for (; *p; p += strcspn(p, "\n") + 1)
		if (n++ < SHOWN)
			buf_fmt(out, "  %.*s\n", (int)strcspn(p, "\n"), p);
	if (n > SHOWN)
		buf_fmt(out, "  and %u more\n", n - SHOWN);
	buf_fmt(out, "Destroy %s%s for good? [y/N] ", what, n ? " and what is listed above" : "");
}

int confirm_destroy(bool sure, const char *what, const struct buf *victims, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	char answer[8] = "";

	if (sure)
		return 0;
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
		err_usage(e, "%s: not a terminal that could be asked", what);
		return err_hint(e, "--yes or --force says that you mean it");
	}
	question(what, victims, &text);
	if (fd_write_all(STDERR_FILENO, text.data, text.len, e) < 0)
		return -e->no;
	ssize_t n = read(STDIN_FILENO, answer, sizeof(answer) - 1);
	if (n > 0 && (answer[0] == 'y' || answer[0] == 'Y'))
		return 0;
	return err_kind(e, ERR_FAILED, "%s: not confirmed, nothing was done", what);
}
