// SPDX-License-Identifier: MIT
// What the codec takes, it prints in a form that it takes again as the same; records and trees.
#include "json/codec.h"

#include "base/name.h"
#include "json/lines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sub {
	char id[41];
	int32_t delta;
	double ratio;
};

struct record {
	char id[41];
	int phase;
	bool flag;
	uint8_t small;
	uint64_t big;
	int64_t offset;
	char *note;
	struct sub sub;
	struct codec_list subs, labels;
	char *raw;
};

static const char *const phases[] = { "new", "running", "gone", NULL };
static const struct field sub_fields[] = {
	{ FIELD_SLOT(struct sub, id, char[41]), .kind = KIND_TEXT, .check = name_check },
	{ FIELD_SLOT(struct sub, delta, int32_t), .kind = KIND_INT, .imin = -5, .max = 5 },
	{ FIELD_SLOT(struct sub, ratio, double), .kind = KIND_REAL },
	FIELD_END
};
static const struct field fields[] = {
	{ FIELD_SLOT(struct record, id, char[41]), .kind = KIND_TEXT, .flags = FIELD_NULLABLE },
	{ FIELD_SLOT(struct record, phase, int), .kind = KIND_ENUM, .names = phases },
	{ FIELD_SLOT(struct record, flag, bool), .kind = KIND_BOOL, .flags = FIELD_OMIT_EMPTY },
	{ FIELD_SLOT(struct record, small, uint8_t), .kind = KIND_UINT },
	{ FIELD_SLOT(struct record, big, uint64_t), .kind = KIND_UINT, .flags = FIELD_NULLABLE },
	{ FIELD_SLOT(struct record, offset, int64_t), .kind = KIND_INT },
	{ FIELD_SLOT(struct record, note, char *), .kind = KIND_STRING, .flags = FIELD_NULLABLE },
	{ FIELD_SLOT(struct record, sub, struct sub), .kind = KIND_RECORD,
	  .flags = FIELD_OMIT_EMPTY, .sub = sub_fields },
	{ FIELD_SLOT(struct record, subs, struct codec_list), .kind = KIND_LIST, .sub = sub_fields,
	  .item_size = sizeof(struct sub), .max = 8 },
	{ FIELD_SLOT(struct record, labels, struct codec_list), .kind = KIND_TEXTS, .max = 8 },
	{ FIELD_SLOT(struct record, raw, char *), .kind = KIND_RAW, .flags = FIELD_OMIT_EMPTY },
	FIELD_END
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void as_record(const char *text, size_t len)
{
	cleanup_buf struct buf once = BUF_INIT, twice = BUF_INIT;
	struct record a = { 0 }, b = { 0 };
	struct err e = { 0 };

	if (codec_parse(fields, text, len, &a, &e) < 0) {
		must(e.kind == ERR_USAGE && e.msg[0]);
		must(!a.note && !a.raw && !a.subs.items && !a.labels.items);
		return;
	}
	codec_print(fields, &a, &once);
	must(codec_parse(fields, once.data, once.len, &b, &e) == 0);
	codec_print(fields, &b, &twice);
	must(str_eq(once.data, twice.data));
	codec_free(fields, &a);
	codec_free(fields, &b);
}

static void as_tree(const char *text, size_t len)
{
	cleanup_buf struct buf once = BUF_INIT, twice = BUF_INIT;
	struct codec_node *a = NULL, *b = NULL;
	struct err e = { 0 };
	bool good = codec_tree(text, len, &a, &e) == 0;

	must(good == (codec_check(text, len, &e) == 0));
	if (!good)
		return;
	codec_node_print(a, &once);
	must(codec_tree(once.data, once.len, &b, &e) == 0);
	codec_node_print(b, &twice);
	must(str_eq(once.data, twice.data));
	codec_tree_free(a);
	codec_tree_free(b);
}

static int ignore(void *arg, void *rec, struct err *e)
{
	(void)arg;
	(void)rec;
	(void)e;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct codec_list l = { NULL, 0 };
	struct err e = { 0 };
	bool torn;

	as_record(text, size);
	as_tree(text, size);
	if (codec_parse_list(sub_fields, sizeof(struct sub), text, size, &l, &e) == 0)
		codec_free_list(sub_fields, sizeof(struct sub), &l);
	(void)!lines_each(fields, sizeof(struct record), text, size, ignore, NULL, &torn, &e);
	return 0;
}
