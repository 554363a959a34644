// SPDX-License-Identifier: MIT
// The option tables as text for people, as scdoc for the manual and as lines for completion.
#include "base/tool_parts.h"

#include <ctype.h>

#define HELP_COLUMN 30

static bool single(const struct tool *t)
{
	return !t->verbs[0].name;
}

// "  -r, --root DIR       help", on two lines when the left side is long.
static void help_row(struct buf *out, const char *left, const char *help)
{
	if (strlen(left) + 2 < HELP_COLUMN)
		buf_fmt(out, "%-*s%s\n", HELP_COLUMN, left, help);
	else
		buf_fmt(out, "%s\n%*s%s\n", left, HELP_COLUMN, "", help);
}

static void help_opts(struct buf *out, const struct verb *verb, const struct opt *tab)
{
	for (const struct opt *o = tab; o && o->name; o++) {
		char letter[8] = "    ", left[128];

		if (tab == tool_common && !tool_common_applies(verb, o))
			continue;
		if (o->letter)
			base_cut(letter, sizeof(letter), "-%c, ", o->letter);
		base_cut(left, sizeof(left), "  %s--%s%s%s", letter, o->name, o->arg ? " " : "",
			 o->arg ? o->arg : "");
		help_row(out, left, o->help);
	}
}

static bool has_opts(const struct verb *v)
{
	return v->opts && v->opts->name;
}

// Summaries are written as part of a line; here they stand alone.
static void sentence(struct buf *out, const char *s)
{
	buf_fmt(out, "%c%s.\n", toupper((unsigned char)s[0]), s[0] ? s + 1 : "");
}

static void help_verb(const struct tool *t, const struct verb *v, struct buf *out)
{
	buf_fmt(out, "Usage: %s%s%s [OPTION]...%s%s\n\n", t->name, v->name ? " " : "",
		v->name ? v->name : "", v->args && v->args[0] ? " " : "", v->args ? v->args : "");
	sentence(out, v->summary ? v->summary : t->summary);
	if (single(t) && t->details)
		buf_fmt(out, "\n%s\n", t->details);
	if (has_opts(v)) {
		buf_str(out, "\nOptions:\n");
		help_opts(out, v, v->opts);
	}
}

static void help_tool(const struct tool *t, struct buf *out)
{
	buf_fmt(out, "Usage: %s VERB [OPTION]... [OPERAND]...\n\n", t->name);
	sentence(out, t->summary);
	buf_str(out, "\nVerbs:\n");
	for (size_t i = 0; i < t->verb_count; i++) {
		const struct verb *v = &t->verbs[i];
		char left[256];

		if (v->flags & VERB_HIDDEN)
			continue;
		base_cut(left, sizeof(left), "  %s%s%s", v->name, v->args && v->args[0] ? " " : "",
			 v->args ? v->args : "");
		help_row(out, left, v->summary);
	}
	buf_fmt(out, "\n'%s VERB --help' shows the options of a verb.\n", t->name);
	if (t->details)
		buf_fmt(out, "\n%s\n", t->details);
}

static void help_text(const struct tool_line *line, struct buf *out)
{
	if (line->verb)
		help_verb(line->tool, line->verb, out);
	else
		help_tool(line->tool, out);
	buf_str(out, "\nCommon options:\n");
	help_opts(out, line->verb, tool_common);
	buf_str(out,
		"\nThe exit statuses are those of every tool of mvm: see EXIT STATUS in mvm(8).\n");
}

// scdoc takes these for markup.
static void scd_text(struct buf *out, const char *s)
{
	for (; *s; s++) {
		if (strchr("_*\\", *s))
			buf_char(out, '\\');
		buf_char(out, *s);
	}
}

// Operands underlined word by word: TENANT/POOL [NAME] -> _TENANT/POOL_ _[NAME]_
static void scd_args(struct buf *out, const char *args)
{
	while (args && *args) {
		size_t len = strcspn(args, " ");
		char word[128];

		base_cut(word, sizeof(word), "%.*s", (int)len, args);
		if (len) {
			buf_str(out, " _");
			scd_text(out, word);
			buf_char(out, '_');
		}
		args += args[len] ? len + 1 : len;
	}
}

static void scd_opts(struct buf *out, const struct verb *verb, const struct opt *tab)
{
	for (const struct opt *o = tab; o && o->name; o++) {
		if (tab == tool_common && !tool_common_applies(verb, o))
			continue;
		if (o->letter)
			buf_fmt(out, "*-%c*, ", o->letter);
		buf_fmt(out, "*--%s*", o->name);
		scd_args(out, o->arg);
		buf_str(out, "\n\t");
		scd_text(out, o->help);
		buf_str(out, ".\n\n");
	}
}

static void scd_synopsis(struct buf *out, const struct tool *t, const struct verb *v)
{
	buf_fmt(out, "*%s*", t->name);
	if (v->name)
		buf_fmt(out, " *%s*", v->name);
	buf_str(out, " [_option_...]");
	scd_args(out, v->args);
}

static void scd(const struct tool *t, struct buf *out)
{
	bool shown = false;

	buf_str(out, "# SYNOPSIS\n\n");
	for (size_t i = 0; i < t->verb_count; i++) {
		if (t->verbs[i].flags & VERB_HIDDEN)
			continue;
		buf_str(out, shown ? "++\n" : ""); // a line break within the paragraph
		scd_synopsis(out, t, &t->verbs[i]);
		shown = true;
	}
	buf_str(out, "\n\n");
	if (!single(t)) {
		buf_str(out, "# VERBS\n\n");
		for (size_t i = 0; i < t->verb_count; i++) {
			if (t->verbs[i].flags & VERB_HIDDEN)
				continue;
			buf_fmt(out, "*%s*", t->verbs[i].name);
			scd_args(out, t->verbs[i].args);
			buf_str(out, "\n\t");
			scd_text(out, t->verbs[i].summary);
			buf_str(out, ".\n\n");
		}
	}
	buf_str(out, "# OPTIONS\n\n");
	for (size_t i = 0; i < t->verb_count; i++) {
		if (t->verbs[i].flags & VERB_HIDDEN || !has_opts(&t->verbs[i]))
			continue;
		if (!single(t))
			buf_fmt(out, "## %s\n\n", t->verbs[i].name);
		scd_opts(out, &t->verbs[i], t->verbs[i].opts);
	}
	buf_str(out, "## Common options\n\n");
	scd_opts(out, single(t) ? &t->verbs[0] : NULL, tool_common);
}

static void complete_opts(struct buf *out, const char *verb, const struct verb *of,
			  const struct opt *tab)
{
	for (const struct opt *o = tab; o && o->name; o++) {
		if (tab == tool_common && !tool_common_applies(of, o))
			continue;
		buf_fmt(out, "opt\t%s\t--%s\t%s\t%s\t", verb, o->name,
			o->kind == OPT_FLAG ? "-"
			: o->arg	    ? o->arg
					    : "VALUE",
			o->help);
		for (int i = 0; o->kind == OPT_ENUM && o->words[i]; i++)
			buf_fmt(out, "%s%s", i ? " " : "", o->words[i]);
		buf_str(out, o->kind == OPT_ENUM ? "\n" : "-\n");
	}
}

static void complete(const struct tool *t, struct buf *out)
{
	for (size_t i = 0; i < t->verb_count; i++) {
		const struct verb *v = &t->verbs[i];

		if (v->flags & VERB_HIDDEN)
			continue;
		if (v->name)
			buf_fmt(out, "verb\t%s\t%s\n", v->name, v->summary);
		complete_opts(out, v->name ? v->name : "-", v, v->opts);
		complete_opts(out, v->name ? v->name : "-", v, tool_common);
	}
}

static void exits(struct buf *out)
{
	buf_str(out, "*0*\n\tdone.\n\n");
	for (int k = 0; k < ERR_KINDS; k++) {
		buf_fmt(out, "*%d*, _%s_\n\t", err_kinds[k].exit, err_kinds[k].code);
		scd_text(out, err_kinds[k].doc);
		buf_fmt(out, "%s.\n\n", err_kinds[k].retryable ? " (worth another try)" : "");
	}
	buf_str(out, "*128* + _n_\n\tended by signal _n_.\n");
}

void tool_print_help(const struct tool_line *line, struct buf *out)
{
	switch (line->help) {
	case HELP_NONE:
		return;
	case HELP_TEXT:
		help_text(line, out);
		return;
	case HELP_SCD:
		scd(line->tool, out);
		return;
	case HELP_COMPLETE:
		complete(line->tool, out);
		return;
	case HELP_EXITS:
		exits(out);
		return;
	case HELP_VERSION:
		buf_fmt(out, "%s %s\n", line->tool->name, tool_version);
		return;
	}
}
