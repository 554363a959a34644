// SPDX-License-Identifier: MIT
#include "fmt/names.h"

#include "base/log.h"

static const char *text_of(const struct codec_node *record, const char *key)
{
	const struct codec_node *v = codec_get(record, key);

	return v && codec_type(v) == CODEC_TEXT ? codec_text(v) : "";
}

// tenant[/pool[/instance]] where the record has them, else the first key that names a thing.
static int name_record(const struct codec_node *record, struct buf *out, struct err *e)
{
	static const char *const keys[] = {
		"instance_path", "pool_path", "node_id", "revision_hash",
		"name",		 "address",   "id",	 "path"
	};
	const char *tenant = text_of(record, "tenant_id"), *pool = text_of(record, "pool_id"),
		   *instance = text_of(record, "instance_id");

	if (tenant[0]) {
		buf_fmt(out, "%s%s%s%s%s\n", tenant, pool[0] ? "/" : "", pool,
			pool[0] && instance[0] ? "/" : "", pool[0] ? instance : "");
		return 0;
	}
	for (size_t i = 0; i < COUNT(keys); i++)
		if (text_of(record, keys[i])[0]) {
			buf_fmt(out, "%s\n", text_of(record, keys[i]));
			return 0;
		}
	return err_usage(e, "a record without a name");
}

static int name_one(const struct codec_node *n, struct buf *out, struct err *e)
{
	size_t start = out->len;

	if (codec_type(n) == CODEC_TEXT)
		buf_fmt(out, "%s\n", codec_text(n));
	else if (codec_type(n) != CODEC_OBJECT)
		return err_usage(e, "a record without a name");
	else if (name_record(n, out, e) < 0)
		return -e->no;
	out->data[--out->len] = '\0'; // the newline is not to be cleaned away
	log_clean(out->data + start);
	out->len = start + strlen(out->data + start);
	buf_char(out, '\n');
	return 0;
}

int names_print(const struct codec_node *doc, struct buf *out, struct err *e)
{
	if (codec_type(doc) != CODEC_ARRAY)
		return name_one(doc, out, e);
	for (const struct codec_node *it = codec_child(doc); it; it = codec_next(it))
		if (name_one(it, out, e) < 0)
			return -e->no;
	return 0;
}
