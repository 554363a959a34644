// SPDX-License-Identifier: MIT
#include "meta/values.h"

#define RAW_MAX 262144u // as text with spaces and escapes, before it is measured

struct stored {
	uint32_t schema_version; // 1
	char *values;
};

static const struct field stored_fields[] = {
	{ FIELD_SLOT(struct stored, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct stored, values, char *), .kind = KIND_RAW, .flags = FIELD_REQUIRED,
	  .max = RAW_MAX, .doc = "keys and texts for the guests" },
	FIELD_END
};

void meta_values_free(struct meta_values *v)
{
	for (size_t i = 0; i < v->len; i++)
		free(v->items[i].text);
	free(v->items);
	*v = (struct meta_values)META_VALUES_NONE;
}

int meta_key_check(const char *key, struct err *e)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = strnlen(key, sizeof(((struct meta_value *)0)->key));

	if (len == 0 || len >= sizeof(((struct meta_value *)0)->key) || !strchr(first, key[0]) ||
	    strspn(key, rest) != len)
		return err_usage(e, "'%.70s' is not a key ([a-z0-9][a-z0-9._-]{0,62})", key);
	return 0;
}

static int check_text(const char *key, const char *text, struct err *e)
{
	size_t len = strnlen(text, META_VALUE_BYTES + 1);

	if (len > META_VALUE_BYTES)
		return err_usage(e, "%s: longer than %u bytes", key, META_VALUE_BYTES);
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_length(text + i, len - i);
		if (n == 0)
			return err_usage(e, "%s: not UTF-8", key);
	}
	return 0;
}

// The place of a key, or where it would have to stand.
static size_t place(const struct meta_values *v, const char *key, bool *found)
{
	size_t i = 0;

	while (i < v->len && strcmp(v->items[i].key, key) < 0)
		i++;
	*found = i < v->len && str_eq(v->items[i].key, key);
	return i;
}

int meta_values_set(struct meta_values *v, const char *key, const char *text, bool *changed,
		    struct err *e)
{
	bool found;
	size_t at;

	if (meta_key_check(key, e) < 0 || check_text(key, text, e) < 0)
		return -e->no;
	at = place(v, key, &found);
	if (found && v->items[at].text && str_eq(v->items[at].text, text))
		return 0;
	if (!found && v->len == META_KEYS)
		return err_kind(e, ERR_QUOTA, "more than %u keys", META_KEYS);
	if (!found) {
		v->items = base_grow(v->items, v->len + 1, sizeof(*v->items));
		memmove(v->items + at + 1, v->items + at, (v->len - at) * sizeof(*v->items));
		v->items[at] = (struct meta_value){ .text = NULL };
		base_cut(v->items[at].key, sizeof(v->items[at].key), "%s", key);
		v->len++;
	}
	free(v->items[at].text);
	v->items[at].text = base_strdup(text);
	if (changed)
		*changed = true;
	return 0;
}

void meta_values_remove(struct meta_values *v, const char *key, bool *changed)
{
	bool found;
	size_t at = place(v, key, &found);

	if (!found)
		return;
	free(v->items[at].text);
	v->len--;
	memmove(v->items + at, v->items + at + 1, (v->len - at) * sizeof(*v->items));
	*changed = true;
}

const char *meta_values_get(const struct meta_values *v, const char *key)
{
	bool found;
	size_t at = place(v, key, &found);

	return found ? v->items[at].text : NULL;
}

static int merge_tree(struct meta_values *v, const struct codec_node *tree, bool *changed,
		      struct err *e)
{
	cleanup_values struct meta_values seen = META_VALUES_NONE;

	if (codec_type(tree) != CODEC_OBJECT)
		return err_usage(e, "expected a JSON object of keys and texts");
	for (const struct codec_node *n = codec_child(tree); n; n = codec_next(n)) {
		const char *key = codec_key(n);

		if (codec_type(n) != CODEC_TEXT)
			return err_usage(e, "%.70s: expected a text", key);
		if (meta_values_get(&seen, key))
			return err_usage(e, "%.70s: given twice", key);
		if (meta_values_set(&seen, key, "", NULL, e) < 0 ||
		    meta_values_set(v, key, codec_text(n), changed, e) < 0)
			return -e->no;
	}
	return 0;
}

int meta_values_merge(struct meta_values *v, const char *json, size_t len, bool *changed,
		      struct err *e)
{
	cleanup_tree struct codec_node *tree = NULL;

	if (codec_tree(json, len, &tree, e) < 0)
		return -e->no;
	return merge_tree(v, tree, changed, e);
}

void meta_values_print(const struct meta_values *v, struct buf *out)
{
	buf_char(out, '{');
	for (size_t i = 0; i < v->len; i++) {
		buf_fmt(out, "%s\"%s\":", i ? "," : "", v->items[i].key);
		codec_quote(v->items[i].text, out);
	}
	buf_char(out, '}');
}

int meta_values_check_total(const struct meta_values *v, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	meta_values_print(v, &text);
	if (text.len > META_TOTAL_BYTES)
		return err_kind(e, ERR_QUOTA, "%zu bytes of keys and texts are more than %u",
				text.len, META_TOTAL_BYTES);
	return 0;
}

int meta_values_load(const struct store *s, struct meta_values *ret, struct err *e)
{
	cleanup_values struct meta_values v = META_VALUES_NONE;
	struct stored file = { 0 };
	int r = store_load(s, META_FILE, stored_fields, &file, e);

	if (r < 0 && e->no == ENOENT && e->kind == ERR_MISSING) {
		err_clear(e);
		return 0;
	}
	if (r < 0)
		return r;
	r = meta_values_merge(&v, file.values, strlen(file.values), NULL, e);
	codec_free(stored_fields, &file);
	if (r < 0 || meta_values_check_total(&v, e) < 0)
		return store_damaged(s, META_FILE, e);
	*ret = v;
	v = (struct meta_values)META_VALUES_NONE;
	return 0;
}

int meta_values_save(const struct store *s, const struct meta_values *v, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct stored file = { .schema_version = 1 };

	meta_values_print(v, &text);
	file.values = text.data;
	return store_save(s, META_FILE, stored_fields, &file, e);
}
