// SPDX-License-Identifier: MIT
// Trees into and out of a guest, and what a stream that means harm can do.
#include "agent_world.h"

#include "base/proc.h"

static char *in_dir(const char *name)
{
	return base_printf("%s/%s", tap_dir(), name);
}

static void sh(const char *script)
{
	const char *const argv[] = { "sh", "-ec", script, tap_dir(), NULL };
	cleanup_proc_result struct proc_result r = { 0 };
	struct err e = { 0 };

	if (proc_capture(argv, NULL, MIB, 60000, &r, &e) < 0 || r.status)
		tap_fail(__FILE__, __LINE__, "%s: %d %s %s", script, r.status, r.last_line, e.msg);
}

// A tree with one of everything, below "from".
static void make_tree(void)
{
	sh("cd $0; mkdir -p from/sub/empty; printf hello >from/a; : >from/nothing; "
	   "head -c 300000 /dev/urandom >from/sub/big; ln -s ../a from/sub/l; ln -s /etc/x "
	   "from/abs; "
	   "chmod 640 from/a; chmod 4755 from/sub/big; chmod 1777 from/sub/empty; mkfifo "
	   "from/fifo; "
	   "touch -d '2001-02-03 04:05:06.789' from/a; touch -h -d 2002-02-02 from/abs; "
	   "touch -d 2003-03-03 from/sub; chmod 555 from/sub");
}

static int copy_in(const struct world *g, const char *local, const char *path, struct guest_copy *k,
		   struct err *e)
{
	cleanup_guest struct guest_conn *c = reach(g);

	k->local = local;
	k->idle_ms = WAIT_MS;
	if (!k->want.max_size)
		k->want.max_size = FILES_MAX_SIZE;
	CHECK(COPY(k->want.path, path) == 0);
	if (local)
		CHECK(files_name(local, k->want.name, e) == 0);
	else
		k->want.flags |= GUEST_FILES_STREAM;
	return guest_copy_in(c, k, e);
}

static int copy_out(const struct world *g, const char *path, const char *local,
		    struct guest_copy *k, struct err *e)
{
	cleanup_guest struct guest_conn *c = reach(g);
	int r;

	k->local = local;
	k->idle_ms = WAIT_MS;
	if (!k->rules.max_size)
		k->rules.max_size = FILES_MAX_SIZE;
	CHECK(COPY(k->want.path, path) == 0);
	CHECK(files_name(path, k->want.name, e) == 0);
	if (local && files_aim(local, k->want.name, false, &k->target, e) < 0)
		return -e->no;
	r = guest_copy_out(c, k, e);
	if (local)
		files_target_close(&k->target);
	return r;
}

TEST(a_tree_goes_in_and_out_and_is_the_same)
{
	struct world g = up();
	cleanup_free char *from = in_dir("from"), *to = in_dir("to"), *back = in_dir("back");
	struct guest_copy in = { .target = FILES_TARGET_NONE },
			  out = { .target = FILES_TARGET_NONE };
	struct err e = { 0 };

	make_tree();
	CHECK_INT(copy_in(&g, from, to, &in, &e), 0);
	CHECK_STR(e.msg, "");
	CHECK_INT(in.count.files, 3);
	CHECK_INT(in.count.directories, 3);
	CHECK_INT(in.count.links, 2);
	CHECK_INT(in.count.bytes, 300005);
	CHECK_INT(in.count.skipped, 1);
	CHECK_INT(copy_out(&g, to, back, &out, &e), 0);
	CHECK_STR(e.msg, "");
	CHECK_INT(out.count.bytes, 300005);
	sh("cd $0; rm from/fifo; diff -r --no-dereference from to; diff -r --no-dereference from "
	   "back; "
	   "for i in to back; do "
	   "(cd from; find . -printf '%p %y %m %T@ %l\n' | sort) | grep -v '^\\. ' | sed 's/ 4755/ "
	   "755/' >want; "
	   "(cd $i; find . -printf '%p %y %m %T@ %l\n' | sort) | grep -v '^\\. ' >got; diff want "
	   "got; done");
}

TEST(cp_s_last_word_is_a_name_or_a_directory)
{
	struct world g = up();
	cleanup_free char *file = in_dir("f"), *name = in_dir("new"), *dir = in_dir("d"),
			  *slash = in_dir("none/"), *deep = in_dir("no/such"), *tree = in_dir("t"),
			  *contents = in_dir("t/."), *onto = in_dir("onto");
	struct guest_copy k = { .target = FILES_TARGET_NONE };
	struct err e = { 0 };

	sh("cd $0; echo one >f; mkdir d t t/s onto; echo two >t/s/x");
	CHECK_INT(copy_in(&g, file, name, &k, &e), 0);
	CHECK_INT(copy_in(&g, file, dir, &k, &e), 0);
	CHECK_INT(copy_in(&g, tree, dir, &k, &e), 0);
	CHECK_INT(copy_in(&g, contents, onto, &k, &e), 0);
	CHECK_STR(e.msg, "");
	sh("cd $0; cmp f new; cmp f d/f; cmp t/s/x d/t/s/x; cmp t/s/x onto/s/x; "
	   "[ $(find . -name '.mvm*' | wc -l) = 0 ]");
	CHECK(copy_in(&g, file, slash, &k, &e) < 0 && e.kind == ERR_MISSING);
	err_clear(&e);
	CHECK(copy_in(&g, file, deep, &k, &e) < 0 && e.kind == ERR_MISSING);
	err_clear(&e);
	CHECK(copy_in(&g, tree, file, &k, &e) < 0 && e.kind == ERR_CONFLICT);
	sh("cd $0; [ \"$(cat f)\" = one ]");
	err_clear(&e);
	CHECK(copy_out(&g, deep, name, &k, &e) < 0 && e.kind == ERR_MISSING);
	CHECK(strstr(e.msg, "guest: open"));
	sh("cd $0; cmp f new");
}

TEST(a_file_is_replaced_whole_and_a_link_is_not_followed)
{
	struct world g = up();
	cleanup_free char *file = in_dir("f"), *to = in_dir("to");
	struct guest_copy k = { .target = FILES_TARGET_NONE };
	struct err e = { 0 };

	sh("cd $0; echo new >f; echo old >victim; ln -s victim to");
	CHECK_INT(copy_in(&g, file, to, &k, &e), 0);
	sh("cd $0; [ ! -h to ]; cmp f to; [ \"$(cat victim)\" = old ]");
}

TEST(more_than_the_limit_is_not_written)
{
	struct world g = up();
	cleanup_free char *file = in_dir("f"), *to = in_dir("to");
	struct guest_copy in = { .target = FILES_TARGET_NONE, .want.max_size = 99999 },
			  out = { .target = FILES_TARGET_NONE, .rules.max_size = 99999 };
	struct err e = { 0 };

	sh("cd $0; head -c 100000 /dev/zero >f");
	CHECK(copy_in(&g, file, to, &in, &e) < 0);
	CHECK_INT(e.kind, ERR_QUOTA);
	err_clear(&e);
	CHECK(copy_out(&g, file, to, &out, &e) < 0);
	CHECK_INT(e.kind, ERR_QUOTA);
	sh("cd $0; [ ! -e to ]; [ $(find . -name '.mvm*' | wc -l) = 0 ]");
}

TEST(what_proc_has_comes_whole_although_it_says_it_is_empty)
{
	struct world g = up();
	cleanup_free char *to = in_dir("to");
	struct guest_copy k = { .target = FILES_TARGET_NONE };
	struct err e = { 0 };

	CHECK_INT(copy_out(&g, "/proc/version", to, &k, &e), 0);
	sh("cmp /proc/version $0/to");
}

TEST(a_stream_of_tar_is_taken_and_given)
{
	struct world g = up();
	cleanup_free char *dir = in_dir("dir"), *tar = in_dir("s.tar"),
			  *again = in_dir("again.tar");
	cleanup_fd int in = -1, out = -1;
	struct guest_copy k = { .target = FILES_TARGET_NONE }, o = { .target = FILES_TARGET_NONE };
	struct err e = { 0 };

	make_tree();
	sh("cd $0; rm from/fifo; mkdir dir; tar -C from -cf s.tar .");
	in = open(tar, O_RDONLY | O_CLOEXEC);
	k.fd = in;
	CHECK_INT(copy_in(&g, NULL, dir, &k, &e), 0);
	CHECK_STR(e.msg, "");
	CHECK_INT(k.count.files, 3);
	sh("cd $0; diff -r --no-dereference from dir");
	out = open(again, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	o.fd = out;
	CHECK_INT(copy_out(&g, dir, NULL, &o, &e), 0);
	sh("cd $0; mkdir x; tar -C x -xf again.tar; diff -r --no-dereference from x/dir");
}

TEST(no_stream_gets_out_of_its_target)
{
	struct world g = up();
	cleanup_free char *dir = in_dir("jail"), *path = in_dir("evil.tar");
	static const char *const scripts[] = {
		// through a link that the stream itself has made, relative and absolute
		"cd $0; rm -rf w; mkdir w; ln -s .. w/out; tar -C w -cf evil.tar out; rm w/out; "
		"mkdir w/out; "
		"echo bad >w/out/escaped; tar -C w -rf evil.tar out/escaped",
		"cd $0; rm -rf w; mkdir w; ln -s $0 w/out; tar -C w -cf evil.tar out; rm w/out; "
		"mkdir w/out; "
		"echo bad >w/out/escaped; tar -C w -rf evil.tar out/escaped",
		"cd $0; rm -rf w; mkdir w; echo bad >escaped; tar -P -cf evil.tar $0/escaped; rm "
		"escaped",
		"cd $0; rm -rf w; mkdir w; echo bad >escaped; tar -P -C w -cf evil.tar ../escaped; "
		"rm escaped",
		"cd $0; rm -rf w; mkdir w; mknod w/null c 1 3 || mkfifo w/null; tar -C w -cf "
		"evil.tar null",
	};
	struct err e = { 0 };

	for (size_t i = 0; i < COUNT(scripts); i++) {
		struct guest_copy k = { .target = FILES_TARGET_NONE };
		cleanup_fd int in = -1;

		sh("cd $0; rm -rf jail; mkdir jail; echo secret >secret");
		sh(scripts[i]);
		in = open(path, O_RDONLY | O_CLOEXEC);
		k.fd = in;
		err_clear(&e);
		if (copy_in(&g, NULL, dir, &k, &e) == 0)
			tap_fail(__FILE__, __LINE__, "row %zu was taken", i);
		CHECK_INT(e.kind, ERR_DENIED);
		sh("cd $0; [ ! -e escaped ]; [ ! -c jail/null ]; [ ! -p jail/null ]; "
		   "[ $(stat -c %h secret) = 1 ]; [ $(find . -name '.mvm*' | wc -l) = 0 ]");
	}
}

TEST(a_hard_link_to_what_lies_outside_or_is_no_file_is_denied)
{
	static const char *const links[] = { "../secret", "/etc/passwd", "l", "d" };
	struct world g = up();
	cleanup_free char *dir = in_dir("jail");

	for (size_t i = 0; i < COUNT(links); i++) {
		struct guest_copy k = { .target = FILES_TARGET_NONE };
		struct tar_entry en = { .type = TAR_HARDLINK, .path = "h" };
		cleanup_buf struct buf b = BUF_INIT;
		cleanup_fd int in = temp();
		struct err e = { 0 };

		sh("cd $0; rm -rf jail; mkdir jail jail/d; echo secret >secret; ln -s ../secret "
		   "jail/l");
		(void)!COPY(en.link, links[i]);
		tar_put_header(&b, &en);
		tar_put_end(&b);
		CHECK(fd_write_all(in, b.data, b.len, &e) == 0 && lseek(in, 0, SEEK_SET) == 0);
		k.fd = in;
		CHECK(copy_in(&g, NULL, dir, &k, &e) < 0 && e.kind == ERR_DENIED);
		sh("cd $0; [ ! -e jail/h ]; [ $(stat -c %h secret) = 1 ]");
	}
}

// An agent that is not ours: what is written goes to the host after both hellos and its request.
static struct guest_conn *hostile(void (*talk)(int fd))
{
	struct guest_hello hello = { GUEST_VERSION, GUEST_VERSION, "evil" };
	cleanup_buf struct buf b = BUF_INIT, frame = BUF_INIT;
	struct guest_conn *c = NULL;
	struct err e = { 0 };
	int pair[2];

	(void)signal(SIGPIPE, SIG_IGN);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	if (fork() == 0) {
		(void)close(pair[0]);
		guest_hello_put(&b, &hello);
		guest_frame_put(&frame, GUEST_HELLO, 0, b.data, b.len);
		CHECK(fd_write_all(pair[1], frame.data, frame.len, &e) == 0);
		talk(pair[1]);
		_exit(0);
	}
	(void)close(pair[1]);
	CHECK(guest_open_fd(pair[0], clock_ms() + WAIT_MS, &c, &e) == 0);
	return c;
}

static void send_frame(int fd, enum guest_type type, uint16_t stream, const void *p, size_t len)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct err e = { 0 };

	guest_frame_put(&b, type, stream, p, len);
	if (fd_write_all(fd, b.data, b.len, &e) < 0)
		_exit(0);
}

static void started(int fd)
{
	send_frame(fd, GUEST_STARTED, 0, "\1\0\0\0", 4);
}

static void send_tar(int fd, const struct tar_entry *en, const char *content)
{
	cleanup_buf struct buf b = BUF_INIT;

	tar_put_header(&b, en);
	buf_str(&b, content);
	tar_put_pad(&b, strlen(content));
	send_frame(fd, GUEST_DATA, GUEST_STDOUT, b.data, b.len);
}

static void finish(int fd)
{
	struct guest_files_done done = { 0 };
	cleanup_buf struct buf end = BUF_INIT, b = BUF_INIT;

	tar_put_end(&end);
	guest_files_done_put(&b, &done);
	send_frame(fd, GUEST_DATA, GUEST_STDOUT, end.data, end.len);
	send_frame(fd, GUEST_DATA, GUEST_STDERR, b.data, b.len);
	send_frame(fd, GUEST_EXIT, 0, "\0\0\0\0", 4);
	// until the host has taken all and closed
	char c;
	while (read(fd, &c, 1) > 0)
		;
}

static void tell_other_root(int fd)
{
	const struct tar_entry en = { .type = TAR_FILE, .path = "other", .size = 1, .mode = 0644 };

	started(fd);
	send_tar(fd, &en, "x");
	finish(fd);
}

static void tell_link_out(int fd)
{
	struct tar_entry en = { .type = TAR_SYMLINK, .path = "tree/l" };

	started(fd);
	(void)!COPY(en.link, tap_dir());
	send_tar(fd, &(struct tar_entry){ .type = TAR_DIRECTORY, .path = "tree", .mode = 0755 },
		 "");
	send_tar(fd, &en, "");
	send_tar(fd,
		 &(struct tar_entry){
			 .type = TAR_FILE, .path = "tree/l/escaped", .size = 1, .mode = 0644 },
		 "x");
	finish(fd);
}

static void tell_set_id(int fd)
{
	const struct tar_entry en = { .type = TAR_FILE, .path = "tree", .size = 1, .mode = 07755 };

	started(fd);
	send_tar(fd, &en, "x");
	finish(fd);
}

static void tell_without_end(int fd)
{
	char zeros[GUEST_DATA_MAX] = "";
	const struct tar_entry en = { .type = TAR_FILE, .path = "tree", .size = (uint64_t)1 << 40 };

	started(fd);
	send_tar(fd, &en, "");
	for (;;)
		send_frame(fd, GUEST_DATA, GUEST_STDOUT, zeros, sizeof(zeros));
}

static void tell_many(int fd)
{
	started(fd);
	for (unsigned i = 0;; i++) {
		struct tar_entry en = { .type = TAR_DIRECTORY, .mode = 0755 };

		(void)snprintf(en.path, sizeof(en.path), "tree/%u", i);
		send_tar(fd, &en, "");
	}
}

static void tell_nothing(int fd)
{
	started(fd);
	(void)fd;
	(void)sleep(30);
}

static void tell_not_even_started(int fd)
{
	send_frame(fd, GUEST_HEALTH, 0, NULL, 0);
	(void)sleep(30);
}

static void tell_bad_length(int fd)
{
	static const uint8_t head[] = { 255, 255, 255, 127, GUEST_DATA, 0, 1, 0 };

	started(fd);
	(void)!write(fd, head, sizeof(head));
	(void)sleep(30);
}

static void tell_too_many_words(int fd)
{
	char text[1000] = "";

	started(fd);
	for (int i = 0; i < 100; i++)
		send_frame(fd, GUEST_DATA, GUEST_STDERR, text, sizeof(text));
	(void)sleep(30);
}

static void tell_half(int fd)
{
	const struct tar_entry en = { .type = TAR_FILE, .path = "tree", .size = 100, .mode = 0644 };

	started(fd);
	send_tar(fd, &en, "x");
}

TEST(a_hostile_agent_writes_nothing_outside_and_holds_nobody_up)
{
	static const struct {
		void (*talk)(int fd);
		enum err_kind kind;
	} rows[] = {
		// Those that send more than the window allows fail by that, or by the size.
		{ tell_other_root, ERR_DENIED }, { tell_link_out, ERR_DENIED },
		{ tell_without_end, ERR_KINDS }, { tell_many, ERR_KINDS },
		{ tell_nothing, ERR_TIMEOUT },	 { tell_not_even_started, ERR_FAILED },
		{ tell_bad_length, ERR_FAILED }, { tell_too_many_words, ERR_FAILED },
		{ tell_half, ERR_UNAVAILABLE },
	};
	cleanup_free char *to = in_dir("to");

	for (size_t i = 0; i < COUNT(rows); i++) {
		cleanup_guest struct guest_conn *c = hostile(rows[i].talk);
		struct guest_copy k = { .target = FILES_TARGET_NONE,
					.local = to,
					.rules.max_size = 200000,
					.idle_ms = rows[i].kind == ERR_TIMEOUT ? 300 : WAIT_MS,
					.want = { .path = "tree", .name = "tree" } };
		struct err e = { 0 };
		int64_t start = clock_ms();

		sh("cd $0; rm -rf to; mkdir to");
		CHECK(files_aim(to, "tree", false, &k.target, &e) == 0);
		CHECK(guest_copy_out(c, &k, &e) < 0);
		files_target_close(&k.target);
		if (rows[i].kind == ERR_KINDS ? e.kind != ERR_QUOTA && e.kind != ERR_FAILED
					      : e.kind != rows[i].kind)
			tap_fail(__FILE__, __LINE__, "row %zu: kind %d: %s", i, e.kind, e.msg);
		CHECK(clock_ms() - start < 15000);
		sh("cd $0; [ ! -e escaped ]; [ ! -e other ]; [ ! -f to/tree ]; "
		   "[ $(find . -name '.mvm*' | wc -l) = 0 ]");
	}
}

TEST(set_id_bits_do_not_come_out_of_a_guest)
{
	cleanup_guest struct guest_conn *c = hostile(tell_set_id);
	cleanup_free char *to = in_dir("to");
	struct guest_copy k = { .target = FILES_TARGET_NONE,
				.local = to,
				.rules = { .archive = getuid() == 0, .max_size = MIB },
				.idle_ms = WAIT_MS,
				.want = { .path = "tree", .name = "tree" } };
	struct err e = { 0 };

	CHECK(files_aim(to, "tree", false, &k.target, &e) == 0);
	CHECK_INT(guest_copy_out(c, &k, &e), 0);
	CHECK_STR(e.msg, "");
	files_target_close(&k.target);
	sh("[ $(stat -c %a $0/to) = 755 ]");
}

TEST(a_filtered_stream_has_clean_entries_only)
{
	static void (*const rows[])(int fd) = { tell_set_id, tell_half, tell_without_end,
						tell_many };

	for (size_t i = 0; i < COUNT(rows); i++) {
		cleanup_guest struct guest_conn *c = hostile(rows[i]);
		cleanup_fd int out = temp();
		struct guest_copy k = { .target = FILES_TARGET_NONE,
					.fd = out,
					.rules.max_size = 200000,
					.idle_ms = WAIT_MS,
					.want = { .path = "tree", .name = "tree" } };
		struct err e = { 0 };

		CHECK_INT(guest_copy_out(c, &k, &e) < 0, i > 0);
		CHECK(lseek(out, 0, SEEK_END) < (off_t)(MIB));
	}
}
