// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <poll.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/num.h"
#include "base/path.h"
#include "base/proc.h"

void proc_result_free(struct proc_result *r)
{
	buf_free(&r->out);
	*r = (struct proc_result){ .status = 0 };
}

// A child with our ends of its three pipes, none of which may hold up another.
struct run {
	struct proc child;
	const char *input;
	size_t input_left;
	size_t max_out;
	struct proc_result *to;
	struct buf line; // of stderr, not finished yet
	bool pass;	 // lines before the last one go on to our stderr
};

static void run_free(struct run *r)
{
	proc_free(&r->child);
	buf_free(&r->line);
}

static void close_end(int *fd)
{
	base_closep(fd);
	*fd = -1;
}

static void feed(struct run *r)
{
	ssize_t n = r->input_left ? write(r->child.in, r->input, r->input_left) : 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		r->input += n;
		r->input_left -= (size_t)n;
	}
	// A child that does not read to the end says by its status whether that is well.
	if (n < 0 || r->input_left == 0)
		close_end(&r->child.in);
}

// The last line that is not empty, cut to what fits; those before it are passed on or dropped.
static void end_line(struct run *r)
{
	struct err ignored = { 0 };

	if (r->line.len == 0)
		return;
	if (r->pass && r->to->last_line[0]) {
		cleanup_free char *text = base_printf("%s\n", r->to->last_line);

		(void)!fd_write_all(STDERR_FILENO, text, strlen(text), &ignored);
	}
	log_clean(r->line.data);
	base_cut(r->to->last_line, sizeof(r->to->last_line), "%s", r->line.data);
	buf_clear(&r->line);
}

static void hear(struct run *r, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n')
			end_line(r);
		else if (r->line.len < sizeof(r->to->last_line))
			buf_char(&r->line, data[i] ? data[i] : '?');
	}
}

// Reads what is there. 1: more may come, 0: ended.
static int drain(struct run *r, int *fd, struct err *e)
{
	char piece[16384];
	ssize_t n;

	for (;;) {
		n = read(*fd, piece, sizeof(piece));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 1;
		if (n <= 0)
			break;
		if (fd == &r->child.err) {
			hear(r, piece, (size_t)n);
			continue;
		}
		if ((size_t)n > r->max_out - r->to->out.len)
			return err_set(e, EFBIG, "wrote more than %zu bytes", r->max_out);
		buf_add(&r->to->out, piece, (size_t)n);
	}
	if (n < 0)
		return err_sys(e, "read");
	close_end(fd);
	return 0;
}

static int pump(struct run *r, int64_t deadline, struct err *e)
{
	struct proc *c = &r->child;

	for (;;) {
		// poll passes over negative descriptors.
		struct pollfd p[] = {
			{ .fd = c->in, .events = POLLOUT },
			{ .fd = c->out, .events = POLLIN },
			{ .fd = c->err, .events = POLLIN },
			{ .fd = c->pidfd, .events = POLLIN },
		};
		int64_t left = deadline < 0 ? -1 : clock_left(deadline);
		int n = poll(p, COUNT(p), (int)MIN(left, 3600000));

		if (n < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (n > 0 && p[0].revents)
			feed(r);
		if (n > 0 && p[1].revents && drain(r, &c->out, e) < 0)
			return -e->no;
		if (n > 0 && p[2].revents && drain(r, &c->err, e) < 0)
			return -e->no;
		// Its output is in the pipes by now. What it left running may hold them open for
		// ever.
		if (n > 0 && p[3].revents)
			break;
		if (deadline >= 0 && clock_left(deadline) == 0)
			return err_kind(e, ERR_TIMEOUT, "timed out");
	}
	if ((c->out >= 0 && drain(r, &c->out, e) < 0) || (c->err >= 0 && drain(r, &c->err, e) < 0))
		return -e->no;
	end_line(r);
	return 0;
}

static int run_to_end(const struct proc_spec *spec, struct run *r, int timeout_ms, struct err *e)
{
	int64_t deadline = timeout_ms < 0 ? -1 : clock_ms() + timeout_ms;
	const char *name = spec->argv[0];

	if (proc_spawn(spec, &r->child, e) < 0)
		return -e->no;
	if ((r->child.in >= 0 && fd_set_nonblock(r->child.in, true, e) < 0) ||
	    fd_set_nonblock(r->child.out, true, e) < 0 ||
	    fd_set_nonblock(r->child.err, true, e) < 0)
		return err_wrap(e, "%s", name);
	if (r->child.in >= 0 && r->input_left == 0)
		close_end(&r->child.in);
	if (pump(r, deadline, e) < 0 || proc_wait(&r->child, -1, &r->to->status, e) < 0)
		return err_wrap(e, "%s", name);
	return 0;
}

static int capture(const struct proc_spec *spec, const char *input, size_t max_out, int timeout_ms,
		   bool pass, struct proc_result *ret, struct err *e)
{
	struct proc_result got = { .status = 0 };
	cleanup(run_free) struct run r = {
		.child = PROC_NONE,
		.input = input,
		.input_left = input ? strlen(input) : 0,
		.max_out = max_out,
		.to = &got,
		.pass = pass,
	};

	if (run_to_end(spec, &r, timeout_ms, e) < 0) {
		proc_result_free(&got);
		return -e->no;
	}
	*ret = got;
	return 0;
}

int proc_capture(const char *const *argv, const char *input, size_t max_out, int timeout_ms,
		 struct proc_result *ret, struct err *e)
{
	const struct proc_spec spec = {
		.argv = argv,
		.in = input ? PROC_PIPE : PROC_NULL,
		.out = PROC_PIPE,
		.err = PROC_PIPE,
	};

	return capture(&spec, input, max_out, timeout_ms, false, ret, e);
}

// Ours with two changes: its document and its error are for us to read, whatever the user asked
// of this process. The caller frees the array.
static const char **tool_environment(void)
{
	static const char *const set[] = { "MVM_OUTPUT=json", "MVM_ERRORS=json" };
	size_t count = 0, used = 0;

	while (environ[count])
		count++;
	const char **env = base_alloc(count + COUNT(set) + 1, sizeof(*env));
	for (size_t i = 0; i < count; i++)
		if (!str_starts(environ[i], "MVM_OUTPUT=") &&
		    !str_starts(environ[i], "MVM_ERRORS="))
			env[used++] = environ[i];
	for (size_t i = 0; i < COUNT(set); i++)
		env[used++] = set[i];
	return env;
}

// The descriptor for progress lines goes down to the tools that do the work; -1 when there is none.
static int progress_fd(void)
{
	const char *s = getenv("MVM_PROGRESS_FD");
	struct err ignored = { 0 };
	uint64_t fd;

	if (!s || num_u64(s, 3, 1 << 20, &fd, &ignored) < 0 || fcntl((int)fd, F_GETFD) < 0)
		return -1;
	return (int)fd;
}

static int tool_failed(const char *name, const struct proc_result *r, struct err *e)
{
	if (err_from_json(r->last_line, r->status, e))
		return -e->no;
	if (r->status > 128)
		(void)err_set(e, EIO, "%s: killed by signal %d", name, r->status - 128);
	else if (r->last_line[0])
		(void)err_set(e, EIO, "%s", r->last_line);
	else
		(void)err_set(e, EIO, "%s: ended with %d", name, r->status);
	for (int k = 0; k < ERR_KINDS; k++) // another status is "failed"
		if (err_kinds[k].exit == r->status) {
			e->kind = (enum err_kind)k;
			e->no = err_kinds[k].no;
			break;
		}
	return -e->no;
}

int proc_tool(const char *const *argv, const char *input, struct buf *out, int timeout_ms,
	      struct err *e)
{
	cleanup_proc_result struct proc_result r = { .status = 0 };
	cleanup_free const char **env = tool_environment();
	cleanup_free const char **args = NULL;
	size_t count = 0;
	path_text path;
	int progress = progress_fd();

	while (argv[count])
		count++;
	args = base_alloc(count + 1, sizeof(*args));
	memcpy(args, argv, count * sizeof(*args));
	path_tool(argv[0], path);
	args[0] = path;
	const struct proc_spec spec = {
		.argv = args,
		.env = env,
		.in = input ? PROC_PIPE : PROC_NULL,
		.out = PROC_PIPE,
		.err = PROC_PIPE,
		.keep_fds = &progress,
		.keep_count = progress >= 0,
	};
	if (capture(&spec, input, PROC_TOOL_MAX, timeout_ms, true, &r, e) < 0)
		return -e->no;
	if (out) // a report comes with a status of its own
		buf_add(out, r.out.data, r.out.len);
	if (r.status != 0)
		return tool_failed(argv[0], &r, e);
	if (r.last_line[0]) { // a warning: the line that would hold an error
		struct err ignored = { 0 };
		cleanup_free char *text = base_printf("%s\n", r.last_line);

		(void)!fd_write_all(STDERR_FILENO, text, strlen(text), &ignored);
	}
	return 0;
}
