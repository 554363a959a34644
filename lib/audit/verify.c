// SPDX-License-Identifier: MIT
#include "audit/verify.h"

static const struct field file_fields[] = {
	{ FIELD_SLOT(struct verify_file, file, path_text), .kind = KIND_TEXT, .doc = "path" },
	{ FIELD_SLOT(struct verify_file, entries, uint64_t), .kind = KIND_UINT, .doc = "entries" },
	{ FIELD_SLOT(struct verify_file, first_seq, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_NULLABLE, .doc = "number of its first entry" },
	{ FIELD_SLOT(struct verify_file, last_seq, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_NULLABLE, .doc = "number of its last entry" },
	{ FIELD_SLOT(struct verify_file, ok, bool), .kind = KIND_BOOL, .doc = "nothing is wrong" },
	FIELD_END
};

static const struct field bad_fields[] = {
	{ FIELD_SLOT(struct verify_bad, file, path_text), .kind = KIND_TEXT, .doc = "path" },
	{ FIELD_SLOT(struct verify_bad, line, uint64_t), .kind = KIND_UINT,
	  .doc = "number of the line; 0: the file as a whole" },
	{ FIELD_SLOT(struct verify_bad, reason, char[904]), .kind = KIND_TEXT, .doc = "what" },
	FIELD_END
};

const struct field verify_fields[] = {
	{ FIELD_SLOT(struct verify_report, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "1" },
	{ FIELD_SLOT(struct verify_report, tenant_id, name_text), .kind = KIND_TEXT,
	  .doc = "tenant" },
	{ FIELD_SLOT(struct verify_report, ok, bool), .kind = KIND_BOOL,
	  .doc = "the chain is unbroken" },
	{ FIELD_SLOT(struct verify_report, entries, uint64_t), .kind = KIND_UINT,
	  .doc = "entries of all files" },
	{ FIELD_SLOT(struct verify_report, first_seq, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_NULLABLE, .doc = "number of the oldest entry that is kept" },
	{ FIELD_SLOT(struct verify_report, last_seq, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_NULLABLE, .doc = "number of the newest entry" },
	{ FIELD_SLOT(struct verify_report, head, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "SHA-256 of the newest line, to be kept elsewhere" },
	{ FIELD_SLOT(struct verify_report, torn_bytes, uint64_t), .kind = KIND_UINT,
	  .doc = "of an unfinished last line" },
	{ FIELD_SLOT(struct verify_report, bad, uint64_t), .kind = KIND_UINT,
	  .doc = "lines that do not fit" },
	{ FIELD_SLOT(struct verify_report, first_bad, struct verify_bad), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = bad_fields, .doc = "the first of them" },
	{ FIELD_SLOT(struct verify_report, files, struct codec_list), .kind = KIND_LIST,
	  .sub = file_fields, .item_size = sizeof(struct verify_file),
	  .doc = "files, oldest first" },
	FIELD_END
};

struct chain {
	struct verify_report *report;
	struct verify_file *file;
	const struct audit_files *files;
	bool begun; // seq and prev are those of the line before
	uint64_t seq;
	char prev[65];
};

static void bad(struct chain *c, uint64_t line, const char *reason)
{
	struct verify_report *r = c->report;

	r->ok = c->file->ok = false;
	if (r->bad++)
		return;
	memcpy(r->first_bad.file, c->file->file, sizeof(r->first_bad.file));
	r->first_bad.line = line;
	base_cut(r->first_bad.reason, sizeof(r->first_bad.reason), "%s", reason);
}

// The oldest line that is kept: number 1, or else as many rotated files as are ever kept.
static const char *check_first(const struct chain *c, const struct audit_entry *entry)
{
	bool full = str_eq(c->files->items[0].name, trail_files[0]);

	if (entry->seq == 1)
		return str_eq(entry->prev, AUDIT_FIRST_PREV) ? NULL : "the first entry has a prev";
	return full ? NULL : "older entries are missing";
}

static const char *check_next(const struct chain *c, const struct audit_entry *entry)
{
	if (!str_eq(entry->prev, c->prev))
		return "prev is not the digest of the line before";
	return entry->seq == c->seq + 1 ? NULL : "the number does not follow";
}

static void check_line(struct chain *c, uint64_t number, const char *line, size_t len)
{
	struct audit_entry entry = { 0 };
	struct err why = { 0 };
	const char *wrong;

	if (audit_parse_line(line, len, &entry, &why) < 0)
		wrong = why.msg;
	else if (!str_eq(entry.tenant_id, c->report->tenant_id))
		wrong = "of another tenant";
	else
		wrong = c->begun ? check_next(c, &entry) : check_first(c, &entry);
	if (wrong)
		bad(c, number, wrong);
	c->begun = true;
	c->seq = why.no ? c->seq + 1 : entry.seq; // one bad line is told once
	c->file->entries += !why.no;
	if (!c->file->first_seq)
		c->file->first_seq = entry.seq;
	c->file->last_seq = c->seq;
	audit_digest(line, len, c->prev);
}

static int check_file(struct chain *c, size_t i, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	uint64_t number = 1;
	size_t torn;

	if (files_read(c->files, i, &text, &torn, e) < 0) {
		if (e->kind != ERR_DAMAGED)
			return -e->no;
		bad(c, 0, e->msg);
		err_clear(e);
		c->begun = false; // the next file cannot be compared with it
		return 0;
	}
	for (size_t at = 0; at < text.len; number++) {
		size_t len = (size_t)((char *)memchr(text.data + at, '\n', text.len - at) -
				      (text.data + at));

		check_line(c, number, text.data + at, len);
		at += len + 1;
	}
	if (torn && i + 1 < c->files->len)
		bad(c, number, "the last line is unfinished");
	else
		c->report->torn_bytes += torn;
	return 0;
}

void verify_begin(const char *tenant, struct verify_report *r)
{
	*r = (struct verify_report){ .schema_version = 1, .ok = true };
	base_cut(r->tenant_id, sizeof(r->tenant_id), "%s", tenant);
}

int verify_log(const struct audit_files *f, struct verify_report *r, struct err *e)
{
	struct chain c = { .report = r, .files = f };

	for (size_t i = 0; i < f->len; i++) {
		c.file = codec_list_add(&r->files, sizeof(*c.file));
		c.file->ok = true;
		base_cut(c.file->file, sizeof(c.file->file), "%s/%s", f->path, f->items[i].name);
		if (check_file(&c, i, e) < 0)
			return -e->no;
		r->entries += c.file->entries;
		if (!r->first_seq)
			r->first_seq = c.file->first_seq;
	}
	r->last_seq = c.seq;
	memcpy(r->head, c.prev, sizeof(r->head));
	return 0;
}

void verify_free(struct verify_report *r)
{
	codec_free(verify_fields, r);
}
