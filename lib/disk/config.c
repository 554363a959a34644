// SPDX-License-Identifier: MIT
// The values in memory. Where they lie is in config_file.c.
#include "disk/config.h"

#include "disk/secrets.h"

void config_free(struct config *c)
{
	for (size_t i = 0; i < c->len; i++)
		free(c->items[i].json);
	free(c->items);
	*c = (struct config)CONFIG_NONE;
}

// The rule for names of secrets: both become names in the guest.
static int check_key(const char *key, struct err *e)
{
	struct err ignored = { 0 };

	if (secrets_name_check(key, &ignored) < 0)
		return err_usage(e, "'%.70s' is not a key ([A-Za-z0-9_.-]{1,64})", key);
	return 0;
}

static size_t place(const struct config *c, const char *key, bool *found)
{
	size_t i = 0;

	while (i < c->len && strcmp(c->items[i].key, key) < 0)
		i++;
	*found = i < c->len && str_eq(c->items[i].key, key);
	return i;
}

static void drop(struct config *c, size_t at)
{
	free(c->items[at].json);
	c->len--;
	memmove(c->items + at, c->items + at + 1, (c->len - at) * sizeof(*c->items));
}

static int put(struct config *c, const char *key, const char *json, bool *changed, struct err *e)
{
	bool found, gone = !json || str_eq(json, "null");
	size_t at = place(c, key, &found);

	if (found && gone)
		drop(c, at);
	if (gone) {
		*changed = *changed || found;
		return 0;
	}
	if (found && str_eq(c->items[at].json, json))
		return 0;
	if (!found && c->len == CONFIG_KEYS)
		return err_kind(e, ERR_QUOTA, "more than %u keys", CONFIG_KEYS);
	if (!found) {
		c->items = base_grow(c->items, c->len + 1, sizeof(*c->items));
		memmove(c->items + at + 1, c->items + at, (c->len - at) * sizeof(*c->items));
		c->items[at] = (struct config_value){ .json = NULL };
		base_cut(c->items[at].key, sizeof(c->items[at].key), "%s", key);
		c->len++;
	}
	free(c->items[at].json);
	c->items[at].json = base_strdup(json);
	*changed = true;
	return 0;
}

static int put_node(struct config *c, const char *key, const struct codec_node *n, bool *changed,
		    struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (check_key(key, e) < 0)
		return -e->no;
	codec_node_print(n, &text);
	if (text.len > CONFIG_BYTES)
		return err_kind(e, ERR_QUOTA, "%s: longer than %lu bytes", key, CONFIG_BYTES);
	return put(c, key, buf_text(&text), changed, e);
}

int config_put(struct config *c, const char *key, const char *json, bool *changed, struct err *e)
{
	cleanup_tree struct codec_node *tree = NULL;

	if (check_key(key, e) < 0)
		return -e->no;
	if (!json)
		return put(c, key, NULL, changed, e);
	if (codec_tree(json, strlen(json), &tree, e) < 0) {
		(void)err_wrap(e, "%s", key);
		return err_hint(e, "a value is JSON: a text needs its quotes, %s='\"text\"'", key);
	}
	return put_node(c, key, tree, changed, e);
}

int config_merge(struct config *c, const char *json, size_t len, bool *changed, struct err *e)
{
	cleanup_tree struct codec_node *tree = NULL;

	if (codec_tree(json, len, &tree, e) < 0)
		return -e->no;
	if (codec_type(tree) != CODEC_OBJECT)
		return err_usage(e, "expected a JSON object of keys and values");
	for (const struct codec_node *n = codec_child(tree); n; n = codec_next(n))
		if (put_node(c, codec_key(n), n, changed, e) < 0)
			return -e->no;
	return 0;
}

void config_print(const struct config *c, struct buf *out)
{
	buf_char(out, '{');
	for (size_t i = 0; i < c->len; i++)
		buf_fmt(out, "%s\"%s\":%s", i ? "," : "", c->items[i].key, c->items[i].json);
	buf_char(out, '}');
}
