// SPDX-License-Identifier: MIT
// exec and ssh: the table's own exit status until the command has started, the command's from then
// on.
#include "audit/audit.h"
#include "base/clock.h"
#include "life/guest_cli.h"

static struct strlist arg_env;
static const char *arg_cwd = "", *arg_user = "", *arg_session = "", *arg_keys = GUEST_CLIENT_KEYS;
static uint64_t arg_timeout_ms;
static bool arg_no_stdin, arg_interactive, arg_tty, arg_detach;

#define OPT_COMMON                                                                                \
	{ .letter = 'e',                                                                          \
	  .kind = OPT_LIST,                                                                       \
	  .name = "env",                                                                          \
	  .arg = "NAME=VALUE",                                                                    \
	  .help = "set a variable of the command's environment; may be given again",              \
	  .slot = &arg_env },                                                                     \
		{ .letter = 'u',                                                                  \
		  .kind = OPT_TEXT,                                                               \
		  .name = "user",                                                                 \
		  .arg = "USER[:GROUP]",                                                          \
		  .help = "run it as this user of the guest, by name or number, instead of root", \
		  .slot = &arg_user },                                                            \
		{ .letter = 'n',                                                                  \
		  .kind = OPT_FLAG,                                                               \
		  .name = "no-stdin",                                                             \
		  .help = "give it an empty standard input",                                      \
		  .slot = &arg_no_stdin },                                                        \
	{                                                                                         \
		.letter = 't', .kind = OPT_FLAG, .name = "tty",                                   \
		.help = "give it a terminal, of the size of this one", .slot = &arg_tty           \
	}

const struct opt guest_exec_opts[] = {
	OPT_COMMON,
	{ .letter = 'w',
	  .kind = OPT_TEXT,
	  .name = "cwd",
	  .arg = "DIR",
	  .help = "run it in this directory instead of the user's home",
	  .slot = &arg_cwd },
	{ .kind = OPT_MS,
	  .name = "timeout",
	  .arg = "TIME",
	  .help = "end it after this time: TERM, two seconds later KILL, exit status 124",
	  .slot = &arg_timeout_ms,
	  .min = 1,
	  .max = UINT32_MAX },
	{ .letter = 'i',
	  .kind = OPT_FLAG,
	  .name = "interactive",
	  .help = "pass standard input on, which is the default; with --tty it must be a terminal",
	  .slot = &arg_interactive },
	{ .kind = OPT_TEXT,
	  .name = "session",
	  .arg = "NAME",
	  .help = "run it as a session of this name, which goes on when this call ends",
	  .slot = &arg_session },
	{ .letter = 'd',
	  .kind = OPT_FLAG,
	  .name = "detach",
	  .help = "only start the session",
	  .slot = &arg_detach },
	{ .kind = OPT_TEXT,
	  .name = "detach-keys",
	  .arg = "KEYS",
	  .help = "what leaves a session on a terminal, or none (default: " GUEST_CLIENT_KEYS ")",
	  .slot = &arg_keys },
	OPT_END
};
const struct opt guest_ssh_opts[] = { OPT_COMMON, OPT_END };

static bool env_has(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < arg_env.len; i++)
		if (strncmp(arg_env.items[i], name, len) == 0 && arg_env.items[i][len] == '=')
			return true;
	return false;
}

static int fill_env(struct guest_words *env, bool tty, struct err *e)
{
	const char *term = getenv("TERM");
	cleanup_free char *pair = base_printf("TERM=%.100s", term && *term ? term : "xterm");

	for (size_t i = 0; i < arg_env.len; i++) {
		if (arg_env.items[i][0] == '=' || !strchr(arg_env.items[i], '='))
			return err_usage(e, "--env %s: not NAME=VALUE", arg_env.items[i]);
		if (guest_words_add(env, arg_env.items[i], e) < 0)
			return err_wrap(e, "--env");
	}
	return tty && !env_has("TERM") ? guest_words_add(env, pair, e) : 0;
}

static int fill(struct guest_exec *x, bool tty, struct err *e)
{
	if (fill_env(&x->env, tty, e) < 0)
		return -e->no;
	if (COPY(x->cwd, arg_cwd) < 0 || COPY(x->user, arg_user) < 0)
		return err_usage(e, "--cwd or --user: too long");
	x->flags |= (arg_no_stdin ? (uint32_t)GUEST_EXEC_NO_STDIN : 0) |
		    (tty ? (uint32_t)GUEST_EXEC_TTY : 0);
	return 0;
}

static int check_words(struct err *e)
{
	if (arg_interactive && arg_no_stdin)
		return err_usage(e, "--interactive and --no-stdin exclude each other");
	if (arg_detach && !arg_session[0])
		return err_usage(e, "--detach goes with --session");
	if (arg_session[0] && !guest_session_name_ok(arg_session))
		return err_usage(e, "--session: not [a-z0-9][a-z0-9._-]{0,38}");
	if (arg_interactive && arg_tty && !arg_detach && !isatty(STDIN_FILENO)) {
		(void)err_usage(e, "--interactive --tty: standard input is no terminal");
		return err_hint(e, "without --interactive what comes is passed on as if typed");
	}
	return 0;
}

// For the audit log: neither arguments nor environment, where secrets may be.
static void describe(const struct guest_exec *x, char out[AUDIT_DETAIL_MAX])
{
	bool shell = x->flags & GUEST_EXEC_SHELL;

	base_cut(out, AUDIT_DETAIL_MAX, "%.400s%s%.60s%s%s%s",
		 shell ? (x->argv.count > 2 ? "a command line" : "a shell")
		       : guest_words_at(&x->argv, 0),
		 x->user[0] ? ", user " : "", x->user,
		 x->flags & GUEST_EXEC_TTY ? ", on a terminal" : "",
		 arg_session[0] ? ", session " : "", arg_session);
}

// After the command has started a status is the command's; what fails names the instance.
static int run(const char *word, const struct guest_exec *x, bool tty, enum audit_action action,
	       struct err *e)
{
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;
	cleanup_client struct guest_client k = GUEST_CLIENT_NONE;
	char detail[AUDIT_DETAIL_MAX];
	int status;

	describe(x, detail);
	if (guest_client_open(&k, !arg_no_stdin, tty, "none", e) < 0 ||
	    guest_cli_enter(word, action, detail, &vmm, &c, e) < 0 || guest_cli_settle(e) < 0)
		return -e->no;
	if (arg_timeout_ms)
		k.io.deadline_ms = clock_ms() + (int64_t)arg_timeout_ms;
	if (guest_run_seated(c, x, &k.io, &k.seat, &status, e) < 0)
		return guest_cli_failed(word, action, e);
	return guest_cli_status(status);
}

static int run_session(const char *word, struct guest_session_start *s, struct err *e)
{
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;
	cleanup_client struct guest_client k = GUEST_CLIENT_NONE;
	struct guest_parting part = { 0 };
	char detail[AUDIT_DETAIL_MAX];

	describe(&s->exec, detail);
	if (COPY(s->name, arg_session) < 0)
		return err_usage(e, "--session: too long");
	if (guest_client_open(&k, !arg_no_stdin, arg_tty, arg_keys, e) < 0 ||
	    guest_cli_enter(word, AUDIT_GUEST_EXEC, detail, &vmm, &c, e) < 0 ||
	    guest_cli_settle(e) < 0)
		return -e->no;
	if (arg_timeout_ms)
		k.io.deadline_ms = clock_ms() + (int64_t)arg_timeout_ms;
	if (guest_session_begin(c, s, arg_detach, &k.io, &k.seat, &part, e) < 0)
		return guest_cli_failed(word, AUDIT_GUEST_EXEC, e);
	return arg_detach ? 0 : guest_client_part(&k, &part, word, s->name);
}

int guest_exec_run(const struct call *call, struct buf *out, struct err *e)
{
	cleanup(guest_session_start_clear) struct guest_session_start s = { 0 };

	(void)out;
	if (check_words(e) < 0 || fill(&s.exec, arg_tty, e) < 0)
		return -e->no;
	for (int i = 1; i < call->argc; i++)
		if (guest_words_add(&s.exec.argv, call->argv[i], e) < 0)
			return -e->no;
	if (arg_session[0])
		return run_session(call->argv[0], &s, e);
	return run(call->argv[0], &s.exec, arg_tty, AUDIT_GUEST_EXEC, e);
}

// The user's shell of the guest stands in for the first word.
static int fill_shell(const struct call *call, struct guest_words *argv, struct err *e)
{
	cleanup_buf struct buf line = BUF_INIT;

	for (int i = 1; i < call->argc; i++) {
		if (i > 1)
			buf_char(&line, ' ');
		buf_str(&line, call->argv[i]);
	}
	if (guest_words_add(argv, "sh", e) < 0 ||
	    guest_words_add(argv, call->argc > 1 ? "-c" : "-l", e) < 0 ||
	    (call->argc > 1 && guest_words_add(argv, buf_text(&line), e) < 0))
		return -e->no;
	return 0;
}

int guest_ssh_run(const struct call *call, struct buf *out, struct err *e)
{
	cleanup(guest_exec_clear) struct guest_exec x = { .flags = GUEST_EXEC_SHELL };
	bool tty = arg_tty || (call->argc == 1 && !arg_no_stdin && isatty(STDIN_FILENO));

	(void)out;
	if (fill(&x, tty, e) < 0 || fill_shell(call, &x.argv, e) < 0)
		return -e->no;
	return run(call->argv[0], &x, tty, AUDIT_GUEST_SHELL, e);
}
