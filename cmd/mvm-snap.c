// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <signal.h>

#include "base/fd.h"
#include "base/sig.h"
#include "base/tool.h"
#include "life/base.h"
#include "life/capture.h"
#include "life/held.h"
#include "life/left.h"
#include "life/load.h"
#include "snap/compose.h"
#include "snap/list.h"
#include "snap/pack.h"
#include "snap/packer.h"
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

struct result { // of compose, pack and unpack
	uint32_t schema_version;
	snap_ref ref;
	bool changed;
	int form, compression;
	snap_ref composed_from;
	bool parent_removed;
	bool cloned;
	uint64_t delta_bytes;
	uint64_t packed_bytes;
	uint64_t took_ms;
};
static const struct field result_fields[] = {
	{ FIELD_SLOT(struct result, schema_version, uint32_t), .kind = KIND_UINT },
	{ FIELD_SLOT(struct result, ref, snap_ref), .kind = KIND_TEXT },
	{ FIELD_SLOT(struct result, changed, bool), .kind = KIND_BOOL },
	{ FIELD_SLOT(struct result, form, int), .kind = KIND_ENUM, .names = snap_form_names },
	{ FIELD_SLOT(struct result, compression, int), .kind = KIND_ENUM,
	  .names = pool_compression_names },
	{ FIELD_SLOT(struct result, composed_from, snap_ref), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE },
	{ FIELD_SLOT(struct result, parent_removed, bool), .kind = KIND_BOOL },
	{ FIELD_SLOT(struct result, cloned, bool), .kind = KIND_BOOL },
	{ FIELD_SLOT(struct result, delta_bytes, uint64_t), .kind = KIND_UINT },
	{ FIELD_SLOT(struct result, packed_bytes, uint64_t), .kind = KIND_UINT },
	{ FIELD_SLOT(struct result, took_ms, uint64_t), .kind = KIND_UINT },
	FIELD_END
};

// The object that holds the captures: an instance, or a pool for its bases.
static int open_store(const struct call *call, struct store *s, struct err *e)
{
	struct address a;

	if (address_parse(call->argv[0], ADDRESS_POOL, ADDRESS_INSTANCE, &a, e) < 0)
		return -e->no;
	return store_open(s, a.instance[0] ? STORE_INSTANCE : STORE_POOL, &a, e);
}

// The one that is named, else what a wake would load.
static int pick(const struct call *call, const struct store *s, snap_ref out, struct err *e)
{
	if (call->argc > 1) {
		if (snap_ref_check(call->argv[1], e) < 0)
			return -e->no;
		return base_copy(out, sizeof(snap_ref), call->argv[1]) < 0
			       ? err_usage(e, "'%.64s': too long", call->argv[1])
			       : 0;
	}
	if (s->level == STORE_POOL)
		return err_usage(e, "a pool has several bases: name one");
	if (snap_current(s, out, e) < 0)
		return -e->no;
	return out[0] ? 0 : err_kind(e, ERR_MISSING, "%s: has no snapshot", s->name);
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

	if (open_store(call, &s, e) < 0 || pick(call, &s, ref, e) < 0 ||
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
	    (call->argc > 1 && pick(call, &s, ref, e) < 0))
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

struct work {
	const struct call *call;
	struct store s;
	struct snap_gen g;
	struct pages_cancel cancel;
	struct result r;
};

static int begin(struct work *w, struct err *e)
{
	const struct call *call = w->call;
	struct address a;
	snap_ref ref;

	w->cancel.fd = sig_open(e, SIGTERM, SIGINT, 0);
	if (w->cancel.fd < 0 ||
	    address_parse(call->argv[0], ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0 ||
	    store_open(&w->s, STORE_INSTANCE, &a, e) < 0 || pick(call, &w->s, ref, e) < 0)
		return -e->no;
	return snap_gen_open(&w->s, ref, SNAP_EXCLUSIVE, call->lock_wait_ms, &w->g, e);
}

static int end(struct work *w, struct buf *out, struct err *e)
{
	if (!e->no) {
		w->r.schema_version = 1;
		w->r.form = w->g.m.memory.form;
		w->r.compression = w->g.m.compression;
		w->r.packed_bytes = w->g.m.memory.pack.bytes;
		memcpy(w->r.ref, w->g.ref, sizeof(w->r.ref));
		codec_print(result_fields, &w->r, out);
	}
	snap_gen_close(&w->g);
	store_close(&w->s);
	return e->no ? err_object(e, "%s", w->call->argv[0]) : 0;
}

#define WORK(c)                                                                         \
	{                                                                               \
		.call = (c), .s = STORE_NONE, .g = SNAP_GEN_NONE, .cancel = {.fd = -1 } \
	}

// The parent goes under the instance's lock, which comes before that of a generation.
static int drop_parent(struct work *w, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct codec_list rows = { 0 };
	const struct gc_row *row;
	struct address a;
	int r;

	if (!snap_ref_number(w->r.composed_from))
		return 0;
	(void)close(w->g.lock);
	w->g.lock = -1;
	if (address_parse(w->call->argv[0], ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0 ||
	    store_lock(&s, STORE_INSTANCE, &a, w->call->lock_wait_ms, e) < 0)
		return -e->no;
	r = snap_gc(&s, w->r.composed_from, false, &rows, e);
	row = rows.items;
	w->r.parent_removed = r == 0 && rows.len && row->removed;
	codec_free_list(gc_row_fields, sizeof(struct gc_row), &rows);
	return r;
}

static int run_compose(const struct call *call, struct buf *out, struct err *e)
{
	struct work w = WORK(call);
	struct compose_result c;

	if (begin(&w, e) == 0 &&
	    snap_compose(&w.s, &w.g, call->lock_wait_ms, &w.cancel, &c, e) == 0) {
		w.r.changed = c.changed;
		w.r.cloned = c.cloned;
		w.r.delta_bytes = c.delta_bytes;
		w.r.took_ms = c.took_ms;
		memcpy(w.r.composed_from, c.composed_from, sizeof(w.r.composed_from));
		if (drop_parent(&w, e) < 0)
			(void)err_prefix(e, "composed, but its parent stays: ");
	}
	return end(&w, out, e);
}

static int compression_of_pool(const struct call *call, struct err *e)
{
	cleanup_pool struct pool p = { 0 };
	struct address a;

	if (arg_compression >= 0)
		return arg_compression;
	if (address_parse(call->argv[0], ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0 ||
	    pool_load(a.tenant, a.pool, &p, e) < 0)
		return -e->no;
	return p.snapshot_compression;
}

// What it takes on the disk counts for the tenant's quota.
static int count_again(struct work *w, struct err *e)
{
	cleanup_held struct held h = HELD_NONE;
	struct address a;

	(void)close(w->g.lock);
	w->g.lock = -1;
	if (address_parse(w->call->argv[0], ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, e) < 0 ||
	    held_open(&h, &a, w->call->lock_wait_ms, e) < 0)
		return -e->no;
	return capture_sweep_held(&h, e);
}

// A wake may end it while it is at work.
static int convert(struct work *w, int compression, struct err *e)
{
	int64_t began = clock_ms();
	int r;

	if (snap_packer_begin(&w->g, e) < 0)
		return -e->no;
	r = compression == POOL_COMPRESSION_NONE
		    ? snap_unpack(&w->g, &w->cancel, &w->r.changed, e)
		    : snap_pack(&w->s, &w->g, compression, &w->cancel, &w->r.changed, e);
	snap_packer_done(&w->g);
	w->r.took_ms = (uint64_t)(clock_ms() - began);
	return r < 0 || !w->r.changed ? r : count_again(w, e);
}

static int run_pack(const struct call *call, struct buf *out, struct err *e)
{
	struct work w = WORK(call);
	int compression = compression_of_pool(call, e);

	if (compression >= 0 && begin(&w, e) == 0 && compression != POOL_COMPRESSION_NONE)
		(void)!convert(&w, compression, e); // end() tells it
	return end(&w, out, e);
}

static int run_unpack(const struct call *call, struct buf *out, struct err *e)
{
	struct work w = WORK(call);

	if (begin(&w, e) == 0)
		(void)!convert(&w, POOL_COMPRESSION_NONE, e); // end() tells it
	return end(&w, out, e);
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
