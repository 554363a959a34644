// SPDX-License-Identifier: MIT
// On the real cgroup file system of the machine; groups of a node id of this test's own. A machine
// without one (or without the right to it) can only show that this is said.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"
#include "sys/cgroup.h"
#include "tap.h"

static char node[37]; // another one for each case: they run side by side
static const struct address vm = { "acme", "web", "i-0000000a" };
static const struct address other = { "acme", "web", "i-0000000b" };

static bool start(struct cgroup_host *h)
{
	struct err e = { 0 };
	int fd;

	(void)snprintf(node, sizeof(node), "00000000-0000-4000-8000-%012x", (unsigned)getpid());
	CHECK_INT(cgroup_find(h, &e), 0);
	fd = cgroup_make(h, node, &vm, &e);
	if (fd < 0) {
		CHECK_INT(e.kind, ERR_UNAVAILABLE);
		return false;
	}
	(void)close(fd);
	return true;
}

static pid_t sleeper(int group)
{
	struct err e = { 0 };
	pid_t pid = fork();

	if (pid == 0) {
		(void)!cgroup_enter(group, 0, &e);
		(void)fork(); // a process of its own below
		for (;;)
			(void)pause();
	}
	for (int i = 0; i < 10000; i++) {
		bool in = false;

		(void)!cgroup_populated(group, &in, &e);
		if (in)
			break;
		clock_sleep_ms(2);
	}
	return pid;
}

TEST(the_machine_is_described_consistently)
{
	struct cgroup_host h = { 0 };
	struct err e = { 0 };

	CHECK_INT(cgroup_find(&h, &e), 0);
	CHECK((h.mode == CGROUP_V2 || h.mode == CGROUP_HYBRID) == (h.root[0] == '/'));
	CHECK(h.root[0] || !cgroup_has_limits(&h));
}

TEST(making_twice_is_one_group_and_removal_takes_empty_parents)
{
	struct cgroup_host h = { 0 };
	struct err e = { 0 };
	struct stat st;
	path_text dir;
	int fd;

	if (!start(&h))
		return;
	fd = cgroup_make(&h, node, &vm, &e);
	CHECK(fd >= 0);
	base_closep(&fd);
	fd = cgroup_make(&h, node, &other, &e);
	CHECK(fd >= 0);
	base_closep(&fd);
	CHECK_INT(cgroup_remove(&h, node, &vm, 60000, &e), 0);
	CHECK_INT(cgroup_open(&h, node, &vm, &e), -ENOENT);
	CHECK_INT(e.kind, ERR_MISSING);
	fd = cgroup_open(&h, node, &other, &e); // its parents stayed
	CHECK(fd >= 0);
	base_closep(&fd);
	CHECK_INT(cgroup_remove(&h, node, &other, 60000, &e), 0);
	CHECK_INT(cgroup_remove(&h, node, &other, 60000, &e), 0); // gone is fine
	path_join(dir, h.root, "mvm");
	path_join(dir, dir, node);
	CHECK(stat(dir, &st) < 0 && errno == ENOENT);
}

TEST(kill_ends_all_inside_and_the_group_can_go)
{
	struct cgroup_host h = { 0 };
	struct err e = { 0 };
	bool in = true;
	pid_t pid;
	int fd, status = 0;

	if (!start(&h))
		return;
	fd = cgroup_open(&h, node, &vm, &e);
	CHECK(fd >= 0);
	CHECK_INT(cgroup_populated(fd, &in, &e), 0);
	CHECK(!in);
	pid = sleeper(fd);
	CHECK_INT(cgroup_populated(fd, &in, &e), 0);
	CHECK(in);
	CHECK_INT(cgroup_wait_empty(fd, 30, &e), -ETIMEDOUT);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	CHECK_INT(cgroup_kill(fd, &e), 0);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	      WTERMSIG(status) == SIGKILL);
	CHECK_INT(cgroup_wait_empty(fd, 60000, &e), 0);
	CHECK_INT(cgroup_remove(&h, node, &vm, 60000, &e), 0);
	CHECK_INT(cgroup_kill(fd, &e), 0); // a removed group holds nothing
	CHECK_INT(cgroup_populated(fd, &in, &e), 0);
	CHECK(!in);
	base_closep(&fd);
}

TEST(an_init_is_born_in_its_group)
{
	int fd, group, pidfd = -1, sock = -1;
	struct cgroup_host h = { 0 };
	struct err e = { 0 };
	bool in = false;
	pid_t pid;
	char byte;

	if (!start(&h))
		return;
	group = fd = cgroup_open(&h, node, &vm, &e);
	pid = proc_fork_init(&group, &pidfd, &sock, &e);
	if (pid == 0)
		_exit(read(sock, &byte, 1) == 0 ? 0 : 1);
	CHECK(pid > 0);
	CHECK_INT(group, -1);
	CHECK_INT(cgroup_populated(fd, &in, &e), 0);
	CHECK(in);
	base_closep(&sock);
	CHECK_INT(waitpid(pid, NULL, 0), pid);
	CHECK_INT(cgroup_wait_empty(fd, 60000, &e), 0);
	base_closep(&pidfd);
	base_closep(&fd);
	CHECK_INT(cgroup_remove(&h, node, &vm, 60000, &e), 0);
}

TEST(an_init_that_cannot_be_born_in_its_group_is_to_be_moved)
{
	int group = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), asked = group, pidfd, sock;
	struct err e = { 0 };
	pid_t pid = proc_fork_init(&group, &pidfd, &sock, &e);

	if (pid == 0)
		_exit(0);
	CHECK(pid > 0);
	CHECK_INT(group, asked);
	CHECK_INT(waitpid(pid, NULL, 0), pid);
	base_closep(&pidfd);
	base_closep(&sock);
	base_closep(&group);
}

TEST(removal_kills_what_is_inside_first)
{
	struct cgroup_host h = { 0 };
	struct err e = { 0 };
	pid_t pid;
	int fd, status;

	if (!start(&h))
		return;
	fd = cgroup_open(&h, node, &vm, &e);
	pid = sleeper(fd);
	base_closep(&fd);
	CHECK_INT(cgroup_remove(&h, node, &vm, 60000, &e), 0);
	CHECK(waitpid(pid, &status, 0) == pid);
}

TEST(limits_are_set_or_said_to_be_missing)
{
	const struct cgroup_limits l = { .memory_max = 64 * MIB,
					 .cpu_quota_us = 50000,
					 .pids_max = 17 };
	cleanup_buf struct buf text = BUF_INIT;
	struct cgroup_host h = { 0 };
	struct err e = { 0 };
	bool set = false;
	int fd;

	if (!start(&h))
		return;
	fd = cgroup_open(&h, node, &vm, &e);
	CHECK_INT(cgroup_limit(fd, &l, &set, &e), 0);
	if (set) {
		CHECK_INT(fd_read_file(fd, "pids.max", 100, &text, &e), 0);
		CHECK_STR(buf_text(&text), "17\n");
	} else {
		CHECK(faccessat(fd, "pids.max", F_OK, 0) < 0 ||
		      faccessat(fd, "memory.max", F_OK, 0) < 0 ||
		      faccessat(fd, "cpu.max", F_OK, 0) < 0);
	}
	base_closep(&fd);
	CHECK_INT(cgroup_remove(&h, node, &vm, 60000, &e), 0);
}

TEST(usage_is_read_as_far_as_there_are_controllers)
{
	struct cgroup_host h = { 0 };
	struct cgroup_usage u = { 0 };
	struct err e = { 0 };
	int fd;

	if (!start(&h))
		return;
	fd = cgroup_open(&h, node, &vm, &e);
	CHECK_INT(cgroup_usage(fd, &u, &e), 0);
	CHECK(u.has_memory == (faccessat(fd, "memory.current", F_OK, 0) == 0));
	CHECK(u.has_cpu == (faccessat(fd, "cpu.stat", F_OK, 0) == 0));
	base_closep(&fd);
	CHECK_INT(cgroup_remove(&h, node, &vm, 60000, &e), 0);
}

struct found {
	unsigned instances, parents;
};

static int count(void *arg, const char *node_id, const struct address *a, struct err *e)
{
	struct found *f = arg;

	(void)e;
	if (!str_eq(node_id, node))
		return 0;
	f->parents += !a->instance[0];
	f->instances += str_eq(a->tenant, "acme") && str_eq(a->pool, "web") &&
			str_eq(a->instance, "i-0000000a");
	return 0;
}

TEST(the_walk_finds_groups_with_their_addresses)
{
	struct cgroup_host h = { 0 };
	struct found f = { 0 };
	struct err e = { 0 };

	if (!start(&h))
		return;
	CHECK_INT(cgroup_each(&h, count, &f, &e), 0);
	CHECK_INT(f.instances, 1);
	CHECK_INT(f.parents, 2); // acme, acme/web
	CHECK_INT(cgroup_remove(&h, node, &vm, 60000, &e), 0);
}

TEST(a_process_leads_to_its_group)
{
	struct cgroup_host h = { 0 };
	struct err e = { 0 };
	struct stat a, b;
	pid_t pid;
	int fd, found;

	if (!start(&h))
		return;
	fd = cgroup_open(&h, node, &vm, &e);
	pid = sleeper(fd);
	found = cgroup_open_pid(&h, pid, &e);
	CHECK(found >= 0 && fstat(fd, &a) == 0 && fstat(found, &b) == 0 && a.st_ino == b.st_ino);
	base_closep(&found);
	base_closep(&fd);
	CHECK_INT(cgroup_remove(&h, node, &vm, 60000, &e), 0);
	(void)waitpid(pid, NULL, 0);
}

TEST(a_node_id_cannot_lead_elsewhere)
{
	struct cgroup_host h = { .root = "/tmp" }; // must not be reached
	struct err e = { 0 };

	CHECK_INT(cgroup_open(&h, "..", &vm, &e), -EINVAL);
	CHECK_INT(cgroup_make(&h, "a/b", &vm, &e), -EINVAL);
	CHECK_INT(cgroup_make(&h, "", &vm, &e), -EINVAL);
}
