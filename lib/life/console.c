// SPDX-License-Identifier: MIT
#include "life/console.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "base/proc.h"
#include "life/backend.h"
#include <fcntl.h>
#include <sys/stat.h>

#define OLDER "console.0"
#define NEWER "console.1"

int console_open(struct console *c, int dir, struct err *e)
{
	c->dir = dir;
	c->used = 0;
	if (unlinkat(dir, OLDER, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove " OLDER);
	c->fd = openat(dir, NEWER, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
		       0600);
	return c->fd < 0 ? err_sys(e, "create " NEWER) : 0;
}

int console_add(struct console *c, const void *data, size_t len, struct err *e)
{
	if (c->used + len > CONSOLE_KEEP / 2) {
		(void)close(c->fd);
		if (renameat(c->dir, NEWER, c->dir, OLDER) < 0)
			return err_sys(e, "rename " NEWER);
		c->fd = openat(c->dir, NEWER,
			       O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
			       0600);
		if (c->fd < 0)
			return err_sys(e, "create " NEWER);
		c->used = 0;
	}
	c->used += len;
	return fd_write_all(c->fd, data, len, e);
}

static int tail_of_file(int dir, const char *name, struct buf *out, struct err *e)
{
	struct err why = { 0 };

	if (fd_read_file(dir, name, CONSOLE_KEEP, out, &why) == 0 || why.no == ENOENT)
		return 0;
	*e = why;
	return -e->no;
}

static int tail_direct(const struct address *a, struct buf *out, struct err *e)
{
	cleanup_fd int dir = -1;
	path_text path;

	path_run_instance(a->instance, path);
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0; // it never ran, or not since the host booted
	dir = fd_open_dir(AT_FDCWD, path, e);
	if (dir < 0)
		return -e->no;
	if (tail_of_file(dir, OLDER, out, e) < 0)
		return -e->no;
	return tail_of_file(dir, NEWER, out, e);
}

// The id of the present or last run, "" when there was none. systemd forgets a unit that ended
// well; the journal does not.
static int last_run(const char *unit, char id[33], struct err *e)
{
	const char *const manager[] = { "systemctl",	"show", "--value", "-p",
					"InvocationID", unit,	NULL };
	char match[300];
	const char *const journal[] = {
		"journalctl", "-q", "-o",  "cat", "--output-fields=_SYSTEMD_INVOCATION_ID",
		"-n",	      "1",  match, NULL
	};
	const char *const *const ask[] = { manager, journal };

	id[0] = '\0';
	base_cut(match, sizeof(match), "_SYSTEMD_UNIT=%s", unit);
	for (size_t i = 0; i < COUNT(ask) && !id[0]; i++) {
		cleanup_proc_result struct proc_result r = { 0 };

		if (proc_capture(ask[i], NULL, KIB, 20000, &r, e) < 0)
			return -e->no;
		if (r.out.len >= 32)
			(void)snprintf(id, 33, "%.32s", buf_text(&r.out));
	}
	return 0;
}

// The journal lags behind a unit that has just ended: it is synced first. Only the lines of the
// last run count, hence its id.
static int tail_journal(const struct address *a, struct buf *out, struct err *e)
{
	const char *const sync[] = { "journalctl", "--sync", NULL };
	cleanup_proc_result struct proc_result synced = { 0 }, text = { 0 };
	char unit[256], id[33], match[80];

	name_unit(a, unit);
	if (proc_capture(sync, NULL, KIB, 10000, &synced, e) < 0 || last_run(unit, id, e) < 0)
		return -e->no;
	if (!id[0])
		return 0;
	base_cut(match, sizeof(match), "_SYSTEMD_INVOCATION_ID=%s", id);
	const char *const read[] = { "journalctl", "-q",   "-o",  "cat", "--no-pager",
				     "-n",	   "4000", match, NULL };

	if (proc_capture(read, NULL, 16 * MIB, 20000, &text, e) < 0)
		return -e->no;
	buf_add(out, buf_text(&text.out), text.out.len);
	return 0;
}

int console_tail(const struct address *a, size_t max, struct buf *out, struct err *e)
{
	enum backend_kind kind;
	int r;

	if (backend_kind(&kind, e) < 0)
		return -e->no;
	r = kind == BACKEND_SYSTEMD ? tail_journal(a, out, e) : tail_direct(a, out, e);
	if (r == 0 && out->len > max)
		buf_drop(out, out->len - max);
	return r;
}

// "2026-11-21T10:04:30.281308059 [i-08be3767:main] ..."
static bool is_vmm_line(const char *line, size_t len, const char *instance)
{
	char mark[24];

	if (len < 40 || line[4] != '-' || line[10] != 'T' || line[19] != '.' ||
	    base_fmt(mark, sizeof(mark), " [%s:", instance) < 0)
		return false;
	return memcmp(line + 29, mark, strlen(mark)) == 0;
}

void console_filter(const struct buf *text, const char *instance, bool vmm, struct buf *out)
{
	const char *line = buf_text(text), *end = line + text->len;

	while (line < end) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		size_t len = newline ? (size_t)(newline - line) + 1 : (size_t)(end - line);

		if (is_vmm_line(line, len, instance) == vmm)
			buf_add(out, line, len);
		line += len;
	}
}

static void add_lines(const char *from, const char *to, char *out, size_t size)
{
	size_t used = strlen(out);

	for (; from < to && used + 4 < size; from++) {
		if (*from == '\n' && from + 1 < to && from[1] != '\n')
			used += (size_t)snprintf(out + used, size - used, " | ");
		else if (*from != '\n' && *from != '\r')
			out[used++] = *from;
	}
	out[used] = '\0';
}

void console_excerpt(const struct buf *text, unsigned count, char *out, size_t size)
{
	const char *all = buf_text(text), *end = all + text->len, *from, *panic, *gap = " | ";

	out[0] = '\0';
	while (end > all && (end[-1] == '\n' || end[-1] == '\r'))
		end--;
	for (from = end; from > all; from--)
		if (from[-1] == '\n' && --count == 0)
			break;
	panic = strstr(all, "Kernel panic");
	if (panic && panic < from) {
		add_lines(panic, panic + strcspn(panic, "\n"), out, size);
		add_lines(gap, gap + strlen(gap), out, size);
	}
	add_lines(from, end, out, size);
	log_clean(out);
}
