// SPDX-License-Identifier: MIT
#include "snap/pages.h"

#include "test_snap_world.h"

static int dir_fd(void)
{
	return open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int open_file(int dir, const char *name)
{
	return openat(dir, name, O_RDWR | O_CLOEXEC);
}

static void digest_of(int dir, const char *name, enum pages_form form, digest_text out)
{
	cleanup_fd int fd = open_file(dir, name);
	struct err e = { 0 };

	must(pages_digest(fd, form, PAGES * PAGES_PAGE, NULL, out, &e), &e);
}

TEST(a_digest_of_content_does_not_care_for_holes_and_one_of_data_does)
{
	cleanup_fd int dir = dir_fd();
	digest_text content[3], data[3];
	int pages[PAGES];

	pages_clear(pages);
	pages[0] = pages[300] = 7;
	write_pages(dir, "holes", pages);
	pages[5] = pages[600] = 0; // zeros that are data
	write_pages(dir, "zeros", pages);
	pages[5] = KEEP;
	pages[301] = 7;
	write_pages(dir, "other", pages);
	const char *const names[] = { "holes", "zeros", "other" };
	for (size_t i = 0; i < COUNT(names); i++) {
		digest_of(dir, names[i], PAGES_CONTENT, content[i]);
		digest_of(dir, names[i], PAGES_DATA, data[i]);
	}
	CHECK_STR(content[0], content[1]);
	CHECK(!str_eq(content[0], content[2]));
	CHECK(!str_eq(data[0], data[1]) && !str_eq(data[0], data[2]) && !str_eq(data[1], data[2]));
	CHECK_STR(content[0], data[0]); // where all data are not zero
}

TEST(a_digest_tells_where_a_page_is_and_how_large_the_file)
{
	cleanup_fd int dir = dir_fd(), fd = -1;
	digest_text a, b, c;
	int pages[PAGES];
	struct err e = { 0 };

	pages_clear(pages);
	pages[10] = 1;
	write_pages(dir, "a", pages);
	pages[10] = KEEP;
	pages[11] = 1;
	write_pages(dir, "b", pages);
	digest_of(dir, "a", PAGES_CONTENT, a);
	digest_of(dir, "b", PAGES_CONTENT, b);
	CHECK(!str_eq(a, b));
	fd = open_file(dir, "a");
	CHECK(ftruncate(fd, PAGES * PAGES_PAGE - PAGES_PAGE) == 0);
	must(pages_digest(fd, PAGES_CONTENT, PAGES * PAGES_PAGE - PAGES_PAGE, NULL, c, &e), &e);
	CHECK(!str_eq(a, c));
	CHECK(pages_digest(fd, PAGES_CONTENT, PAGES * PAGES_PAGE, NULL, c, &e) < 0);
	CHECK(e.kind == ERR_DAMAGED);
}

TEST(chunks_hold_the_pages_that_count_and_writing_them_gives_the_file_again)
{
	cleanup_free struct pages_chunk *c = base_alloc(1, sizeof(*c));
	cleanup_fd int dir = dir_fd(), in = -1, out = -1;
	struct pages_scan s;
	struct err e = { 0 };
	int pages[PAGES], more, chunks = 0;

	pages_clear(pages);
	pages[1] = pages[2] = pages[255] = 9;
	pages[3] = 0;
	pages[PAGES - 1] = 3;
	write_pages(dir, "in", pages);
	in = open_file(dir, "in");
	out = openat(dir, "out", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(ftruncate(out, PAGES * PAGES_PAGE) == 0);
	must(pages_open(&s, in, PAGES_DATA, PAGES * PAGES_PAGE, &e), &e);
	while ((more = pages_next(&s, c, &e)) > 0) {
		chunks++;
		CHECK_INT(c->number, chunks == 1 ? 0 : 2);
		CHECK_INT(c->len, PAGES_MAP + (chunks == 1 ? 4 : 1) * PAGES_PAGE);
		must(pages_check(c, PAGES * PAGES_PAGE, &e), &e);
		must(pages_write(out, c, &e), &e);
	}
	CHECK_INT(more, 0);
	CHECK_INT(chunks, 2);
	CHECK(same_pages(dir, "out", pages));
	struct stat st;
	CHECK(fstat(out, &st) == 0 && st.st_blocks * 512 <= 5 * PAGES_PAGE);
}

TEST(a_chunk_from_outside_has_to_agree_with_itself)
{
	cleanup_free struct pages_chunk *c = base_alloc(1, sizeof(*c));
	struct err e = { 0 };

	c->len = PAGES_MAP + PAGES_PAGE;
	CHECK(pages_check(c, MIB, &e) < 0); // no page in its map
	c->raw[0] = 1;
	CHECK(pages_check(c, MIB, &e) == 0);
	CHECK(pages_check(c, 0, &e) < 0);
	c->raw[31] = 0x80;
	CHECK(pages_check(c, MIB, &e) < 0); // two pages
	c->raw[0] = 0;
	CHECK(pages_check(c, MIB, &e) == 0);
	CHECK(pages_check(c, MIB - PAGES_PAGE, &e) < 0); // behind the end
	c->number = UINT64_MAX / PAGES_CHUNK;
	CHECK(pages_check(c, UINT64_MAX, &e) < 0);
	c->number = 0;
	c->len = PAGES_MAP - 1;
	CHECK(pages_check(c, MIB, &e) < 0);
	c->len = PAGES_RAW + 1;
	CHECK(pages_check(c, MIB, &e) < 0);
}

TEST(zeros_become_holes_and_content_stays)
{
	cleanup_fd int dir = dir_fd(), fd = -1;
	struct err e = { 0 };
	uint64_t freed = 0;
	int pages[PAGES];
	struct stat st;

	for (size_t i = 0; i < PAGES; i++)
		pages[i] = i % 3 ? 0 : 5;
	write_pages(dir, "mem", pages);
	fd = open_file(dir, "mem");
	must(pages_punch(fd, PAGES * PAGES_PAGE, &freed, &e), &e);
	CHECK_INT(freed, PAGES / 3 * 2 * PAGES_PAGE);
	CHECK(fstat(fd, &st) == 0 && st.st_blocks * 512 < PAGES / 2 * PAGES_PAGE);
	CHECK(same_pages(dir, "mem", pages));
	must(pages_punch(fd, PAGES * PAGES_PAGE, &freed, &e), &e);
	CHECK_INT(freed, 0);
}

TEST(a_copy_is_the_same_and_as_sparse)
{
	cleanup_fd int dir = dir_fd(), in = -1, out = -1;
	struct err e = { 0 };
	int pages[PAGES];
	struct stat a, b;

	pages_clear(pages);
	for (size_t i = 200; i < 400; i++)
		pages[i] = (int)i % 7;
	write_pages(dir, "in", pages);
	in = open_file(dir, "in");
	out = openat(dir, "out", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(pages_copy(in, out, PAGES * PAGES_PAGE, NULL, NULL, &e), &e);
	CHECK(same_pages(dir, "out", pages));
	CHECK(fstat(in, &a) == 0 && fstat(out, &b) == 0 && b.st_blocks <= a.st_blocks);
}

TEST(a_cancel_is_seen_between_two_chunks)
{
	cleanup_fd int dir = dir_fd(), fd = -1;
	struct err e = { 0 };
	digest_text ignored;
	int pages[PAGES], p[2];

	pages_clear(pages);
	pages[0] = 1;
	write_pages(dir, "mem", pages);
	fd = open_file(dir, "mem");
	CHECK(pipe2(p, O_CLOEXEC) == 0);
	const struct pages_cancel c = { .fd = p[0] };
	CHECK(pages_digest(fd, PAGES_CONTENT, PAGES * PAGES_PAGE, &c, ignored, &e) == 0);
	CHECK(write(p[1], "x", 1) == 1);
	CHECK_INT(pages_digest(fd, PAGES_CONTENT, PAGES * PAGES_PAGE, &c, ignored, &e), -ECANCELED);
	CHECK(e.kind == ERR_UNAVAILABLE);
}

TEST(sizes_that_no_memory_has_are_refused)
{
	cleanup_fd int dir = dir_fd(), fd = -1, null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct pages_scan s;
	struct err e = { 0 };

	fd = openat(dir, "odd", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(pages_open(&s, fd, PAGES_CONTENT, 0, &e) < 0);
	CHECK(ftruncate(fd, 4097) == 0 && pages_open(&s, fd, PAGES_CONTENT, 4097, &e) < 0);
	CHECK(pages_open(&s, null, PAGES_CONTENT, 4096, &e) < 0);
	must(pages_probe(dir, &e), &e); // where the tests run holes are by page
}
