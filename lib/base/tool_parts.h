// SPDX-License-Identifier: MIT
// What tool.c, tool_parse.c and tool_help.c share; nobody else includes it.
#pragma once
#include "base/tool.h"

#define TOOL_LOCK_MAX_MS 86400000 // a day

enum tool_format { FORMAT_JSON, FORMAT_JSONL, FORMAT_YAML, FORMAT_TABLE, FORMAT_WIDE, FORMAT_NAME };
enum tool_help { HELP_NONE, HELP_TEXT, HELP_SCD, HELP_COMPLETE, HELP_EXITS, HELP_VERSION };

struct tool_line { // what the command line and the environment say
	const struct tool *tool;
	const struct verb *verb; // NULL as long as none was named
	char **operands;
	int operand_count;
	enum tool_help help;
};

// Values of the options that every tool has, filled by the table tool_common.
struct tool_values {
	int format, errors;
	bool json, format_given, errors_given, lock_given;
	uint64_t lock_ms;
	const char *request_id;
};
extern struct tool_values tool_values;
extern const struct opt tool_common[];
extern const char *const tool_formats[], *const tool_error_forms[];

// Whether the common option applies: -o and --json are not for verbs that write stdout themselves.
bool tool_common_applies(const struct verb *verb, const struct opt *opt);
int tool_parse(int argc, char **argv, struct tool_line *line, struct err *e) MUST_CHECK;
void tool_print_help(const struct tool_line *line, struct buf *out);
