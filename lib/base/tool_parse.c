// SPDX-License-Identifier: MIT
#include "base/num.h"
#include "base/tool_parts.h"

const char *const tool_formats[] = { "json", "jsonl", "yaml", "table", "wide", "name", NULL };
const char *const tool_error_forms[] = { "text", "json", NULL };
static const char *const help_forms[] = { "scd", "complete", "exits", NULL };

struct tool_values tool_values;
static bool help_asked, version_asked;

const struct opt tool_common[] = {
	{ .letter = 'o',
	  .kind = OPT_ENUM,
	  .name = "output",
	  .arg = "FORMAT",
	  .help = "print json, jsonl, yaml, table, wide or name",
	  .slot = &tool_values.format,
	  .words = tool_formats,
	  .given = &tool_values.format_given },
	{ .kind = OPT_FLAG,
	  .name = "json",
	  .help = "the same as --output json",
	  .slot = &tool_values.json },
	{ .kind = OPT_ENUM,
	  .name = "errors",
	  .arg = "FORM",
	  .help = "tell errors as text or json",
	  .slot = &tool_values.errors,
	  .words = tool_error_forms,
	  .given = &tool_values.errors_given },
	{ .kind = OPT_MS,
	  .name = "lock-timeout",
	  .arg = "TIME",
	  .help = "wait that long for a lock (default 10s)",
	  .slot = &tool_values.lock_ms,
	  .max = TOOL_LOCK_MAX_MS,
	  .given = &tool_values.lock_given },
	{ .kind = OPT_TEXT,
	  .name = "request-id",
	  .arg = "ID",
	  .help = "name this request in logs and records",
	  .slot = &tool_values.request_id },
	{ .letter = 'h',
	  .kind = OPT_FLAG,
	  .name = "help",
	  .help = "show this help",
	  .slot = &help_asked },
	{ .kind = OPT_FLAG, .name = "version", .help = "show the version", .slot = &version_asked },
	OPT_END
};

bool tool_common_applies(const struct verb *verb, const struct opt *opt)
{
	return !verb || !(verb->flags & VERB_RAW) ||
	       (opt->slot != &tool_values.format && opt->slot != &tool_values.json);
}

static const struct opt *find_in(const struct opt *tab, const char *name, size_t len, char letter)
{
	for (; tab && tab->name; tab++)
		if (name ? strlen(tab->name) == len && memcmp(tab->name, name, len) == 0
			 : tab->letter == letter)
			return tab;
	return NULL;
}

// The verb's own options first: a renderer has an -o of its own.
static const struct opt *find_opt(const struct verb *verb, const char *name, size_t len,
				  char letter)
{
	const struct opt *o = verb ? find_in(verb->opts, name, len, letter) : NULL;

	if (o)
		return o;
	o = find_in(tool_common, name, len, letter);
	return o && tool_common_applies(verb, o) ? o : NULL;
}

static int set_enum(const struct opt *o, const char *value, struct err *e)
{
	char list[160] = "";

	for (int i = 0; o->words[i]; i++) {
		size_t used = strlen(list);

		if (str_eq(o->words[i], value)) {
			*(int *)o->slot = i;
			return 0;
		}
		base_cut(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", o->words[i]);
	}
	return err_usage(e, "'%.64s' is none of %s", value, list);
}

static void add_to_list(struct strlist *l, const char *value)
{
	const char **items = base_alloc(l->len + 1, sizeof(*items));

	if (l->len)
		memcpy(items, l->items, l->len * sizeof(*items));
	items[l->len] = value;
	free(l->items);
	l->items = items;
	l->len++;
}

static int set_value(const struct opt *o, const char *value, struct err *e)
{
	switch (o->kind) {
	case OPT_FLAG:
		*(bool *)o->slot = true;
		return 0;
	case OPT_TEXT:
		*(const char **)o->slot = value;
		return 0;
	case OPT_U64:
		return num_u64(value, o->min, o->max ? o->max : UINT64_MAX, o->slot, e);
	case OPT_ENUM:
		return set_enum(o, value, e);
	case OPT_LIST:
		add_to_list(o->slot, value);
		return 0;
	case OPT_MS:
		if (num_duration_ms(value, o->max ? o->max : UINT64_MAX, o->slot, e) < 0)
			return -e->no;
		if (*(uint64_t *)o->slot < o->min)
			return err_usage(e, "%.64s is too short", value);
		return 0;
	}
	return 0;
}

static int set_opt(const struct opt *o, const char *value, struct err *e)
{
	if (set_value(o, value, e) < 0)
		return err_wrap(e, "--%s", o->name);
	if (o->given)
		*o->given = true;
	return 0;
}

static int set_help(struct tool_line *line, const char *form, struct err *e)
{
	if (!form) {
		line->help = HELP_TEXT;
		return 0;
	}
	for (int i = 0; help_forms[i]; i++)
		if (str_eq(form, help_forms[i])) {
			line->help = (enum tool_help)(HELP_SCD + i);
			return 0;
		}
	return err_usage(e, "--help: '%.64s' is none of scd, complete, exits", form);
}

static const char *where(const struct tool_line *line, char out[128])
{
	const char *verb = line->verb ? line->verb->name : NULL;

	base_cut(out, 128, "%s%s%s", line->tool->name, verb ? " " : "", verb ? verb : "");
	return out;
}

static int unknown_opt(const struct tool_line *line, const char *word, size_t len, struct err *e)
{
	char self[128];

	(void)err_usage(e, "unknown option '%.*s'", (int)MIN(len, 64u), word);
	return err_hint(e, "see %s --help", where(line, self));
}

// --name, --name=value, --name value; *next is the word after this one, taken when it is the value.
static int parse_long(struct tool_line *line, const char *word, char ***next, struct err *e)
{
	size_t len = strcspn(word + 2, "=");
	const char *value = word[2 + len] ? word + 2 + len + 1 : NULL;
	const struct opt *o = find_opt(line->verb, word + 2, len, 0);

	if (!o)
		return unknown_opt(line, word, len + 2, e);
	if (o->slot == &help_asked)
		return set_help(line, value, e);
	if (o->kind == OPT_FLAG && value)
		return err_usage(e, "--%s takes no value", o->name);
	if (o->kind != OPT_FLAG && !value) {
		if (!**next)
			return err_usage(e, "--%s needs a value", o->name);
		value = *(*next)++;
	}
	return set_opt(o, value, e);
}

// -abc as -a -b -c, -ovalue, -o value
static int parse_short(struct tool_line *line, const char *word, char ***next, struct err *e)
{
	for (const char *p = word + 1; *p; p++) {
		const struct opt *o = find_opt(line->verb, NULL, 0, *p);
		const char *value = NULL;

		if (!o) {
			char name[3] = { '-', *p, '\0' };

			return unknown_opt(line, name, 2, e);
		}
		if (o->slot == &help_asked)
			return set_help(line, NULL, e);
		if (o->kind != OPT_FLAG) {
			value = p[1] ? p + 1 : **next ? *(*next)++ : NULL;
			if (!value)
				return err_usage(e, "-%c needs a value", *p);
		}
		if (set_opt(o, value, e) < 0)
			return -e->no;
		if (value)
			return 0;
	}
	return 0;
}

static int choose_verb(struct tool_line *line, const char *word, struct err *e)
{
	for (size_t i = 0; i < line->tool->verb_count; i++)
		if (str_eq(word, line->tool->verbs[i].name)) {
			line->verb = &line->tool->verbs[i];
			return 0;
		}
	(void)err_usage(e, "unknown verb '%.64s'", word);
	return err_hint(e, "see %s --help", line->tool->name);
}

static int check_operands(const struct tool_line *line, struct err *e)
{
	const struct verb *v = line->verb;
	char self[128];

	if (!v) {
		(void)err_usage(e, "expected a verb");
		return err_hint(e, "see %s --help", line->tool->name);
	}
	if (line->operand_count < v->min_args) {
		(void)err_usage(e, "expected %s", v->args ? v->args : "an operand");
		return err_hint(e, "see %s --help", where(line, self));
	}
	if (v->max_args >= 0 && line->operand_count > v->max_args) {
		(void)err_usage(e, "surplus operand '%.64s'", line->operands[v->max_args]);
		return err_hint(e, "see %s --help", where(line, self));
	}
	return 0;
}

int tool_parse(int argc, char **argv, struct tool_line *line, struct err *e)
{
	char **next = argv + 1;
	bool words_only = false;

	line->operands = base_alloc((size_t)argc + 1, sizeof(char *));
	if (!line->tool->verbs[0].name)
		line->verb = &line->tool->verbs[0];
	while (*next && line->help == HELP_NONE) {
		char *word = *next++;
		int rc = 0;

		if (words_only || word[0] != '-' || !word[1]) {
			if (line->verb)
				line->operands[line->operand_count++] = word;
			else
				rc = choose_verb(line, word, e);
		} else if (str_eq(word, "--")) {
			words_only = true;
		} else if (word[1] == '-') {
			rc = parse_long(line, word, &next, e);
		} else {
			rc = parse_short(line, word, &next, e);
		}
		if (rc < 0)
			return rc;
	}
	if (version_asked && line->help == HELP_NONE)
		line->help = HELP_VERSION;
	return line->help == HELP_NONE ? check_operands(line, e) : 0;
}
