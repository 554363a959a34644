// SPDX-License-Identifier: MIT
// Woken by inotify on the directory, it reads from where it was in the present file. When that is
// another file than before, or anything is odd, it asks the list for what came after the last entry
// it saw: a rotation, or two of them, lose nothing.
#include "audit/follow.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/path.h"

#define MASK (IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVE_SELF | IN_DELETE_SELF | IN_ONLYDIR)

struct follow {
	const char *tenant;
	struct audit_query query;
	int dir, notify, out;
	int fd;	  // the present audit.log, -1: none
	off_t at; // up to where it was read
	uint64_t seq;
};

static void follow_close(struct follow *f)
{
	base_closep(&f->dir);
	base_closep(&f->notify);
	base_closep(&f->fd);
}

static int print_rows(struct follow *f, const struct audit_rows *rows, struct err *e)
{
	char *const *texts = rows->texts.items;
	cleanup_buf struct buf out = BUF_INIT;

	for (size_t i = rows->texts.len; i-- > 0;)
		buf_fmt(&out, "%s\n", texts[i]);
	f->seq = MAX(f->seq, rows->last_seq);
	if (fd_write_all(f->out, buf_text(&out), out.len, e) < 0)
		return err_wrap(e, "stdout");
	return 0;
}

// Everything behind f->seq, from all files; goes on behind the present one's end.
static int catch_up(struct follow *f, const struct audit_query *q, struct err *e)
{
	cleanup_files struct audit_files files = FILES_NONE;
	cleanup_rows struct audit_rows rows = ROWS_NONE;
	struct audit_file *last;

	if (files_open(f->tenant, &files, e) < 0 || list_collect(&files, q, &rows, e) < 0)
		return -e->no;
	base_closep(&f->fd);
	f->fd = -1;
	f->at = 0;
	last = files.len ? &files.items[files.len - 1] : NULL;
	if (last && str_eq(last->name, AUDIT_LOG)) {
		cleanup_buf struct buf text = BUF_INIT;
		size_t torn;

		if (files_read(&files, files.len - 1, &text, &torn, e) < 0)
			return -e->no;
		f->fd = fcntl(last->fd, F_DUPFD_CLOEXEC, 3);
		f->at = (off_t)text.len;
	}
	return print_rows(f, &rows, e);
}

static bool is_present(const struct follow *f)
{
	struct stat ours, named;

	if (fstatat(f->dir, AUDIT_LOG, &named, AT_SYMLINK_NOFOLLOW) < 0)
		return f->fd < 0;
	return f->fd >= 0 && fstat(f->fd, &ours) == 0 && ours.st_ino == named.st_ino &&
	       ours.st_dev == named.st_dev;
}

static void take_line(struct follow *f, const char *line, size_t len, struct buf *out)
{
	struct audit_entry entry = { 0 };
	struct err why = { 0 };

	if (audit_parse_line(line, len, &entry, &why) < 0) {
		list_damaged(f->tenant, AUDIT_LOG, f->seq + 1, &why, out);
		buf_char(out, '\n');
		f->seq++;
		return;
	}
	f->seq = entry.seq;
	if (list_wants(&f->query, &entry)) {
		buf_add(out, line, len);
		buf_char(out, '\n');
	}
}

// Whole lines that were added to the present file; of a log that was taken away, too.
static int read_on(struct follow *f, struct err *e)
{
	cleanup_free char *block = base_alloc(1, MIB);
	cleanup_buf struct buf out = BUF_INIT;
	ssize_t n;

	while (f->fd >= 0 && (n = pread(f->fd, block, MIB, f->at)) > 0) {
		const char *end = memrchr(block, '\n', (size_t)n);
		size_t whole = end ? (size_t)(end + 1 - block) : 0;

		for (size_t at = 0; at < whole;) {
			size_t len =
				(size_t)((char *)memchr(block + at, '\n', whole - at) - block - at);

			take_line(f, block + at, len, &out);
			at += len + 1;
		}
		f->at += (off_t)whole;
		if (!whole)
			break;
	}
	if (fd_write_all(f->out, buf_text(&out), out.len, e) < 0)
		return err_wrap(e, "stdout");
	return 0;
}

static bool gone(const struct follow *f)
{
	struct stat ours, named;
	path_text path;

	path_tenant(f->tenant, path);
	return fstat(f->dir, &ours) < 0 || lstat(path, &named) < 0 || ours.st_ino != named.st_ino ||
	       ours.st_dev != named.st_dev;
}

static int wait_change(const struct follow *f, struct err *e)
{
	_Alignas(struct inotify_event) char events[4096];
	ssize_t n;

	do
		n = read(f->notify, events, sizeof(events));
	while (n < 0 && errno == EINTR);
	return n < 0 ? err_sys(e, "inotify") : 0;
}

static int start(struct follow *f, struct err *e)
{
	path_text path;

	path_tenant(f->tenant, path);
	f->dir = fd_open_dir(AT_FDCWD, path, e);
	if (f->dir < 0)
		return -e->no;
	f->notify = inotify_init1(IN_CLOEXEC);
	if (f->notify < 0 || inotify_add_watch(f->notify, path, MASK) < 0)
		return err_sys(e, "inotify");
	return catch_up(f, &f->query, e);
}

int follow_log(const char *tenant, const struct audit_query *q, int out, struct err *e)
{
	cleanup(follow_close) struct follow f = {
		.tenant = tenant, .query = *q, .dir = -1, .notify = -1, .out = out, .fd = -1
	};
	cleanup_files struct audit_files there = FILES_NONE;

	if (files_open(tenant, &there, e) < 0) // with its error for an unknown one
		return -e->no;
	files_close(&there);
	if (start(&f, e) < 0)
		return -e->no;
	for (;;) {
		bool end = gone(&f); // before the last look, so that nothing comes behind it

		if (read_on(&f, e) < 0)
			return -e->no;
		if (end)
			return 0;
		if (!is_present(&f)) {
			struct audit_query rest = f.query;

			rest.last = 0;
			rest.after_seq = f.seq;
			if (catch_up(&f, &rest, e) < 0)
				return gone(&f) ? (err_clear(e), 0) : -e->no;
			continue;
		}
		if (wait_change(&f, e) < 0)
			return -e->no;
	}
}
