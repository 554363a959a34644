// SPDX-License-Identifier: MIT
#include "base/tool.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/num.h"
#include "base/path.h"
#include "base/proc.h"
#include "base/sig.h"
#include "base/tool_parts.h"

#ifndef MVM_VERSION
#define MVM_VERSION "0.1.0"
#endif
#define LOCK_DEFAULT_MS 10000

const char tool_version[] = MVM_VERSION;

static int word_index(const char *word, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (str_eq(word, words[i]))
			return i;
	return -1;
}

// --errors counts for mistakes that stand before it on the command line, too.
static void find_error_form(char **argv)
{
	const char *form = getenv("MVM_ERRORS");

	for (char **p = argv + 1; argv[0] && *p && !str_eq(*p, "--"); p++) {
		if (str_starts(*p, "--errors="))
			form = *p + strlen("--errors=");
		else if (str_eq(*p, "--errors") && p[1])
			form = p[1];
	}
	tool_values.errors = form && str_eq(form, "json");
}

// ULID: 48 bits of milliseconds and 80 of chance in Crockford's base 32, so that ids sort by time.
static int fresh_request_id(char out[27], struct err *e)
{
	static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	struct timespec now;
	uint8_t chance[16]; // five bits of each byte count

	(void)clock_gettime(CLOCK_REALTIME, &now);
	uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	if (getrandom(chance, sizeof(chance), 0) != (ssize_t)sizeof(chance))
		return err_sys(e, "getrandom");
	for (int i = 9; i >= 0; i--, ms >>= 5)
		out[i] = digits[ms & 31];
	for (size_t i = 0; i < sizeof(chance); i++)
		out[10 + i] = digits[chance[i] & 31];
	out[26] = '\0';
	return 0;
}

static bool request_id_ok(const char *id)
{
	size_t len = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");

	return len >= 1 && len <= 64 && !id[len];
}

// Children of ours find the id in the environment, as they find the lock timeout.
static int settle_request_id(struct err *e)
{
	static char fresh[27];
	const char *given = tool_values.request_id, *env = getenv("MVM_REQUEST_ID");
	const char *from = given ? "--request-id" : "MVM_REQUEST_ID";

	if (!given && env && env[0])
		given = env;
	if (given && !request_id_ok(given))
		return err_usage(e, "%s: '%.64s' is not 1 to 64 letters, digits, '-' and '_'", from,
				 given);
	if (!given) {
		if (fresh_request_id(fresh, e) < 0)
			return -e->no;
		given = fresh;
	}
	tool_values.request_id = given;
	(void)setenv("MVM_REQUEST_ID", given, 1);
	return 0;
}

static int settle_lock_timeout(struct err *e)
{
	const char *env = getenv("MVM_LOCK_TIMEOUT_MS");
	char text[32];

	if (!tool_values.lock_given) {
		tool_values.lock_ms = LOCK_DEFAULT_MS;
		if (env && env[0] && num_u64(env, 0, TOOL_LOCK_MAX_MS, &tool_values.lock_ms, e) < 0)
			return err_wrap(e, "MVM_LOCK_TIMEOUT_MS");
		return 0;
	}
	base_cut(text, sizeof(text), "%llu", (unsigned long long)tool_values.lock_ms);
	(void)setenv("MVM_LOCK_TIMEOUT_MS", text, 1);
	return 0;
}

static int settle_format(struct err *e)
{
	const char *env = getenv("MVM_OUTPUT");

	if (tool_values.json) {
		tool_values.format = FORMAT_JSON;
	} else if (!tool_values.format_given && env && env[0]) {
		tool_values.format = word_index(env, tool_formats);
		if (tool_values.format < 0)
			return err_usage(e, "MVM_OUTPUT: '%.64s' is not a format", env);
	}
	return 0;
}

// A number that is not open here is somebody else's by the time a file gets it.
static void settle_progress(void)
{
	const char *s = getenv("MVM_PROGRESS_FD");
	struct err ignored = { 0 };
	uint64_t fd;

	if (s && (num_u64(s, 3, 1 << 20, &fd, &ignored) < 0 || fcntl((int)fd, F_GETFD) < 0))
		(void)unsetenv("MVM_PROGRESS_FD");
}

static int settle(struct err *e)
{
	const char *errors = getenv("MVM_ERRORS");

	settle_progress();
	if (!tool_values.errors_given && errors && errors[0] &&
	    word_index(errors, tool_error_forms) < 0)
		return err_usage(e, "MVM_ERRORS: '%.64s' is neither text nor json", errors);
	if (path_check_env(e) < 0 || settle_request_id(e) < 0 || settle_lock_timeout(e) < 0)
		return -e->no;
	return settle_format(e);
}

// A full disk shows at write or, on some file systems, only when a descriptor is closed.
static int flush_stdout(struct err *e)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		return err_sys(e, "write to stdout");
	int copy = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (copy >= 0 && close(copy) < 0 && errno != EINTR)
		return err_sys(e, "write to stdout");
	return 0;
}

// Another format is mvm-fmt's work. It tells its own errors: *ret_status is what it ended with.
static int render(const struct buf *out, int *ret_status, struct err *e)
{
	path_text fmt;
	path_tool("mvm-fmt", fmt);
	const char *const argv[] = { fmt, "-o", tool_formats[tool_values.format], NULL };
	struct proc_spec spec = PROC_SPEC(argv);
	cleanup_proc struct proc child = PROC_NONE;

	spec.in = PROC_PIPE;
	if (proc_spawn(&spec, &child, e) < 0)
		return err_wrap(e, "render");
	// It may end early; then its status says whether that was a failure.
	(void)!fd_write_all(child.in, out->data, out->len, e);
	(void)close(steal_fd(&child.in));
	return proc_wait(&child, -1, ret_status, e);
}

static int print_document(struct buf *out, bool raw, int *status, struct err *e)
{
	while (out->len && out->data[out->len - 1] == '\n')
		out->data[--out->len] = '\0';
	if (out->len == 0)
		return flush_stdout(e);
	buf_char(out, '\n');
	if (!raw && tool_values.format != FORMAT_JSON) {
		int rendered = 0;

		if (render(out, &rendered, e) < 0)
			return -e->no;
		if (rendered != 0)
			*status = rendered;
		return 0;
	}
	if (fd_write_all(STDOUT_FILENO, out->data, out->len, e) < 0)
		return err_wrap(e, "stdout");
	return flush_stdout(e);
}

static void print_error(const struct tool *tool, const struct err *e)
{
	cleanup_buf struct buf line = BUF_INIT;
	struct err ignored = { 0 };
	size_t len = strlen(e->object);
	bool named =
		len == 0 || (strncmp(e->msg, e->object, len) == 0 && strchr(": ", e->msg[len]));

	if (tool_values.errors) {
		if (!tool_values.request_id && settle_request_id(&ignored) < 0)
			tool_values.request_id = ""; // the error was about the id itself
		err_to_json(e, tool_values.request_id, &line);
	} else {
		buf_fmt(&line, "%s: %s%s%s", tool->name, named ? "" : e->object, named ? "" : ": ",
			e->msg);
		if (e->hint[0])
			buf_fmt(&line, " (%s)", e->hint);
		log_clean(line.data);
	}
	buf_char(&line, '\n');
	// With stderr gone, too, the status is all that is left to tell.
	(void)!fd_write_all(STDERR_FILENO, line.data, line.len, &ignored);
}

static int run_verb(const struct tool_line *line, struct err *e)
{
	const struct call call = {
		.tool = line->tool,
		.verb = line->verb,
		.argc = line->operand_count,
		.argv = line->operands,
		.lock_wait_ms = (int)tool_values.lock_ms,
		.request_id = tool_values.request_id,
	};
	cleanup_buf struct buf out = BUF_INIT;

	if (!(line->verb->flags & VERB_DAEMON))
		log_default(LOG_LEVEL_WARN); // stderr is for the one error line
	int status = line->verb->run(&call, &out, e);
	if (status < 0)
		return status;
	if (print_document(&out, line->verb->flags & VERB_RAW, &status, e) < 0)
		return -e->no;
	return status;
}

static void tell_end(const struct tool_line *line, int status, int64_t elapsed_ms,
		     const struct err *e)
{
	const struct log_span span = {
		.action = line->verb->name ? line->verb->name : line->tool->name,
		.object = line->operand_count ? line->operands[0] : NULL,
		.outcome = status < 0 ? err_kinds[e->kind].code : "done",
		.status = status < 0 ? err_exit(e) : status,
		.elapsed_ms = elapsed_ms,
	};

	log_span(&span);
}

static int tool_run(struct tool_line *line, int argc, char **argv, struct err *e)
{
	if (argc < 1)
		return err_usage(e, "started without a name");
	if (tool_parse(argc, argv, line, e) < 0)
		return -e->no;
	if (line->help != HELP_NONE) {
		cleanup_buf struct buf text = BUF_INIT;
		int status = 0;

		tool_print_help(line, &text);
		return print_document(&text, true, &status, e);
	}
	if (settle(e) < 0)
		return -e->no;
	int64_t begun = clock_ms();
	int status = run_verb(line, e);
	tell_end(line, status, clock_ms() - begun, e);
	return status;
}

int tool_main(const struct tool *tool, int argc, char **argv)
{
	struct tool_line line = { .tool = tool };
	struct err e = { 0 };

	fd_sanitize();
	sig_save_mask();
	(void)signal(SIGPIPE, SIG_IGN);
	log_open(tool->name);
	find_error_form(argv);
	int status = tool_run(&line, argc, argv, &e);
	if (status < 0) {
		print_error(tool, &e);
		status = err_exit(&e);
	}
	free(line.operands);
	return status;
}

void tool_progress(const char *object, const char *stage, uint64_t done, uint64_t total)
{
	cleanup_buf struct buf line = BUF_INIT;
	const char *s = getenv("MVM_PROGRESS_FD");
	struct err ignored = { 0 };
	uint64_t fd;

	if (!s || num_u64(s, 3, 1 << 20, &fd, &ignored) < 0)
		return;
	buf_str(&line, "{\"object\":");
	buf_json(&line, object);
	buf_str(&line, ",\"stage\":");
	buf_json(&line, stage);
	buf_fmt(&line, ",\"done\":%llu,\"total\":%llu}\n", (unsigned long long)done,
		(unsigned long long)total);
	// Nobody waits for it: a reader that has gone is no failure of the work.
	(void)!fd_write_all((int)fd, line.data, line.len, &ignored);
}
