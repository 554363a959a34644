// SPDX-License-Identifier: MIT
#include "state/rows.h"

#include "base/log.h"

void rows_next(struct buf *out)
{
	if (out->len && out->data[out->len - 1] != '[')
		buf_char(out, ',');
}

void rows_reopen(struct buf *out)
{
	if (out->len && out->data[out->len - 1] == '}')
		out->data[--out->len] = '\0';
}

void rows_text(struct buf *out, const char *key, const char *value)
{
	buf_fmt(out, ",\"%s\":", key);
	codec_quote(value, out);
}

void rows_damaged(struct buf *out, const struct address *a, const struct err *why)
{
	address_text text;

	address_print(a, text);
	buf_str(out, "{\"schema_version\":1");
	if (a->pool[0])
		rows_text(out, a->instance[0] ? "instance_path" : "pool_path", text);
	if (a->instance[0])
		rows_text(out, "instance_id", a->instance);
	if (a->pool[0])
		rows_text(out, "pool_id", a->pool);
	rows_text(out, "tenant_id", a->tenant);
	rows_text(out, "status", "damaged");
	rows_text(out, "error", why->msg);
	buf_char(out, '}');
	log_warn(text, "%s", why->msg);
}

void rows_lines(const char *lines, struct buf *out)
{
	buf_char(out, '[');
	while (*lines) {
		size_t len = strcspn(lines, "\n");
		cleanup_free char *line = base_printf("%.*s", (int)len, lines);

		rows_next(out);
		codec_quote(line, out);
		lines += len + (lines[len] == '\n');
	}
	buf_char(out, ']');
}
