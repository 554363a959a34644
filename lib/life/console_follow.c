// SPDX-License-Identifier: MIT
#include "life/console_follow.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/proc.h"
#include "life/backend.h"

#define LOOK_MS	       100
#define DRAIN_MS       500 // for what the journal still has after the VMM's end
#define LINE_MAX_BYTES 65536

struct follow {
	const struct address *a;
	const struct console_want *want;
	int out, fd;
	struct buf text; // since the last whole line
	bool begun;	 // what was there already is out
};

static void follow_clear(struct follow *f)
{
	base_closep(&f->fd);
	buf_free(&f->text);
}

int console_check_since(uint64_t since_us, struct err *e)
{
	enum backend_kind kind;

	if (backend_kind(&kind, e) < 0)
		return -e->no;
	if (since_us && kind == BACKEND_DIRECT)
		return err_usage(e, "--since: the console has no times without systemd's journal");
	return 0;
}

static void keep_last(struct buf *b, uint64_t lines)
{
	size_t at = b->len;

	if (!lines || !b->len)
		return;
	if (b->data[at - 1] == '\n')
		at--;
	for (; at; at--)
		if (b->data[at - 1] == '\n' && --lines == 0)
			break;
	buf_drop(b, at);
}

// Whole lines, or at the end all there is.
static int pass_lines(struct follow *f, bool all, struct err *e)
{
	cleanup_buf struct buf whole = BUF_INIT, lines = BUF_INIT;
	const char *last = f->text.len ? memrchr(f->text.data, '\n', f->text.len) : NULL;
	size_t len = last ? (size_t)(last - f->text.data) + 1 : 0;

	if (all || (!len && f->text.len > LINE_MAX_BYTES))
		len = f->text.len;
	buf_add(&whole, buf_text(&f->text), len);
	buf_drop(&f->text, len);
	console_filter(&whole, f->a->instance, f->want->vmm, &lines);
	if (!f->begun)
		keep_last(&lines, f->want->lines);
	f->begun = true;
	return lines.len ? fd_write_all(f->out, lines.data, lines.len, e) : 0;
}

static int read_all(struct follow *f, struct err *e)
{
	char bytes[65536];
	ssize_t n;

	while ((n = read(f->fd, bytes, sizeof(bytes))) > 0)
		buf_add(&f->text, bytes, (size_t)n);
	return n < 0 && errno != EAGAIN && errno != EINTR ? err_sys(e, "read the console") : 0;
}

static bool is_newest(const struct follow *f, int dir)
{
	struct stat ours, now;

	return fstat(f->fd, &ours) == 0 && fstatat(dir, "console.1", &now, 0) == 0 &&
	       ours.st_ino == now.st_ino && ours.st_dev == now.st_dev;
}

static int open_newest(struct follow *f, int dir, struct err *e)
{
	base_closep(&f->fd);
	f->fd = openat(dir, "console.1", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return f->fd < 0 ? err_sys(e, "open the console") : 0;
}

// The older half first, unless it has just become the one that we read.
static int read_older(struct follow *f, int dir, struct err *e)
{
	cleanup_fd int older = openat(dir, "console.0", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_fd int newer = f->fd;

	f->fd = -1;
	if (older >= 0 && (f->fd = steal_fd(&older), is_newest(f, dir) || read_all(f, e) < 0)) {
		if (e->no)
			return -e->no;
	}
	base_closep(&f->fd);
	f->fd = steal_fd(&newer);
	return 0;
}

static int follow_direct(struct follow *f, int vmm, struct err *e)
{
	struct pollfd p = { .fd = vmm, .events = POLLIN };
	cleanup_fd int dir = -1;
	path_text path;

	path_run_instance(f->a->instance, path);
	dir = fd_open_dir(AT_FDCWD, path, e);
	if (dir < 0 || open_newest(f, dir, e) < 0 || read_older(f, dir, e) < 0)
		return -e->no;
	for (;;) {
		bool gone = poll(&p, 1, 0) > 0, newest;

		// Once more after the look: what came between belongs before the next half.
		if (read_all(f, e) < 0)
			return -e->no;
		newest = is_newest(f, dir);
		if (!newest && (read_all(f, e) < 0 || open_newest(f, dir, e) < 0))
			return -e->no;
		if (pass_lines(f, gone && newest, e) < 0)
			return -e->no;
		if (gone && newest)
			return 0;
		(void)poll(&p, 1, newest ? LOOK_MS : 0);
	}
}

static int invocation(const char *unit, char id[33], struct err *e)
{
	cleanup_proc_result struct proc_result r = { 0 };
	const char *const argv[] = { "systemctl",    "show", "--value", "-p",
				     "InvocationID", unit,   NULL };

	if (proc_capture(argv, NULL, KIB, 20000, &r, e) < 0)
		return -e->no;
	if (r.out.len < 32)
		return err_kind(e, ERR_STATE, "%s does not run", unit);
	(void)snprintf(id, 33, "%.32s", buf_text(&r.out));
	return 0;
}

static int read_journal(struct follow *f, struct proc *p, int vmm, struct err *e)
{
	int wait = -1;

	for (;;) {
		struct pollfd fds[] = { { .fd = p->out, .events = POLLIN },
					{ .fd = wait < 0 ? vmm : -1, .events = POLLIN } };
		int n = poll(fds, COUNT(fds), wait);
		char bytes[65536];
		ssize_t got;

		if (n < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (n == 0)
			return pass_lines(f, true, e);
		if (fds[1].revents)
			wait = DRAIN_MS;
		if (!fds[0].revents)
			continue;
		got = read(p->out, bytes, sizeof(bytes));
		if (got == 0)
			return pass_lines(f, true, e);
		buf_add(&f->text, bytes, got > 0 ? (size_t)got : 0);
		if (pass_lines(f, false, e) < 0)
			return -e->no;
	}
}

// vmm -1: what the journal has, of every run, and no more. journalctl counts lines before the
// VMM's are told from the guest's: near enough for a look.
static int follow_journal(struct follow *f, int vmm, struct err *e)
{
	cleanup(proc_free) struct proc p = PROC_NONE;
	char id[33], match[300], unit[256], since[40], count[24] = "all";

	name_unit(f->a, unit);
	if (vmm >= 0 && invocation(unit, id, e) < 0)
		return -e->no;
	base_cut(match, sizeof(match), "%s=%s",
		 vmm >= 0 ? "_SYSTEMD_INVOCATION_ID" : "_SYSTEMD_UNIT", vmm >= 0 ? id : unit);
	base_cut(since, sizeof(since), "--since=@%llu",
		 (unsigned long long)(f->want->since_us / 1000000));
	if (f->want->lines)
		base_cut(count, sizeof(count), "%llu", (unsigned long long)f->want->lines);
	const char *const argv[] = { "journalctl", "-q",  "-o",	 "cat", "--no-pager",
				     "-n",	   count, since, match, vmm >= 0 ? "-f" : NULL,
				     NULL };
	struct proc_spec spec = PROC_SPEC(argv);

	spec.in = PROC_NULL;
	spec.out = PROC_PIPE;
	spec.death_signal = 15;
	f->begun = true;
	return proc_spawn(&spec, &p, e) < 0 ? -e->no : read_journal(f, &p, vmm, e);
}

int console_follow(const struct address *a, const struct console_want *want, int vmm, int out,
		   struct err *e)
{
	cleanup(follow_clear) struct follow f = { .a = a, .want = want, .out = out, .fd = -1 };
	enum backend_kind kind;

	if (backend_kind(&kind, e) < 0)
		return -e->no;
	return kind == BACKEND_SYSTEMD ? follow_journal(&f, vmm, e) : follow_direct(&f, vmm, e);
}

int console_print(const struct address *a, const struct console_want *want, int out, struct err *e)
{
	cleanup(follow_clear) struct follow f = { .a = a, .want = want, .out = out, .fd = -1 };
	cleanup_buf struct buf text = BUF_INIT, lines = BUF_INIT;

	if (want->since_us) // only the journal has it
		return follow_journal(&f, -1, e);
	if (console_tail(a, CONSOLE_KEEP, &text, e) < 0)
		return -e->no;
	console_filter(&text, a->instance, want->vmm, &lines);
	keep_last(&lines, want->lines);
	return fd_write_all(out, buf_text(&lines), lines.len, e);
}
