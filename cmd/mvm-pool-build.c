// SPDX-License-Identifier: MIT
#include "base/tool.h"
#include "life/image.h"

static const char *arg_from;
static bool arg_dry_run;

#define DRY_RUN_OPT                                                                            \
	{                                                                                      \
		.kind = OPT_FLAG, .name = "dry-run", .help = "print the plan, change nothing", \
		.slot = &arg_dry_run                                                           \
	}

static const struct opt build_opts[] = {
	{ .kind = OPT_TEXT,
	  .name = "from",
	  .arg = "DIR",
	  .help = "import this image directory (vmlinux, rootfs, mvm-image.json)",
	  .slot = &arg_from },
	DRY_RUN_OPT,
	OPT_END
};
static const struct opt rollback_opts[] = { DRY_RUN_OPT, OPT_END };

static void print(const struct image_record *r, struct buf *out)
{
	codec_print(image_record_fields, r, out);
	if (arg_dry_run) {
		out->len--; // its closing brace
		buf_str(out, ",\"dry_run\":true}");
	}
}

static int run_build(const struct call *call, struct buf *out, struct err *e)
{
	struct image_record r;
	struct address a;

	if (address_parse(call->argv[0], ADDRESS_POOL, ADDRESS_POOL, &a, e) < 0)
		return -e->no;
	if (!arg_from)
		return err_usage(e, "--from DIR is missing");
	if (image_import(&a, arg_from, arg_dry_run, call->lock_wait_ms, &r, e) < 0)
		return -e->no;
	print(&r, out);
	return 0;
}

static int run_rollback(const struct call *call, struct buf *out, struct err *e)
{
	const char *hash = call->argc > 1 ? call->argv[1] : "";
	struct image_record r;
	struct address a;

	if (address_parse(call->argv[0], ADDRESS_POOL, ADDRESS_POOL, &a, e) < 0 ||
	    image_rollback(&a, hash, arg_dry_run, call->lock_wait_ms, &r, e) < 0)
		return -e->no;
	print(&r, out);
	return 0;
}

static int run_history(const struct call *call, struct buf *out, struct err *e)
{
	struct address a;

	if (address_parse(call->argv[0], ADDRESS_POOL, ADDRESS_POOL, &a, e) < 0)
		return -e->no;
	return image_history(&a, out, e);
}

static const struct verb verbs[] = {
	{ "build", "TENANT/POOL", "make an image the pool's current revision", build_opts, 1, 1,
	  run_build, 0 },
	{ "rollback", "TENANT/POOL [REVISION]",
	  "make the revision before the present one, or the given one, current again",
	  rollback_opts, 1, 2, run_rollback, 0 },
	{ "history", "TENANT/POOL", "list what became current, oldest first", NULL, 1, 1,
	  run_history, 0 },
};

int main(int argc, char **argv)
{
	static const struct tool tool = { .name = "mvm-pool-build",
					  .summary = "keep the images of a pool",
					  .verbs = verbs,
					  .verb_count = COUNT(verbs) };

	return tool_main(&tool, argc, argv);
}
