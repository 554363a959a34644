// SPDX-License-Identifier: MIT
// What guests can ask of mvm-metad: documents for it, and the keys in them. See meta/publish.h.
#include "base/fd.h"
#include "base/tool.h"
#include "life/metad.h"
#include "meta/publish.h"

#define STDIN_MAX 131072u // with spaces and escapes

static bool arg_dry_run;
static const char *arg_key;
static const struct opt change_opts[] = { { 0, OPT_FLAG, "dry-run", NULL,
					    "tell what would change, change nothing", &arg_dry_run,
					    0, 0, NULL, NULL },
					  OPT_END };
static const struct opt get_opts[] = { { 0, OPT_TEXT, "key", "KEY",
					 "print the text of this key alone", &arg_key, 0, 0, NULL,
					 NULL },
				       OPT_END };

static struct meta_call how(const struct call *call)
{
	return (struct meta_call){ .dry_run = arg_dry_run, .wait_ms = call->lock_wait_ms };
}

typedef int (*instance_fn)(const struct address *, const struct meta_call *, struct meta_report *,
			   struct err *);

static int on_instance(instance_fn fn, const struct call *call, struct buf *out, struct err *e)
{
	const struct meta_call c = how(call);
	struct meta_report r;
	struct address a;

	if (address_parse(call->argv[0], ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0)
		return -e->no;
	if (fn(&a, &c, &r, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	codec_print(meta_report_fields, &r, out);
	return 0;
}

static int run_publish(const struct call *call, struct buf *out, struct err *e)
{
	return on_instance(meta_publish, call, out, e);
}

static int run_retract(const struct call *call, struct buf *out, struct err *e)
{
	return on_instance(meta_retract, call, out, e);
}

static int run_forget(const struct call *call, struct buf *out, struct err *e)
{
	const struct meta_call c = how(call), look = { .dry_run = true, .wait_ms = c.wait_ms };
	const char *tenant = call->argv[0];
	struct meta_report r;

	if (name_check(tenant, e) < 0)
		return -e->no;
	if (meta_forget(tenant, &look, &r, e) < 0)
		return err_object(e, "%s", tenant);
	if (r.changed && !c.dry_run &&
	    (metad_ensure(tenant, false, e) < 0 || meta_forget(tenant, &c, &r, e) < 0))
		return err_object(e, "%s", tenant);
	r.dry_run = c.dry_run;
	codec_print(meta_report_fields, &r, out);
	return 0;
}

// A tenant, or one of its instances; a pool has no keys of its own.
static int whose(const char *word, struct address *a, struct err *e)
{
	if (address_parse(word, ADDRESS_TENANT, ADDRESS_INSTANCE, a, e) < 0)
		return -e->no;
	if (a->pool[0] && !a->instance[0])
		return err_usage(e, "%s: expected TENANT or TENANT/POOL/INSTANCE", word);
	return 0;
}

static int run_get(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_values struct meta_values v = META_VALUES_NONE;
	struct address a;
	const char *text;

	if (whose(call->argv[0], &a, e) < 0 || (arg_key && meta_key_check(arg_key, e) < 0))
		return -e->no;
	if (meta_get(&a, &v, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	if (!arg_key) {
		buf_fmt(out, "{\"schema_version\":1,\"address\":\"%s\",\"values\":", call->argv[0]);
		meta_values_print(&v, out);
		buf_char(out, '}');
		return 0;
	}
	text = meta_values_get(&v, arg_key);
	if (!text) {
		(void)err_kind(e, ERR_MISSING, "%s: no key '%s'", call->argv[0], arg_key);
		return err_object(e, "%s", call->argv[0]);
	}
	codec_quote(text, out);
	return 0;
}

static int set_pair(struct meta_values *v, const char *pair, bool *changed, struct err *e)
{
	const char *eq = strchr(pair, '=');
	cleanup_free char *key = NULL;

	if (!eq)
		return err_usage(e, "'%.70s' is not KEY=VALUE", pair);
	key = base_printf("%.*s", (int)MIN(eq - pair, 200), pair);
	return meta_values_set(v, key, eq + 1, changed, e);
}

static int set_keys(void *arg, struct meta_values *v, bool *changed, struct err *e)
{
	const struct call *call = arg;
	cleanup_buf struct buf text = BUF_INIT;

	for (int i = 1; i < call->argc; i++)
		if (set_pair(v, call->argv[i], changed, e) < 0)
			return -e->no;
	if (call->argc > 1)
		return 0;
	if (fd_read_all(STDIN_FILENO, STDIN_MAX, &text, e) < 0 ||
	    meta_values_merge(v, buf_text(&text), text.len, changed, e) < 0)
		return err_wrap(e, "stdin");
	return 0;
}

static int remove_keys(void *arg, struct meta_values *v, bool *changed, struct err *e)
{
	const struct call *call = arg;

	for (int i = 1; i < call->argc; i++) {
		if (meta_key_check(call->argv[i], e) < 0)
			return -e->no;
		meta_values_remove(v, call->argv[i], changed);
	}
	return 0;
}

static int change(meta_change_fn fn, const struct call *call, struct buf *out, struct err *e)
{
	const struct meta_call c = how(call);
	struct call given = *call;
	struct meta_report r;
	struct address a;

	if (whose(call->argv[0], &a, e) < 0)
		return -e->no;
	if (meta_change(&a, fn, &given, &c, &r, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	codec_print(meta_report_fields, &r, out);
	return 0;
}

static int run_set(const struct call *call, struct buf *out, struct err *e)
{
	return change(set_keys, call, out, e);
}

static int run_rm(const struct call *call, struct buf *out, struct err *e)
{
	return change(remove_keys, call, out, e);
}

#define OF_INSTANCE "TENANT/POOL/INSTANCE"
#define OF_EITHER   "TENANT[/POOL/INSTANCE]"

static const struct verb verbs[] = {
	{ "publish", OF_INSTANCE, "let the instance's guest have its document", change_opts, 1, 1,
	  run_publish, 0 },
	{ "retract", OF_INSTANCE, "take the instance's document away", change_opts, 1, 1,
	  run_retract, 0 },
	{ "get", OF_EITHER, "print the keys of a tenant or an instance", get_opts, 1, 1, run_get,
	  0 },
	{ "set", OF_EITHER " [KEY=VALUE...]", "set keys, from operands or a JSON object on stdin",
	  change_opts, 1, -1, run_set, 0 },
	{ "rm", OF_EITHER " KEY...", "remove keys", change_opts, 2, -1, run_rm, 0 },
	{ "forget", "TENANT", "end the tenant's server and remove all of its documents",
	  change_opts, 1, 1, run_forget, 0 },
};

int main(int argc, char **argv)
{
	static const struct tool tool = { "mvm-metadata", "What guests can ask of the node", verbs,
					  COUNT(verbs), NULL };

	return tool_main(&tool, argc, argv);
}
