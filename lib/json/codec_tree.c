// SPDX-License-Identifier: MIT
#include "json/codec_parts.h"
#include "json/scan.h"

#include <math.h>

int codec_at_key(struct err *e, const char *key)
{
	return e->msg[0] == '[' ? err_prefix(e, "%.64s", key) : err_wrap(e, "%.64s", key);
}

int codec_at_index(struct err *e, size_t index)
{
	return e->msg[0] == '[' ? err_prefix(e, "[%zu]", index) : err_wrap(e, "[%zu]", index);
}

void codec_unload(cJSON **root)
{
	cJSON_Delete(*root);
	*root = NULL;
}

static int compare_keys(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

// By sorting: an object of a hundred thousand keys must not cost their square.
static int refuse_repeated(const cJSON *object, struct err *e)
{
	cleanup_free const char **keys = NULL;
	size_t count = 0, used = 0;

	for (const cJSON *it = object->child; it; it = it->next)
		count++;
	if (count < 2)
		return 0;
	keys = base_alloc(count, sizeof(*keys));
	for (const cJSON *it = object->child; it; it = it->next)
		keys[used++] = it->string;
	qsort(keys, count, sizeof(*keys), compare_keys);
	for (size_t i = 1; i < count; i++)
		if (str_eq(keys[i - 1], keys[i]))
			return err_usage(e, "%.64s: given twice", keys[i]);
	return 0;
}

// cJSON keeps numbers as doubles only: the spelling goes where strings have theirs, and
// cJSON_Delete frees it there.
static int keep_spelling(cJSON *node, const char *text, size_t len, struct err *e)
{
	node->valuestring = cJSON_malloc(len + 1);
	if (!node->valuestring)
		return err_set(e, ENOMEM, "out of memory");
	memcpy(node->valuestring, text, len);
	node->valuestring[len] = '\0';
	if (!isfinite(node->valuedouble))
		return err_usage(e, "%s is too large", node->valuestring);
	return 0;
}

struct settle {
	const char *text;
	const struct scan_number *next; // numbers come in the order of the text
};

static int settle(struct settle *s, cJSON *node, struct err *e)
{
	size_t index = 0;

	if (cJSON_IsNumber(node)) {
		const struct scan_number *n = s->next++;

		return keep_spelling(node, s->text + n->at, n->len, e);
	}
	if (cJSON_IsObject(node) && refuse_repeated(node, e) < 0)
		return -e->no;
	for (cJSON *it = node->child; it; it = it->next, index++) {
		if (settle(s, it, e) == 0)
			continue;
		return it->string ? codec_at_key(e, it->string) : codec_at_index(e, index);
	}
	return 0;
}

int codec_load(const char *text, size_t len, size_t max, cJSON **ret, struct err *e)
{
	struct scan_numbers numbers = { NULL, 0, 0 };
	cleanup_json cJSON *root = NULL;

	if (len > max)
		return err_usage(e, "larger than %zu bytes", max);
	int rc = scan_text(text, len, &numbers, e);
	if (rc == 0) {
		struct settle s = { .text = text, .next = numbers.items };

		root = cJSON_ParseWithLength(text, len);
		rc = root ? settle(&s, root, e) : err_set(e, ENOMEM, "out of memory");
	}
	free(numbers.items);
	if (rc < 0)
		return rc;
	*ret = steal_ptr(&root);
	return 0;
}

static const cJSON *json_of(const struct codec_node *n)
{
	return (const cJSON *)n;
}

static const struct codec_node *node_of(const cJSON *j)
{
	return (const struct codec_node *)j;
}

int codec_tree(const char *text, size_t len, struct codec_node **ret, struct err *e)
{
	cJSON *root = NULL;

	if (codec_load(text, len, CODEC_TREE_MAX, &root, e) < 0)
		return -e->no;
	*ret = (struct codec_node *)root;
	return 0;
}

void codec_tree_free(struct codec_node *n)
{
	cJSON_Delete((cJSON *)n);
}

void codec_tree_freep(struct codec_node **n)
{
	codec_tree_free(*n);
}

int codec_check(const char *text, size_t len, struct err *e)
{
	cleanup_json cJSON *root = NULL;

	return codec_load(text, len, CODEC_TREE_MAX, &root, e);
}

enum codec_type codec_type(const struct codec_node *n)
{
	const cJSON *j = json_of(n);

	if (cJSON_IsObject(j))
		return CODEC_OBJECT;
	if (cJSON_IsArray(j))
		return CODEC_ARRAY;
	if (cJSON_IsString(j))
		return CODEC_TEXT;
	if (cJSON_IsNumber(j))
		return CODEC_NUMBER;
	return cJSON_IsBool(j) ? CODEC_BOOL : CODEC_NULL;
}

const struct codec_node *codec_child(const struct codec_node *n)
{
	return node_of(json_of(n)->child);
}

const struct codec_node *codec_next(const struct codec_node *n)
{
	return node_of(json_of(n)->next);
}

const char *codec_key(const struct codec_node *n)
{
	return json_of(n)->string ? json_of(n)->string : "";
}

const char *codec_text(const struct codec_node *n)
{
	const cJSON *j = json_of(n);

	return cJSON_IsString(j) && j->valuestring ? j->valuestring : "";
}

bool codec_bool(const struct codec_node *n)
{
	return cJSON_IsTrue(json_of(n));
}

double codec_number(const struct codec_node *n)
{
	return json_of(n)->valuedouble;
}

const char *codec_number_text(const struct codec_node *n)
{
	const cJSON *j = json_of(n);

	return cJSON_IsNumber(j) ? j->valuestring : "";
}

const struct codec_node *codec_get(const struct codec_node *n, const char *key)
{
	return node_of(cJSON_GetObjectItemCaseSensitive(json_of(n), key));
}

void codec_node_print(const struct codec_node *n, struct buf *out)
{
	const cJSON *j = json_of(n);

	if (cJSON_IsObject(j) || cJSON_IsArray(j)) {
		buf_char(out, cJSON_IsObject(j) ? '{' : '[');
		for (const cJSON *it = j->child; it; it = it->next) {
			if (it != j->child)
				buf_char(out, ',');
			if (it->string) {
				buf_json(out, it->string);
				buf_char(out, ':');
			}
			codec_node_print(node_of(it), out);
		}
		buf_char(out, cJSON_IsObject(j) ? '}' : ']');
	} else if (cJSON_IsString(j)) {
		buf_json(out, j->valuestring);
	} else if (cJSON_IsNumber(j)) {
		buf_str(out, j->valuestring);
	} else {
		buf_str(out, cJSON_IsTrue(j) ? "true" : cJSON_IsFalse(j) ? "false" : "null");
	}
}
