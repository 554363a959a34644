// SPDX-License-Identifier: MIT
#include "base/path.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "tap.h"

TEST(the_default_places)
{
	CHECK_STR(path_state(), "/var/lib/mvm");
	CHECK_STR(path_run(), "/run/mvm");
	CHECK_STR(path_config(), "/etc/mvm/mvm.conf");
	CHECK(path_is_default());
}

TEST(paths_below_the_roots)
{
	const struct address a = { "acme", "web", "i-00000001" };
	path_text p;

	(void)setenv("MVM_STATE_DIR", "/s", 1);
	(void)setenv("MVM_RUN_DIR", "/r", 1);
	CHECK(!path_is_default());
	path_tenant("acme", p);
	CHECK_STR(p, "/s/tenants/acme");
	path_pool("acme", "web", p);
	CHECK_STR(p, "/s/tenants/acme/pools/web");
	path_instance(&a, p);
	CHECK_STR(p, "/s/tenants/acme/pools/web/instances/i-00000001");
	path_run_instance("i-00000001", p);
	CHECK_STR(p, "/r/instances/i-00000001");
	path_jail("firecracker", "i-00000001", p);
	CHECK_STR(p, "/s/jails/firecracker/i-00000001");
	path_join(p, p, "root");
	CHECK_STR(p, "/s/jails/firecracker/i-00000001/root");
}

TEST(roots_must_be_absolute_and_bounded)
{
	struct err e = { 0 };
	char big[400];

	CHECK_INT(path_check_env(&e), 0);
	(void)setenv("MVM_RUN_DIR", "run", 1);
	CHECK_INT(path_check_env(&e), -EINVAL);
	CHECK_STR(e.msg, "MVM_RUN_DIR: 'run' is not an absolute path");
	(void)setenv("MVM_RUN_DIR", "", 1); // as if it were not set
	CHECK_INT(path_check_env(&e), 0);
	CHECK_STR(path_run(), "/run/mvm");
	memset(big, '/', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	(void)setenv("MVM_STATE_DIR", big, 1);
	CHECK_INT(path_check_env(&e), -EINVAL);
	CHECK_STR(e.msg, "MVM_STATE_DIR: longer than 255 bytes");
}

TEST(programs_of_ours_are_found_beside_the_running_one)
{
	path_text self, dir, found;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	CHECK(n > 0);
	self[n > 0 ? n : 0] = '\0';
	const char *base = strrchr(self, '/') + 1;
	path_tool(base, found);
	CHECK_STR(found, self);
	path_tool("mvm-does-not-exist", found);
	CHECK_STR(found, "mvm-does-not-exist");
	memcpy(dir, self, sizeof(dir));
	*strrchr(dir, '/') = '\0';
	*strrchr(dir, '/') = '\0';
	path_join(dir, dir, "lib/mvm/mvm-guestd");
	path_lib("mvm-guestd", found);
	CHECK_STR(found, dir);
}
