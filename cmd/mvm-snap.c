// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <signal.h>

#include "base/fd.h"
#include "base/sig.h"
#include "base/tool.h"
#include "life/base.h"
#include "life/convert.h"
#include "life/left.h"
#include "life/load.h"
#include "snap/verify.h"
#include "state/pool.h"

static bool arg_dry_run;
static int arg_compression = -1;
static uint64_t arg_vmm_fd;
static bool given_vmm_fd;

static const struct opt gc_opts[] = { { .kind = OPT_FLAG,
					.name = "dry-run",
					.help = "tell what would go, remove nothing",
					.slot = &arg_dry_run },
				      OPT_END };
static const struct opt pack_opts[] = { { .kind = OPT_ENUM,
					  .name = "compression",
					  .arg = "none|lz4|zstd",
					  .help = "in place of what the pool has",
					  .slot = &arg_compression,
					  .words = pool_compression_names },
					OPT_END };

static const struct opt load_opts[] = { { .kind = OPT_U64,
					  .name = "vmm-fd",
					  .arg = "N",
					  .help = "inherited descriptor: a pidfd of the VMM",
					  .slot = &arg_vmm_fd,
					  .min = 3,
					  .max = 65535,
					  .given = &given_vmm_fd },
					OPT_END };

// The object that holds the captures: an instance, or a pool for its bases.
static int open_store(const struct call *call, struct store *s, struct err *e)
{
	struct address a;

	if (address_parse(call->argv[0], ADDRESS_POOL, ADDRESS_INSTANCE, &a, e) < 0)
		return -e->no;
	return store_open(s, a.instance[0] ? STORE_INSTANCE : STORE_POOL, &a, e);
}

static const char *word_of(const struct call *call)
{
	return call->argc > 1 ? call->argv[1] : NULL;
}

static int run_list(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct codec_list rows = { 0 };

	if (open_store(call, &s, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	if (snap_list(&s, &rows, e) == 0)
		codec_print_list(snap_row_fields, sizeof(struct snap_row), &rows, out);
	codec_free_list(snap_row_fields, sizeof(struct snap_row), &rows);
	return e->no ? err_object(e, "%s", call->argv[0]) : 0;
}

static int run_info(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	snap_ref ref;

	if (open_store(call, &s, e) < 0 || snap_pick(&s, word_of(call), ref, e) < 0 ||
	    snap_gen_open(&s, ref, SNAP_UNLOCKED, 0, &g, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	codec_print(snap_manifest_fields, &g.m, out);
	return 0;
}

static int run_verify(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct pages_cancel cancel = { .fd = -1 };
	struct codec_list rows = { 0 };
	snap_ref ref = "";
	int bad;

	cancel.fd = sig_open(e, SIGTERM, SIGINT, 0);
	if (cancel.fd < 0 || open_store(call, &s, e) < 0 ||
	    (call->argc > 1 && snap_pick(&s, word_of(call), ref, e) < 0))
		return err_object(e, "%s", call->argv[0]);
	bad = snap_verify(&s, ref, call->lock_wait_ms, &cancel, &rows, e);
	if (bad >= 0)
		codec_print_list(verdict_fields, sizeof(struct verdict), &rows, out);
	codec_free_list(verdict_fields, sizeof(struct verdict), &rows);
	if (bad < 0)
		return err_object(e, "%s", call->argv[0]);
	return bad ? err_kinds[ERR_STATE].exit : 0;
}

// --- compose, pack, unpack

static int convert(const struct call *call, struct buf *out, enum convert_what what,
		   int compression, struct err *e)
{
	const struct convert w = { .what = what,
				   .ref = word_of(call),
				   .compression = compression,
				   .wait_ms = call->lock_wait_ms };
	struct convert_result r = { 0 };
	struct address a;

	if (address_parse(call->argv[0], ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0 ||
	    convert_run(&a, &w, &r, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	codec_print(convert_result_fields, &r, out);
	return 0;
}

static int run_compose(const struct call *call, struct buf *out, struct err *e)
{
	return convert(call, out, CONVERT_COMPOSE, -1, e);
}

static int run_pack(const struct call *call, struct buf *out, struct err *e)
{
	return convert(call, out, CONVERT_PACK, arg_compression, e);
}

static int run_unpack(const struct call *call, struct buf *out, struct err *e)
{
	return convert(call, out, CONVERT_UNPACK, -1, e);
}

static int run_gc(const struct call *call, struct buf *out, struct err *e)
{
	struct codec_list rows = { 0 };
	struct address a;

	if (address_parse(call->argv[0], ADDRESS_POOL, ADDRESS_INSTANCE, &a, e) == 0 &&
	    left_gc(&a, arg_dry_run, call->lock_wait_ms, &rows, e) == 0)
		codec_print_list(gc_row_fields, sizeof(struct gc_row), &rows, out);
	codec_free_list(gc_row_fields, sizeof(struct gc_row), &rows);
	return e->no ? err_object(e, "%s", call->argv[0]) : 0;
}

static int run_base(const struct call *call, struct buf *out, struct err *e)
{
	struct base_result r = { 0 };
	struct address a;

	if (address_parse(call->argv[0], ADDRESS_POOL, ADDRESS_POOL, &a, e) < 0)
		return -e->no;
	if (base_make(&a, call->lock_wait_ms, &r, e) < 0)
		return err_object(e, "%s", call->argv[0]);
	codec_print(base_result_fields, &r, out);
	return 0;
}

static bool is_pidfd(int fd)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err ignored = { 0 };
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return fd_read_file(AT_FDCWD, path, 4096, &text, &ignored) == 0 &&
	       strstr(buf_text(&text), "\nPid:");
}

// Below the launcher's helper only: there is no VMM to load anything into otherwise.
static int run_load(const struct call *call, struct buf *out, struct err *e)
{
	struct address a;

	(void)out;
	if (address_parse(call->argv[0], ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0)
		return -e->no;
	if (!given_vmm_fd || !is_pidfd((int)arg_vmm_fd))
		return err_usage(e, "--vmm-fd: an inherited pidfd is wanted");
	return load_run(&a, (int)arg_vmm_fd, call->lock_wait_ms, e) < 0
		       ? err_object(e, "%s", call->argv[0])
		       : 0;
}

#define EITHER	    "TENANT/POOL[/INSTANCE]"
#define OF_INSTANCE "TENANT/POOL/INSTANCE [REF]"

static const struct verb verbs[] = {
	{ "list", EITHER, "show the captures of an instance, or the bases of a pool", NULL, 1, 1,
	  run_list, 0 },
	{ "info", EITHER " [REF]", "print the manifest of one", NULL, 1, 2, run_info, 0 },
	{ "verify", EITHER " [REF]", "read one, or all, and compare every digest", NULL, 1, 2,
	  run_verify, 0 },
	{ "compose", OF_INSTANCE, "lay a delta over its parent, so that it stands alone", NULL, 1,
	  2, run_compose, 0 },
	{ "pack", OF_INSTANCE, "compress the memory", pack_opts, 1, 2, run_pack, 0 },
	{ "unpack", OF_INSTANCE, "make the memory of a packed one again", NULL, 1, 2, run_unpack,
	  0 },
	{ "base", "TENANT/POOL",
	  "take the base of a pool's image from a template, if it is missing", NULL, 1, 1, run_base,
	  0 },
	{ "gc", EITHER, "remove what nobody refers to, and what crashes left", gc_opts, 1, 1,
	  run_gc, 0 },
	{ "load", "TENANT/POOL/INSTANCE",
	  "load what launch.json names into a VMM that waits for it", load_opts, 1, 1, run_load,
	  VERB_HIDDEN | VERB_RAW },
};

int main(int argc, char **argv)
{
	static const struct tool tool = {
		.name = "mvm-snap",
		.summary = "the snapshots of instances and pools",
		.verbs = verbs,
		.verb_count = COUNT(verbs),
		.details = "REF is gen-<n> or base-<hash>; without one, what a wake would load."
	};

	return tool_main(&tool, argc, argv);
}
