// SPDX-License-Identifier: MIT
#include "audit/actions.h"

#include "json/codec.h"

const char *const audit_action_names[] = {
#define AUDIT_WORD(number, word, ...) word,
	AUDIT_ACTION_TABLE(AUDIT_WORD)
#undef AUDIT_WORD
		NULL
};

static const struct {
	const char *action, *done_by, *meaning;
} rows[] = {
#define AUDIT_ROW(number, word, done_by, meaning) { word, done_by, meaning },
	AUDIT_ACTION_TABLE(AUDIT_ROW)
#undef AUDIT_ROW
};

static void add_text(const char *key, const char *text, struct buf *out)
{
	buf_fmt(out, ",\"%s\":", key);
	if (text)
		codec_quote(text, out);
	else
		buf_str(out, "null");
}

void audit_actions_print(struct buf *out)
{
	buf_char(out, '[');
	for (size_t i = 0; i < COUNT(rows); i++) {
		buf_fmt(out, "%s{\"schema_version\":1", i ? "," : "");
		add_text("action", rows[i].action, out);
		add_text("done_by", rows[i].done_by, out);
		add_text("meaning", rows[i].meaning, out);
		buf_char(out, '}');
	}
	buf_char(out, ']');
}
