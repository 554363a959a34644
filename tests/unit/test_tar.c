// SPDX-License-Identifier: MIT
#include "guest/tar.h"

#include <fcntl.h>

#include "base/fd.h"
#include "base/proc.h"
#include "tap.h"

struct text { // a stream in memory, given out in small pieces
	const char *p;
	size_t left, piece;
};

static ssize_t from_text(void *arg, void *out, size_t len, struct err *e)
{
	struct text *t = arg;
	size_t n = MIN(MIN(len, t->left), t->piece ? t->piece : len);

	(void)e;
	memcpy(out, t->p, n);
	t->p += n;
	t->left -= n;
	return (ssize_t)n;
}

static int read_one(const struct buf *b, size_t len, struct tar_entry *en, struct err *e)
{
	struct text t = { b->data, len, 7 };
	struct tar_reader r;

	tar_open(&r, from_text, &t);
	return tar_next(&r, en, e);
}

static void put(struct buf *b, const struct tar_entry *en, const char *content)
{
	tar_put_header(b, en);
	buf_add(b, content, en->size);
	tar_put_pad(b, en->size);
}

static void same(const struct tar_entry *in)
{
	struct tar_entry *out = base_alloc(1, sizeof(*out));
	cleanup_buf struct buf b = BUF_INIT;
	struct err e = { 0 };

	tar_put_header(&b, in);
	CHECK_INT(read_one(&b, b.len, out, &e), 1);
	CHECK_STR(e.msg, "");
	CHECK_STR(out->path, in->path);
	CHECK_STR(out->link, in->link);
	CHECK(out->type == in->type && out->mode == in->mode && out->uid == in->uid &&
	      out->gid == in->gid && out->size == in->size);
	CHECK(out->mtime_s == in->mtime_s && out->mtime_ns == in->mtime_ns);
	free(out);
}

TEST(what_is_written_is_read_again)
{
	const struct tar_entry rows[] = {
		{ .type = TAR_FILE, .path = "a", .mode = 0644, .size = 3, .mtime_s = 1700000000 },
		{ .type = TAR_FILE,
		  .path = "a/b c/\xc3\xa4",
		  .mode = 07777,
		  .uid = 1000,
		  .gid = 1000 },
		{ .type = TAR_DIRECTORY, .path = "", .mode = 0755 },
		{ .type = TAR_DIRECTORY, .path = "d/e", .mode = 01777 },
		{ .type = TAR_SYMLINK, .path = "l", .link = "../../etc/passwd", .mode = 0777 },
		{ .type = TAR_HARDLINK, .path = "h", .link = "d/e", .mode = 0644 },
		{ .type = TAR_FILE,
		  .path = "big",
		  .size = (uint64_t)1 << 40,
		  .mtime_ns = 123456789 },
		{ .type = TAR_FILE, .path = "ids", .uid = UINT32_MAX, .gid = 0x70000001 },
		{ .type = TAR_FILE, .path = "old", .mtime_s = -86400 },
		{ .type = TAR_FILE, .path = "far", .mtime_s = (int64_t)1 << 36 },
	};

	for (size_t i = 0; i < COUNT(rows); i++)
		same(&rows[i]);
}

TEST(names_up_to_the_limit_come_through)
{
	struct tar_entry en = { .type = TAR_FILE };

	for (size_t len = 90; len < 300; len++) {
		memset(en.path, 'x', len);
		for (size_t i = 80; i < len; i += 80)
			en.path[i] = '/';
		en.path[len] = '\0';
		if (en.path[len - 1] != '/')
			same(&en);
	}
	en.type = TAR_SYMLINK;
	(void)!COPY(en.path, "l");
	memset(en.link, 'y', TAR_PATH - 1);
	same(&en);
}

// A header with one thing changed and its sum set right again.
static void patch(struct buf *b, size_t at, const char *with, size_t len)
{
	unsigned sum = 0;
	char text[8];

	memcpy(b->data + at, with, len);
	memset(b->data + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += (uint8_t)b->data[i];
	(void)snprintf(text, sizeof(text), "%06o", sum);
	memcpy(b->data + 148, text, 7);
}

static void refused(size_t at, const char *with, size_t len, enum err_kind kind, const char *word)
{
	const struct tar_entry en = { .type = TAR_FILE, .path = "a", .size = 3 };
	struct tar_entry *out = base_alloc(1, sizeof(*out));
	cleanup_buf struct buf b = BUF_INIT;
	struct err e = { 0 };

	put(&b, &en, "xyz");
	patch(&b, at, with, len);
	CHECK(read_one(&b, b.len, out, &e) < 0);
	CHECK_INT(e.kind, kind);
	if (!strstr(e.msg, word))
		tap_fail(__FILE__, __LINE__, "'%s' without '%s'", e.msg, word);
	free(out);
}

TEST(tricks_are_refused)
{
	refused(0, "/etc/passwd", 12, ERR_DENIED, "absolute");
	refused(0, "../x", 5, ERR_DENIED, "'..'");
	refused(0, "a/../x", 7, ERR_DENIED, "'..'");
	refused(0, "a/..", 5, ERR_DENIED, "'..'");
	refused(0, "", 1, ERR_DAMAGED, "without a name");
	refused(0, ".", 2, ERR_DENIED, "in place of the tree");
	refused(156, "3", 1, ERR_DENIED, "device");
	refused(156, "4", 1, ERR_DENIED, "device");
	refused(156, "6", 1, ERR_DENIED, "device");
	refused(156, "S", 1, ERR_DENIED, "type 83");
	refused(156, "2", 1, ERR_DAMAGED, "link to nothing");
	refused(124, "7777777x777", 12, ERR_DAMAGED, "range");
	refused(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, ERR_DAMAGED, "range");
	refused(124, "\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 12, ERR_DAMAGED, "range");
	refused(257, "nostar", 6, ERR_DAMAGED, "none");
}

TEST(a_wrong_sum_and_every_cut_are_damage)
{
	const struct tar_entry en = { .type = TAR_FILE, .path = "a", .size = 3, .mtime_ns = 5 };
	struct tar_entry *out = base_alloc(1, sizeof(*out));
	cleanup_buf struct buf b = BUF_INIT;

	put(&b, &en, "xyz");
	for (size_t len = 0; len < b.len - TAR_BLOCK; len += 37) {
		struct err e = { 0 };

		CHECK(read_one(&b, len, out, &e) < 0);
		CHECK_INT(e.kind, ERR_DAMAGED);
	}
	struct err e = { 0 };
	b.data[0] ^= 1;
	CHECK(read_one(&b, b.len, out, &e) < 0 && e.kind == ERR_DAMAGED);
	free(out);
}

static void bad_pax(const char *records)
{
	const struct tar_entry en = { .type = TAR_FILE, .path = "a" };
	struct tar_entry *out = base_alloc(1, sizeof(*out));
	cleanup_buf struct buf b = BUF_INIT;
	struct err e = { 0 };
	char size[24];

	tar_put_header(&b, &en);
	(void)snprintf(size, sizeof(size), "%011o", (unsigned)strlen(records));
	patch(&b, 124, size, 12);
	patch(&b, 156, "x", 1);
	buf_str(&b, records);
	tar_put_pad(&b, strlen(records));
	tar_put_header(&b, &en);
	if (read_one(&b, b.len, out, &e) != -EBADMSG)
		tap_fail(__FILE__, __LINE__, "taken: %s", records);
	free(out);
}

TEST(pax_headers_that_lie_are_refused)
{
	static const char *const rows[] = {
		"9 path=x",
		"99999 path=x\n",
		"0 path=x\n",
		"1 \n",
		"-9 path=x\n",
		"10 path=xy\n",
		"8 pathx\n",
		"8 path=\n",
		"18 size=99999999x\n",
		"11 size=-1\n",
		"18 uid=4294967296\n",
		"12 mtime=1.x\n",
		"25 GNU.sparse.size=12345\n",
		"30 size=99999999999999999999\n",
	};

	for (size_t i = 0; i < COUNT(rows); i++)
		bad_pax(rows[i]);
}

TEST(headers_without_end_are_no_entry)
{
	const struct tar_entry en = { .type = TAR_FILE, .path = "a" };
	struct tar_entry *out = base_alloc(1, sizeof(*out));
	cleanup_buf struct buf one = BUF_INIT, b = BUF_INIT;
	struct err e = { 0 };

	tar_put_header(&one, &en);
	patch(&one, 156, "g", 1);
	for (int i = 0; i < 100; i++)
		buf_add(&b, one.data, one.len);
	CHECK(read_one(&b, b.len, out, &e) < 0);
	CHECK(strstr(e.msg, "without an entry"));
	free(out);
}

TEST(too_deep_and_too_long_paths_are_denied)
{
	char path[TAR_PATH] = "";
	struct err e = { 0 };

	for (size_t i = 0; i <= TAR_DEPTH; i++)
		memcpy(path + 2 * i, "a/", 3);
	CHECK(tar_clean_path(path, &e) < 0 && e.kind == ERR_DENIED);
	memset(path, 'a', 256);
	path[256] = '\0';
	CHECK(tar_clean_path(path, &e) < 0 && e.kind == ERR_DENIED);
	(void)!COPY(path, "./a//b/./c/");
	CHECK(tar_clean_path(path, &e) == 0);
	CHECK_STR(path, "a/b/c");
	(void)!COPY(path, "././");
	CHECK(tar_clean_path(path, &e) == 0);
	CHECK_STR(path, "");
}

// Long names and links, a hard link, in each of the formats that GNU tar has.
TEST(gnu_tar_is_understood)
{
	static const char *const formats[] = { "--format=gnu", "--format=posix", "--format=ustar" };
	const char *script = "d=$(printf 'd%.0s' $(seq 90)); mkdir -p $0/$d/$d; "
			     "echo hi >$0/$d/$d/f; ln $0/$d/$d/f $0/h; ln -s $d/$d/f $0/s";
	const char *const make[] = { "sh", "-c", script, tap_dir(), NULL };
	cleanup_free char *s = base_printf("%s/s", tap_dir());
	cleanup_proc_result struct proc_result made = { 0 };
	struct err e = { 0 };

	CHECK(proc_capture(make, NULL, KIB, 10000, &made, &e) == 0 && made.status == 0);
	for (size_t i = 0; i < COUNT(formats); i++) {
		const char *const shorter[] = { "ln", "-sfn", "h", s, NULL };
		const char *const tar[] = { "tar", formats[i], "-C", tap_dir(), "-c", ".", NULL };
		cleanup_proc_result struct proc_result r = { 0 };
		struct tar_entry *en = base_alloc(1, sizeof(*en));
		struct tar_reader reader;
		unsigned seen[4] = { 0 };
		int n;

		if (i == 2) // ustar has no room for the long one
			CHECK(proc_capture(shorter, NULL, KIB, 10000, &made, &e) == 0);
		CHECK(proc_capture(tar, NULL, MIB, 10000, &r, &e) == 0 && r.status == 0);
		struct text t = { r.out.data, r.out.len, 1000 };
		tar_open(&reader, from_text, &t);
		while ((n = tar_next(&reader, en, &e)) == 1)
			seen[en->type]++;
		CHECK_INT(n, 0);
		CHECK_STR(e.msg, "");
		CHECK(tar_drain(&reader, &e) == 0);
		CHECK_INT(seen[TAR_DIRECTORY], 3);
		CHECK_INT(seen[TAR_FILE], 1);
		CHECK_INT(seen[TAR_HARDLINK], 1);
		CHECK_INT(seen[TAR_SYMLINK], 1);
		free(en);
	}
}
