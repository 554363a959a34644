// SPDX-License-Identifier: MIT
#include "snap/pack.h"

#include "snap/pack_impl.h"
#include "test_snap_world.h"

static int model[PAGES];

static void some_memory(void)
{
	pages_clear(model);
	for (size_t i = 0; i < PAGES; i++)
		if (i < 40 || i % 17 == 0)
			model[i] = (int)(i % 9);
}

static int open_gen(struct store *s, struct snap_gen *g, struct err *e)
{
	if (store_open(s, STORE_INSTANCE, &world_at, e) < 0)
		return -e->no;
	return snap_gen_open(s, "gen-1", SNAP_EXCLUSIVE, 1000, g, e);
}

static void one_capture(void)
{
	struct err e = { 0 };
	snap_ref ref;

	world_make();
	some_memory();
	must(world_capture(SNAP_FULL, NULL, model, "", ref, &e), &e);
}

static int compression = POOL_COMPRESSION_ZSTD;

static int pack_it(void)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };
	bool changed;

	if (open_gen(&s, &g, &e) < 0 || snap_pack(&s, &g, compression, NULL, &changed, &e) < 0)
		return -e.no;
	return changed;
}

static int unpack_it(void)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };
	bool changed;

	if (open_gen(&s, &g, &e) < 0 || snap_unpack(&g, NULL, &changed, &e) < 0)
		return -e.no;
	return changed;
}

static void is_whole(int form)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	static const char *const files[] = { SNAP_MEM, SNAP_DELTA, SNAP_PACK, SNAP_MEM ".new",
					     SNAP_PACK ".new" };
	struct err e = { 0 };
	bool read_it;

	must(open_gen(&s, &g, &e), &e);
	if (form >= 0)
		CHECK_INT(g.m.memory.form, form);
	must(snap_gen_verify(&g, true, NULL, &read_it, &e), &e);
	if (g.m.memory.form == SNAP_FORM_MEM)
		CHECK(same_pages(g.dir, SNAP_MEM, model));
	for (size_t i = 0; form >= 0 && i < COUNT(files); i++)
		CHECK((faccessat(g.dir, files[i], F_OK, 0) == 0) ==
		      str_eq(files[i], snap_memory_file(form)));
}

TEST(a_memory_is_packed_and_unpacked_again_the_same)
{
	static const int both[] = { POOL_COMPRESSION_LZ4, POOL_COMPRESSION_ZSTD };

	one_capture();
	for (size_t i = 0; i < COUNT(both); i++) {
		compression = both[i];
		CHECK_INT(pack_it(), 1);
		is_whole(SNAP_FORM_PACK);
		CHECK_INT(pack_it(), 0);
		CHECK_INT(unpack_it(), 1);
		is_whole(SNAP_FORM_MEM);
		CHECK_INT(unpack_it(), 0);
	}
}

TEST(a_packed_one_is_packed_one_way_only_and_what_is_no_memory_not_at_all)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct snap_parent p;
	struct err e = { 0 };
	bool changed;
	snap_ref ref;

	one_capture();
	world_parent("gen-1", &p);
	world_diff_base("gen-1", p.sha256);
	CHECK_INT(pack_it(), -err_kinds[ERR_STATE].no); // the guest runs on it
	world_diff_base("", "");
	CHECK_INT(pack_it(), 1);
	must(open_gen(&s, &g, &e), &e);
	CHECK(snap_pack(&s, &g, POOL_COMPRESSION_LZ4, NULL, &changed, &e) < 0 &&
	      e.kind == ERR_CONFLICT);
	err_clear(&e);
	CHECK(snap_pack(&s, &g, POOL_COMPRESSION_NONE, NULL, &changed, &e) < 0 &&
	      e.kind == ERR_USAGE);
	err_clear(&e);
	snap_gen_close(&g);
	CHECK_INT(unpack_it(), 1);
	must(world_capture(SNAP_DIFF, &p, model, "", ref, &e), &e);
	must(snap_gen_open(&s, ref, SNAP_EXCLUSIVE, 0, &g, &e), &e);
	CHECK(snap_pack(&s, &g, POOL_COMPRESSION_LZ4, NULL, &changed, &e) < 0 &&
	      e.kind == ERR_STATE);
	err_clear(&e);
	CHECK(snap_unpack(&g, NULL, &changed, &e) < 0 && e.kind == ERR_STATE);
}

TEST(killed_at_any_point_it_is_packed_or_not_and_whole)
{
	static const char *const points[] = {
		"snap-create",	   "pack-write",	"pack-write@3",	  "unpack-write",
		"snap-aside-sync", "snap-aside-rename", "snap-manifest",  "replace-open",
		"replace-write",   "replace-fsync",	"replace-rename", "replace-dirsync",
		"snap-settle@2",   "snap-settle@5",	"snap-settle@7",
	};
	static const char *const actions[] = { "kill", "err=ENOSPC" };

	one_capture();
	for (size_t i = 0; i < 2 * COUNT(points); i++) {
		const char *point = points[i % COUNT(points)];
		char fault[64];

		base_cut(fault, sizeof(fault), "%.*s:%s%s", (int)strcspn(point, "@"), point,
			 actions[i / COUNT(points)], point + strcspn(point, "@"));
		int packed = with_fault(fault, pack_it);
		is_whole(-1);
		CHECK(pack_it() >= 0);
		is_whole(SNAP_FORM_PACK);
		int unpacked = with_fault(fault, unpack_it);
		is_whole(-1);
		CHECK(unpack_it() >= 0);
		is_whole(SNAP_FORM_MEM);
		if (packed == 0 && unpacked == 0)
			tap_fail(__FILE__, __LINE__, "%s: was not passed", fault);
	}
}

TEST(a_wake_cancels_it_and_nothing_has_changed)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };
	bool changed;
	int p[2];

	one_capture();
	CHECK(pipe2(p, O_CLOEXEC) == 0 && write(p[1], "x", 1) == 1);
	const struct pages_cancel c = { .fd = p[0] };
	must(open_gen(&s, &g, &e), &e);
	CHECK_INT(snap_pack(&s, &g, POOL_COMPRESSION_LZ4, &c, &changed, &e), -ECANCELED);
	CHECK(!changed && e.kind == ERR_UNAVAILABLE);
	snap_gen_close(&g);
	is_whole(SNAP_FORM_MEM);
}

// --- hostile

static void make_pack(int dir, const char *name, struct buf *out)
{
	cleanup_fd int mem = -1, fd = -1;
	struct err e = { 0 };
	digest_text digest;

	some_memory();
	write_pages(dir, "mem", model);
	mem = openat(dir, "mem", O_RDONLY | O_CLOEXEC);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(pack_make(mem, fd, PAGES * PAGES_PAGE, compression, NULL, digest, &e), &e);
	must(fd_read_file(dir, name, 64 * MIB, out, &e), &e);
}

static int read_all(int fd, struct err *e)
{
	cleanup_free struct pages_chunk *c = base_alloc(1, sizeof(*c));
	cleanup_pack struct pack p = PACK_NONE;

	if (pack_open(fd, PAGES * PAGES_PAGE, &p, e) < 0)
		return -e->no;
	for (size_t i = p.count; i-- > 0;) // in any order
		if (pack_read(&p, i, c, e) < 0)
			return -e->no;
	return 0;
}

TEST(every_byte_of_a_pack_counts_and_every_length)
{
	for (int i = POOL_COMPRESSION_LZ4; i <= POOL_COMPRESSION_ZSTD; i++) {
		cleanup_fd int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
		cleanup_buf struct buf text = BUF_INIT;
		struct err e = { 0 };

		compression = i;
		make_pack(dir, "pack", &text);
		CHECK(unlinkat(dir, "mem", 0) == 0);
		fd = openat(dir, "pack", O_RDWR | O_CLOEXEC);
		must(read_all(fd, &e), &e);
		for (size_t at = 0; at < text.len; at++) {
			uint8_t byte = (uint8_t)(text.data[at] ^ (1 << at % 8));

			CHECK(pwrite(fd, &byte, 1, (off_t)at) == 1);
			if (read_all(fd, &e) == 0 || e.kind != ERR_DAMAGED)
				tap_fail(__FILE__, __LINE__, "byte %zu flipped: \"%s\"", at, e.msg);
			CHECK(pwrite(fd, text.data + at, 1, (off_t)at) == 1);
			err_clear(&e);
		}
		for (size_t len = 0; len < text.len; len += 1 + len / 16) {
			CHECK(ftruncate(fd, 0) == 0 &&
			      pwrite(fd, text.data, len, 0) == (ssize_t)len);
			if (read_all(fd, &e) == 0 || e.kind != ERR_DAMAGED)
				tap_fail(__FILE__, __LINE__, "cut at %zu: \"%s\"", len, e.msg);
			err_clear(&e);
		}
		CHECK(pwrite(fd, text.data, text.len, 0) == (ssize_t)text.len);
		must(read_all(fd, &e), &e);
		CHECK(pwrite(fd, "x", 1, (off_t)text.len) == 1); // one byte more
		CHECK(read_all(fd, &e) < 0 && e.kind == ERR_DAMAGED);
	}
}

// Somebody who can make the digests fit.
static void reseal(struct buf *text)
{
	uint8_t *p = (uint8_t *)text->data;
	size_t count = (size_t)pack_get(p + 24, 8), index = text->len - PACK_TRAILER;
	struct sha256 s;

	index -= MIN(count, index / PACK_ROW) * PACK_ROW;
	sha256_begin(&s);
	sha256_add(&s, p, PACK_HEADER);
	sha256_add(&s, p + index, text->len - PACK_TRAILER - index + 32);
	sha256_end(&s, p + text->len - 32);
}

TEST(a_hostile_index_is_refused_though_its_digest_fits)
{
	static const struct {
		size_t at, bytes; // in the first row
		uint64_t value;
	} rows[] = {
		{ 0, 8, 1 },	    // a second chunk of the same number
		{ 0, 8, 1u << 20 }, // behind the end of the memory
		{ 8, 8, 0 },	    // the header
		{ 8, 8, UINT64_MAX - 5 },
		{ 16, 4, UINT32_MAX },
		{ 16, 4, 0 },
		{ 16, 4, 1 },
		{ 20, 4, UINT32_MAX }, // unpacks to more than a chunk
		{ 20, 4, 0 },
		{ 20, 4, 33 },
		{ 20, 4, PAGES_RAW }, // to more than there is
		{ 24, 8, 1 },	      // where zeros belong
	};
	cleanup_fd int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
	cleanup_buf struct buf text = BUF_INIT;

	make_pack(dir, "pack", &text);
	fd = openat(dir, "pack", O_RDWR | O_CLOEXEC);
	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t index = text.len - PACK_TRAILER - 3 * PACK_ROW;
		cleanup_buf struct buf bad = BUF_INIT;
		struct err e = { 0 };

		buf_add(&bad, text.data, text.len);
		pack_put((uint8_t *)bad.data + index + rows[i].at, rows[i].value, rows[i].bytes);
		reseal(&bad);
		CHECK(pwrite(fd, bad.data, bad.len, 0) == (ssize_t)bad.len);
		if (read_all(fd, &e) == 0 || e.kind != ERR_DAMAGED)
			tap_fail(__FILE__, __LINE__, "row %zu: \"%s\"", i, e.msg);
	}
}

TEST(a_hostile_header_asks_for_no_memory_that_the_file_does_not_have)
{
	static const struct {
		size_t at, bytes;
		uint64_t value;
	} rows[] = {
		{ 8, 4, 0 },	       { 8, 4, 7 },  { 12, 4, 4096 },
		{ 16, 8, UINT64_MAX }, { 16, 8, 0 }, { 24, 8, UINT64_MAX },
		{ 24, 8, 2 },	       { 24, 8, 0 }, { 40, 8, 1 },
	};
	cleanup_fd int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
	cleanup_buf struct buf text = BUF_INIT;

	make_pack(dir, "pack", &text);
	fd = openat(dir, "pack", O_RDWR | O_CLOEXEC);
	for (size_t i = 0; i < COUNT(rows); i++) {
		cleanup_buf struct buf bad = BUF_INIT;
		struct err e = { 0 };

		buf_add(&bad, text.data, text.len);
		pack_put((uint8_t *)bad.data + rows[i].at, rows[i].value, rows[i].bytes);
		reseal(&bad);
		CHECK(pwrite(fd, bad.data, bad.len, 0) == (ssize_t)bad.len);
		if (read_all(fd, &e) == 0 || e.kind != ERR_DAMAGED)
			tap_fail(__FILE__, __LINE__, "row %zu: \"%s\"", i, e.msg);
	}
}

TEST(a_chunk_never_unpacks_to_another_length)
{
	cleanup_free uint8_t *in = base_alloc(1, PAGES_RAW), *out = base_alloc(1, PAGES_RAW),
			     *packed = base_alloc(1, PACK_BOUND);

	for (int c = POOL_COMPRESSION_LZ4; c <= POOL_COMPRESSION_ZSTD; c++) {
		struct err e = { 0 };
		size_t len;

		must(pack_shrink(c, in, 10000, packed, &len, &e), &e);
		CHECK(pack_expand(c, packed, len, out, 10000, &e) == 0);
		CHECK(pack_expand(c, packed, len, out, 9999, &e) < 0 && e.kind == ERR_DAMAGED);
		CHECK(pack_expand(c, packed, len, out, 10001, &e) < 0);
		CHECK(pack_expand(c, packed, len - 1, out, 10000, &e) < 0);
		CHECK(pack_expand(c, packed, 0, out, 10000, &e) < 0);
		CHECK(pack_expand(c, packed, len, out, PAGES_RAW + 1, &e) < 0);
	}
}
