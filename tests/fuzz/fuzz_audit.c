// SPDX-License-Identifier: MIT
// Any bytes as an audit log: each line is listed as an entry or as damage, what is listed is JSON,
// verify looks at as many lines, and a writer can always go on behind them. The same bytes as a
// packed file do not get anybody further than an error.
#include "audit/list.h"
#include "audit/verify.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "base/fd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static int memory(const uint8_t *data, size_t size)
{
	int fd = memfd_create("log", MFD_CLOEXEC);
	struct err e = { 0 };

	must(fd >= 0 && fd_write_all(fd, data, size, &e) == 0);
	return fd;
}

static void one_file(struct audit_files *f, const char *name, const uint8_t *data, size_t size)
{
	*f = (struct audit_files){ .path = "/x", .tenant = "acme", .len = 1 };
	f->items[0] = (struct audit_file){ name, str_ends(name, ".gz"), memory(data, size),
					   (int64_t)size };
}

static void read_plain(const uint8_t *data, size_t size)
{
	const struct audit_query q = { .action = -1 };
	cleanup(verify_free) struct verify_report r = { 0 };
	cleanup_rows struct audit_rows rows = ROWS_NONE;
	cleanup_files struct audit_files f = FILES_NONE;
	cleanup_buf struct buf out = BUF_INIT;
	struct err e = { 0 };
	size_t lines = 0;

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	one_file(&f, AUDIT_LOG, data, size);
	must(list_collect(&f, &q, &rows, &e) == 0);
	must(rows.texts.len == lines && rows.damaged <= lines);
	list_print(&rows, &out);
	must(codec_check(out.data, out.len, &e) == 0);
	verify_begin("acme", &r);
	must(verify_log(&f, &r, &e) == 0);
	must(r.entries + rows.damaged == lines && r.ok == !r.bad && r.bad >= rows.damaged);
}

static void read_packed(const uint8_t *data, size_t size)
{
	cleanup(verify_free) struct verify_report r = { 0 };
	cleanup_files struct audit_files f = FILES_NONE;
	struct err e = { 0 };

	one_file(&f, AUDIT_LOG ".1.gz", data, size);
	verify_begin("acme", &r);
	must(verify_log(&f, &r, &e) == 0);
}

static char path[] = "/dev/shm/fuzz-audit-XXXXXX";

static void forget(void)
{
	struct err ignored = { 0 };

	(void)!fd_remove_tree(AT_FDCWD, path, &ignored);
}

// Behind what is there comes a line that decodes, and nothing unfinished.
static void go_on(const uint8_t *data, size_t size)
{
	static int dir = -1;
	const struct audit_event event = { .action = AUDIT_POOL_BUILT, .detail = "next" };
	cleanup_trail struct audit_trail t = TRAIL_NONE;
	cleanup_buf struct buf text = BUF_INIT;
	struct audit_entry entry = { 0 };
	struct err e = { 0 };

	if (dir < 0) {
		must(mkdtemp(path) != NULL);
		dir = fd_open_dir(AT_FDCWD, path, &e);
		must(dir >= 0 && atexit(forget) == 0);
	}
	for (size_t i = 0; trail_files[i]; i++)
		(void)unlinkat(dir, trail_files[i], 0);
	cleanup_fd int fd = openat(dir, AUDIT_LOG, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && fd_write_all(fd, data, size, &e) == 0);
	must(trail_open(&t, dir, "acme", &e) == 0);
	must(trail_add(&t, &event, &e) == 0);
	must(fd_read_file(dir, AUDIT_LOG, 64 * MIB, &text, &e) == 0);
	must(text.len > 1 && text.data[text.len - 1] == '\n');
	const char *before = memrchr(text.data, '\n', text.len - 1);
	const char *line = before ? before + 1 : text.data;

	must(audit_parse_line(line, (size_t)(text.data + text.len - 1 - line), &entry, &e) == 0);
	must(entry.seq == t.seq && str_eq(entry.detail, "next"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)setenv("MVM_LOG_LEVEL", "error", 1);
	if (size > 256 * KIB)
		return 0;
	read_plain(data, size);
	read_packed(data, size);
	go_on(data, size);
	return 0;
}
