// SPDX-License-Identifier: MIT
#include "fmt/table.h"

#include <ctype.h>
#include <libsmartcols.h>

#include "fmt/cell.h"

#define COLUMNS_MAX 48
#define KEY_MAX	    96

static void table_unref(struct libscols_table **t)
{
	if (*t)
		scols_unref_table(*t);
}

static int no_memory(struct err *e)
{
	return err_set(e, ENOMEM, "out of memory");
}

static const char *colour_of(const char *status)
{
	static const struct {
		const char *status, *colour;
	} colours[] = {
		{ "Running", "green" }, { "Healthy", "green" }, { "Warm", "yellow" },
		{ "Sleeping", "cyan" }, { "Stopped", "gray" },	{ "Created", "gray" },
		{ "Damaged", "red" },	{ "Degraded", "red" },	{ "Failed", "red" },
		{ "Dead", "red" },	{ "Destroyed", "red" },
	};

	for (size_t i = 0; i < COUNT(colours); i++)
		if (str_eq(status, colours[i].status))
			return colours[i].colour;
	return NULL;
}

// Columns that are made up from the records at hand own their text.
struct columns {
	struct column items[COLUMNS_MAX];
	char keys[COLUMNS_MAX][KEY_MAX], heads[COLUMNS_MAX][KEY_MAX];
	size_t len;
};

static void columns_add(struct columns *c, const char *key)
{
	for (size_t i = 0; i < c->len; i++)
		if (str_eq(c->keys[i], key))
			return;
	if (c->len == COLUMNS_MAX || strlen(key) >= KEY_MAX)
		return;
	base_cut(c->keys[c->len], KEY_MAX, "%s", key);
	for (size_t i = 0; i <= strlen(key); i++)
		c->heads[c->len][i] = key[i] == '_' ? ' ' : (char)toupper((unsigned char)key[i]);
	c->items[c->len] = (struct column){
		.head = c->heads[c->len],
		.path = c->keys[c->len],
		.flags = str_eq(key, "status") || str_eq(key, "state") ? COLUMN_STATUS : 0,
	};
	c->len++;
}

// Every key of the record that fits into a cell, those of objects inside with a dotted name.
static void columns_collect(struct columns *c, const struct codec_node *record, const char *prefix,
			    bool deep)
{
	for (const struct codec_node *it = codec_child(record); it; it = codec_next(it)) {
		char key[KEY_MAX];

		if (str_eq(codec_key(it), "schema_version") ||
		    base_fmt(key, sizeof(key), "%s%s", prefix, codec_key(it)) < 0 ||
		    strpbrk(codec_key(it), "./"))
			continue;
		if (cell_is_plain(it)) {
			columns_add(c, key);
		} else if (deep && codec_type(it) == CODEC_OBJECT &&
			   strlen(key) + 2 < sizeof(key)) {
			base_cut(key + strlen(key), 2, ".");
			columns_collect(c, it, key, deep);
		}
	}
}

static void columns_choose(const struct codec_node *rows, const struct table_style *style,
			   struct columns *c)
{
	const struct column *known = style->columns ? NULL : columns_of(rows);
	const char *p = style->columns;
	char key[KEY_MAX];

	for (; known && known->head; known++)
		if (style->wide || !(known->flags & COLUMN_WIDE))
			c->items[c->len++] = *known;
	for (; p && *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ',')) {
		base_cut(key, sizeof(key), "%.*s", (int)strcspn(p, ","), p);
		columns_add(c, key);
	}
	if (c->len == 0)
		for (const struct codec_node *r = codec_child(rows); r; r = codec_next(r))
			columns_collect(c, r, "", style->wide);
}

static int table_new(const struct table_style *style, struct libscols_table **ret, struct err *e)
{
	struct libscols_table *t = scols_new_table();

	if (!t)
		return no_memory(e);
	(void)scols_table_enable_colors(t, style->colour);
	(void)scols_table_enable_noheadings(t, style->no_headers);
	(void)scols_table_set_column_separator(t, "  ");
	*ret = t;
	return 0;
}

static int set_cell(struct libscols_line *line, size_t n, const char *text, bool status,
		    struct err *e)
{
	const char *colour = status ? colour_of(text) : NULL;

	if (scols_line_set_data(line, n, text) < 0 ||
	    (colour && scols_cell_set_color(scols_line_get_cell(line, n), colour) < 0))
		return no_memory(e);
	return 0;
}

static int add_row(struct libscols_table *t, const struct codec_node *record,
		   const struct columns *c, struct err *e)
{
	struct libscols_line *line = scols_table_new_line(t, NULL);

	if (!line)
		return no_memory(e);
	for (size_t i = 0; i < c->len; i++) {
		cleanup_buf struct buf text = BUF_INIT;

		if (codec_type(record) == CODEC_OBJECT)
			cell_print(record, &c->items[i], &text);
		else
			cell_value(record, &text);
		if (set_cell(line, i, buf_text(&text), c->items[i].flags & COLUMN_STATUS, e) < 0)
			return -e->no;
	}
	return 0;
}

// libsmartcols pads the last column, too.
static void append_trimmed(const char *text, struct buf *out)
{
	while (*text) {
		size_t len = strcspn(text, "\n"), kept = len;

		while (kept && text[kept - 1] == ' ')
			kept--;
		buf_add(out, text, kept);
		buf_char(out, '\n');
		text += len + (text[len] == '\n');
	}
}

static int table_end(struct libscols_table *t, struct buf *out, struct err *e)
{
	cleanup_free char *text = NULL;

	if (scols_print_table_to_string(t, &text) < 0)
		return no_memory(e);
	if (text)
		append_trimmed(text, out);
	return 0;
}

static int print_rows(const struct codec_node *rows, const struct table_style *style,
		      struct buf *out, struct err *e)
{
	cleanup(table_unref) struct libscols_table *t = NULL;
	cleanup_free struct columns *c = base_alloc(1, sizeof(*c));

	if (!codec_child(rows)) {
		buf_str(out, "none\n");
		return 0;
	}
	columns_choose(rows, style, c);
	if (c->len == 0)
		columns_add(c, "value"); // a list of plain values
	if (table_new(style, &t, e) < 0)
		return -e->no;
	for (size_t i = 0; i < c->len; i++)
		// A heading that is not shown would still make its column wide.
		if (!scols_table_new_column(t, style->no_headers ? "" : c->items[i].head, 0,
					    c->items[i].flags & COLUMN_RIGHT ? SCOLS_FL_RIGHT : 0))
			return no_memory(e);
	for (const struct codec_node *r = codec_child(rows); r; r = codec_next(r))
		if (add_row(t, r, c, e) < 0)
			return -e->no;
	return table_end(t, out, e);
}

// One object: a line for each key.
static int print_lines(const struct codec_node *record, const struct table_style *style,
		       struct buf *out, struct err *e)
{
	cleanup(table_unref) struct libscols_table *t = NULL;
	cleanup_free struct columns *c = base_alloc(1, sizeof(*c));
	struct table_style plain = *style;

	plain.no_headers = true;
	if (style->columns)
		columns_choose(record, style, c);
	else
		columns_collect(c, record, "", true);
	if (c->len == 0)
		return 0;
	if (table_new(&plain, &t, e) < 0)
		return -e->no;
	for (int n = 0; n < 2; n++) // key and value
		if (!scols_table_new_column(t, "", 0, 0))
			return no_memory(e);
	for (size_t i = 0; i < c->len; i++) {
		struct libscols_line *line = scols_table_new_line(t, NULL);
		cleanup_buf struct buf text = BUF_INIT;

		if (!line)
			return no_memory(e);
		cell_print(record, &c->items[i], &text);
		if (set_cell(line, 0, c->items[i].path, false, e) < 0 ||
		    set_cell(line, 1, buf_text(&text), c->items[i].flags & COLUMN_STATUS, e) < 0)
			return -e->no;
	}
	return table_end(t, out, e);
}

static int print_object(const struct codec_node *record, const struct table_style *style,
			struct buf *out, struct err *e)
{
	if (print_lines(record, style, out, e) < 0)
		return -e->no;
	for (const struct codec_node *it = codec_child(record); it && !style->columns;
	     it = codec_next(it)) {
		if (codec_type(it) != CODEC_ARRAY || cell_is_plain(it))
			continue;
		buf_fmt(out, "\n%s:\n", codec_key(it));
		if (print_rows(it, style, out, e) < 0)
			return -e->no;
	}
	return 0;
}

// What a verb did to one object: its row, as in a list. info, or wide, shows the whole record.
static bool print_changed(const struct codec_node *doc, const struct table_style *style,
			  struct buf *out)
{
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_tree struct codec_node *rows = NULL;
	struct err ignored = { 0 };

	if (style->wide || style->columns || !codec_get(doc, "changed"))
		return false;
	buf_char(&text, '[');
	codec_node_print(doc, &text);
	buf_char(&text, ']');
	return codec_tree(buf_text(&text), text.len, &rows, &ignored) == 0 && columns_of(rows) &&
	       print_rows(rows, style, out, &ignored) == 0;
}

int table_print(const struct codec_node *doc, const struct table_style *style, struct buf *out,
		struct err *e)
{
	if (codec_type(doc) == CODEC_OBJECT && print_changed(doc, style, out))
		return 0;
	if (codec_type(doc) == CODEC_OBJECT)
		return print_object(doc, style, out, e);
	if (codec_type(doc) == CODEC_ARRAY)
		return print_rows(doc, style, out, e);
	cell_value(doc, out);
	buf_char(out, '\n');
	return 0;
}
