// SPDX-License-Identifier: MIT
// `mvm tenant secrets`: see disk/secrets.h. A value comes from a file or from standard input, never
// from the command line, which everybody on the machine can read.
#include "base/fd.h"
#include "base/tool.h"
#include "disk/secrets.h"
#include "life/push.h"
#include <fcntl.h>

static bool arg_dry_run, arg_no_push;
static uint64_t arg_guest_ms = 20000;

static const struct opt change_opts[] = {
	OPT_NO_PUSH(arg_no_push),
	OPT_GUEST_TIMEOUT(arg_guest_ms),
	OPT_DRY_RUN(arg_dry_run),
	OPT_END,
};

// NAME=@FILE or NAME=-. What is wrong is said without the word itself: it may be a secret.
static int parse_word(const char *word, char name[SECRETS_NAME_MAX + 1], const char **from,
		      struct err *e)
{
	const char *eq = strchr(word, '=');

	if (!eq || eq - word > (int)SECRETS_NAME_MAX)
		return err_usage(e, "expected NAME=@FILE or NAME=-");
	base_cut(name, SECRETS_NAME_MAX + 1, "%.*s", (int)(eq - word), word);
	if (secrets_name_check(name, e) < 0)
		return -e->no;
	*from = eq + 1;
	if (str_eq(*from, "-") || (**from == '@' && (*from)[1]))
		return 0;
	(void)err_usage(e, "%s: a value is not taken from the command line", name);
	return err_hint(e, "give %s=@FILE, or %s=- and the value on standard input", name, name);
}

static int read_value(const char *name, const char *from, struct safe *value, struct err *e)
{
	cleanup_fd int file = -1;
	int fd = STDIN_FILENO;

	if (*from == '@') {
		file = open(from + 1, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (file < 0 || fd_set_nonblock(file, false, e) < 0)
			return err_sys(e, "%s: open %s", name, from + 1);
		fd = file;
	}
	if (safe_read(value, fd, SECRETS_VALUE, e) < 0)
		return err_wrap(e, "%s", name);
	return 0;
}

struct given { // read before any lock is taken
	const struct call *call;
	char (*names)[SECRETS_NAME_MAX + 1];
	struct safe *values;
	size_t len;
};

static void given_free(struct given *g)
{
	for (size_t i = 0; i < g->len; i++)
		safe_free(&g->values[i]);
	free(g->values);
	free(g->names);
}

static int read_given(const struct call *call, struct given *g, struct err *e)
{
	size_t n = (size_t)call->argc - 1;
	bool piped = false;

	if (n > SECRETS_MAX)
		return err_kind(e, ERR_QUOTA, "more than %u secrets", SECRETS_MAX);
	g->names = base_alloc(n, sizeof(*g->names));
	g->values = base_alloc(n, sizeof(*g->values));
	for (; g->len < n; g->len++) {
		const char *from = "";

		if (parse_word(call->argv[g->len + 1], g->names[g->len], &from, e) < 0)
			return -e->no;
		if (piped && *from == '-')
			return err_usage(e, "standard input is one value, not two");
		piped = piped || *from == '-';
		for (size_t k = 0; k < g->len; k++)
			if (str_eq(g->names[k], g->names[g->len]))
				return err_usage(e, "%s: given twice", g->names[k]);
		if (read_value(g->names[g->len], from, &g->values[g->len], e) < 0) {
			g->len++; // half of it may be there
			return -e->no;
		}
	}
	return 0;
}

static int set_given(void *arg, struct secrets *s, bool *changed, struct err *e)
{
	const struct given *g = arg;

	for (size_t i = 0; i < g->len; i++)
		if (secrets_put(s, g->names[i], &g->values[i], changed, e) < 0)
			return -e->no;
	return 0;
}

static int rotate(void *arg, struct secrets *s, bool *changed, struct err *e)
{
	(void)arg;
	(void)s;
	(void)e;
	*changed = true;
	return 0;
}

static int remove_named(void *arg, struct secrets *s, bool *changed, struct err *e)
{
	const struct call *call = arg;

	for (int i = 1; i < call->argc; i++) {
		if (secrets_name_check(call->argv[i], e) < 0)
			return -e->no;
		*changed = secrets_remove(s, call->argv[i]) || *changed;
	}
	return 0;
}

static int change(const struct call *call, secrets_fn fn, void *arg, struct buf *out, struct err *e)
{
	const struct push_call c = { .wait_ms = call->lock_wait_ms, .guest_ms = (int)arg_guest_ms };
	struct secrets_report r;

	if (secrets_change(call->argv[0], fn, arg, arg_dry_run, call->lock_wait_ms, &r, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	codec_print(secrets_report_fields, &r, out);
	if (!r.changed || arg_dry_run || arg_no_push)
		return 0;
	return push_report(call->argv[0], &c, out, e);
}

static int run_set(const struct call *call, struct buf *out, struct err *e)
{
	cleanup(given_free) struct given g = { .call = call };

	if (safe_process(e) < 0 || name_check(call->argv[0], e) < 0 || read_given(call, &g, e) < 0)
		return -e->no;
	return change(call, set_given, &g, out, e);
}

static int run_rotate(const struct call *call, struct buf *out, struct err *e)
{
	return safe_process(e) < 0 ? -e->no : change(call, rotate, NULL, out, e);
}

static int run_rm(const struct call *call, struct buf *out, struct err *e)
{
	struct call given = *call;

	return safe_process(e) < 0 ? -e->no : change(call, remove_named, &given, out, e);
}

static int run_list(const struct call *call, struct buf *out, struct err *e)
{
	if (safe_process(e) < 0)
		return -e->no;
	return secrets_list(call->argv[0], out, e);
}

static const struct verb verbs[] = {
	{ "set", "TENANT NAME=@FILE|NAME=-...", "add secrets or replace them", change_opts, 2, -1,
	  run_set, 0 },
	{ "list", "TENANT", "show names, sizes and times", NULL, 1, 1, run_list, 0 },
	{ "rotate", "TENANT", "seal them anew, as another epoch", change_opts, 1, 1, run_rotate,
	  0 },
	{ "rm", "TENANT NAME...", "remove secrets", change_opts, 2, -1, run_rm, 0 },
};

int main(int argc, char **argv)
{
	static const struct tool tool = { "mvm-secrets", "what only a tenant's guests may read",
					  verbs, COUNT(verbs), NULL };

	return tool_main(&tool, argc, argv);
}
