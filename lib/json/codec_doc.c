// SPDX-License-Identifier: MIT
// The field tables as JSON Schema and as Markdown.
#include "json/codec_parts.h"

#include <inttypes.h>

static void schema_object(const struct field *tab, struct buf *out);

static const char *type_name(enum field_kind kind)
{
	switch (kind) {
	case KIND_TEXT:
	case KIND_STRING:
	case KIND_ENUM:
		return "string";
	case KIND_BOOL:
		return "boolean";
	case KIND_UINT:
	case KIND_INT:
		return "integer";
	case KIND_REAL:
		return "number";
	case KIND_RECORD:
		return "object";
	case KIND_LIST:
	case KIND_TEXTS:
		return "array";
	case KIND_RAW:
		return "any";
	}
	return "any";
}

static void schema_pattern(const struct field *f, struct buf *out)
{
	if (!f->schema_pattern)
		return;
	buf_str(out, ",\"pattern\":");
	buf_json(out, f->schema_pattern);
}

static void schema_words(const struct field *f, struct buf *out)
{
	buf_str(out, ",\"enum\":[");
	for (int i = 0; f->names[i]; i++) {
		buf_str(out, i ? "," : "");
		buf_json(out, f->names[i]);
	}
	buf_str(out, f->flags & FIELD_NULLABLE ? ",null]" : "]");
}

static void schema_items(const struct field *f, struct buf *out)
{
	if (f->min)
		buf_fmt(out, ",\"minItems\":%" PRIu64, f->min);
	buf_fmt(out, ",\"maxItems\":%" PRIu64 ",\"items\":{\"type\":", codec_max(f));
	buf_str(out, f->kind == KIND_LIST ? "\"object\"" : "\"string\"");
	if (f->kind == KIND_LIST)
		schema_object(f->sub, out);
	else
		schema_pattern(f, out);
	buf_char(out, '}');
}

static void schema_limits(const struct field *f, struct buf *out)
{
	switch (f->kind) {
	case KIND_TEXT:
	case KIND_STRING:
		if (f->min)
			buf_fmt(out, ",\"minLength\":%" PRIu64, f->min);
		buf_fmt(out, ",\"maxLength\":%" PRIu64, codec_max(f));
		schema_pattern(f, out);
		return;
	case KIND_UINT:
		buf_fmt(out, ",\"minimum\":%" PRIu64 ",\"maximum\":%" PRIu64, f->min, codec_max(f));
		return;
	case KIND_INT:
		buf_fmt(out, ",\"minimum\":%" PRId64 ",\"maximum\":%" PRIu64, codec_int_min(f),
			codec_max(f));
		return;
	case KIND_REAL:
		if (f->min || f->max)
			buf_fmt(out, ",\"minimum\":%" PRIu64 ",\"maximum\":%" PRIu64, f->min,
				f->max);
		return;
	case KIND_ENUM:
		schema_words(f, out);
		return;
	case KIND_LIST:
	case KIND_TEXTS:
		schema_items(f, out);
		return;
	case KIND_RECORD:
		schema_object(f->sub, out);
		return;
	case KIND_BOOL:
	case KIND_RAW:
		return;
	}
}

static void schema_member(const struct field *f, struct buf *out)
{
	buf_json(out, f->key);
	buf_str(out, ":{\"description\":");
	buf_json(out, f->doc ? f->doc : "");
	if (f->kind != KIND_RAW) // no "type": any value
		buf_fmt(out,
			f->flags & FIELD_NULLABLE ? ",\"type\":[\"%s\",\"null\"]"
						  : ",\"type\":\"%s\"",
			type_name(f->kind));
	schema_limits(f, out);
	buf_char(out, '}');
}

// What follows "type":"object".
static void schema_object(const struct field *tab, struct buf *out)
{
	const char *between = "";

	buf_str(out, ",\"additionalProperties\":false,\"required\":[");
	for (const struct field *f = tab; f->key; f++) {
		if (!(f->flags & FIELD_REQUIRED))
			continue;
		buf_str(out, between);
		buf_json(out, f->key);
		between = ",";
	}
	buf_str(out, "],\"properties\":{");
	for (const struct field *f = tab; f->key; f++) {
		buf_str(out, f == tab ? "" : ",");
		schema_member(f, out);
	}
	buf_char(out, '}');
}

void codec_schema(const char *title, const struct field *tab, struct buf *out)
{
	buf_str(out, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":");
	buf_json(out, title);
	buf_str(out, ",\"type\":\"object\"");
	schema_object(tab, out);
	buf_char(out, '}');
}

static void markdown_text(struct buf *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '|' || *s == '\\')
			buf_char(out, '\\'); // would end the cell
		buf_char(out, *s);
	}
}

static void markdown_type(const struct field *f, struct buf *out)
{
	switch (f->kind) {
	case KIND_TEXT:
	case KIND_STRING:
		buf_fmt(out, "string, %" PRIu64 "..%" PRIu64 " bytes", f->min, codec_max(f));
		break;
	case KIND_UINT:
		buf_fmt(out, "integer %" PRIu64 "..%" PRIu64, f->min, codec_max(f));
		break;
	case KIND_INT:
		buf_fmt(out, "integer %" PRId64 "..%" PRIu64, codec_int_min(f), codec_max(f));
		break;
	case KIND_ENUM:
		for (int i = 0; f->names[i]; i++)
			buf_fmt(out, "%s`%s`", i ? ", " : "", f->names[i]);
		break;
	case KIND_LIST:
		buf_fmt(out, "list of objects, at most %" PRIu64, codec_max(f));
		break;
	case KIND_TEXTS:
		buf_fmt(out, "list of strings, at most %" PRIu64, codec_max(f));
		break;
	case KIND_BOOL:
	case KIND_REAL:
	case KIND_RECORD:
	case KIND_RAW:
		buf_str(out, type_name(f->kind));
		break;
	}
	if (f->flags & FIELD_NULLABLE)
		buf_str(out, " or null");
}

static void markdown_rows(const char *path, const struct field *tab, struct buf *out)
{
	for (const struct field *f = tab; f->key; f++) {
		cleanup_free char *key = base_printf("%s%s", path, f->key);

		buf_fmt(out, "| `%s` | ", key);
		markdown_type(f, out);
		buf_fmt(out, " | %s | ", f->flags & FIELD_REQUIRED ? "required" : "optional");
		markdown_text(out, f->doc ? f->doc : "");
		buf_str(out, " |\n");
		if (f->sub) {
			cleanup_free char *below =
				base_printf("%s%s.", key, f->kind == KIND_LIST ? "[]" : "");

			markdown_rows(below, f->sub, out);
		}
	}
}

void codec_markdown(const char *title, const struct field *tab, struct buf *out)
{
	buf_fmt(out, "## %s\n\n| Key | Type | | Meaning |\n|---|---|---|---|\n", title);
	markdown_rows("", tab, out);
}
