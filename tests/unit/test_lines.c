// SPDX-License-Identifier: MIT
#include "json/lines.h"

#include <fcntl.h>

#include "base/fd.h"
#include "tap.h"

struct entry {
	uint32_t n;
	char *text;
};
static const struct field entry_fields[] = {
	{ FIELD_SLOT(struct entry, n, uint32_t), .kind = KIND_UINT, .flags = FIELD_REQUIRED },
	{ FIELD_SLOT(struct entry, text, char *), .kind = KIND_STRING, .flags = FIELD_OMIT_EMPTY },
	FIELD_END
};

struct sum {
	unsigned total, lines, stop_at;
};

static int add(void *arg, void *rec, struct err *e)
{
	struct sum *s = arg;
	const struct entry *entry = rec;

	s->total += entry->n;
	s->lines++;
	return s->lines == s->stop_at ? err_kind(e, ERR_STATE, "enough") : 0;
}

static int each(const char *text, struct sum *s, bool *torn, struct err *e)
{
	return lines_each(entry_fields, sizeof(struct entry), text, strlen(text), add, s, torn, e);
}

TEST(every_whole_line_is_decoded)
{
	struct sum s = { 0 };
	struct err e = { 0 };
	bool torn = true;

	CHECK_INT(each("", &s, &torn, &e), 0);
	CHECK(!torn && s.lines == 0);
	CHECK_INT(each("{\"n\":1}\n{\"n\":2,\"text\":\"a\\nb\"}\n", &s, &torn, &e), 0);
	CHECK(!torn && s.total == 3 && s.lines == 2);
	CHECK_INT(each("{\"n\":1}\n{\"n\":2", &s, &torn, &e),
		  0); // a crash in the middle of an append
	CHECK(torn && s.total == 4 && s.lines == 3);
	CHECK_INT(each("{\"n\":1}", &s, &torn, &e),
		  0); // whole but for its newline: not known to be
	CHECK(torn && s.lines == 3);
}

TEST(a_bad_line_is_named)
{
	static const char *const wrong[][2] = {
		{ "{\"n\":1}\n{\"n\":x}\n", "line 2: not JSON at byte 5" },
		{ "{\"n\":1}\n\n", "line 2: empty" },
		{ "{\"n\":1}{\"n\":2}\n", "line 1: not JSON at byte 7" },
		{ "{\"n\":1,\"text\":\"a\",\"m\":2}\n", "line 1: unknown key 'm'" },
	};
	bool torn;

	for (size_t i = 0; i < COUNT(wrong); i++) {
		struct sum s = { 0 };
		struct err e = { 0 };

		CHECK_INT(each(wrong[i][0], &s, &torn, &e), -EINVAL);
		CHECK_STR(e.msg, wrong[i][1]);
	}
}

TEST(the_callback_can_stop)
{
	struct sum s = { .stop_at = 2 };
	struct err e = { 0 };
	bool torn;

	CHECK_INT(each("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n", &s, &torn, &e), -EBADFD);
	CHECK_STR(e.msg, "line 2: enough");
	CHECK_INT(s.total, 3);
}

TEST(append_writes_one_line)
{
	cleanup_free char *path = base_printf("%s/log", tap_dir());
	cleanup_fd int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	cleanup_fd int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	cleanup_buf struct buf text = BUF_INIT;
	struct err e = { 0 };
	char note[] = "x\ny";
	const struct entry a = { 7, NULL }, b = { 8, note };

	CHECK_INT(lines_append(fd, entry_fields, &a, &e), 0);
	CHECK_INT(lines_append(fd, entry_fields, &b, &e), 0);
	CHECK_INT(fd_read_file(AT_FDCWD, path, 1000, &text, &e), 0);
	CHECK_STR(text.data, "{\"n\":7}\n{\"n\":8,\"text\":\"x\\ny\"}\n");
	CHECK_INT(lines_append(full, entry_fields, &a, &e), -ENOSPC);
	CHECK_STR(e.msg, "append: No space left on device");
}
