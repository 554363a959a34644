// SPDX-License-Identifier: MIT
// The way to READY, logs, shutdown, and peers that lie.
#include "agent_world.h"

TEST(ready_comes_after_the_welcome)
{
	struct world g = { 0 };
	struct guest_welcome w = { 0 };
	struct guest_info info = { 0 };
	struct err e = { 0 };
	cleanup_buf struct buf taken = BUF_INIT;

	CHECK(boot(&g, &w, &info, &e) == 0);
	CHECK_INT(info.drives, GUEST_DRIVE_DATA);
	CHECK_INT(info.entrypoint_pid, 0);
	CHECK_INT(strlen(info.boot_id), 36);
	for (int i = 0; i < 4000 && fd_read_file(g.dir, "dial-ended", 8, &taken, &e) < 0; i++)
		(void)usleep(5000);
	CHECK_STR(buf_text(&taken), "1"); // the agent knows that it need not dial again
}

TEST(a_dial_that_breaks_is_followed_by_the_next)
{
	struct world g = { .drop_dial = true };
	struct guest_welcome w = { 0 };
	struct guest_info info = { 0 };
	struct err e = { 0 };

	CHECK(boot(&g, &w, &info, &e) == 0);
}

TEST(a_boot_that_fails_says_why)
{
	struct world g = { .welcome_fails = 1 };
	struct guest_welcome w = { 0 };
	struct guest_info info = { 0 };
	struct err e = { 0 };

	CHECK(boot(&g, &w, &info, &e) < 0);
	CHECK_STR(e.msg, "guest: drive mvm-data: no such luck");
	CHECK_INT(err_exit(&e), 1);
}

TEST(an_entrypoint_that_is_not_there_fails_the_boot)
{
	struct world g = { 0 };
	struct guest_welcome w = { 0 };
	struct guest_info info = { 0 };
	struct err e = { 0 };

	CHECK(guest_words_add(&w.argv, "/no/such/thing", &e) == 0);
	CHECK(boot(&g, &w, &info, &e) < 0);
	CHECK_STR(e.msg, "guest: entrypoint: /no/such/thing: No such file or directory");
	CHECK_INT(err_exit(&e), 1);
	guest_welcome_clear(&w);
}

TEST(nobody_dials_until_the_deadline_or_the_end_of_the_vmm)
{
	cleanup_fd int dir = open(tap_dir(), O_DIRECTORY | O_CLOEXEC);
	struct guest_welcome w = { 0 };
	struct guest_info info;
	struct err e = { 0 };
	int ready = fd_unix_listen(dir, "v.sock_1024", 0600, 4, &e), gone[2];

	CHECK(guest_serve_ready(ready, getuid(), -1, &w, clock_ms() + 50, &info, &e) < 0);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	CHECK(pipe2(gone, O_CLOEXEC) == 0 && close(gone[1]) == 0);
	CHECK(guest_serve_ready(ready, getuid(), gone[0], &w, clock_ms() + WAIT_MS, &info, &e) < 0);
	CHECK_INT(e.kind, ERR_FAILED);
	CHECK_STR(e.msg, "wait for the guest: the VMM has ended");
}

TEST(the_entrypoints_output_is_kept_and_its_end_is_told)
{
	struct world g = { 0 };
	struct guest_welcome w = { 0 };
	struct guest_info info = { 0 };
	struct guest_health h = { 0 };
	struct err e = { 0 };
	cleanup_fd int out = temp();
	cleanup_buf struct buf text = BUF_INIT;
	const struct guest_logs what = { .source = GUEST_LOG_ENTRYPOINT, .tail = 10 };

	CHECK(guest_words_add(&w.argv, "sh", &e) == 0 && guest_words_add(&w.argv, "-c", &e) == 0 &&
	      guest_words_add(&w.argv, "seq 1 100000; echo $E ready; exit 5", &e) == 0 &&
	      guest_words_add(&w.env, "E=is", &e) == 0);
	CHECK(boot(&g, &w, &info, &e) == 0);
	CHECK(info.entrypoint_pid > 1);
	while (h.entry_state != GUEST_ENTRY_ENDED) {
		cleanup_guest struct guest_conn *c = reach(&g);

		CHECK(guest_ask_health(c, clock_ms() + WAIT_MS, &h, &e) == 0);
	}
	CHECK_INT(WEXITSTATUS((int)h.entry_status), 5);
	// its last bytes may still be in the pipe
	for (int i = 0; i < 1000 && !str_ends(buf_text(&text), "is ready\n"); i++) {
		cleanup_guest struct guest_conn *c = reach(&g);

		(void)usleep(20000);
		CHECK(ftruncate(out, 0) == 0 && lseek(out, 0, SEEK_SET) == 0);
		CHECK(guest_ask_logs(c, &what, out, &e) == 0);
		buf_clear(&text);
		take(out, &text);
	}
	CHECK_STR(buf_text(&text), "\nis ready\n");
	guest_welcome_clear(&w);
}

TEST(a_long_log_keeps_its_end)
{
	struct world g = { 0 };
	struct guest_welcome w = { 0 };
	struct guest_info info = { 0 };
	struct err e = { 0 };
	cleanup_fd int out = temp();
	cleanup_buf struct buf text = BUF_INIT;
	const struct guest_logs what = { .source = GUEST_LOG_ENTRYPOINT };

	CHECK(guest_words_add(&w.argv, "sh", &e) == 0 && guest_words_add(&w.argv, "-c", &e) == 0 &&
	      guest_words_add(&w.argv, "seq 1 200000", &e) == 0);
	CHECK(boot(&g, &w, &info, &e) == 0);
	for (int i = 0, last = 0; i < 2000 && last < 2; i++) {
		cleanup_guest struct guest_conn *c = reach(&g);

		// What is read while it grows is more than is kept: once more when it has its end.
		last += str_ends(buf_text(&text), "\n200000\n");
		(void)usleep(20000);
		CHECK(ftruncate(out, 0) == 0 && lseek(out, 0, SEEK_SET) == 0);
		CHECK(guest_ask_logs(c, &what, out, &e) == 0);
		buf_clear(&text);
		take(out, &text);
	}
	CHECK(str_ends(buf_text(&text), "\n200000\n"));
	CHECK_INT(text.len, 256 * KIB); // and not one byte more
	guest_welcome_clear(&w);
}

TEST(shutdown_is_answered_and_then_done)
{
	struct world g = up();
	cleanup_guest struct guest_conn *c = reach(&g);
	const struct guest_down down = { "stop", 1000 };
	cleanup_buf struct buf why = BUF_INIT;
	struct err e = { 0 };

	CHECK(guest_ask_shutdown(c, &down, clock_ms() + WAIT_MS, &e) == 0);
	for (int i = 0; i < 4000 && fd_read_file(g.dir, "down", 64, &why, &e) < 0; i++)
		(void)usleep(5000);
	CHECK_STR(buf_text(&why), "stop");
}

static int open_raw(const struct world *g)
{
	const struct guest_place at = { g->dir, "v.sock", getuid(), -1 };
	struct err e = { 0 };
	int raw = guest_dial(&at, GUEST_PORT_AGENT, clock_ms() + WAIT_MS, &e);

	CHECK(raw >= 0);
	return raw;
}

// A host that talks nonsense gets an error and is let go; the agent serves the next one.
TEST(the_agent_outlives_a_hostile_host)
{
	static const struct {
		uint8_t bytes[40];
		size_t len;
	} bad[] = {
		{ "GET / HTTP/1.0\r\n\r\n", 18 },
		{ { 0xff, 0xff, 0xff, 0x7f, GUEST_EXEC, 0, 0, 0 }, 8 },
		{ { 0, 0, 0, 0, GUEST_OK, 0, 0, 0 }, 8 }, // no hello
		{ { 3, 0, 0, 0, GUEST_HELLO, 0, 0, 0, 'M', 'V', 'M' }, 11 },
		{ { 8, 0, 0, 0, GUEST_HELLO, 0, 0, 0, 'M', 'V' }, 10 }, // and then nothing
	};
	struct world g = up();
	struct guest_health h = { 0 };
	struct err e = { 0 };

	for (size_t i = 0; i < COUNT(bad); i++) {
		int raw = open_raw(&g);

		CHECK(fd_write_all(raw, bad[i].bytes, bad[i].len, &e) == 0);
		if (i + 1 < COUNT(bad)) { // hello of the agent, then its error, then the end
			cleanup_buf struct buf said = BUF_INIT;

			(void)shutdown(raw, SHUT_WR);
			if (fd_read_all(raw, 4096, &said, &e) == 0)
				CHECK(said.len >= GUEST_HEADER && said.data[4] == GUEST_HELLO);
			(void)close(raw);
		} // the last one stays open
	}
	cleanup_guest struct guest_conn *c = reach(&g);
	CHECK(guest_ask_health(c, clock_ms() + WAIT_MS, &h, &e) == 0);
	CHECK(h.ready);
}

// More on stdin than the window allows: the connection ends, nothing is kept for it.
TEST(a_host_cannot_make_the_agent_hoard)
{
	struct world g = up();
	struct guest_hello hello = { GUEST_VERSION, GUEST_VERSION, "bad" };
	struct guest_exec x = { 0 };
	cleanup_buf struct buf b = BUF_INIT;
	static const char data[GUEST_DATA_MAX];
	struct err e = { 0 };
	int raw = open_raw(&g);
	size_t mark;

	mark = guest_frame_begin(&b, GUEST_HELLO, 0);
	guest_hello_put(&b, &hello);
	guest_frame_end(&b, mark);
	CHECK(guest_words_add(&x.argv, "sleep", &e) == 0 &&
	      guest_words_add(&x.argv, "60", &e) == 0);
	mark = guest_frame_begin(&b, GUEST_EXEC, 0);
	guest_exec_put(&b, &x);
	guest_frame_end(&b, mark);
	for (int i = 0; i < 40; i++) // the pipe takes 64 KiB, the window is as much again
		guest_frame_put(&b, GUEST_DATA, GUEST_STDIN, data, sizeof(data));
	(void)signal(SIGPIPE, SIG_IGN);
	(void)!fd_write_all(raw, b.data, b.len, &e);
	struct pollfd p = { .fd = raw, .events = POLLRDHUP };
	CHECK(poll(&p, 1, WAIT_MS) == 1 && (p.revents & POLLRDHUP));
	(void)close(raw);
	guest_exec_clear(&x);
}

// What the guest says is not believed either.
TEST(the_host_refuses_what_a_hostile_agent_sends)
{
	static const struct {
		uint8_t bytes[24];
		size_t len;
	} bad[] = {
		{ { 0, 0, 0, 0, GUEST_EXIT, 0, 0, 0 }, 8 }, // before STARTED
		{ { 0xff, 0xff, 0xff, 0xff, GUEST_DATA, 0, 1, 0 }, 8 },
		{ { 4, 0, 0, 0, GUEST_STARTED, 0, 0, 0, 1,  0, 0, 0,
		    1, 0, 0, 0, GUEST_DATA,    0, 0, 0, 'x' },
		  21 },							    // output on stdin
		{ { 4, 0, 0, 0, GUEST_STARTED, 0, 0, 0, 1, 0, 0, 0 }, 12 }, // and then gone
	};

	for (size_t i = 0; i < COUNT(bad); i++) {
		struct guest_hello hello = { GUEST_VERSION, GUEST_VERSION, "bad" };
		cleanup_guest struct guest_conn *c = NULL;
		cleanup_buf struct buf b = BUF_INIT;
		struct guest_exec x = { 0 };
		const struct guest_io io = { -1, -1, -1, -1, clock_ms() + WAIT_MS, 0 };
		struct err e = { 0 };
		int fds[2], status;
		size_t mark;

		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
		mark = guest_frame_begin(&b, GUEST_HELLO, 0);
		guest_hello_put(&b, &hello);
		guest_frame_end(&b, mark);
		buf_add(&b, bad[i].bytes, bad[i].len);
		CHECK(fd_write_all(fds[1], b.data, b.len, &e) == 0 &&
		      shutdown(fds[1], SHUT_WR) == 0);
		CHECK(guest_open_fd(fds[0], clock_ms() + WAIT_MS, &c, &e) == 0);
		CHECK(guest_words_add(&x.argv, "true", &e) == 0);
		CHECK(guest_run(c, &x, &io, &status, &e) < 0);
		CHECK_INT(err_exit(&e), i < 2 ? 1 : 125); // the table's own until it has started
		guest_exec_clear(&x);
		(void)close(fds[1]);
	}
}

TEST(only_a_socket_of_the_vms_user_is_connected_to)
{
	cleanup_fd int dir = open(tap_dir(), O_DIRECTORY | O_CLOEXEC);
	struct guest_place at = { dir, "v.sock", getuid(), -1 };
	struct err e = { 0 };
	int listener;

	CHECK(guest_dial(&at, 1, clock_ms() + 100, &e) < 0 && e.kind == ERR_UNAVAILABLE);
	listener = fd_unix_listen(dir, "real", 0600, 4, &e);
	CHECK(listener >= 0 && symlinkat("real", dir, "v.sock") == 0);
	CHECK(guest_dial(&at, 1, clock_ms() + 100, &e) < 0 && e.kind == ERR_DENIED);
	CHECK(unlinkat(dir, "v.sock", 0) == 0 &&
	      close(openat(dir, "v.sock", O_CREAT | O_WRONLY, 0600)) == 0);
	CHECK(guest_dial(&at, 1, clock_ms() + 100, &e) < 0 && e.kind == ERR_DENIED);
	at.name = "real";
	at.uid = getuid() + 1;
	CHECK(guest_dial(&at, 1, clock_ms() + 100, &e) < 0 && e.kind == ERR_DENIED);
	at.uid = getuid();
	// Nobody accepts: a guest whose driver is not up yet never answers.
	CHECK(guest_dial(&at, 1, clock_ms() + 100, &e) < 0 && e.kind == ERR_TIMEOUT);
}
