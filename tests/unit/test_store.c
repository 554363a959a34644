// SPDX-License-Identifier: MIT
#include "state/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "tap.h"

struct thing {
	uint32_t schema_version;
	char word[16];
};
static const struct field thing_fields[] = {
	{ FIELD_SLOT(struct thing, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1 },
	{ FIELD_SLOT(struct thing, word, char[16]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED },
	FIELD_END
};
static const struct address acme = { .tenant = "acme" };

static void use_state(void)
{
	char path[PATH_LEN];

	base_cut(path, sizeof(path), "%s/state", tap_dir());
	setenv("MVM_STATE_DIR", path, 1);
}

static void put(const char *path, const char *text)
{
	path_text full;
	struct err e = { 0 };

	base_cut(full, sizeof(full), "%s/%s", path_state(), path);
	cleanup_fd int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && fd_write_all(fd, text, strlen(text), &e) == 0);
}

static void make_tenant(const char *id)
{
	cleanup_draft struct store_draft d = STORE_DRAFT_NONE;
	cleanup_store struct store node = STORE_NONE;
	const struct thing t = { 1, "hello" };
	struct err e = { 0 };

	CHECK(store_lock(&node, STORE_NODE, NULL, 0, &e) == 0);
	CHECK(store_draft_begin(&node, "tenants", id, &d, &e) == 0);
	CHECK(store_draft_mkdir(&d, "secrets", 0700, &e) == 0);
	CHECK(store_draft_save(&d, "thing.json", thing_fields, &t, &e) == 0);
	CHECK(store_draft_commit(&d, &e) == 0);
}

TEST(an_object_appears_whole_and_is_read_back)
{
	cleanup_store struct store s = STORE_NONE;
	struct thing t = { 0 };
	struct err e = { 0 };

	use_state();
	CHECK(!store_exists(STORE_TENANT, &acme));
	make_tenant("acme");
	CHECK(store_exists(STORE_TENANT, &acme));
	CHECK(store_open(&s, STORE_TENANT, &acme, &e) == 0);
	CHECK(store_load(&s, "thing.json", thing_fields, &t, &e) == 0);
	CHECK_STR(t.word, "hello");
}

TEST(modes_do_not_depend_on_the_umask)
{
	struct stat st;
	path_text path;

	umask(077);
	use_state();
	make_tenant("acme");
	CHECK(stat(path_state(), &st) == 0 && (st.st_mode & 0777) == 0750);
	path_tenant("acme", path);
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0750);
	path_join(path, path, "secrets");
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0700);
	path_tenant("acme", path);
	path_join(path, path, "thing.json");
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0640);
}

TEST(an_absent_object_is_missing_and_named)
{
	cleanup_store struct store s = STORE_NONE;
	struct err e = { 0 };

	use_state();
	make_tenant("other");
	CHECK(store_open(&s, STORE_TENANT, &acme, &e) < 0);
	CHECK_INT(e.kind, ERR_MISSING);
	CHECK_STR(e.object, "acme");
}

TEST(a_second_object_of_that_id_is_a_conflict_and_leaves_nothing)
{
	cleanup_store struct store node = STORE_NONE;
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	const struct thing t = { 1, "again" };
	struct err e = { 0 };

	use_state();
	make_tenant("acme");
	CHECK(store_lock(&node, STORE_NODE, NULL, 0, &e) == 0);
	{
		cleanup_draft struct store_draft d = STORE_DRAFT_NONE;

		CHECK(store_draft_begin(&node, "tenants", "acme", &d, &e) == 0);
		CHECK(store_draft_save(&d, "thing.json", thing_fields, &t, &e) == 0);
		CHECK(store_draft_commit(&d, &e) < 0);
		CHECK_INT(e.kind, ERR_CONFLICT);
	}
	CHECK(faccessat(node.dir, "tenants/.new-acme", F_OK, 0) < 0);
	CHECK(store_list_tenants(&names, &e) == 0);
	CHECK_INT(names.len, 1);
}

TEST(what_does_not_decode_is_damaged_and_stays)
{
	static const char *const bad[] = { "",
					   "{",
					   "{} {}",
					   "{\"schema_version\":1}",
					   "{\"schema_version\":2,\"word\":\"x\"}",
					   "{\"schema_version\":1,\"word\":\"x\",\"word\":\"y\"}",
					   "{\"schema_version\":1,\"word\":\"x\",\"more\":1}" };

	use_state();
	make_tenant("acme");
	for (size_t i = 0; i < COUNT(bad); i++) {
		cleanup_store struct store s = STORE_NONE;
		cleanup_buf struct buf text = BUF_INIT;
		struct err e = { 0 };
		struct thing t = { 0 };

		put("tenants/acme/thing.json", bad[i]);
		CHECK(store_open(&s, STORE_TENANT, &acme, &e) == 0);
		CHECK(store_load(&s, "thing.json", thing_fields, &t, &e) < 0);
		CHECK_INT(e.kind, ERR_DAMAGED);
		CHECK(strstr(e.msg, "acme/thing.json: damaged: ") != NULL);
		CHECK(e.hint[0]);
		CHECK(fd_read_file(s.dir, "thing.json", 4096, &text, &e) == 0);
		CHECK_STR(buf_text(&text), bad[i]);
	}
}

TEST(a_record_that_is_gone_is_damage_but_a_lesser_file_is_missing)
{
	cleanup_store struct store s = STORE_NONE;
	struct thing t = { 0 };
	struct err e = { 0 };

	use_state();
	make_tenant("acme");
	CHECK(store_open(&s, STORE_TENANT, &acme, &e) == 0);
	CHECK(unlinkat(s.dir, "thing.json", 0) == 0);
	CHECK(store_load(&s, "thing.json", thing_fields, &t, &e) < 0);
	CHECK_INT(e.kind, ERR_MISSING);
	CHECK(store_load_record(&s, "thing.json", thing_fields, &t, &e) < 0);
	CHECK_INT(e.kind, ERR_DAMAGED);
}

TEST(a_record_of_an_object_destroyed_meanwhile_is_missing)
{
	cleanup_store struct store s = STORE_NONE, node = STORE_NONE;
	struct thing t = { 0 };
	struct err e = { 0 };

	use_state();
	make_tenant("acme");
	CHECK(store_open(&s, STORE_TENANT, &acme, &e) == 0);
	CHECK(store_lock(&node, STORE_NODE, NULL, 0, &e) == 0);
	CHECK(store_remove(&node, "tenants", "acme", &e) == 0);
	CHECK(store_load_record(&s, "thing.json", thing_fields, &t, &e) < 0);
	CHECK_INT(e.kind, ERR_MISSING);
	CHECK(store_remove(&node, "tenants", "acme", &e) == 0); // gone already is fine
}

// Forked before the parent locks anything, so that it starts without locks of its own; runs once
// the parent has written a byte.
static pid_t waiter(int wait_ms, enum err_kind want, int *go)
{
	int pipe_fds[2];
	char byte;

	CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct store s = STORE_NONE;
		struct err e = { 0 };
		char parent[32];

		(void)close(pipe_fds[1]);
		if (read(pipe_fds[0], &byte, 1) != 1)
			_exit(9);
		base_cut(parent, sizeof(parent), "pid %d", getppid());
		if (store_lock(&s, STORE_TENANT, &acme, wait_ms, &e) == 0)
			_exit(want == ERR_KINDS ? 0 : 1);
		_exit(e.kind == want && (want != ERR_UNAVAILABLE || strstr(e.msg, parent)) ? 0 : 2);
	}
	(void)close(pipe_fds[0]);
	*go = pipe_fds[1];
	return pid;
}

static int ended(pid_t pid)
{
	int status = -1;

	CHECK(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(a_held_lock_is_unavailable_and_names_the_holder)
{
	cleanup_store struct store s = STORE_NONE;
	struct err e = { 0 };
	int go;

	use_state();
	make_tenant("acme");
	pid_t pid = waiter(30, ERR_UNAVAILABLE, &go);
	CHECK(store_lock(&s, STORE_TENANT, &acme, 0, &e) == 0);
	CHECK(write(go, "x", 1) == 1);
	CHECK_INT(ended(pid), 0);
}

TEST(a_lock_that_is_given_back_in_time_is_taken)
{
	cleanup_store struct store s = STORE_NONE;
	struct err e = { 0 };
	int go;

	use_state();
	make_tenant("acme");
	pid_t pid = waiter(60000, ERR_KINDS, &go);
	CHECK(store_lock(&s, STORE_TENANT, &acme, 0, &e) == 0);
	CHECK(write(go, "x", 1) == 1);
	(void)usleep(50000);
	store_close(&s);
	CHECK_INT(ended(pid), 0);
}

TEST(taking_a_higher_lock_while_holding_a_lower_one_is_a_bug)
{
	struct store tenant = STORE_NONE, node = STORE_NONE;
	struct err e = { 0 };
	int status = 0;

	use_state();
	make_tenant("acme");
	CHECK(store_lock(&tenant, STORE_TENANT, &acme, 0, &e) == 0);
	pid_t child = fork();
	if (child == 0) {
		(void)!freopen("/dev/null", "w", stderr);
		(void)!store_lock(&node, STORE_NODE, NULL, 0, &e);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	store_close(&tenant);
	CHECK(store_lock(&node, STORE_NODE, NULL, 0, &e) == 0);
	CHECK(store_lock(&tenant, STORE_TENANT, &acme, 0, &e) == 0); // this order is right
	store_close(&tenant);
	store_close(&node);
}

TEST(who_waited_for_the_lock_of_a_destroyed_object_finds_it_missing)
{
	cleanup_store struct store s = STORE_NONE, node = STORE_NONE;
	struct err e = { 0 };
	int go;

	use_state();
	make_tenant("acme");
	pid_t pid = waiter(60000, ERR_MISSING, &go);
	CHECK(store_lock(&node, STORE_NODE, NULL, 0, &e) == 0);
	CHECK(store_lock(&s, STORE_TENANT, &acme, 0, &e) == 0);
	CHECK(write(go, "x", 1) == 1);
	(void)usleep(50000);
	CHECK(store_remove(&node, "tenants", "acme", &e) == 0);
	store_close(&s);
	CHECK_INT(ended(pid), 0);
}

// Does the process have that file open?
static bool has_open(pid_t pid, const char *file)
{
	cleanup_free char *dir = base_printf("/proc/%d/fd", pid);
	DIR *all = opendir(dir);
	bool found = false;

	for (struct dirent *d; all && (d = readdir(all));) {
		cleanup_free char *link = base_printf("%s/%s", dir, d->d_name);
		char target[PATH_LEN] = "";

		found |= readlink(link, target, sizeof(target) - 1) > 0 && str_eq(target, file);
	}
	if (all)
		(void)closedir(all);
	return found;
}

TEST(who_waited_while_the_object_was_made_anew_locks_the_new_one)
{
	struct stat mine, now;
	struct err e = { 0 };
	path_text path, old;
	int status = 0, closed[2];
	char byte;

	use_state();
	make_tenant("acme");
	path_tenant("acme", path);
	path_tenant(".old-acme", old);
	cleanup_fd int dir = fd_open_dir(-1, path, &e);
	cleanup_fd int lock = fd_lock(dir, "lock", true, 0, &e);
	CHECK(lock >= 0);
	CHECK(pipe2(closed, O_CLOEXEC) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		cleanup_store struct store s = STORE_NONE;

		(void)close(lock); // the parent's to give back
		(void)!write(closed[1], "c", 1);
		_exit(store_lock(&s, STORE_TENANT, &acme, 60000, &e) < 0 ||
		      fstat(s.dir, &mine) < 0 || stat(path, &now) < 0 || mine.st_ino != now.st_ino);
	}
	cleanup_free char *locked = base_printf("%s/lock", path);
	CHECK(read(closed[0], &byte, 1) == 1);
	for (int i = 0; i < 5000 && !has_open(pid, locked); i++)
		(void)usleep(1000);
	CHECK(rename(path, old) == 0);
	make_tenant("acme");
	(void)close(steal_fd(&lock));
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_INT(status, 0);
}

TEST(names_are_sorted_and_dot_entries_stay_out)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	struct err e = { 0 };

	use_state();
	CHECK(store_list_tenants(&names, &e) == 0); // no node yet: nothing
	CHECK_INT(names.len, 0);
	make_tenant("b");
	make_tenant("a");
	make_tenant("c");
	put("tenants/.new-d", "");
	CHECK(store_list_tenants(&names, &e) == 0);
	CHECK_INT(names.len, 3);
	CHECK_STR(names.items[0], "a");
	CHECK_STR(names.items[2], "c");
}

TEST(a_failed_save_leaves_the_old_content)
{
	static const char *const points[] = { "replace-open:err=ENOSPC", "replace-write:err=ENOSPC",
					      "replace-fsync:err=EIO", "replace-rename:err=EIO" };
	const struct thing t = { 1, "new" };

	use_state();
	make_tenant("acme");
	for (size_t i = 0; i < COUNT(points); i++) {
		cleanup_store struct store s = STORE_NONE;
		struct thing back = { 0 };
		struct err e = { 0 };

		CHECK(store_lock(&s, STORE_TENANT, &acme, 0, &e) == 0);
		setenv("MVM_FAULT", points[i], 1);
		CHECK(store_save(&s, "thing.json", thing_fields, &t, &e) < 0);
		unsetenv("MVM_FAULT");
		CHECK(store_load(&s, "thing.json", thing_fields, &back, &e) == 0);
		CHECK_STR(back.word, "hello");
	}
}

TEST(the_sweep_removes_what_crashes_left_and_nothing_else)
{
	cleanup_buf struct buf found = BUF_INIT, again = BUF_INIT;
	struct err e = { 0 };
	path_text path;

	use_state();
	make_tenant("acme");
	path_tenant("acme", path);
	path_join(path, path, "pools");
	CHECK(mkdir(path, 0750) == 0);
	put("tenants/.new-x", "");
	put("tenants/acme/pools/.old-y", "");
	base_cut(path, sizeof(path), "%s/ids", path_state());
	CHECK(mkdir(path, 0750) == 0);
	put("ids/i-00000001", "acme/web/i-00000001 3\n");
	put("ids/.new-i-00000002-77", "");
	CHECK(store_sweep(true, 100, &found, &e) == 0);
	CHECK_STR(buf_text(&found), "/tenants/.new-x\n/tenants/acme/pools/.old-y\n/ids/"
				    ".new-i-00000002-77\n/ids/i-00000001\n");
	buf_clear(&found);
	CHECK(store_sweep(false, 100, &found, &e) == 0);
	CHECK(found.len > 0);
	CHECK(store_sweep(false, 100, &again, &e) == 0);
	CHECK_INT(again.len, 0);
	CHECK(store_exists(STORE_TENANT, &acme));
}
