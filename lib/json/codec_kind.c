// SPDX-License-Identifier: MIT
// Each kind of field: from a JSON value to the member and back.
#include "json/codec_parts.h"

#include <assert.h>
#include <inttypes.h>

uint64_t codec_max(const struct field *f)
{
	uint64_t fits = CODEC_EXACT;

	switch (f->kind) {
	case KIND_TEXT:
		return f->max ? MIN(f->max, f->size - 1) : f->size - 1;
	case KIND_STRING:
	case KIND_RAW:
		return f->max ? f->max : CODEC_STRING_MAX;
	case KIND_LIST:
	case KIND_TEXTS:
		return f->max ? f->max : CODEC_ITEMS_MAX;
	case KIND_UINT:
		if (f->size < 8)
			fits = ((uint64_t)1 << 8 * f->size) - 1;
		return f->max ? MIN(f->max, fits) : fits;
	case KIND_INT:
		if (f->size < 8)
			fits = ((uint64_t)1 << (8 * f->size - 1)) - 1;
		return f->max || f->imin ? MIN(f->max, fits) : fits;
	case KIND_BOOL:
	case KIND_REAL:
	case KIND_ENUM:
	case KIND_RECORD:
		break;
	}
	return f->max;
}

// Members are read and written by memcpy: their type is known by size only.
static char *load_pointer(const void *at)
{
	char *p;

	memcpy(&p, at, sizeof(p));
	return p;
}

static void store_pointer(void *at, const char *p)
{
	memcpy(at, &p, sizeof(p));
}

// An empty text of a plain optional field is what the encoder writes for "not set": it need not
// fulfil the rule for names.
static int check_text(const struct field *f, const char *text, struct err *e)
{
	const unsigned strict = FIELD_REQUIRED | FIELD_NULLABLE | FIELD_OMIT_EMPTY;
	size_t len = strlen(text);

	if (len == 0 && !(f->flags & strict))
		return 0;
	if (len > codec_max(f) && f->kind != KIND_TEXTS)
		return err_usage(e, "longer than %" PRIu64 " bytes", codec_max(f));
	if (len < f->min && f->kind != KIND_TEXTS)
		return err_usage(e, "shorter than %" PRIu64 " bytes", f->min);
	return f->check ? f->check(text, e) : 0;
}

static int want_text(const cJSON *in, struct err *e)
{
	return cJSON_IsString(in) ? 0 : err_usage(e, "expected a string");
}

static int get_text(const struct field *f, const cJSON *in, void *at, struct err *e)
{
	if (want_text(in, e) < 0 || check_text(f, in->valuestring, e) < 0)
		return -e->no;
	return base_copy(at, f->size, in->valuestring) < 0 ? err_usage(e, "too long") : 0;
}

static void put_text(const struct field *f, const void *at, struct buf *out)
{
	(void)f;
	buf_json(out, at);
}

static int get_string(const struct field *f, const cJSON *in, void *at, struct err *e)
{
	if (want_text(in, e) < 0 || check_text(f, in->valuestring, e) < 0)
		return -e->no;
	free(load_pointer(at)); // a default that the caller put in
	store_pointer(at, base_strdup(in->valuestring));
	return 0;
}

static void put_string(const struct field *f, const void *at, struct buf *out)
{
	const char *text = load_pointer(at);

	(void)f;
	buf_json(out, text ? text : "");
}

static int get_bool(const struct field *f, const cJSON *in, void *at, struct err *e)
{
	(void)f;
	if (!cJSON_IsBool(in))
		return err_usage(e, "expected true or false");
	bool v = cJSON_IsTrue(in);
	memcpy(at, &v, sizeof(v));
	return 0;
}

static void put_bool(const struct field *f, const void *at, struct buf *out)
{
	bool v;

	(void)f;
	memcpy(&v, at, sizeof(v));
	buf_str(out, v ? "true" : "false");
}

static int get_enum(const struct field *f, const cJSON *in, void *at, struct err *e)
{
	char list[400] = "";

	if (want_text(in, e) < 0)
		return -e->no;
	for (int i = 0; f->names[i]; i++) {
		size_t used = strlen(list);

		if (str_eq(f->names[i], in->valuestring)) {
			memcpy(at, &i, sizeof(i));
			return 0;
		}
		base_cut(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", f->names[i]);
	}
	return err_usage(e, "'%.64s' is none of %s", in->valuestring, list);
}

static void put_enum(const struct field *f, const void *at, struct buf *out)
{
	int v, count = 0;

	memcpy(&v, at, sizeof(v));
	while (f->names[count])
		count++;
	assert(v >= 0 && v < count);
	buf_json(out, f->names[v]);
}

static int get_record(const struct field *f, const cJSON *in, void *at, struct err *e)
{
	return codec_decode(f->sub, in, at, e);
}

static void put_record(const struct field *f, const void *at, struct buf *out)
{
	codec_print(f->sub, at, out);
}

int codec_want_list(const struct field *f, const cJSON *in, struct err *e)
{
	uint64_t count = 0;

	if (!cJSON_IsArray(in))
		return err_usage(e, "expected a list");
	for (const cJSON *it = in->child; it; it = it->next)
		count++;
	if (count > codec_max(f))
		return err_usage(e, "more than %" PRIu64 " items", codec_max(f));
	if (count < f->min)
		return err_usage(e, "fewer than %" PRIu64 " items", f->min);
	return 0;
}

int codec_get_items(const struct field *sub, size_t item_size, const cJSON *in,
		    struct codec_list *out, struct err *e)
{
	for (const cJSON *it = in->child; it; it = it->next)
		if (codec_decode(sub, it, codec_list_add(out, item_size), e) < 0)
			return codec_at_index(e, out->len - 1);
	return 0;
}

static int get_list(const struct field *f, const cJSON *in, void *at, struct err *e)
{
	if (codec_want_list(f, in, e) < 0)
		return -e->no;
	return codec_get_items(f->sub, f->item_size, in, at, e);
}

static void put_list(const struct field *f, const void *at, struct buf *out)
{
	codec_print_list(f->sub, f->item_size, at, out);
}

static int get_texts(const struct field *f, const cJSON *in, void *at, struct err *e)
{
	struct codec_list *out = at;

	if (codec_want_list(f, in, e) < 0)
		return -e->no;
	for (const cJSON *it = in->child; it; it = it->next) {
		if (want_text(it, e) < 0 || (f->check && f->check(it->valuestring, e) < 0))
			return codec_at_index(e, out->len);
		codec_texts_add(out, it->valuestring);
	}
	return 0;
}

static void put_texts(const struct field *f, const void *at, struct buf *out)
{
	const struct codec_list *l = at;
	char *const *items = l->items;

	(void)f;
	buf_char(out, '[');
	for (size_t i = 0; i < l->len; i++) {
		if (i)
			buf_char(out, ',');
		buf_json(out, items[i]);
	}
	buf_char(out, ']');
}

static int get_raw(const struct field *f, const cJSON *in, void *at, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	codec_node_print((const struct codec_node *)in, &text);
	if (text.len > codec_max(f))
		return err_usage(e, "longer than %" PRIu64 " bytes", codec_max(f));
	free(load_pointer(at));
	store_pointer(at, buf_steal(&text));
	return 0;
}

static void put_raw(const struct field *f, const void *at, struct buf *out)
{
	const char *text = load_pointer(at);

	(void)f;
	buf_str(out, text ? text : "null");
}

const struct codec_kind codec_kinds[] = {
	[KIND_TEXT] = { get_text, put_text },
	[KIND_STRING] = { get_string, put_string },
	[KIND_BOOL] = { get_bool, put_bool },
	[KIND_UINT] = { codec_get_uint, codec_put_uint },
	[KIND_INT] = { codec_get_int, codec_put_int },
	[KIND_REAL] = { codec_get_real, codec_put_real },
	[KIND_ENUM] = { get_enum, put_enum },
	[KIND_RECORD] = { get_record, put_record },
	[KIND_LIST] = { get_list, put_list },
	[KIND_TEXTS] = { get_texts, put_texts },
	[KIND_RAW] = { get_raw, put_raw },
};

void codec_free_member(const struct field *f, void *at)
{
	struct codec_list *l = at;

	switch (f->kind) {
	case KIND_STRING:
	case KIND_RAW:
		free(load_pointer(at));
		store_pointer(at, NULL);
		return;
	case KIND_RECORD:
		codec_free(f->sub, at);
		return;
	case KIND_LIST:
		codec_free_list(f->sub, f->item_size, l);
		return;
	case KIND_TEXTS:
		for (size_t i = 0; i < l->len; i++)
			free(((char **)l->items)[i]);
		free(l->items);
		*l = (struct codec_list){ NULL, 0 };
		return;
	case KIND_TEXT:
	case KIND_BOOL:
	case KIND_UINT:
	case KIND_INT:
	case KIND_REAL:
	case KIND_ENUM:
		return;
	}
}

static bool is_all(unsigned char byte, const unsigned char *at, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (at[i] != byte)
			return false;
	return true;
}

bool codec_is_empty(const struct field *f, const void *at)
{
	const struct codec_list *l = at;
	bool flag;

	if (f->flags & FIELD_UNKNOWN)
		return is_all(0xff, at, f->size);
	switch (f->kind) {
	case KIND_TEXT:
		return *(const char *)at == '\0';
	case KIND_STRING:
	case KIND_RAW:
		return load_pointer(at) == NULL;
	case KIND_BOOL:
		memcpy(&flag, at, sizeof(flag));
		return !flag;
	case KIND_UINT:
	case KIND_INT:
	case KIND_ENUM:
		return is_all(0, at, f->size);
	case KIND_REAL:
		return *(const double *)at == 0;
	case KIND_RECORD:
		return codec_is_empty(f->sub, (const char *)at + f->sub->at);
	case KIND_LIST:
	case KIND_TEXTS:
		return l->len == 0;
	}
	return false;
}
