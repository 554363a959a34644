// SPDX-License-Identifier: MIT
// `instance stats` and `instance top`: which instances, and in which form.
#include "life/cli.h"
#include "life/top.h"
#include "state/rows.h"

#define DELAY_MIN_MS 100
#define DELAY_MAX_MS 3600000

static const char *const sort_names[] = { "cpu", "mem", "net", "io", NULL };
static const char *const form_names[] = { "table", "json", NULL };
static uint64_t arg_rounds, arg_delay_ms = 2000;
static int arg_sort, arg_form;
static bool arg_batch, arg_once, arg_json, given_rounds, given_form;

const struct opt cli_top_opts[] = {
	{ 'n', OPT_U64, "rounds", "ROUNDS", "end after so many", &arg_rounds, 1, UINT32_MAX, NULL,
	  &given_rounds },
	{ 'd', OPT_MS, "delay", "SECONDS", "from one to the next (default 2s)", &arg_delay_ms,
	  DELAY_MIN_MS, DELAY_MAX_MS, NULL, NULL },
	{ 0, OPT_ENUM, "sort", "KEY", "the busiest first by cpu, mem, net or io", &arg_sort, 0, 0,
	  sort_names, NULL },
	{ 'b', OPT_FLAG, "batch", NULL, "one table below the other, also on a terminal", &arg_batch,
	  0, 0, NULL, NULL },
	{ 0, OPT_FLAG, "once", NULL, "the same as --batch --rounds 1", &arg_once, 0, 0, NULL,
	  NULL },
	{ 'o', OPT_ENUM, "output", "FORM", "table, or json: a line for each instance and round",
	  &arg_form, 0, 0, form_names, &given_form },
	{ 0, OPT_FLAG, "json", NULL, "the same as --output json", &arg_json, 0, 0, NULL, NULL },
	OPT_END
};

static void print_row(const struct stats *s, struct buf *out)
{
	rows_next(out);
	stats_print(s, out);
}

// Of those that a walk found, one may have gone since: no error. One that was named has to be
// there.
static int print_many(const struct stats_names *names, bool named, struct buf *out, struct err *e)
{
	cleanup_many struct stats_many all = STATS_MANY_NONE;
	int failed = 0;

	if (stats_read_many(names->items, names->count, STATS_AGENT | STATS_VMM | STATS_TIMES, &all,
			    e) < 0)
		return -e->no;
	buf_char(out, '[');
	for (size_t i = 0; i < all.count; i++) {
		const struct err *why = &all.slots[i].error;

		if (!why->no) {
			print_row(&all.slots[i].stats, out);
		} else if (named) {
			*e = *why;
			return -e->no;
		} else if (why->kind != ERR_MISSING) {
			failed = 1;
		}
	}
	buf_char(out, ']');
	return failed;
}

// TENANT or TENANT/POOL. An instance has two slashes, or its id alone.
static bool is_group(const char *word)
{
	const char *slash = strchr(word, '/');
	struct err ignored = { 0 };

	return slash ? !strchr(slash + 1, '/') : name_check_instance(word, &ignored) < 0;
}

static int print_below(const struct address *below, struct buf *out, struct err *e)
{
	cleanup_stats_names struct stats_names names = STATS_NAMES_NONE;
	unsigned damaged = 0;
	int r;

	if (stats_names_below(&names, below, &damaged, e) < 0)
		return -e->no;
	r = print_many(&names, false, out, e);
	return r == 0 && damaged ? 1 : r;
}

int cli_stats(const struct call *call, const struct address *below, struct buf *out, struct err *e)
{
	cleanup_stats_names struct stats_names names = STATS_NAMES_NONE;
	struct address a;

	if (call->argc == 0)
		return print_below(below, out, e);
	if (call->argc == 1 && is_group(call->argv[0]))
		return address_parse(call->argv[0], ADDRESS_TENANT, ADDRESS_POOL, &a, e) < 0
			       ? -e->no
			       : print_below(&a, out, e);
	for (int i = 0; i < call->argc; i++)
		if (stats_names_add(&names, call->argv[i], e) < 0)
			return -e->no;
	if (names.count > 1)
		return print_many(&names, true, out, e);
	cleanup_free struct stats *one = base_alloc(1, sizeof(*one));

	if (stats_read(&names.items[0], STATS_AGENT | STATS_VMM | STATS_TIMES, one, e) < 0)
		return -e->no;
	stats_print(one, out);
	return 0;
}

int cli_top(const struct call *call, struct buf *out, struct err *e)
{
	struct top t = { .rounds = arg_rounds,
			 .delay_ms = arg_delay_ms,
			 .sort = arg_sort,
			 .form = arg_form,
			 .batch = arg_batch || arg_once };
	const char *env = getenv("MVM_OUTPUT");

	(void)out;
	if (arg_once && given_rounds)
		return err_usage(e, "--once and --rounds do not go together");
	if (arg_once)
		t.rounds = 1;
	if (arg_json || (!given_form && env && (str_eq(env, "json") || str_eq(env, "jsonl"))))
		t.form = TOP_JSON;
	if (call->argc &&
	    address_parse(call->argv[0], ADDRESS_TENANT, ADDRESS_POOL, &t.below, e) < 0)
		return -e->no;
	return top_run(&t, e);
}
