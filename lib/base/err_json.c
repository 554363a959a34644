// SPDX-License-Identifier: MIT
// The one JSON object that base itself writes and reads; base links no JSON library.
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"

static void member(struct buf *out, const char *key, const char *text, bool null_when_empty)
{
	char clean[1024];

	base_cut(clean, sizeof(clean), "%s", text);
	log_clean(clean);
	buf_fmt(out, ",\"%s\":", key);
	if (null_when_empty && !clean[0])
		buf_str(out, "null");
	else
		buf_json(out, clean);
}

void err_to_json(const struct err *e, const char *request_id, struct buf *out)
{
	const struct err_row *row = &err_kinds[e->kind];

	buf_fmt(out, "{\"code\":\"%s\",\"exit\":%d", row->code, err_exit(e));
	member(out, "message", e->msg, false);
	member(out, "hint", e->hint, true);
	member(out, "object", e->object, true);
	member(out, "request_id", request_id, true);
	buf_fmt(out, ",\"retryable\":%s}", row->retryable ? "true" : "false");
}

static void put_utf8(char **out, uint64_t c)
{
	if (c < 0x80) {
		*(*out)++ = (char)c;
	} else if (c < 0x800) {
		*(*out)++ = (char)(0xC0 | c >> 6);
		*(*out)++ = (char)(0x80 | (c & 0x3F));
	} else {
		*(*out)++ = (char)(0xE0 | c >> 12);
		*(*out)++ = (char)(0x80 | (c >> 6 & 0x3F));
		*(*out)++ = (char)(0x80 | (c & 0x3F));
	}
}

// The escape at *s (a backslash) as up to three bytes; false when there is no such escape.
static bool take_escape(const char **s, char **out)
{
	static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
	const char *p = *s + 1, *at = *p ? strchr(letters, *p) : NULL;
	struct err ignored = { 0 };
	char hex[5];
	uint64_t c;

	if (at) {
		*(*out)++ = bytes[at - letters];
		*s = p + 1;
		return true;
	}
	base_cut(hex, sizeof(hex), "%.4s", *p ? p + 1 : p);
	if (*p != 'u' || num_hex(hex, 4, &c, &ignored) < 0)
		return false;
	put_utf8(out, c);
	*s = p + 5;
	return true;
}

// The string literal at *s into out, cut to its size; *s moves behind it.
static bool take_text(const char **s, char *out, size_t size)
{
	char *end = out + size - 1;
	const char *p = *s;

	if (*p++ != '"')
		return false;
	while (*p && *p != '"') {
		char piece[4], *to = piece;

		if (*p != '\\')
			*to++ = *p++;
		else if (!take_escape(&p, &to))
			return false;
		if (to - piece <= end - out) {
			memcpy(out, piece, (size_t)(to - piece));
			out += to - piece;
		} else {
			end = out; // full: drop the rest
		}
	}
	*out = '\0';
	if (*p != '"')
		return false;
	*s = p + 1;
	return true;
}

// A number, true, false or null.
static bool take_word(const char **s, char *out, size_t size)
{
	size_t len = strspn(*s, "abcdefghijklmnopqrstuvwxyz0123456789-");

	if (len == 0 || len >= size)
		return false;
	memcpy(out, *s, len);
	out[len] = '\0';
	*s += len;
	return true;
}

static bool take_kind(const char *code, enum err_kind *kind)
{
	for (int k = 0; k < ERR_KINDS; k++)
		if (str_eq(code, err_kinds[k].code)) {
			*kind = (enum err_kind)k;
			return true;
		}
	return false;
}

static bool take_member(const char **s, struct err *got, char code[24])
{
	char key[24], rest[128];
	const struct {
		const char *key;
		char *to;
		size_t size;
	} texts[] = {
		{ "code", code, 24 },
		{ "message", got->msg, sizeof(got->msg) },
		{ "hint", got->hint, sizeof(got->hint) },
		{ "object", got->object, sizeof(got->object) },
		{ "", rest, sizeof(rest) },
	};

	if (!take_text(s, key, sizeof(key)) || *(*s)++ != ':')
		return false;
	if (**s != '"')
		return take_word(s, rest, sizeof(rest));
	size_t i = 0;
	while (i + 1 < COUNT(texts) && !str_eq(key, texts[i].key))
		i++;
	return take_text(s, texts[i].to, texts[i].size);
}

bool err_from_json(const char *line, int exit, struct err *e)
{
	struct err got = { .exit = 0 };
	char code[24] = "";

	if (*line++ != '{')
		return false;
	do
		if (!take_member(&line, &got, code))
			return false;
	while (*line++ == ',');
	if (line[-1] != '}' || !take_kind(code, &got.kind))
		return false;
	got.no = err_kinds[got.kind].no;
	if (exit != err_kinds[got.kind].exit)
		got.exit = exit;
	*e = got;
	return true;
}
