// SPDX-License-Identifier: MIT
#include "life/explain.h"

#include "life/capture.h"
#include "life/cli.h"
#include "snap/gen.h"
#include "snap/rules.h"
#include "state/instances.h"

const struct field explain_fields[] = {
	{ FIELD_SLOT(struct explain, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct explain, instance_path, address_text), .kind = KIND_TEXT,
	  .doc = "tenant/pool/instance" },
	{ FIELD_SLOT(struct explain, status, int), .kind = KIND_ENUM,
	  .names = instance_status_names, .doc = "where it is in its life" },
	{ FIELD_SLOT(struct explain, status_since, time_text), .kind = KIND_TEXT,
	  .doc = "since when (UTC)" },
	{ FIELD_SLOT(struct explain, cold, char[240]), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "why its last start was cold although its memory was wanted" },
	{ FIELD_SLOT(struct explain, start, struct start_record), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = start_fields, .doc = "its last start or wake" },
	{ FIELD_SLOT(struct explain, sleep, struct sleep_record), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = sleep_fields, .doc = "its last sleep" },
	{ FIELD_SLOT(struct explain, last_exit, struct exit_record), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = exit_fields, .doc = "its last end" },
	{ FIELD_SLOT(struct explain, capture, snap_ref), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "what a wake would load, or what is left of one that failed" },
	{ FIELD_SLOT(struct explain, capture_bad, char[400]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "why it would not" },
	{ FIELD_SLOT(struct explain, capture_note, char[240]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "what is to be known of it all the same" },
	{ FIELD_SLOT(struct explain, next_parent, snap_ref), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "what its next capture would be a delta of" },
	FIELD_END
};

// What an instance has not yet is none.
static int load(const struct store *s, const char *file, const struct field *tab, void *out,
		struct err *e)
{
	if (store_load(s, file, tab, out, e) < 0 && e->kind != ERR_MISSING)
		return -e->no;
	err_clear(e);
	return 0;
}

// One that is stopped may have what a failed wake has left: its next start drops that.
static int find_capture(const struct address *a, const struct store *s, struct explain *x,
			struct snap_gen *g, struct err *why)
{
	bool sleeps = x->status == INSTANCE_SLEEPING;

	if (snap_current(s, x->capture, why) < 0)
		return -why->no;
	if (!x->capture[0])
		return sleeps ? err_kind(why, ERR_MISSING, "it has no capture") : 0;
	if (sleeps)
		return capture_fits(a, x->capture, g, why);
	return snap_gen_open(s, x->capture, SNAP_UNLOCKED, 0, g, why);
}

static void look_at_capture(const struct address *a, const struct store *s, struct explain *x)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err why = { 0 };

	if (x->status != INSTANCE_SLEEPING && x->status != INSTANCE_STOPPED)
		return;
	if (find_capture(a, s, x, &g, &why) == 0 && g.dir >= 0) {
		if (g.m.memory.form == SNAP_FORM_MEM)
			(void)!snap_may_load(&g.m, &why);
		if (!why.no && x->status == INSTANCE_STOPPED)
			(void)err_kind(&why, ERR_STATE, "the disks may have gone on without it");
		if (!g.m.quiesced)
			base_cut(x->capture_note, sizeof(x->capture_note), "%s", CAPTURE_RESTLESS);
	}
	base_cut(x->capture_bad, sizeof(x->capture_bad), "%s", why.msg);
}

static int fill(const struct address *a, struct explain *x, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	struct instance i = { 0 };

	if (instance_load(a, NULL, &i, e) < 0 || store_open(&s, STORE_INSTANCE, a, e) < 0)
		return -e->no;
	address_print(a, x->instance_path);
	x->status = i.status;
	memcpy(x->status_since, i.status_since, sizeof(x->status_since));
	memcpy(x->cold, i.cold, sizeof(x->cold));
	base_cut(x->next_parent, sizeof(x->next_parent), "%s", i.diff_base.ref);
	look_at_capture(a, &s, x);
	if (load(&s, START_FILE, start_fields, &x->start, e) < 0 ||
	    load(&s, SLEEP_FILE, sleep_fields, &x->sleep, e) < 0)
		return -e->no;
	return load(&s, EXIT_FILE, exit_fields, &x->last_exit, e);
}

int explain_instance(const struct address *a, struct buf *out, struct err *e)
{
	struct explain x = { .schema_version = 1 };

	if (fill(a, &x, e) == 0)
		codec_print(explain_fields, &x, out);
	start_free(&x.start);
	sleep_free(&x.sleep);
	return e->no ? -e->no : 0;
}

int cli_explain(const struct call *call, struct buf *out, struct err *e)
{
	struct address a;

	if (instances_resolve(call->argv[0], &a, e) < 0)
		return -e->no;
	return explain_instance(&a, out, e);
}
