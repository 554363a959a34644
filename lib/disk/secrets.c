// SPDX-License-Identifier: MIT
// The set in memory and its text. Where it lies is in secrets_file.c.
#include "disk/secrets.h"

#include <endian.h>

// Little-endian: "MVMSECR1" | u32 count | of each: u8 length, name | 20 of the time | u32 length,
// bytes. Sorted by name, so that one set has one text.
#define TIME_LEN 20u
static const char magic[8] = { 'M', 'V', 'M', 'S', 'E', 'C', 'R', '1' };

void secrets_free(struct secrets *s)
{
	safe_free(&s->text);
	s->len = 0;
}

int secrets_name_check(const char *name, struct err *e)
{
	static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				   "0123456789_.-";
	size_t len = strnlen(name, SECRETS_NAME_MAX + 1);

	if (len == 0 || len > SECRETS_NAME_MAX || strspn(name, good) != len || str_eq(name, ".") ||
	    str_eq(name, ".."))
		return err_usage(e, "'%.70s' is not the name of a secret ([A-Za-z0-9_.-]{1,64})",
				 name);
	return 0;
}

static int add_int(struct safe *out, uint64_t v, size_t bytes, struct err *e)
{
	v = htole64(v);
	return safe_add(out, &v, bytes, e);
}

int secrets_print(const struct secrets *s, struct safe *out, struct err *e)
{
	if (safe_add(out, magic, sizeof(magic), e) < 0 || add_int(out, s->len, 4, e) < 0)
		return -e->no;
	for (size_t i = 0; i < s->len; i++) {
		const struct secret *it = &s->items[i];
		size_t name = strlen(it->name);

		if (add_int(out, name, 1, e) < 0 || safe_add(out, it->name, name, e) < 0 ||
		    safe_add(out, it->changed_at, TIME_LEN, e) < 0 ||
		    add_int(out, it->len, 4, e) < 0 ||
		    safe_add(out, s->text.data + it->at, it->len, e) < 0)
			return -e->no;
	}
	return 0;
}

struct reader {
	const struct safe *from;
	size_t at;
	bool bad;
};

static void take(struct reader *r, void *out, size_t len)
{
	if (r->bad || len > r->from->len - r->at) {
		r->bad = true;
		return;
	}
	memcpy(out, r->from->data + r->at, len);
	r->at += len;
}

static uint64_t take_int(struct reader *r, size_t bytes)
{
	uint64_t v = 0;

	take(r, &v, bytes);
	return le64toh(v);
}

// Also in order: then no name is there twice.
static bool take_one(struct reader *r, struct secret *it, const struct secret *before)
{
	struct err ignored = { 0 };
	uint64_t name = take_int(r, 1), len;
	int64_t unix_s;

	if (name > SECRETS_NAME_MAX)
		return false;
	take(r, it->name, name);
	take(r, it->changed_at, TIME_LEN);
	len = take_int(r, 4);
	if (r->bad || len > SECRETS_VALUE || len > r->from->len - r->at ||
	    strlen(it->name) != name || secrets_name_check(it->name, &ignored) < 0 ||
	    clock_parse_utc(it->changed_at, &unix_s, &ignored) < 0 ||
	    (before && strcmp(before->name, it->name) >= 0))
		return false;
	it->at = r->at;
	it->len = len;
	r->at += len;
	return true;
}

int secrets_parse(struct secrets *s, struct safe *plain, struct err *e)
{
	cleanup_secrets struct secrets to = SECRETS_NONE;
	struct reader r = { .from = &to.text };
	char head[sizeof(magic)] = "";
	uint64_t count;

	to.text = *plain;
	*plain = (struct safe)SAFE_NONE;
	take(&r, head, sizeof(head));
	count = take_int(&r, 4);
	if (r.bad || memcmp(head, magic, sizeof(magic)) != 0 || count > SECRETS_MAX)
		return err_kind(e, ERR_DAMAGED, "no set of secrets of a version known here");
	for (; to.len < count; to.len++)
		if (!take_one(&r, &to.items[to.len], to.len ? &to.items[to.len - 1] : NULL))
			return err_kind(e, ERR_DAMAGED, "secret %zu of the set is damaged", to.len);
	if (r.at != to.text.len)
		return err_kind(e, ERR_DAMAGED, "more behind the set of secrets");
	secrets_free(s);
	*s = to;
	to = (struct secrets)SECRETS_NONE;
	return 0;
}

// The place of a name, or where it would have to stand.
static size_t place(const struct secrets *s, const char *name, bool *found)
{
	size_t i = 0;

	while (i < s->len && strcmp(s->items[i].name, name) < 0)
		i++;
	*found = i < s->len && str_eq(s->items[i].name, name);
	return i;
}

int secrets_put(struct secrets *s, const char *name, const struct safe *value, bool *changed,
		struct err *e)
{
	size_t at, start = s->text.len;
	struct secret *it;
	bool found;

	if (secrets_name_check(name, e) < 0)
		return -e->no;
	if (value->len > SECRETS_VALUE)
		return err_usage(e, "%s: longer than %u bytes", name, (unsigned)SECRETS_VALUE);
	at = place(s, name, &found);
	it = &s->items[at];
	if (found && it->len == value->len &&
	    (!it->len || memcmp(s->text.data + it->at, value->data, it->len) == 0))
		return 0;
	if (!found && s->len == SECRETS_MAX)
		return err_kind(e, ERR_QUOTA, "more than %u secrets", SECRETS_MAX);
	if (safe_add(&s->text, value->data, value->len, e) < 0)
		return -e->no;
	if (!found) {
		memmove(it + 1, it, (s->len - at) * sizeof(*it));
		s->len++;
	}
	*it = (struct secret){ .at = start, .len = value->len };
	base_cut(it->name, sizeof(it->name), "%s", name);
	clock_utc(it->changed_at);
	*changed = true;
	return 0;
}

bool secrets_remove(struct secrets *s, const char *name)
{
	bool found;
	size_t at = place(s, name, &found);

	if (!found)
		return false;
	s->len--;
	memmove(&s->items[at], &s->items[at + 1], (s->len - at) * sizeof(s->items[0]));
	return true;
}
