// SPDX-License-Identifier: MIT
// Commands in a guest.
#include "agent_world.h"

TEST(streams_stay_apart_and_the_status_is_the_commands)
{
	struct world g = up();
	cleanup_ran struct ran r;

	run_sh(&g, "echo out; echo err >&2; exit 7", -1, &r);
	CHECK_INT(r.r, 0);
	CHECK(WIFEXITED(r.status));
	CHECK_INT(WEXITSTATUS(r.status), 7);
	CHECK_STR(buf_text(&r.out), "out\n");
	CHECK_STR(buf_text(&r.err), "err\n");
}

TEST(a_signal_is_told_as_one)
{
	struct world g = up();
	cleanup_ran struct ran r;

	run_sh(&g, "kill -KILL $$", -1, &r);
	CHECK_INT(r.r, 0);
	CHECK(WIFSIGNALED(r.status));
	CHECK_INT(WTERMSIG(r.status), SIGKILL);
}

TEST(what_cannot_be_run_is_126_or_127)
{
	struct world g = up();
	cleanup_free char *plain = base_printf("%s/plain", tap_dir());
	const struct {
		const char *word;
		int exit;
	} rows[] = { { "/no/such/program", 127 },
		     { "no-such-program", 127 },
		     { plain, 126 },
		     { "/etc", 126 } };

	CHECK(close(openat(g.dir, "plain", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) == 0);

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct guest_exec x = { 0 };
		cleanup_ran struct ran r;
		struct err e = { 0 };

		CHECK(guest_words_add(&x.argv, rows[i].word, &e) == 0);
		run_spec(&g, &x, -1, 0, &r);
		CHECK(r.r < 0);
		CHECK_INT(err_exit(&r.e), rows[i].exit);
		guest_exec_clear(&x);
	}
}

TEST(environment_directory_and_user_are_as_asked)
{
	struct world g = up();
	struct guest_exec x = { .cwd = "/tmp" };
	cleanup_ran struct ran r, missing, nobody;
	struct err e = { 0 };

	CHECK(guest_words_add(&x.argv, "sh", &e) == 0 && guest_words_add(&x.argv, "-c", &e) == 0 &&
	      guest_words_add(&x.argv, "echo $FROM $MINE ${PATH:+path}; pwd", &e) == 0 &&
	      guest_words_add(&x.env, "MINE=a b", &e) == 0);
	run_spec(&g, &x, -1, 0, &r);
	CHECK_STR(buf_text(&r.out), "welcome a b path\n/tmp\n");
	CHECK(COPY(x.cwd, "/no/such/dir") == 0);
	run_spec(&g, &x, -1, 0, &missing);
	CHECK(missing.r < 0 && missing.e.kind == ERR_MISSING);
	CHECK(COPY(x.cwd, "") == 0 && COPY(x.user, "no-such-user") == 0);
	run_spec(&g, &x, -1, 0, &nobody);
	CHECK(nobody.r < 0 && nobody.e.kind == ERR_MISSING);
	CHECK_STR(nobody.e.msg, "guest: no user 'no-such-user' in the guest");
	guest_exec_clear(&x);
}

TEST(megabytes_go_both_ways_at_once)
{
	struct world g = up();
	cleanup_fd int in = temp();
	cleanup_buf struct buf sent = BUF_INIT;
	cleanup_ran struct ran r;
	struct err e = { 0 };

	for (uint32_t i = 0, v = 1; i < 2 * MIB; i++, v = v * 1664525 + 1013904223)
		buf_char(&sent, (char)(v >> 24));
	CHECK(fd_write_all(in, sent.data, sent.len, &e) == 0 && lseek(in, 0, SEEK_SET) == 0);
	run_sh(&g, "tee /dev/stderr", in, &r);
	CHECK_INT(r.r, 0);
	CHECK(r.out.len == sent.len && memcmp(r.out.data, sent.data, sent.len) == 0);
	CHECK(r.err.len == sent.len && memcmp(r.err.data, sent.data, sent.len) == 0);
}

TEST(a_command_that_reads_nothing_holds_nobody_up)
{
	struct world g = up();
	cleanup_fd int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	cleanup_ran struct ran r;

	run_sh(&g, "exec 0<&-; sleep 0.1; exit 3", zero, &r);
	CHECK_INT(r.r, 0);
	CHECK_INT(WEXITSTATUS(r.status), 3);
}

TEST(the_end_of_stdin_reaches_the_command)
{
	struct world g = up();
	cleanup_fd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	cleanup_ran struct ran r, none;

	run_sh(&g, "cat; echo done", null, &r);
	CHECK_STR(buf_text(&r.out), "done\n");
	run_sh(&g, "cat; echo done", -1, &none);
	CHECK_STR(buf_text(&none.out), "done\n");
}

TEST(what_stays_in_the_background_does_not_hold_the_caller)
{
	struct world g = up();
	cleanup_ran struct ran r;
	int64_t begun = clock_ms();

	run_sh(&g, "sleep 30 & head -c 300000 /dev/zero | tr '\\0' x", -1, &r);
	CHECK_INT(r.r, 0);
	CHECK_INT(r.out.len, 300000); // all that was its own
	CHECK(clock_ms() - begun < 25000);
}

TEST(a_deadline_ends_the_command)
{
	struct world g = up();
	struct guest_exec x = { 0 };
	cleanup_ran struct ran r;
	struct err e = { 0 };
	int64_t begun = clock_ms();
	cleanup_free char *script = base_printf(
		"cd %s; trap 'echo >termed; exit' TERM; echo >set; sleep 60 & wait", tap_dir());

	CHECK(guest_words_add(&x.argv, "sh", &e) == 0 && guest_words_add(&x.argv, "-c", &e) == 0 &&
	      guest_words_add(&x.argv, script, &e) == 0);
	run_spec(&g, &x, -1, 300, &r);
	CHECK(r.r < 0 && r.e.kind == ERR_TIMEOUT);
	CHECK(clock_ms() - begun < 50000);
	// TERM was enough: whoever was ready for it has had it, and a shell that was not has gone
	// by it.
	CHECK(faccessat(g.dir, "termed", F_OK, 0) == 0 || faccessat(g.dir, "set", F_OK, 0) < 0);
	guest_exec_clear(&x);
}

// The file is a lock that the command's shell holds.
TEST(a_host_that_goes_away_takes_its_command_along)
{
	struct world g = up();
	char script[200];
	pid_t host;
	int lock = -1;
	struct err e = { 0 };

	CHECK(base_fmt(script, sizeof(script), "cd %s; echo x >begun; exec flock held sleep 60",
		       tap_dir()) == 0);
	host = fork();
	if (host == 0) {
		cleanup_ran struct ran r;

		run_sh(&g, script, -1, &r);
		_exit(0);
	}
	while (faccessat(g.dir, "held", F_OK, 0) < 0)
		(void)usleep(5000);
	CHECK(kill(host, SIGKILL) == 0 && waitpid(host, NULL, 0) == host);
	lock = fd_lock(g.dir, "held", true, 10000, &e);
	CHECK(lock >= 0);
}

TEST(no_more_than_64_commands_run_at_once)
{
	struct world g = up();
	struct guest_exec x = { 0 };
	cleanup_ran struct ran r;
	struct err e = { 0 };
	int go[2];

	CHECK(pipe2(go, 0) == 0);
	CHECK(guest_words_add(&x.argv, "cat", &e) == 0);
	for (unsigned i = 0; i < GUEST_EXECS; i++) {
		if (fork() == 0) {
			(void)close(go[1]);
			run_spec(&g, &x, go[0], 0, &r);
			_exit(r.r == 0 ? 0 : 1);
		}
	}
	for (struct guest_health h = { 0 }; h.execs < GUEST_EXECS;) {
		cleanup_guest struct guest_conn *c = reach(&g);

		CHECK(guest_ask_health(c, clock_ms() + WAIT_MS, &h, &e) == 0);
	}
	run_spec(&g, &x, -1, 0, &r);
	CHECK(r.r < 0 && r.e.kind == ERR_QUOTA);
	(void)close(go[1]);
	for (unsigned i = 0; i < GUEST_EXECS; i++) {
		int status;

		CHECK(wait(&status) > 0);
		// the agent is a child of this case, too, and lives on
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	guest_exec_clear(&x);
}

TEST(a_command_starts_with_nothing_of_the_agents)
{
	struct world g = up(); // which ignores SIGPIPE and blocks SIGCHLD
	cleanup_ran struct ran r;

	run_sh(&g,
	       "readlink /proc/self/fd/0;"
	       "grep -E '^(SigBlk|SigIgn):' /proc/self/status | cut -f 2",
	       -1, &r);
	CHECK_INT(r.r, 0);
	CHECK_STR(buf_text(&r.out), "/dev/null\n0000000000000000\n0000000000000000\n");
}

// The search for the program is by the command's own PATH, and leaves the agent's environment be.
TEST(the_commands_path_finds_the_command)
{
	struct world g = up();
	cleanup_free char *path = base_printf("PATH=%s:/nowhere", tap_dir());
	struct guest_exec x = { 0 };
	cleanup_ran struct ran r, plain;
	struct err e = { 0 };
	int fd = openat(g.dir, "mine", O_CREAT | O_WRONLY | O_CLOEXEC, 0700);

	CHECK(dprintf(fd, "#!/bin/sh\necho mine\n") > 0 && close(fd) == 0);
	CHECK(guest_words_add(&x.argv, "mine", &e) == 0 && guest_words_add(&x.env, path, &e) == 0);
	run_spec(&g, &x, -1, 0, &r);
	CHECK_INT(r.r, 0);
	CHECK_STR(buf_text(&r.out), "mine\n");
	guest_exec_clear(&x);
	run_sh(&g, "mine", -1, &plain);
	CHECK_INT(plain.r, 0);
	CHECK_INT(WEXITSTATUS(plain.status), 127);
}
