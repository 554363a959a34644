// SPDX-License-Identifier: MIT
#include "audit/list.h"

#include "base/log.h"

void list_free(struct audit_rows *r)
{
	for (size_t i = 0; i < r->texts.len; i++)
		free(((char **)r->texts.items)[i]);
	free(r->texts.items);
	*r = (struct audit_rows)ROWS_NONE;
}

bool list_wants(const struct audit_query *q, const struct audit_entry *entry)
{
	struct err ignored = { 0 };
	int64_t us;

	if (q->action >= 0 && entry->action != q->action)
		return false;
	return !q->since_given ||
	       (audit_parse_time(entry->timestamp, &us, &ignored) == 0 && us >= q->since_us);
}

void list_damaged(const char *tenant, const char *file, uint64_t line, const struct err *why,
		  struct buf *out)
{
	log_error(tenant, "%s: line %llu: damaged: %s", file, (unsigned long long)line, why->msg);
	buf_fmt(out, "{\"schema_version\":1,\"tenant_id\":\"%s\",\"status\":\"damaged\",\"file\":",
		tenant);
	codec_quote(file, out);
	buf_fmt(out, ",\"line\":%llu,\"error\":", (unsigned long long)line);
	codec_quote(why->msg, out);
	buf_char(out, '}');
}

static void add_damaged(const struct audit_files *f, size_t i, uint64_t line, const struct err *why,
			struct audit_rows *r)
{
	cleanup_free char *file = base_printf("%s/%s", f->path, f->items[i].name);
	cleanup_buf struct buf row = BUF_INIT;

	list_damaged(f->tenant, file, line, why, &row);
	codec_texts_add(&r->texts, buf_text(&row));
	r->damaged++;
}

static bool enough(const struct audit_query *q, const struct audit_rows *r)
{
	return q->last && r->texts.len >= q->last;
}

static uint64_t count_lines(const struct buf *text)
{
	uint64_t n = 0;

	for (size_t i = 0; i < text->len; i++)
		n += text->data[i] == '\n';
	return n;
}

// *ret_done: older entries are not asked for.
static int collect_file(const struct audit_files *f, size_t i, const struct audit_query *q,
			struct audit_rows *r, bool *ret_done, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	size_t torn;

	if (files_read(f, i, &text, &torn, e) < 0)
		return -e->no;
	if (torn)
		log_warn(f->tenant, "%s/%s: an unfinished last line", f->path, f->items[i].name);
	for (uint64_t number = count_lines(&text); number && !*ret_done; number--) {
		const char *before = memrchr(text.data, '\n', text.len - 1);
		const char *line = before ? before + 1 : text.data;
		size_t len = (size_t)(text.data + text.len - 1 - line);
		struct audit_entry entry = { 0 };
		struct err why = { 0 };

		if (audit_parse_line(line, len, &entry, &why) < 0) {
			add_damaged(f, i, number, &why, r);
		} else if (q->after_seq && entry.seq <= q->after_seq) {
			*ret_done = true;
		} else if (list_wants(q, &entry)) {
			text.data[text.len - 1] = '\0';
			codec_texts_add(&r->texts, line);
		}
		r->last_seq = MAX(r->last_seq, entry.seq);
		*ret_done |= enough(q, r);
		text.len = (size_t)(line - text.data);
	}
	return 0;
}

int list_collect(const struct audit_files *f, const struct audit_query *q, struct audit_rows *r,
		 struct err *e)
{
	bool done = enough(q, r);

	for (size_t i = f->len; i-- > 0 && !done;)
		if (collect_file(f, i, q, r, &done, e) < 0)
			return -e->no;
	return 0;
}

void list_print(const struct audit_rows *r, struct buf *out)
{
	char *const *texts = r->texts.items;

	buf_char(out, '[');
	for (size_t i = r->texts.len; i-- > 0;) {
		buf_str(out, texts[i]);
		if (i)
			buf_char(out, ',');
	}
	buf_char(out, ']');
}
