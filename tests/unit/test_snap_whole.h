// SPDX-License-Identifier: MIT
// A whole manifest, what wants just it, and what a load makes of a text.
#pragma once
#include "test_snap_world.h"

#define WORLD_OTHER_SHA "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define WORLD_SHA	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static inline void whole(struct snap_manifest *m)
{
	world_manifest(m);
	m->schema_version = 1;
	m->kind = SNAP_FULL;
	m->parent = (struct snap_parent){ .ref = SNAP_NONE };
	m->vmstate = (struct snap_file){ .bytes = 100, .sha256 = WORLD_SHA };
	m->memory = (struct snap_memory){ .bytes = MEM_MIB * MIB,
					  .sha256 = WORLD_SHA,
					  .seen = { "12", "1700000000.5" } };
	CHECK(COPY(m->created_at, "2026-01-01T00:00:00Z") == 0);
}

// A field that only a named capture has is tried on one.
static inline void be_named(struct snap_manifest *m)
{
	m->kind = SNAP_NAMED;
	base_cut(m->name, sizeof(m->name), "kept");
	m->data.bytes = 4096;
	base_cut(m->data.sha256, sizeof(m->data.sha256), WORLD_OTHER_SHA);
}

// And one that only what many go on from must have.
static inline void be_clone(struct snap_manifest *m)
{
	base_cut(m->cloned_from, sizeof(m->cloned_from), "i-0000002b");
}

static inline void be_for(struct snap_manifest *m, const char *path)
{
	if (str_starts(path, "data"))
		be_named(m);
	if (str_starts(path, "quiesced"))
		be_clone(m);
}

static inline void wanted_by(struct snap_wanted *w)
{
	struct snap_manifest m;

	whole(&m); // a second one, so that it shares no list
	*w = (struct snap_wanted){ .machine = m.machine, .guest = m.guest };
}

static inline void wanted_free(struct snap_wanted *w)
{
	codec_free(snap_machine_fields, &w->machine);
	codec_free(snap_guest_fields, &w->guest);
}
#define cleanup_wanted cleanup(wanted_free)

// What a load makes of a text.
static inline int load_text(const struct buf *text, const struct snap_wanted *w, struct err *e)
{
	struct snap_manifest m = { 0 };
	int r = snap_manifest_parse(buf_text(text), text->len, &m, e);

	if (r == 0)
		r = snap_manifest_check(&m, w, e);
	snap_manifest_free(&m);
	return r;
}

// --- another value, of the same type and form

static inline void mutate_text(const struct field *f, char *text)
{
	if (!text[0])
		base_cut(text, f->size, "%s",
			 f->size == 65 && f->check && f->flags ? WORLD_OTHER_SHA
			 : f->check == snap_ref_check	       ? "gen-9"
			 : strstr(f->key, "_at")	       ? "2026-01-01T00:00:01Z"
							       : "x");
	else if (str_eq(text, SNAP_NONE))
		base_cut(text, f->size, "gen-9");
	else if (f->check == store_check_ip)
		base_cut(text, f->size, "10.240.9.9");
	else if (f->check == store_check_time)
		base_cut(text, f->size, "2026-01-01T00:00:01Z");
	else
		text[strlen(text) - 1] = text[strlen(text) - 1] == '1' ? '2' : '1';
}

static inline void mutate(const struct field *f, void *at)
{
	uint8_t *byte = at;
	bool flag;
	int word;

	switch (f->kind) {
	case KIND_TEXT:
		mutate_text(f, at);
		return;
	case KIND_BOOL:
		memcpy(&flag, at, sizeof(flag));
		flag = !flag;
		memcpy(at, &flag, sizeof(flag));
		return;
	case KIND_UINT:
		byte[0]++;
		return;
	case KIND_ENUM:
		memcpy(&word, at, sizeof(word));
		word = f->names[word + 1] ? word + 1 : 0;
		memcpy(at, &word, sizeof(word));
		return;
	case KIND_LIST:
		((struct codec_list *)at)->len = 0;
		return;
	case KIND_STRING:
	case KIND_INT:
	case KIND_REAL:
	case KIND_RECORD:
	case KIND_TEXTS:
	case KIND_RAW:
		break;
	}
	tap_fail(__FILE__, __LINE__, "%s: no way to change it", f->key);
}

// Each row that is no record, with its place in the manifest and its path.
static inline void each_leaf(const struct field *tab, size_t at, const char *above,
			     void (*fn)(const struct field *f, size_t at, const char *path))
{
	for (const struct field *f = tab; f->key; f++) {
		char path[128];

		base_cut(path, sizeof(path), "%s%s%s", above, above[0] ? "." : "", f->key);
		if (f->kind == KIND_RECORD)
			each_leaf(f->sub, at + f->at, path, fn);
		else
			fn(f, at + f->at, path);
	}
}
