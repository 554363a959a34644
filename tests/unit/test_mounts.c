// SPDX-License-Identifier: MIT
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/path.h"
#include "sys/mounts.h"
#include "tap.h"

#define TABLE                                                                               \
	"22 27 0:21 / /proc rw,nosuid,relatime shared:5 - proc proc rw\n"                   \
	"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"                           \
	"30 27 0:27 /a\\040b /mnt/with\\040space\\011tab\\134back ro - tmpfs  rw,size=4k\n" \
	"31 27 0:28 / /mnt rw,noexec shared:1 master:2 propagate_from:3 - tmpfs none rw\n"

static int parse(const char *text, struct mounts *m, struct err *e)
{
	return mounts_parse(text, strlen(text), m, e);
}

TEST(fields_are_taken_apart_and_unescaped)
{
	cleanup_mounts struct mounts m = MOUNTS_INIT;
	struct err e = { 0 };

	CHECK_INT(parse(TABLE, &m, &e), 0);
	CHECK_INT(m.len, 4);
	CHECK_INT(m.items[0].id, 22);
	CHECK_INT(m.items[0].parent, 27);
	CHECK_STR(m.items[0].options, "rw,nosuid,relatime");
	CHECK_INT(m.items[1].major, 254);
	CHECK_STR(m.items[1].source, "/dev/vda");
	CHECK_STR(m.items[2].root, "/a b");
	CHECK_STR(m.items[2].point, "/mnt/with space\ttab\\back");
	CHECK_STR(m.items[2].source, ""); // the field is empty, the next one is not taken for it
	CHECK_STR(m.items[2].super, "rw,size=4k");
	CHECK_STR(m.items[3].fstype, "tmpfs");
}

TEST(a_line_that_is_not_understood_is_an_error_and_named)
{
	static const char *const bad[] = {
		"nonsense\n",
		"1 2 3 / /x rw - tmpfs none rw\n",
		"1 2 0:1 / relative rw - tmpfs none rw\n",
		"1 2 0:1 / /x rw tmpfs none rw\n",
		"1 2 0:1 / /x rw - tmpfs none\n",
		"-1 2 0:1 / /x rw - tmpfs none rw\n",
		"99999999999 2 0:1 / /x rw - tmpfs none rw\n",
	};

	for (size_t i = 0; i < COUNT(bad); i++) {
		cleanup_mounts struct mounts m = MOUNTS_INIT;
		struct err e = { 0 };

		CHECK_INT(parse(bad[i], &m, &e), -EPROTO);
		CHECK_STR(e.msg, "line 1 of the mount table is not understood");
		CHECK(m.items == NULL);
	}
}

TEST(a_nul_in_the_table_is_an_error)
{
	cleanup_mounts struct mounts m = MOUNTS_INIT;
	struct err e = { 0 };

	CHECK(mounts_parse("22 27 0:21 / /p rw - proc proc rw\n\0x", 37, &m, &e) < 0);
}

TEST(no_line_at_all_is_an_empty_list)
{
	cleanup_mounts struct mounts m = MOUNTS_INIT;
	struct err e = { 0 };

	CHECK_INT(parse("", &m, &e), 0);
	CHECK_INT(m.len, 0);
	CHECK(mounts_of(&m, "/") == NULL);
}

TEST(below_compares_whole_names)
{
	CHECK(mounts_below("/a/b", "/a"));
	CHECK(mounts_below("/a", "/a"));
	CHECK(mounts_below("/a", "/"));
	CHECK(!mounts_below("/ab", "/a"));
	CHECK(!mounts_below("/", "/a"));
}

TEST(a_path_lies_on_the_deepest_mount)
{
	cleanup_mounts struct mounts m = MOUNTS_INIT;
	struct err e = { 0 };

	CHECK_INT(parse(TABLE, &m, &e), 0);
	CHECK_INT(mounts_of(&m, "/mnt/x")->id, 31);
	CHECK_INT(mounts_of(&m, "/mntx")->id, 27);
	CHECK_INT(mounts_of(&m, "/proc/1")->id, 22);
}

TEST(an_option_is_a_whole_word)
{
	CHECK(mounts_option("ro,nosuid", "ro"));
	CHECK(mounts_option("rw,nosuid", "nosuid"));
	CHECK(!mounts_option("rw,errors=remount-ro", "ro"));
	CHECK(!mounts_option("rw,nosuid", "no"));
	CHECK(!mounts_option("", "ro"));
}

TEST(this_machines_table_is_understood)
{
	cleanup_mounts struct mounts m = MOUNTS_INIT;
	struct err e = { 0 };

	CHECK_INT(mounts_read(&m, &e), 0);
	CHECK(m.len > 0);
	CHECK(mounts_of(&m, "/proc/self") != NULL);
}

TEST(mounts_below_a_directory_are_dropped_and_those_beside_it_stay)
{
	cleanup_mounts struct mounts m = MOUNTS_INIT;
	path_text in, inner, beside;
	struct err e = { 0 };
	size_t left = 0;

	path_join(in, tap_dir(), "in side");
	path_join(inner, in, "deep");
	path_join(beside, tap_dir(), "in sideways");
	CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(mkdir(in, 0700) == 0 && mkdir(beside, 0700) == 0);
	CHECK(mount("none", in, "tmpfs", 0, NULL) == 0 && mkdir(inner, 0700) == 0);
	CHECK(mount("none", inner, "tmpfs", 0, NULL) == 0);
	CHECK(mount("none", beside, "tmpfs", 0, NULL) == 0);
	CHECK_INT(mounts_drop_below(in, &e), 0);
	CHECK_INT(mounts_read(&m, &e), 0);
	for (size_t i = 0; i < m.len; i++) {
		CHECK(!mounts_below(m.items[i].point, in));
		left += str_eq(m.items[i].point, beside);
	}
	CHECK_INT(left, 1);
	CHECK_INT(mounts_drop_below(in, &e), 0); // nothing there is fine
}
