// SPDX-License-Identifier: MIT
// Each row of manifest.json's tables, and of the tables below it, is given what it must not have.
// The rows themselves say what that is: one that is added is tried without a word here.
#include "test_snap_whole.h"

#define PATH 160

// --- a manifest with one change, as text

struct change {
	const char *path; // machine.cpu.model, guest.disks[0].kind
	const char *text; // in place of the value; NULL: the field is missing
	const char *into; // the record, or "" for all of it, that has a key more; NULL: none
};

static void join(const char *above, const char *key, char *out)
{
	base_cut(out, PATH, "%s%s%s", above, above[0] ? "." : "", key);
}

static void print_record(const struct field *tab, const void *rec, const char *above,
			 const struct change *c, struct buf *out);

// Of each list the items are printed one by one, so that the change may be in one of them.
static void print_list(const struct field *f, const struct codec_list *l, const char *path,
		       const struct change *c, struct buf *out)
{
	buf_char(out, '[');
	for (size_t i = 0; i < l->len; i++) {
		char item[PATH];

		base_cut(item, sizeof(item), "%s[%zu]", path, i);
		buf_str(out, i ? "," : "");
		print_record(f->sub, (const char *)l->items + i * f->item_size, item, c, out);
	}
	buf_char(out, ']');
}

static void print_value(const struct field *f, const void *at, const void *rec, const char *path,
			const struct change *c, struct buf *out)
{
	const struct field one[] = { *f, FIELD_END };
	cleanup_buf struct buf text = BUF_INIT;
	size_t skip = strlen(f->key) + 4; // {"key":

	if (f->kind == KIND_RECORD) {
		print_record(f->sub, at, path, c, out);
	} else if (f->kind == KIND_LIST) {
		print_list(f, at, path, c, out);
	} else {
		codec_print(one, rec, &text);
		buf_add(out, text.data + skip, text.len - skip - 1);
	}
}

static bool is_left_out(const struct field *f, const void *rec)
{
	const struct field one[] = { *f, FIELD_END };
	cleanup_buf struct buf text = BUF_INIT;

	codec_print(one, rec, &text);
	return str_eq(buf_text(&text), "{}");
}

static void print_record(const struct field *tab, const void *rec, const char *above,
			 const struct change *c, struct buf *out)
{
	const char *comma = "";

	buf_char(out, '{');
	for (const struct field *f = tab; f->key; f++) {
		char path[PATH];
		bool here;

		join(above, f->key, path);
		here = str_eq(path, c->path);
		if (here ? !c->text : is_left_out(f, rec))
			continue;
		buf_fmt(out, "%s\"%s\":", comma, f->key);
		if (here)
			buf_str(out, c->text);
		else
			print_value(f, (const char *)rec + f->at, rec, path, c, out);
		comma = ",";
	}
	buf_str(out, c->into && str_eq(above, c->into) ? ",\"colour\":1}" : "}");
}

static int load_with(const struct change *c, struct err *e)
{
	cleanup_manifest struct snap_manifest m = { 0 };
	cleanup_buf struct buf first = BUF_INIT, all = BUF_INIT;
	cleanup_wanted struct snap_wanted w = { 0 };

	whole(&m);
	wanted_by(&w);
	be_for(&m, c->into && c->into[0] ? c->into : c->path);
	snap_manifest_print(&m, &first); // which seals it
	print_record(snap_manifest_fields, &m, "", c, &all);
	if (!c->path[0] &&
	    !c->into) { // nothing is changed: the printer above is as good as the codec's
		buf_char(&all, '\n');
		CHECK_STR(buf_text(&all), buf_text(&first));
	}
	return load_text(&all, &w, e);
}

static size_t tried;

// Every key on the way is in the message, so that it is known which "bytes" is meant.
static void refused(const char *path, const char *text)
{
	const struct change c = { path, text, NULL };
	char keys[PATH], *save = NULL;
	struct err e = { 0 };

	tried++;
	if (load_with(&c, &e) == 0) {
		tap_fail(__FILE__, __LINE__, "%s: %.40s was taken", path, text ? text : "nothing");
		return;
	}
	CHECK_INT(e.kind, ERR_DAMAGED);
	base_cut(keys, sizeof(keys), "%s", path);
	for (char *key = strtok_r(keys, ".[]0", &save); key; key = strtok_r(NULL, ".[]0", &save))
		if (!strstr(e.msg, key))
			tap_fail(__FILE__, __LINE__, "%s: %.40s: \"%s\"", path,
				 text ? text : "nothing", e.msg);
}

// --- what a row must not have

static void of_another_type(const struct field *f, const char *path)
{
	static const char *const samples[] = { "7", "\"x y\"", "true", "[]", "{}", "null" };
	static const enum field_kind fits[] = { KIND_UINT, KIND_TEXT,	KIND_BOOL,
						KIND_LIST, KIND_RECORD, KIND_RAW };

	for (size_t i = 0; i < COUNT(samples); i++) {
		bool null = str_eq(samples[i], "null");

		if (fits[i] != f->kind && !(null && f->flags & (FIELD_NULLABLE | FIELD_OMIT_EMPTY)))
			refused(path, samples[i]);
	}
}

static void too_large_or_small(const struct field *f, const char *path)
{
	uint64_t most = f->size < 8 ? (1ULL << f->size * 8) - 1 : (1ULL << 53) - 1;
	cleanup_buf struct buf text = BUF_INIT;

	buf_fmt(&text, "%llu", (unsigned long long)(f->max ? f->max : most) + 1);
	refused(path, buf_text(&text));
	if (f->min) {
		buf_clear(&text);
		buf_fmt(&text, "%llu", (unsigned long long)f->min - 1);
		refused(path, buf_text(&text));
	}
	refused(path, "-1");
	refused(path, "1.5");
	refused(path, "1e99");
}

// And what is no name, digest, time, address where it has to be one.
static void bad_text(const struct field *f, const char *path)
{
	cleanup_buf struct buf text = BUF_INIT;

	buf_char(&text, '"');
	for (size_t i = 0; i < (f->max ? f->max + 1 : f->size); i++)
		buf_char(&text, 'a');
	buf_char(&text, '"');
	refused(path, buf_text(&text));
	if (!f->check)
		return;
	refused(path, "\"?\"");
	refused(path, "\"../../etc\"");
	if (f->flags == FIELD_REQUIRED) // else it is another word for none
		refused(path, f->check == store_check_name ? "\"A\"" : "\"-\"");
}

static void too_many(const struct field *f, const char *path)
{
	cleanup_buf struct buf text = BUF_INIT;

	buf_char(&text, '[');
	for (uint64_t i = 0; i <= f->max; i++)
		buf_str(&text, i ? ",{}" : "{}");
	buf_char(&text, ']');
	refused(path, buf_text(&text));
	refused(path, "[7]");
	refused(path, "[{}]"); // an item has all of its fields
}

static void missing_or_twice(const struct field *f, const char *path)
{
	const char *key = f->key;
	cleanup_buf struct buf twice = BUF_INIT;
	// The value is right, so that only its being there twice can be wrong.
	const char *value = f->kind == KIND_UINT   ? "1"
			    : f->kind == KIND_BOOL ? "true"
			    : f->kind == KIND_ENUM ? f->names[0]
						   : NULL;

	if (!(f->flags & FIELD_OMIT_EMPTY))
		refused(path, NULL);
	if (!value)
		return;
	buf_fmt(&twice, f->kind == KIND_ENUM ? "\"%s\"" : "%s", value);
	buf_fmt(&twice, ",\"%s\":%s", key, f->kind == KIND_ENUM ? "0" : value);
	refused(path, buf_text(&twice));
}

static void try_row(const struct field *f, const char *path)
{
	missing_or_twice(f, path);
	of_another_type(f, path);
	switch (f->kind) {
	case KIND_UINT:
		too_large_or_small(f, path);
		return;
	case KIND_TEXT:
		bad_text(f, path);
		return;
	case KIND_ENUM:
		refused(path, "\"something else\"");
		refused(path, "\"\"");
		return;
	case KIND_LIST:
		too_many(f, path);
		return;
	case KIND_BOOL:
	case KIND_RECORD:
		return; // another type is all that they can be
	case KIND_STRING:
	case KIND_INT:
	case KIND_REAL:
	case KIND_TEXTS:
	case KIND_RAW:
		break;
	}
	tap_fail(__FILE__, __LINE__, "%s: no way to spoil it", path);
}

static size_t try_table(const struct field *tab, const char *above)
{
	const struct change more = { "", NULL, above };
	struct err e = { 0 };
	size_t rows = 0;

	for (const struct field *f = tab; f->key; f++, rows++) {
		char path[PATH], first[PATH + 4];

		join(above, f->key, path);
		try_row(f, path);
		if (f->kind == KIND_RECORD)
			rows += try_table(f->sub, path);
		if (f->kind == KIND_LIST) {
			base_cut(first, sizeof(first), "%s[0]", path);
			rows += try_table(f->sub, first);
		}
	}
	CHECK(load_with(&more, &e) < 0 && e.kind == ERR_DAMAGED);
	CHECK(strstr(e.msg, "unknown key 'colour'") != NULL);
	return rows;
}

TEST(unchanged_it_is_taken)
{
	struct err e = { 0 };

	must(load_with(&(struct change){ "", NULL, NULL }, &e), &e);
}

TEST(each_field_that_is_missing_of_another_type_or_out_of_range_is_refused_and_named)
{
	size_t rows = try_table(snap_manifest_fields, "");

	CHECK(rows > 60 && tried > 6 * rows);
}

// --- sealed as if it had been written so

// What the manifest says of itself and of its files: there is nothing here to compare it with but
// those files (tests/bats/snap-harm.bats), or nothing at all.
static const char *const of_itself[] = {
	"created_at",	     "composed_from", "vmstate.bytes",
	"vmstate.sha256",    "memory.sha256", "memory.seen.inode",
	"memory.seen.mtime", "data.bytes",    "data.sha256",
};

static bool is_of_itself(const char *path)
{
	for (size_t i = 0; i < COUNT(of_itself); i++)
		if (str_eq(of_itself[i], path))
			return true;
	return false;
}

static bool can_be_put_right(const char *path)
{
	return str_eq(path, "machine.emulator") || str_eq(path, "machine.tsc_khz");
}

static void try_other(const struct field *f, size_t at, const char *path)
{
	cleanup_manifest struct snap_manifest m = { 0 };
	cleanup_wanted struct snap_wanted w = { 0 };
	cleanup_buf struct buf text = BUF_INIT;
	bool compared = str_starts(path, "machine.") || str_starts(path, "guest.");
	struct err e = { 0 };
	int r;

	if (str_eq(path, "seal") || str_eq(path, "marks"))
		return; // which are made anew
	whole(&m);
	wanted_by(&w);
	be_for(&m, path);
	mutate(f, (char *)&m + at);
	snap_manifest_print(&m, &text);
	r = load_text(&text, &w, &e);
	if (is_of_itself(path) && r < 0)
		tap_fail(__FILE__, __LINE__, "%s: %s", path, e.msg);
	if (!is_of_itself(path) && (r == 0 || !strstr(e.msg, f->key)))
		tap_fail(__FILE__, __LINE__, "%s: changed and sealed: %s", path,
			 r == 0 ? "taken" : e.msg);
	// The size of the memory stands in two places, and has to be the same in both.
	if (compared && r < 0 && !str_eq(path, "machine.mem_mib") &&
	    e.kind != (can_be_put_right(path) ? ERR_UNAVAILABLE : ERR_CONFLICT))
		tap_fail(__FILE__, __LINE__, "%s: kind %d: %s", path, (int)e.kind, e.msg);
}

TEST(each_field_that_says_what_fits_is_compared_also_where_the_seal_fits)
{
	each_leaf(snap_manifest_fields, 0, "", try_other);
}

static void devices_refused(void (*change)(struct codec_list *l), bool own)
{
	cleanup_manifest struct snap_manifest m = { 0 };
	cleanup_wanted struct snap_wanted w = { 0 };
	cleanup_buf struct buf text = BUF_INIT;
	struct err e = { 0 };
	struct codec_list *l = own ? &w.guest.disks : &w.machine.devices;
	struct codec_list *also = own ? &m.guest.disks : &m.machine.devices;

	whole(&m);
	wanted_by(&w);
	for (size_t i = 0; i < 2; i++) {
		const struct snap_device d = { .kind = "net", .bytes = i };

		*(struct snap_device *)codec_list_add(l, sizeof(d)) = d;
		*(struct snap_device *)codec_list_add(also, sizeof(d)) = d;
	}
	snap_manifest_print(&m, &text); // which seals it
	must(snap_manifest_check(&m, &w, &e), &e);
	change(l);
	CHECK(snap_manifest_check(&m, &w, &e) < 0 && e.kind == ERR_CONFLICT);
	CHECK(strstr(e.msg, own ? "guest: disks" : "machine: devices") != NULL);
}

static void drop_last(struct codec_list *l)
{
	l->len--;
}

static void swap_two(struct codec_list *l)
{
	struct snap_device *d = l->items, kept = d[1];

	d[1] = d[2];
	d[2] = kept;
}

static void add_one(struct codec_list *l)
{
	*(struct snap_device *)codec_list_add(l, sizeof(struct snap_device)) =
		(struct snap_device){ .kind = "balloon" };
}

TEST(a_device_more_or_less_or_at_another_place_is_another_machine)
{
	for (int own = 0; own < 2; own++) {
		devices_refused(drop_last, own);
		devices_refused(swap_two, own);
		devices_refused(add_one, own);
	}
}
