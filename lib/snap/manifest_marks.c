// SPDX-License-Identifier: MIT
// Which field was changed? The seal says that one was. A few digits for each, in the order of the
// tables, tell which: they are no second seal, and only looked at when the seal does not fit.
#include <assert.h>

#include "base/num.h"
#include "snap/manifest.h"

#define MARK 4

static bool is_marked(const struct field *f, bool top)
{
	return !top || (!str_eq(f->key, "marks") && !str_eq(f->key, "seal"));
}

static void mark_one(const struct field *f, const void *rec, char out[MARK])
{
	const struct field one[] = { *f, FIELD_END };
	cleanup_buf struct buf text = BUF_INIT;
	struct sha256 s;
	uint8_t raw[32];
	digest_text hex;

	codec_print(one, rec, &text);
	sha256_begin(&s);
	sha256_add(&s, buf_text(&text), text.len);
	sha256_end(&s, raw);
	num_to_hex(raw, sizeof(raw), hex);
	memcpy(out, hex, MARK);
}

static size_t mark_all(const struct field *tab, const void *rec, bool top, size_t n, char *out)
{
	for (const struct field *f = tab; f->key; f++) {
		if (f->kind == KIND_RECORD) {
			n = mark_all(f->sub, (const char *)rec + f->at, false, n, out);
		} else if (is_marked(f, top)) {
			assert((n + 1) * MARK < SNAP_MARKS);
			mark_one(f, rec, out + n++ * MARK);
		}
	}
	return n;
}

void snap_manifest_mark(struct snap_manifest *m)
{
	char marks[SNAP_MARKS];
	size_t n = mark_all(snap_manifest_fields, m, true, 0, marks);

	marks[n * MARK] = '\0';
	memcpy(m->marks, marks, n * MARK + 1);
}

// The path of the field whose number is *left, "memory: seen: inode".
static bool name_of(const struct field *tab, bool top, size_t *left, const char *above, char *out,
		    size_t size)
{
	for (const struct field *f = tab; f->key; f++) {
		char path[128];

		base_cut(path, sizeof(path), "%s%s%s", above, above[0] ? ": " : "", f->key);
		if (f->kind == KIND_RECORD) {
			if (name_of(f->sub, false, left, path, out, size))
				return true;
		} else if (is_marked(f, top) && (*left)-- == 0) {
			base_cut(out, size, "%s", path);
			return true;
		}
	}
	return false;
}

bool snap_manifest_changed(const struct snap_manifest *m, char *out, size_t size)
{
	struct snap_manifest now = *m; // its lists stay m's
	size_t at = 0;

	snap_manifest_mark(&now);
	if (strlen(m->marks) != strlen(now.marks)) // of another version, or none
		return false;
	while (m->marks[at] && m->marks[at] == now.marks[at])
		at++;
	at /= MARK;
	return m->marks[0] && at * MARK < strlen(now.marks) &&
	       name_of(snap_manifest_fields, true, &at, "", out, size);
}
