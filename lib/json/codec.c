// SPDX-License-Identifier: MIT
#include "json/codec.h"

#include "json/codec_parts.h"

static const struct field *find_field(const struct field *tab, const char *key)
{
	for (; tab->key; tab++)
		if (str_eq(tab->key, key))
			return tab;
	return NULL;
}

static int get_member(const struct field *f, const cJSON *in, void *at, struct err *e)
{
	if (cJSON_IsNull(in) && f->flags & FIELD_NULLABLE) {
		codec_free_member(f, at);
		memset(at, f->flags & FIELD_UNKNOWN ? 0xff : 0, f->size);
		return 0;
	}
	if (cJSON_IsNull(in) && f->kind != KIND_RAW)
		return err_usage(e, "null is not allowed here");
	return codec_kinds[f->kind].get(f, in, at, e);
}

int codec_decode(const struct field *tab, const cJSON *in, void *out, struct err *e)
{
	if (!cJSON_IsObject(in))
		return err_usage(e, "expected an object");
	for (const cJSON *it = in->child; it; it = it->next) {
		const struct field *f = find_field(tab, it->string);

		if (!f)
			return err_usage(e, "unknown key '%.64s'", it->string);
		if (get_member(f, it, (char *)out + f->at, e) < 0)
			return codec_at_key(e, f->key);
	}
	for (const struct field *f = tab; f->key; f++)
		if (f->flags & FIELD_REQUIRED && !cJSON_GetObjectItemCaseSensitive(in, f->key))
			return err_usage(e, "%s: missing", f->key);
	return 0;
}

int codec_parse(const struct field *tab, const char *text, size_t len, void *out, struct err *e)
{
	cleanup_json cJSON *root = NULL;

	if (codec_load(text, len, CODEC_MAX, &root, e) < 0)
		return -e->no;
	if (codec_decode(tab, root, out, e) < 0) {
		codec_free(tab, out);
		return -e->no;
	}
	return 0;
}

int codec_parse_list(const struct field *tab, size_t item_size, const char *text, size_t len,
		     struct codec_list *out, struct err *e)
{
	const struct field all = { .kind = KIND_LIST, .max = CODEC_LIST_ITEMS };
	cleanup_json cJSON *root = NULL;

	if (codec_load(text, len, CODEC_TREE_MAX, &root, e) < 0 ||
	    codec_want_list(&all, root, e) < 0)
		return -e->no;
	if (codec_get_items(tab, item_size, root, out, e) < 0) {
		codec_free_list(tab, item_size, out);
		return -e->no;
	}
	return 0;
}

void codec_print(const struct field *tab, const void *in, struct buf *out)
{
	bool first = true;

	buf_char(out, '{');
	for (const struct field *f = tab; f->key; f++) {
		const void *at = (const char *)in + f->at;
		bool empty =
			f->flags & (FIELD_NULLABLE | FIELD_OMIT_EMPTY) && codec_is_empty(f, at);

		if (empty && f->flags & FIELD_OMIT_EMPTY)
			continue;
		if (!first)
			buf_char(out, ',');
		first = false;
		buf_json(out, f->key);
		buf_char(out, ':');
		if (empty)
			buf_str(out, "null");
		else
			codec_kinds[f->kind].put(f, at, out);
	}
	buf_char(out, '}');
}

void codec_print_list(const struct field *tab, size_t item_size, const struct codec_list *in,
		      struct buf *out)
{
	buf_char(out, '[');
	for (size_t i = 0; i < in->len; i++) {
		if (i)
			buf_char(out, ',');
		codec_print(tab, (const char *)in->items + i * item_size, out);
	}
	buf_char(out, ']');
}

void codec_free(const struct field *tab, void *rec)
{
	for (const struct field *f = tab; f->key; f++)
		codec_free_member(f, (char *)rec + f->at);
}

void codec_unknown(const struct field *tab, void *rec)
{
	for (const struct field *f = tab; f->key; f++)
		if (f->flags & FIELD_UNKNOWN)
			memset((char *)rec + f->at, 0xff, f->size);
}

void codec_free_list(const struct field *tab, size_t item_size, struct codec_list *l)
{
	for (size_t i = 0; i < l->len; i++)
		codec_free(tab, (char *)l->items + i * item_size);
	free(l->items);
	*l = (struct codec_list){ NULL, 0 };
}

void *codec_list_add(struct codec_list *l, size_t item_size)
{
	l->items = base_grow(l->items, l->len + 1, item_size);
	void *item = (char *)l->items + l->len++ * item_size;

	return memset(item, 0, item_size);
}

void codec_texts_add(struct codec_list *l, const char *text)
{
	char *copy = base_strdup(text);

	memcpy(codec_list_add(l, sizeof(copy)), &copy, sizeof(copy));
}

void codec_quote(const char *text, struct buf *out)
{
	buf_json(out, text);
}
