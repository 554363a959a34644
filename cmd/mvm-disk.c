// SPDX-License-Identifier: MIT
#include "base/tool.h"
#include "disk/drive.h"
#include "disk/safe.h"
#include "life/push.h"

static const char *arg_seed;
static bool arg_dry_run, arg_loaded;
static uint64_t arg_guest_ms = 20000;

#define DRY_RUN                                                                         \
	{                                                                               \
		0, OPT_FLAG, "dry-run", NULL, "tell what would change, change nothing", \
			&arg_dry_run, 0, 0, NULL, NULL                                  \
	}

static const struct opt data_opts[] = {
	{ 0, OPT_TEXT, "seed", "FILE", "begin with the content of this ext4 image", &arg_seed, 0, 0,
	  NULL, NULL },
	DRY_RUN,
	OPT_END,
};
static const struct opt make_opts[] = { DRY_RUN, OPT_END };
static const struct opt push_opts[] = {
	{ 0, OPT_MS, "timeout", "TIME", "how long one guest may take (default 20s)", &arg_guest_ms,
	  100, 600000, NULL, NULL },
	OPT_END,
};

static const struct opt resumed_opts[] = {
	{ 0, OPT_MS, "timeout", "TIME", "how long it may take (default 20s)", &arg_guest_ms, 100,
	  600000, NULL, NULL },
	{ 0, OPT_FLAG, "loaded", NULL, "it was loaded from a capture: all that it has is old",
	  &arg_loaded, 0, 0, NULL, NULL },
	OPT_END,
};

static int parse(const struct call *call, struct address *a, struct err *e)
{
	if (address_parse(call->argv[0], ADDRESS_INSTANCE, ADDRESS_INSTANCE, a, e) < 0)
		return -e->no;
	return safe_process(e);
}

// One drive is an object, several are a list.
static void print(const struct codec_list *rows, bool list, struct buf *out)
{
	if (list)
		codec_print_list(drive_row_fields, sizeof(struct drive_row), rows, out);
	else if (rows->len)
		codec_print(drive_row_fields, rows->items, out);
}

static int ensure(const struct call *call, unsigned which, struct buf *out, struct err *e)
{
	cleanup_drive_rows struct codec_list rows = { 0 };
	const struct drive_call c = { .which = which,
				      .seed = arg_seed,
				      .dry_run = arg_dry_run,
				      .wait_ms = call->lock_wait_ms };
	struct address a;

	if (parse(call, &a, e) < 0 || drive_ensure(&a, &c, &rows, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	print(&rows, which == DRIVE_ALL, out);
	return 0;
}

static int run_data(const struct call *call, struct buf *out, struct err *e)
{
	return ensure(call, 1u << DRIVE_DATA, out, e);
}

static int run_secrets(const struct call *call, struct buf *out, struct err *e)
{
	return ensure(call, 1u << DRIVE_SECRETS, out, e);
}

static int run_config(const struct call *call, struct buf *out, struct err *e)
{
	return ensure(call, 1u << DRIVE_CONFIG, out, e);
}

static int run_ensure(const struct call *call, struct buf *out, struct err *e)
{
	return ensure(call, DRIVE_ALL, out, e);
}

static int run_list(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_drive_rows struct codec_list rows = { 0 };
	struct address a;

	if (parse(call, &a, e) < 0 || drive_list(&a, &rows, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	print(&rows, true, out);
	return 0;
}

// A guest that runs needs them: its end is what removes them.
static int run_remove(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_drive_rows struct codec_list rows = { 0 };
	struct instance i = { 0 };
	struct address a;

	if (parse(call, &a, e) < 0 || instance_load(&a, NULL, &i, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	if (instance_has_vmm(&i) || instance_op_alive(&i)) {
		(void)err_kind(e, ERR_STATE, "%s: the instance is %s", call->argv[0],
			       instance_op_alive(&i) ? "at work" : instance_status_names[i.status]);
		return err_object(e, "%s", call->argv[0]);
	}
	if (drive_release(&a, e) < 0 || drive_list(&a, &rows, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	print(&rows, true, out);
	return 0;
}

static int run_push(const struct call *call, struct buf *out, struct err *e)
{
	const struct push_call c = { .wait_ms = call->lock_wait_ms, .guest_ms = (int)arg_guest_ms };
	int failed;

	if (safe_process(e) < 0)
		return -e->no;
	failed = push_tenant(call->argv[0], &c, out, e);
	if (failed < 0)
		return err_object(e, "%s", call->argv[0]);
	return failed ? err_kinds[ERR_STATE].exit : 0;
}

static int run_resumed(const struct call *call, struct buf *out, struct err *e)
{
	const struct push_call c = { .wait_ms = call->lock_wait_ms,
				     .guest_ms = (int)arg_guest_ms,
				     .loaded = arg_loaded };
	struct push_row row;
	struct address a;

	if (parse(call, &a, e) < 0 || push_resumed(&a, &c, &row, e) < 0)
		return -e->no;
	codec_print(push_row_fields, &row, out);
	return 0;
}

#define OF_INSTANCE "TENANT/POOL/INSTANCE"

static const struct verb verbs[] = {
	{ "data", OF_INSTANCE, "make the data disk, once", data_opts, 1, 1, run_data, 0 },
	{ "secrets", OF_INSTANCE, "make the drive of the tenant's secrets", make_opts, 1, 1,
	  run_secrets, 0 },
	{ "config", OF_INSTANCE, "make the drive of the configuration", make_opts, 1, 1, run_config,
	  0 },
	{ "ensure", OF_INSTANCE, "make all three, as a start does", make_opts, 1, 1, run_ensure,
	  0 },
	{ "list", OF_INSTANCE, "show what there is", NULL, 1, 1, run_list, 0 },
	{ "remove", OF_INSTANCE, "wipe secrets and configuration of one that has ended", NULL, 1, 1,
	  run_remove, 0 },
	{ "push", "TENANT", "give its guests the present secrets and configuration", push_opts, 1,
	  1, run_push, 0 },
	{ "resumed", OF_INSTANCE, "push to a guest that goes on after a pause, before it is thawed",
	  resumed_opts, 1, 1, run_resumed, VERB_HIDDEN },
};

int main(int argc, char **argv)
{
	static const struct tool tool = { "mvm-disk", "the drives of an instance beside its root",
					  verbs, COUNT(verbs), NULL };

	return tool_main(&tool, argc, argv);
}
