// SPDX-License-Identifier: MIT
#include "snap/verify.h"

#include "snap/list.h"
#include "snap/named.h"

const struct field verdict_fields[] = {
	{ FIELD_SLOT(struct verdict, schema_version, uint32_t), .kind = KIND_UINT, .doc = "1" },
	{ FIELD_SLOT(struct verdict, ref, snap_ref), .kind = KIND_TEXT, .doc = "the capture" },
	{ FIELD_SLOT(struct verdict, ok, bool), .kind = KIND_BOOL, .doc = "every digest fits" },
	{ FIELD_SLOT(struct verdict, error, char[400]), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "what is wrong" },
	FIELD_END
};

static int verify(const struct store *s, const char *ref, int wait_ms, const struct pages_cancel *c,
		  struct err *e)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE, parent = SNAP_GEN_NONE;

	if (snap_gen_open(s, ref, SNAP_SHARED, wait_ms, &g, e) < 0 ||
	    snap_gen_verify(&g, true, c, NULL, e) < 0 || snap_data_verify(&g, c, e) < 0)
		return -e->no;
	if (g.m.memory.form != SNAP_FORM_DELTA)
		return 0;
	return snap_parent_open(s, &g.m.parent, wait_ms, &parent, e) < 0 ? err_wrap(e, "%s", ref)
									 : 0;
}

static void add_verdict(struct codec_list *rows, const char *ref, const char *error)
{
	struct verdict *v = codec_list_add(rows, sizeof(*v));

	v->schema_version = 1;
	v->ok = !error[0];
	base_cut(v->ref, sizeof(v->ref), "%s", ref);
	base_cut(v->error, sizeof(v->error), "%s", error);
}

static int judge(const struct store *s, const char *ref, int wait_ms, const struct pages_cancel *c,
		 struct codec_list *rows, struct err *e)
{
	struct err why = { 0 };

	if (verify(s, ref, wait_ms, c, &why) < 0 &&
	    (why.kind == ERR_MISSING || why.kind == ERR_UNAVAILABLE)) {
		*e = why;
		return -e->no;
	}
	add_verdict(rows, ref, why.msg);
	return why.no != 0;
}

// What a wake would load has to be there.
static int judge_link(const struct store *s, const struct codec_list *all, struct codec_list *rows,
		      struct err *e)
{
	const struct snap_row *row = all->items;
	snap_ref ref = "";

	if (s->level == STORE_INSTANCE && snap_current(s, ref, e) < 0)
		return -e->no;
	for (size_t i = 0; i < all->len; i++)
		if (str_eq(row[i].ref, ref))
			return 0;
	if (!ref[0])
		return 0;
	add_verdict(rows, ref, SNAP_LINK ": names it, and it is not there");
	return 1;
}

int snap_verify(const struct store *s, const char *ref, int wait_ms, const struct pages_cancel *c,
		struct codec_list *rows, struct err *e)
{
	struct codec_list all = { 0 };
	int bad = 0, r = 0;

	if (ref[0])
		return judge(s, ref, wait_ms, c, rows, e);
	r = snap_list(s, &all, e);
	for (size_t i = 0; r >= 0 && i < all.len; i++) {
		const struct snap_row *row = (const struct snap_row *)all.items + i;

		r = judge(s, row->ref, wait_ms, c, rows, e);
		bad += r > 0;
	}
	if (r >= 0) {
		r = judge_link(s, &all, rows, e);
		bad += r > 0;
	}
	codec_free_list(snap_row_fields, sizeof(struct snap_row), &all);
	return r < 0 ? r : bad;
}
