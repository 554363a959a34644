// SPDX-License-Identifier: MIT
#include "life/cli.h"
#include "life/named.h"
#include "state/instances.h"

#define CLONES_MAX 64

static bool arg_force;
static uint64_t arg_count = 1;
static const char *arg_snapshot;

const struct opt cli_snapshot_opts[] = {
	{ 'f', OPT_FLAG, "force", NULL,
	  "create: as sleep --force; restore: drop the capture of one that sleeps", &arg_force, 0,
	  0, NULL, NULL },
	OPT_END
};
const struct opt cli_clone_opts[] = { { 'n', OPT_U64, "count", "N", "make N of them (default 1)",
					&arg_count, 1, CLONES_MAX, NULL, NULL },
				      { 0, OPT_TEXT, "snapshot", "NAME",
					"from where it was in this snapshot, not from now",
					&arg_snapshot, 0, 0, NULL, NULL },
				      OPT_END };

static int create(const struct call *call, const struct address *a, struct buf *out, struct err *e)
{
	struct named_created r = { 0 };

	if (named_create(a, call->argv[2], arg_force, false, call->lock_wait_ms, &r, e) < 0)
		return -e->no;
	codec_print(named_created_fields, &r, out);
	named_created_free(&r);
	return 0;
}

static int list(const struct call *call, const struct address *a, struct buf *out, struct err *e)
{
	struct codec_list rows = { 0 };
	int r = named_list(a, &rows, e);

	(void)call;
	if (r == 0)
		codec_print_list(named_row_fields, sizeof(struct named_row), &rows, out);
	codec_free_list(named_row_fields, sizeof(struct named_row), &rows);
	return r;
}

static int restore(const struct call *call, const struct address *a, struct buf *out, struct err *e)
{
	bool changed = false;

	if (named_restore(a, call->argv[2], arg_force, call->lock_wait_ms, &changed, e) < 0)
		return -e->no;
	cli_print_one(a, changed, out);
	return 0;
}

static int rm(const struct call *call, const struct address *a, struct buf *out, struct err *e)
{
	bool changed = false;

	if (named_remove(a, call->argv[2], call->lock_wait_ms, &changed, e) < 0)
		return -e->no;
	cli_print_one(a, changed, out);
	return 0;
}

static const struct {
	const char *word;
	int args;
	int (*run)(const struct call *call, const struct address *a, struct buf *out,
		   struct err *e);
} words[] = {
	{ "create", 3, create },
	{ "list", 2, list },
	{ "restore", 3, restore },
	{ "rm", 3, rm },
};

int cli_snapshot(const struct call *call, struct buf *out, struct err *e)
{
	for (size_t i = 0; i < COUNT(words); i++) {
		struct address a;

		if (!str_eq(call->argv[0], words[i].word))
			continue;
		if (call->argc != words[i].args)
			return err_usage(e, "%s: expected INSTANCE%s", words[i].word,
					 words[i].args == 3 ? " NAME" : "");
		if (instances_resolve(call->argv[1], &a, e) < 0)
			return -e->no;
		return words[i].run(call, &a, out, e);
	}
	return err_usage(e, "'%.64s': create, list, restore or rm", call->argv[0]);
}

// One for the call, shared by the processes that it starts.
static struct named_clone arg_clone = NAMED_CLONE_NONE;

static int start_clone(const struct address *a, const struct call *call, bool *changed,
		       struct err *e)
{
	*changed = true;
	return named_clone_start(&arg_clone, a, call->lock_wait_ms, e);
}

int cli_clone(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_buf struct buf created = BUF_INIT;
	struct address a;
	int r;

	if (instances_resolve(call->argv[0], &a, e) < 0)
		return -e->no;
	r = named_clone_begin(&arg_clone, &a, arg_snapshot, (uint32_t)arg_count, call->lock_wait_ms,
			      &created, e);
	if (r == 0)
		r = cli_lines(call, start_clone, buf_text(&created), out, e);
	named_clone_end(&arg_clone, r == 0 ? "" : buf_text(&created), call->lock_wait_ms);
	return r;
}
