// SPDX-License-Identifier: MIT
#include <locale.h>

#include "base/fd.h"
#include "base/tool.h"
#include "fmt/names.h"
#include "fmt/progress.h"
#include "fmt/table.h"
#include "fmt/yaml.h"

enum format { FORMAT_TABLE, FORMAT_WIDE, FORMAT_JSON, FORMAT_JSONL, FORMAT_YAML, FORMAT_NAME };
static const char *const formats[] = { "table", "wide", "json", "jsonl", "yaml", "name", NULL };
static const char *const colours[] = { "auto", "always", "never", NULL };
static int arg_format, arg_colour;
static bool given_format, arg_no_headers, arg_progress;
static const char *arg_columns;

static const struct opt opts[] = {
	{ 'o', OPT_ENUM, "output", "FORMAT",
	  "table, wide, json, jsonl, yaml or name (default $MVM_OUTPUT, or table)", &arg_format, 0,
	  0, formats, &given_format },
	{ 0, OPT_TEXT, "columns", "KEY,...", "show these keys, dotted ones reach into objects",
	  &arg_columns, 0, 0, NULL, NULL },
	{ 0, OPT_FLAG, "no-headers", NULL, "leave the first line out", &arg_no_headers, 0, 0, NULL,
	  NULL },
	{ 0, OPT_ENUM, "color", "WHEN", "auto, always or never", &arg_colour, 0, 0, colours, NULL },
	{ 0, OPT_FLAG, "progress", NULL,
	  "draw the progress lines of a tool (from its MVM_PROGRESS_FD) on stderr", &arg_progress,
	  0, 0, NULL, NULL },
	OPT_END,
};

static bool is_set(const char *variable)
{
	const char *s = getenv(variable);

	return s && s[0];
}

static bool want_colour(void)
{
	const char *term = getenv("TERM");

	if (arg_colour)
		return arg_colour == 1;
	if (is_set("NO_COLOR"))
		return false;
	if (is_set("CLICOLOR_FORCE"))
		return true;
	return isatty(STDOUT_FILENO) && term && !str_eq(term, "dumb");
}

static int choose_format(struct err *e)
{
	const char *env = getenv("MVM_OUTPUT");

	if (given_format || !env || !env[0])
		return 0;
	for (arg_format = 0; formats[arg_format]; arg_format++)
		if (str_eq(formats[arg_format], env))
			return 0;
	return err_usage(e, "MVM_OUTPUT: '%.64s' is not a format", env);
}

static void print_jsonl(const struct codec_node *doc, struct buf *out)
{
	if (codec_type(doc) != CODEC_ARRAY) {
		codec_node_print(doc, out);
		return;
	}
	for (const struct codec_node *it = codec_child(doc); it; it = codec_next(it)) {
		codec_node_print(it, out);
		buf_char(out, '\n');
	}
}

static int render(const struct codec_node *doc, struct buf *out, struct err *e)
{
	const struct table_style style = {
		.wide = arg_format == FORMAT_WIDE,
		.colour = want_colour(),
		.no_headers = arg_no_headers,
		.columns = arg_columns,
	};

	switch ((enum format)arg_format) {
	case FORMAT_TABLE:
	case FORMAT_WIDE:
		return table_print(doc, &style, out, e);
	case FORMAT_JSON:
		codec_node_print(doc, out);
		return 0;
	case FORMAT_JSONL:
		print_jsonl(doc, out);
		return 0;
	case FORMAT_YAML:
		return yaml_print(doc, out, e);
	case FORMAT_NAME:
		return names_print(doc, out, e);
	}
	return 0;
}

static int run(const struct call *call, struct buf *out, struct err *e)
{
	cleanup(codec_tree_freep) struct codec_node *doc = NULL;
	cleanup_buf struct buf text = BUF_INIT;

	(void)call;
	if (arg_progress)
		return progress_draw(stdin, stderr, isatty(STDERR_FILENO), e);
	(void)setlocale(LC_CTYPE, ""); // how wide a letter is
	if (choose_format(e) < 0)
		return -e->no;
	if (fd_read_all(STDIN_FILENO, CODEC_TREE_MAX, &text, e) < 0 ||
	    codec_tree(buf_text(&text), text.len, &doc, e) < 0 || render(doc, out, e) < 0)
		return err_wrap(e, "stdin");
	return 0;
}

static const struct verb verbs[] = {
	{ NULL, "<JSON", "show a JSON document as a table, YAML or names", opts, 0, 0, run,
	  VERB_RAW },
};

int main(int argc, char **argv)
{
	static const struct tool tool = {
		.name = "mvm-fmt",
		.summary = "show a JSON document as a table, YAML or names",
		.verbs = verbs,
		.verb_count = COUNT(verbs),
	};

	return tool_main(&tool, argc, argv);
}
