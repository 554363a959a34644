// SPDX-License-Identifier: MIT
#include "life/conf.h"

#include <fcntl.h>

#include "base/fd.h"
#include "tap.h"

static void use_conf(const char *text)
{
	cleanup_fd int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free char *path = base_printf("%s/mvm.conf", tap_dir());
	struct err e = { 0 };

	setenv("MVM_CONFIG", path, 1);
	CHECK(fd_replace_file(dir, "mvm.conf", text, strlen(text), 0644, &e) == 0);
}

TEST(spare_taps_are_four_or_what_the_file_or_the_environment_says)
{
	struct err e = { 0 };
	unsigned n = 0;

	setenv("MVM_CONFIG", "/nonexistent/mvm.conf", 1);
	CHECK(conf_spare_taps(&n, &e) == 0);
	CHECK_INT(n, 4);
	use_conf("# none\nvmm = qemu\nspare_taps = 0\n");
	CHECK(conf_spare_taps(&n, &e) == 0);
	CHECK_INT(n, 0);
	setenv("MVM_SPARE_TAPS", "64", 1);
	CHECK(conf_spare_taps(&n, &e) == 0);
	CHECK_INT(n, 64);
}

TEST(a_number_of_spare_taps_that_is_none_is_refused)
{
	static const char *const bad[] = { "65", "-1", "four", "04", "4 4", "1e1" };
	unsigned n = 7;

	for (size_t i = 0; i < COUNT(bad); i++) {
		cleanup_free char *line = base_printf("spare_taps = %s\n", bad[i]);
		struct err e = { 0 };

		use_conf(line);
		CHECK(conf_spare_taps(&n, &e) < 0);
		CHECK_INT(e.kind, ERR_USAGE);
		CHECK(str_starts(e.msg, "spare_taps: "));
	}
	CHECK_INT(n, 7);
}

TEST(an_unknown_key_is_told_with_its_line)
{
	cleanup_free char *want = NULL;
	struct err e = { 0 };
	unsigned n;

	use_conf("vmm = qemu\nspare_tap = 3\n");
	want = base_printf("%s/mvm.conf: line 2: unknown key 'spare_tap'", tap_dir());
	CHECK(conf_spare_taps(&n, &e) < 0);
	CHECK_STR(e.msg, want);
}
