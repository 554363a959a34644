// SPDX-License-Identifier: MIT
// Who a command runs as, and that what is remembered of that is never old.
#include "guest/agent_core.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include "base/clock.h"
#include "base/fd.h"
#include "tap.h"

// A /etc/passwd of this case's own.
static char *own_passwd(void)
{
	char *path = base_printf("%s/passwd", tap_dir());
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	CHECK(fd >= 0 && close(fd) == 0);
	CHECK(unshare(CLONE_NEWNS) == 0);
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(mount(path, "/etc/passwd", NULL, MS_BIND, NULL) == 0);
	return path;
}

static void set_uid(const char *path, unsigned uid)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	CHECK(dprintf(fd, "somebody:x:%u:%u::/home/somebody:/bin/sh\n", uid, uid) > 0);
	CHECK(close(fd) == 0);
}

static uid_t uid_of(const char *user)
{
	struct spawn_user found = { 0 };
	struct err e = { 0 };

	if (agent_spawn_find_user(user, &found, &e) < 0)
		return (uid_t)-1;
	return found.uid;
}

TEST(a_user_who_was_changed_is_another_at_once)
{
	cleanup_free char *path = own_passwd();

	for (unsigned uid = 2000; uid < 2020; uid++) { // all of one length
		set_uid(path, uid);
		CHECK_INT(uid_of("somebody"), uid);
		CHECK_INT(uid_of("somebody"), uid);
	}
	clock_sleep_ms(3100); // now it is remembered
	CHECK_INT(uid_of("somebody"), 2019);
	CHECK_INT(uid_of("somebody"), 2019);
	CHECK_INT(uid_of("nobody-of-that-name"), (uid_t)-1);
	CHECK_INT(uid_of("somebody"), 2019);
	set_uid(path, 2020);
	CHECK_INT(uid_of("somebody"), 2020);
}

TEST(users_and_groups_are_names_or_numbers)
{
	cleanup_free char *path = own_passwd();
	struct spawn_user found = { 0 };
	struct err e = { 0 };

	set_uid(path, 2000);
	CHECK(agent_spawn_find_user("2000:77", &found, &e) == 0);
	CHECK_INT(found.uid, 2000);
	CHECK_INT(found.gid, 77);
	CHECK_INT(found.group_count, 1);
	CHECK_STR(found.home, "/home/somebody");
	CHECK(agent_spawn_find_user("4242", &found, &e) == 0); // without an entry
	CHECK_INT(found.uid, 4242);
	CHECK_STR(found.home, "/");
	CHECK(agent_spawn_find_user("somebody:no-such-group", &found, &e) < 0);
	CHECK(e.kind == ERR_MISSING);
}
