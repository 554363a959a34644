// SPDX-License-Identifier: MIT
// The configuration file: one object whose members are bodies of the API's requests, obeyed in
// upstream's order by the same functions.
#include "fc/server_parts.h"

struct section {
	const char *key;
	server_fn fn;	     // NULL: Firecracker has it and we do not
	const char *id_key;  // a list: of bodies with this id; NULL: one body
	const char *refused; // its name where fn is NULL
	bool required;
};

static const struct section sections[] = {
	{ "logger", server_put_logger, NULL, NULL, false },
	{ "metrics", server_put_metrics, NULL, NULL, false },
	{ "machine-config", server_put_machine, NULL, NULL, false },
	{ "cpu-config", NULL, NULL, "CPU templates", false },
	{ "boot-source", server_put_boot_source, NULL, NULL, true },
	{ "drives", server_put_drive, "drive_id", NULL, true },
	{ "network-interfaces", server_put_net, "iface_id", NULL, false },
	{ "vsock", server_put_vsock, NULL, NULL, false },
	{ "balloon", NULL, NULL, "balloon", false },
	{ "mmds-config", NULL, NULL, "MMDS (the metadata service)", false },
	{ "entropy", server_put_entropy, NULL, NULL, false },
	{ "pmem", NULL, NULL, "pmem", false },
	{ "memory-hotplug", NULL, NULL, "memory hotplug", false },
};

static int obey(struct server *s, const struct section *sec, const struct codec_node *n,
		struct err *e)
{
	cleanup_buf struct buf body = BUF_INIT, out = BUF_INIT;
	const struct codec_node *id = sec->id_key ? codec_get(n, sec->id_key) : NULL;
	struct server_call c = { .s = s, .out = &out };

	codec_node_print(n, &body);
	c.body = buf_text(&body);
	c.len = body.len;
	if (id && codec_type(id) == CODEC_TEXT)
		c.id = codec_text(id);
	return sec->fn(&c, e);
}

static int obey_list(struct server *s, const struct section *sec, const struct codec_node *n,
		     struct err *e)
{
	if (codec_type(n) != CODEC_ARRAY)
		return err_usage(e, "expected a list");
	for (const struct codec_node *it = codec_child(n); it; it = codec_next(it)) {
		if (codec_type(it) != CODEC_OBJECT)
			return err_usage(e, "expected a list of objects");
		if (obey(s, sec, it, e) < 0)
			return -e->no;
	}
	return 0;
}

static bool is_empty(const struct codec_node *n)
{
	return codec_type(n) == CODEC_NULL || (codec_type(n) == CODEC_ARRAY && !codec_child(n));
}

static int obey_section(struct server *s, const struct section *sec, const struct codec_node *doc,
			struct err *e)
{
	const struct codec_node *n = codec_get(doc, sec->key);
	int r;

	if (!n || (codec_type(n) == CODEC_NULL && !sec->required))
		return sec->required ? err_usage(e, "missing field `%s`", sec->key) : 0;
	if (!sec->fn)
		return is_empty(n) ? 0 : server_refuse(e, sec->refused);
	r = sec->id_key ? obey_list(s, sec, n, e) : obey(s, sec, n, e);
	return r < 0 ? err_wrap(e, "%s", sec->key) : 0;
}

// Upstream takes a file with members that it does not know.
static void warn_unknown(struct server *s, const struct codec_node *doc)
{
	for (const struct codec_node *n = codec_child(doc); n; n = codec_next(n)) {
		size_t i = 0;

		while (i < COUNT(sections) && !str_eq(sections[i].key, codec_key(n)))
			i++;
		if (i == COUNT(sections))
			vmlog(&s->log, VMLOG_WARN, VMLOG_VMM,
			      "configuration file: '%.64s' is not known and has no effect",
			      codec_key(n));
	}
}

int server_config_file(struct server *s, const char *text, size_t len, struct err *e)
{
	struct codec_node *doc = NULL;
	int r;

	if (codec_tree(text, len, &doc, e) < 0)
		return err_wrap(e, "Invalid JSON");
	r = codec_type(doc) == CODEC_OBJECT ? 0 : err_usage(e, "expected an object");
	warn_unknown(s, doc);
	for (size_t i = 0; r == 0 && i < COUNT(sections); i++)
		r = obey_section(s, &sections[i], doc, e);
	codec_tree_free(doc);
	return r;
}
