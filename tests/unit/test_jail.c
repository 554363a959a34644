// SPDX-License-Identifier: MIT
// Jails on the real file system: needs root, since their point is who owns what.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "sys/jail.h"
#include "sys/mounts.h"
#include "tap.h"

#define VMM	 "qemu"
#define INSTANCE "i-0000000a"
static const uint32_t uid = VM_UID_BASE + 7 * 65536 + 3;

static struct jail fresh(void)
{
	struct jail j = JAIL_NONE;
	struct err e = { 0 };

	(void)setenv("MVM_STATE_DIR", tap_dir(), 1);
	(void)umask(077); // modes are set explicitly
	CHECK_INT(jail_make(VMM, INSTANCE, uid, &j, &e), 0);
	return j;
}

static struct stat look(int dir, const char *name)
{
	struct stat st = { 0 };

	CHECK(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0);
	return st;
}

static void put(int dir, const char *name, uint32_t owner, mode_t mode)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write(fd, "x", 1) == 1 && fchmod(fd, mode) == 0 &&
	      fchown(fd, owner, owner) == 0);
	base_closep(&fd);
}

static int state(void)
{
	int fd = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

// Runs fn as the VM's user.
static void as_vm(void (*fn)(const struct jail *), const struct jail *j)
{
	int status = 1;
	pid_t pid = fork();

	if (pid == 0) {
		CHECK(setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0);
		fn(j);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

TEST(directories_have_their_owners_and_modes)
{
	cleanup_jail struct jail j = fresh();
	struct stat st = look(j.root, ".");

	CHECK_INT(st.st_uid, 0);
	CHECK_INT(st.st_mode & 07777, 0755);
	st = look(j.root, "run");
	CHECK_INT(st.st_uid, uid);
	CHECK_INT(st.st_gid, uid);
	CHECK_INT(st.st_mode & 07777, 0700);
	st = look(j.root, "snap");
	CHECK_INT(st.st_uid, uid);
	CHECK_INT(st.st_mode & 07777, 0700);
	st = look(AT_FDCWD, j.path);
	CHECK(S_ISDIR(st.st_mode));
}

TEST(a_former_run_leaves_nothing)
{
	cleanup_jail struct jail j = fresh(), again = JAIL_NONE;
	struct err e = { 0 };

	put(j.run, "old", uid, 0600);
	CHECK_INT(jail_make(VMM, INSTANCE, uid, &again, &e), 0);
	CHECK(faccessat(again.run, "old", F_OK, 0) < 0);
}

TEST(only_ids_of_vms_and_names_of_ours_get_a_jail)
{
	struct jail j = JAIL_NONE;
	struct err e = { 0 };

	(void)setenv("MVM_STATE_DIR", tap_dir(), 1);
	CHECK_INT(jail_make(VMM, INSTANCE, 1000, &j, &e), -EINVAL);
	CHECK(jail_make(VMM, "../x", uid, &j, &e) < 0);
	CHECK_INT(e.kind, ERR_USAGE);
	CHECK(jail_make("../x", INSTANCE, uid, &j, &e) < 0);
	CHECK(jail_remove(VMM, "i-0000000a/..", &e) < 0);
}

TEST(a_missing_jail_is_missing_and_removing_it_is_fine)
{
	struct jail j = JAIL_NONE;
	struct err e = { 0 };

	(void)setenv("MVM_STATE_DIR", tap_dir(), 1);
	CHECK_INT(jail_open(VMM, INSTANCE, uid, &j, &e), -ENOENT);
	CHECK_INT(e.kind, ERR_MISSING);
	CHECK_INT(jail_remove(VMM, INSTANCE, &e), 0);
}

TEST(shared_files_are_linked_as_they_are)
{
	cleanup_jail struct jail j = fresh();
	cleanup_fd int dir = state();
	struct err e = { 0 };

	put(dir, "vmlinux", 0, 0444);
	CHECK_INT(jail_link(&j, dir, "vmlinux", j.root, "kernel", JAIL_SHARED, &e), 0);
	CHECK_INT(look(dir, "vmlinux").st_ino, look(j.root, "kernel").st_ino);
	CHECK_INT(look(j.root, "kernel").st_uid, 0);
	CHECK_INT(look(j.root, "kernel").st_mode & 07777, 0444);
}

TEST(a_shared_file_that_anyone_may_write_is_refused)
{
	static const struct {
		uint32_t owner;
		mode_t mode;
	} bad[] = { { 0, 0644 }, { 1000, 0444 }, { 0, 0400 }, { 0, 04444 } };
	cleanup_jail struct jail j = fresh();
	cleanup_fd int dir = state();

	for (size_t i = 0; i < COUNT(bad); i++) {
		struct err e = { 0 };

		(void)unlinkat(dir, "f", 0);
		put(dir, "f", bad[i].owner, 0600);
		CHECK(fchmodat(dir, "f", bad[i].mode, 0) == 0);
		CHECK(jail_link(&j, dir, "f", j.root, "f", JAIL_SHARED, &e) < 0);
		CHECK_INT(e.kind, ERR_DENIED);
		CHECK_INT(look(dir, "f").st_uid, bad[i].owner); // untouched
		CHECK(faccessat(j.root, "f", F_OK, 0) < 0);
	}
}

TEST(a_private_file_becomes_the_vms_but_never_another_vms)
{
	cleanup_jail struct jail j = fresh();
	cleanup_fd int dir = state();
	struct err e = { 0 };

	put(dir, "data", 0, 0644);
	CHECK_INT(jail_link(&j, dir, "data", j.root, "data", JAIL_PRIVATE, &e), 0);
	CHECK_INT(look(j.root, "data").st_uid, uid);
	CHECK_INT(look(j.root, "data").st_mode & 07777, 0600);
	put(dir, "theirs", uid + 1, 0600);
	CHECK(jail_link(&j, dir, "theirs", j.root, "theirs", JAIL_PRIVATE, &e) < 0);
	CHECK_INT(e.kind, ERR_DENIED);
	CHECK_INT(look(dir, "theirs").st_uid, uid + 1);
}

TEST(links_and_other_kinds_of_files_are_not_linked_in)
{
	cleanup_jail struct jail j = fresh();
	cleanup_fd int dir = state();
	struct err e = { 0 };

	CHECK(symlinkat("/etc/passwd", dir, "s") == 0 && mkfifoat(dir, "p", 0444) == 0);
	CHECK(jail_link(&j, dir, "s", j.root, "s", JAIL_SHARED, &e) < 0);
	CHECK(jail_link(&j, dir, "p", j.root, "p", JAIL_SHARED, &e) < 0);
	CHECK(jail_link(&j, dir, "absent", j.root, "a", JAIL_SHARED, &e) == -ENOENT);
}

TEST(another_file_system_is_an_error_and_nothing_is_copied)
{
	cleanup_jail struct jail j = fresh();
	struct err e = { 0 };
	path_text other;
	int dir;

	path_join(other, tap_dir(), "other");
	CHECK_INT(jail_unshare_mounts(&e), 0);
	CHECK(mkdir(other, 0700) == 0 && mount("none", other, "tmpfs", 0, NULL) == 0);
	dir = open(other, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put(dir, "vmlinux", 0, 0444);
	CHECK_INT(jail_link(&j, dir, "vmlinux", j.root, "k", JAIL_SHARED, &e), -EXDEV);
	CHECK(e.hint[0] != '\0');
	CHECK(faccessat(j.root, "k", F_OK, 0) < 0);
	base_closep(&dir);
	CHECK(umount2(other, MNT_DETACH) == 0);
}

static void plant(const struct jail *j)
{
	CHECK(symlinkat("/etc/passwd", j->run, "symlink") == 0);
	CHECK(symlinkat("file", j->run, "link-to-its-own") == 0);
	CHECK(mkfifoat(j->run, "fifo", 0600) == 0);
	CHECK(mkdirat(j->run, "directory", 0700) == 0);
	put(j->run, "file", uid, 0600);
	put(j->run, "twice", uid, 0600);
	CHECK(linkat(j->run, "twice", j->run, "again", 0) == 0);
}

TEST(only_a_plain_file_of_the_vm_is_opened)
{
	static const char *const bad[] = { "symlink",	 "link-to-its-own", "fifo",  "directory",
					   "twice",	 "again",	    "roots", "..",
					   "../run/file" };
	cleanup_jail struct jail j = fresh();
	struct err e = { 0 };
	int fd;

	as_vm(plant, &j);
	put(j.run, "roots", 0, 0600);
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct err why = { 0 };

		CHECK(jail_open_file(j.run, bad[i], uid, &why) < 0);
		CHECK(why.no != 0);
	}
	fd = jail_open_file(j.run, "file", uid, &e);
	CHECK(fd >= 0);
	base_closep(&fd);
	CHECK(jail_open_socket(j.run, "file", uid, &e) < 0);
	CHECK_INT(e.kind, ERR_DENIED);
	CHECK_INT(jail_open_file(j.run, "absent", uid, &e), -ENOENT);
}

static int listen_at(const struct jail *j, const char *name)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d/%s", j->run, name);
	CHECK(bind(sock, (const struct sockaddr *)&sun, sizeof(sun)) == 0 && listen(sock, 0) == 0);
	return sock;
}

// A child that listens as the VM's user until its pipe closes.
static pid_t listener(const struct jail *j, const char *name, int *hold)
{
	int ready[2], stop[2];
	char c;
	pid_t pid;

	CHECK(pipe2(ready, O_CLOEXEC) == 0 && pipe2(stop, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		CHECK(setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0);
		(void)close(stop[1]);
		(void)listen_at(j, name);
		CHECK(write(ready[1], "r", 1) == 1);
		_exit(read(stop[0], &c, 1) != 0);
	}
	(void)close(stop[0]);
	(void)close(ready[1]);
	CHECK(read(ready[0], &c, 1) == 1);
	(void)close(ready[0]);
	*hold = stop[1];
	return pid;
}

TEST(the_vms_socket_is_connected_and_never_waited_for)
{
	cleanup_jail struct jail j = fresh();
	struct err e = { 0 };
	int hold = -1, made[8];
	pid_t pid = listener(&j, "api.sock", &hold);
	bool refused = false;

	// nobody accepts: once the backlog is full the answer is "try again", not a wait
	for (size_t i = 0; i < COUNT(made); i++) {
		made[i] = jail_connect(j.run, "api.sock", uid, &e);
		if (i == 0)
			CHECK(made[i] >= 0 && !(fcntl(made[i], F_GETFL) & O_NONBLOCK));
		refused |= made[i] == -EAGAIN && e.kind == ERR_UNAVAILABLE;
	}
	CHECK(refused);
	for (size_t i = 0; i < COUNT(made); i++)
		base_closep(&made[i]);
	base_closep(&hold);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

TEST(a_socket_of_another_user_is_denied_also_behind_the_right_file)
{
	cleanup_jail struct jail j = fresh();
	cleanup_fd int sock = listen_at(&j, "s"); // listened on by root
	struct err e = { 0 };

	CHECK(jail_connect(j.run, "s", uid, &e) < 0);
	CHECK_INT(e.kind, ERR_DENIED);
	CHECK(fchownat(j.run, "s", uid, uid, 0) == 0);
	CHECK(jail_connect(j.run, "s", uid, &e) < 0);
	CHECK_INT(e.kind, ERR_DENIED);
	CHECK(strstr(e.msg, "the peer has uid 0") != NULL);
}

TEST(a_jail_whose_run_became_a_link_is_not_opened)
{
	cleanup_jail struct jail j = fresh(), again = JAIL_NONE;
	struct err e = { 0 };

	CHECK(unlinkat(j.root, "run", AT_REMOVEDIR) == 0 && symlinkat("/etc", j.root, "run") == 0);
	CHECK(jail_open(VMM, INSTANCE, uid, &again, &e) < 0);
	CHECK(unlinkat(j.root, "run", 0) == 0 && mkdirat(j.root, "run", 0700) == 0);
	CHECK(jail_open(VMM, INSTANCE, uid, &again, &e) < 0); // root's, not the VM's
	CHECK_INT(e.kind, ERR_DENIED);
}

static void plant_deep(const struct jail *j)
{
	int at = dup(j->run);

	for (int i = 0; i < 200; i++) {
		int next;

		CHECK(mkdirat(at, "d", 0700) == 0 && symlinkat("../../../..", at, "up") == 0);
		next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		(void)close(at);
		at = next;
	}
	CHECK(symlinkat("/", j->snap, "root") == 0);
	(void)close(at);
}

TEST(removal_follows_nothing_and_unmounts_first)
{
	cleanup_jail struct jail j = fresh();
	cleanup_fd int dir = state();
	struct err e = { 0 };
	path_text victim;

	CHECK_INT(jail_unshare_mounts(&e), 0);
	path_join(victim, tap_dir(), "victim");
	CHECK(mkdir(victim, 0777) == 0);
	put(dir, "victim/precious", 0, 0600);
	as_vm(plant_deep, &j);
	CHECK(symlinkat(victim, j.root, "link") == 0 && mkdirat(j.root, "mnt", 0700) == 0);
	path_join(j.path, j.path, "mnt");
	CHECK(mount(victim, j.path, NULL, MS_BIND, NULL) == 0);
	jail_close(&j);
	CHECK_INT(jail_remove(VMM, INSTANCE, &e), 0);
	CHECK(faccessat(dir, "victim/precious", F_OK, 0) == 0);
	CHECK(faccessat(dir, "jails/" VMM "/" INSTANCE, F_OK, 0) < 0);
}

TEST(a_bind_mount_is_seen_here_only_and_carries_no_rights)
{
	cleanup_jail struct jail j = fresh();
	cleanup_mounts struct mounts m = MOUNTS_INIT;
	cleanup_fd int dir = -1, secret = -1;
	struct err e = { 0 };
	path_text at;
	int status = 1;
	pid_t pid = fork();

	if (pid == 0) {
		CHECK_INT(jail_unshare_mounts(&e), 0);
		jail_close(&j); // to be opened in this namespace
		CHECK_INT(jail_open(VMM, INSTANCE, uid, &j, &e), 0);
		dir = state();
		put(dir, "secret", uid, 0600);
		secret = openat(dir, "secret", O_PATH | O_CLOEXEC);
		CHECK_INT(jail_bind(secret, j.root, "vdc", true, &e), 0);
		CHECK_INT(look(j.root, "vdc").st_ino, look(dir, "secret").st_ino);
		CHECK(openat(j.root, "vdc", O_WRONLY | O_CLOEXEC) < 0 && errno == EROFS);
		path_join(at, j.path, "vdc");
		CHECK_INT(mounts_read(&m, &e), 0);
		CHECK(mounts_option(mounts_of(&m, at)->options, "nosuid"));
		CHECK(mounts_option(mounts_of(&m, at)->options, "nodev"));
		CHECK(mounts_option(mounts_of(&m, at)->options, "noexec"));
		CHECK(symlinkat("/etc/passwd", j.root, "evil") == 0);
		CHECK(jail_bind(secret, j.root, "evil", true, &e) < 0);
		CHECK(jail_bind(secret, j.root, "run", true, &e) < 0); // a directory
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK_INT(look(j.root, "vdc").st_size, 0); // out here the empty file it lay on
}
