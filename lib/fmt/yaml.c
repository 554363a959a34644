// SPDX-License-Identifier: MIT
#include "fmt/yaml.h"

#include <yaml.h>

static int on_write(void *data, unsigned char *text, size_t len)
{
	buf_add(data, text, len);
	return 1;
}

// Emits it; the emitter owns the event from here on, also when it fails.
static bool emit(yaml_emitter_t *y, int made, yaml_event_t *event)
{
	return made && yaml_emitter_emit(y, event);
}

static bool scalar(yaml_emitter_t *y, const char *text, bool plain)
{
	yaml_event_t event;
	int made = yaml_scalar_event_initialize(
		&event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text), plain, !plain,
		plain ? YAML_PLAIN_SCALAR_STYLE : YAML_DOUBLE_QUOTED_SCALAR_STYLE);

	return emit(y, made, &event);
}

// "no", "on", "y", "null" and their like are values in YAML 1.1.
static bool is_word(const char *key)
{
	static const char *const values[] = { "y",   "n",    "yes",   "no",  "on",
					      "off", "true", "false", "null" };

	if (!key[0] ||
	    strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789-") !=
		    strlen(key) ||
	    strspn(key, "0123456789-") > 0)
		return false;
	for (size_t i = 0; i < COUNT(values); i++)
		if (strcasecmp(key, values[i]) == 0)
			return false;
	return true;
}

static bool node(yaml_emitter_t *y, const struct codec_node *n);

static bool collection(yaml_emitter_t *y, const struct codec_node *n, bool map)
{
	yaml_event_t event;
	int made = map ? yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
							     YAML_BLOCK_MAPPING_STYLE)
		       : yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
							      YAML_BLOCK_SEQUENCE_STYLE);

	if (!emit(y, made, &event))
		return false;
	for (const struct codec_node *it = codec_child(n); it; it = codec_next(it))
		if ((map && !scalar(y, codec_key(it), is_word(codec_key(it)))) || !node(y, it))
			return false;
	made = map ? yaml_mapping_end_event_initialize(&event)
		   : yaml_sequence_end_event_initialize(&event);
	return emit(y, made, &event);
}

static bool node(yaml_emitter_t *y, const struct codec_node *n)
{
	switch (codec_type(n)) {
	case CODEC_NULL:
		return scalar(y, "null", true);
	case CODEC_BOOL:
		return scalar(y, codec_bool(n) ? "true" : "false", true);
	case CODEC_NUMBER:
		return scalar(y, codec_number_text(n), true);
	case CODEC_TEXT:
		return scalar(y, codec_text(n), false);
	case CODEC_ARRAY:
		return collection(y, n, false);
	case CODEC_OBJECT:
		return collection(y, n, true);
	}
	return false;
}

static bool document(yaml_emitter_t *y, const struct codec_node *doc)
{
	yaml_event_t event;
	int made = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING);

	if (!emit(y, made, &event) ||
	    !emit(y, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1), &event) ||
	    !node(y, doc))
		return false;
	return emit(y, yaml_document_end_event_initialize(&event, 1), &event) &&
	       emit(y, yaml_stream_end_event_initialize(&event), &event);
}

int yaml_print(const struct codec_node *doc, struct buf *out, struct err *e)
{
	yaml_emitter_t y;

	if (!yaml_emitter_initialize(&y))
		return err_set(e, ENOMEM, "out of memory");
	yaml_emitter_set_output(&y, on_write, out);
	yaml_emitter_set_unicode(&y, 1);
	yaml_emitter_set_width(&y, -1); // no line is folded
	bool ok = document(&y, doc);
	if (!ok)
		err_set(e, EIO, "yaml: %s", y.problem ? y.problem : "out of memory");
	yaml_emitter_delete(&y);
	return ok ? 0 : -e->no;
}
