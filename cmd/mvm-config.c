// SPDX-License-Identifier: MIT
// `mvm tenant config`: see disk/config.h.
#include "base/fd.h"
#include "base/num.h"
#include "base/tool.h"
#include "disk/config.h"
#include "disk/safe.h"
#include "life/push.h"
#include "state/rows.h"

#define STDIN_MAX 262144u // with spaces and escapes

static bool arg_dry_run, arg_no_push;
static uint64_t arg_guest_ms = 20000, arg_version;
static const char *arg_key;

static const struct opt set_opts[] = {
	OPT_NO_PUSH(arg_no_push),
	OPT_GUEST_TIMEOUT(arg_guest_ms),
	OPT_DRY_RUN(arg_dry_run),
	OPT_END,
};
static const struct opt get_opts[] = {
	{ 0, OPT_TEXT, "key", "KEY", "print the value of this key alone", &arg_key, 0, 0, NULL,
	  NULL },
	{ 0, OPT_U64, "version", "N", "as it was in this version", &arg_version, 1, UINT32_MAX,
	  NULL, NULL },
	OPT_END,
};

static int set_pair(struct config *c, const char *pair, bool *changed, struct err *e)
{
	const char *eq = strchr(pair, '=');
	cleanup_free char *key = NULL;

	if (!eq)
		return err_usage(e, "'%.70s' is not KEY=JSON", pair);
	key = base_printf("%.*s", (int)MIN(eq - pair, 200), pair);
	return config_put(c, key, eq + 1, changed, e);
}

struct given {
	const struct call *call;
	struct buf text; // of standard input
};

static int set_keys(void *arg, struct config *c, bool *changed, struct err *e)
{
	const struct given *g = arg;

	for (int i = 1; i < g->call->argc; i++)
		if (set_pair(c, g->call->argv[i], changed, e) < 0)
			return -e->no;
	if (g->call->argc == 1 && config_merge(c, buf_text(&g->text), g->text.len, changed, e) < 0)
		return err_wrap(e, "stdin");
	return 0;
}

static int push(const struct call *call, const struct config_report *r, struct buf *out,
		struct err *e)
{
	const struct push_call c = { .wait_ms = call->lock_wait_ms, .guest_ms = (int)arg_guest_ms };

	codec_print(config_report_fields, r, out);
	if (!r->changed || arg_dry_run || arg_no_push)
		return 0;
	// A push rewrites both drives: secrets pass through this process.
	return safe_process(e) < 0 ? -e->no : push_report(call->argv[0], &c, out, e);
}

static int run_set(const struct call *call, struct buf *out, struct err *e)
{
	struct given g = { .call = call, .text = BUF_INIT };
	struct config_report r = { 0 };
	int ok;

	// Before the lock: who writes to our standard input may take its time.
	if (name_check(call->argv[0], e) < 0 ||
	    (call->argc == 1 && fd_read_all(STDIN_FILENO, STDIN_MAX, &g.text, e) < 0))
		return -e->no;
	ok = config_change(call->argv[0], set_keys, &g, arg_dry_run, call->lock_wait_ms, &r, e);
	if (ok == 0)
		ok = push(call, &r, out, e);
	codec_free(config_report_fields, &r);
	buf_free(&g.text);
	return ok;
}

static int print_key(const struct config *c, struct buf *out, struct err *e)
{
	for (size_t i = 0; i < c->len; i++)
		if (str_eq(c->items[i].key, arg_key)) {
			buf_str(out, c->items[i].json);
			return 0;
		}
	return err_kind(e, ERR_MISSING, "no key '%.70s'", arg_key);
}

static int run_get(const struct call *call, struct buf *out, struct err *e)
{
	struct config_read r = { .version = 0 };
	int ok = config_load(call->argv[0], arg_version, &r, e);

	if (ok == 0 && arg_key) {
		ok = print_key(&r.values, out, e);
	} else if (ok == 0) {
		buf_str(out, "{\"schema_version\":1");
		rows_text(out, "tenant_id", call->argv[0]);
		buf_fmt(out, ",\"config_version\":%llu,\"values\":", (unsigned long long)r.version);
		config_print(&r.values, out);
		buf_char(out, '}');
	}
	config_free(&r.values);
	return ok < 0 ? err_object(e, "%s", call->argv[0]) : 0;
}

static int run_history(const struct call *call, struct buf *out, struct err *e)
{
	return config_history(call->argv[0], out, e);
}

static const struct verb verbs[] = {
	{ "set", "TENANT [KEY=JSON...]", "set keys, from operands or a JSON object on stdin",
	  set_opts, 1, -1, run_set, 0 },
	{ "get", "TENANT", "print what is set", get_opts, 1, 1, run_get, 0 },
	{ "history", "TENANT", "show the versions that are kept, the newest first", NULL, 1, 1,
	  run_history, 0 },
};

int main(int argc, char **argv)
{
	static const struct tool tool = { "mvm-config", "what a tenant tells its guests", verbs,
					  COUNT(verbs), NULL };

	return tool_main(&tool, argc, argv);
}
