// SPDX-License-Identifier: MIT
// Terminals and named sessions, both ends.
#include "agent_world.h"

#include <sys/ioctl.h>
#include <termios.h>

#include "guest/agent_session.h"
#include "guest/host_session.h"

static void words_sh(struct guest_words *w, const char *script)
{
	struct err e = { 0 };

	CHECK(guest_words_add(w, "sh", &e) == 0 && guest_words_add(w, "-c", &e) == 0 &&
	      guest_words_add(w, script, &e) == 0);
}

// --- terminals ---------------------------------------------------------------------------------

static void run_tty(const struct world *g, const char *script, int in, struct ran *r)
{
	struct guest_exec x = { .flags = GUEST_EXEC_TTY };

	words_sh(&x.argv, script);
	run_spec(g, &x, in, 0, r);
	guest_exec_clear(&x);
}

TEST(a_command_gets_a_terminal_and_its_true_status)
{
	struct world g = up();
	cleanup_ran struct ran where, seven, killed, size;

	run_tty(&g, "tty; test -t 0 && test -t 1 && test -t 2 && echo all", -1, &where);
	CHECK(strncmp(buf_text(&where.out), "/dev/pts/", 9) == 0);
	CHECK(strstr(buf_text(&where.out), "\r\nall\r\n"));
	CHECK_INT(where.err.len, 0);
	run_tty(&g, "exit 7", -1, &seven);
	CHECK_INT(WEXITSTATUS(seven.status), 7);
	run_tty(&g, "kill -KILL $$", -1, &killed);
	CHECK(WIFSIGNALED(killed.status) && WTERMSIG(killed.status) == SIGKILL);
	run_tty(&g, "stty size", -1, &size);
	CHECK_STR(buf_text(&size.out), "24 80\r\n");
}

TEST(a_terminals_output_is_sent_to_its_last_byte)
{
	struct world g = up();
	cleanup_ran struct ran r;

	run_tty(&g, "stty -opost; head -c 900000 /dev/zero | tr '\\0' x; printf end", -1, &r);
	CHECK_INT(r.out.len, 900003);
	CHECK(r.out.len > 3 && memcmp(r.out.data + r.out.len - 3, "end", 3) == 0);
}

TEST(what_stays_on_a_terminal_does_not_hold_the_caller)
{
	struct world g = up();
	cleanup_ran struct ran r;
	int64_t begun = clock_ms();

	run_tty(&g, "trap '' HUP; sleep 30 & echo done", -1, &r);
	CHECK_INT(r.r, 0);
	CHECK_STR(buf_text(&r.out), "done\r\n");
	CHECK(clock_ms() - begun < 15000);
}

TEST(the_end_of_input_is_typed)
{
	static const struct {
		const char *in, *out;
	} rows[] = { { "one\n", "one\r\n" }, { "half", "half" }, { "", "" } };
	struct world g = up();

	for (size_t i = 0; i < COUNT(rows); i++) {
		cleanup_fd int in = temp();
		cleanup_ran struct ran r;
		struct err e = { 0 };

		CHECK(fd_write_all(in, rows[i].in, strlen(rows[i].in), &e) == 0 &&
		      lseek(in, 0, SEEK_SET) == 0);
		run_tty(&g, "stty -echo; echo ready; cat; echo .", in, &r);
		CHECK_INT(r.r, 0);
		CHECK(str_ends(buf_text(&r.out), ".\r\n"));
		CHECK(strstr(buf_text(&r.out), rows[i].out));
	}
}

TEST(the_users_shell_stands_in_for_the_first_word)
{
	struct world g = up();
	struct guest_exec x = { .flags = GUEST_EXEC_SHELL };
	cleanup_ran struct ran r;
	struct err e = { 0 };

	CHECK(guest_words_add(&x.argv, "no-such-shell", &e) == 0 &&
	      guest_words_add(&x.argv, "-c", &e) == 0 &&
	      guest_words_add(&x.argv, "echo \"$SHELL\" one; exit 3", &e) == 0);
	run_spec(&g, &x, -1, 0, &r);
	CHECK_INT(WEXITSTATUS(r.status), 3);
	CHECK(buf_text(&r.out)[0] == '/' && str_ends(buf_text(&r.out), " one\n"));
	guest_exec_clear(&x);
}

// A client in a process of its own, at a terminal whose other side is ours.
struct seat {
	int master, slave;
	pid_t pid;
	struct termios before;
	struct buf out;
};

static void seat_open(struct seat *s)
{
	const struct winsize w = { .ws_row = 33, .ws_col = 111 };

	*s = (struct seat){ .master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC) };
	CHECK(s->master >= 0 && unlockpt(s->master) == 0);
	s->slave = ioctl(s->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	CHECK(s->slave >= 0 && tcgetattr(s->slave, &s->before) == 0);
	CHECK(ioctl(s->master, TIOCSWINSZ, &w) == 0);
	CHECK(fcntl(s->master, F_SETFL, O_NONBLOCK) == 0);
}

static bool seat_is_raw(const struct seat *s)
{
	struct termios t;

	CHECK(tcgetattr(s->slave, &t) == 0);
	return !(t.c_lflag & ICANON);
}

static void seat_type(const struct seat *s, const char *text)
{
	CHECK(write(s->master, text, strlen(text)) == (ssize_t)strlen(text));
}

// Until the text has been shown since the last call that found one.
static void seat_wait(struct seat *s, const char *text)
{
	int64_t end = clock_ms() + WAIT_MS;
	const char *at;

	while (!(at = strstr(buf_text(&s->out), text)) && clock_ms() < end) {
		char bytes[4096];
		ssize_t n = read(s->master, bytes, sizeof(bytes));

		if (n > 0)
			buf_add(&s->out, bytes, (size_t)n);
		else
			(void)usleep(2000);
	}
	if (!at)
		tap_fail(__FILE__, __LINE__, "never shown: %s, but: %s", text, buf_text(&s->out));
	else
		buf_drop(&s->out, (size_t)(at - buf_text(&s->out)) + strlen(text));
}

static int client_signals(void)
{
	struct err e = { 0 };

	return sig_open(&e, SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTTOU, 0);
}

// What the tool does, down to the exit status. name: of a session; script NULL: attach to it.
static _Noreturn void client(const struct world *g, const struct seat *s, const char *script,
			     const char *name)
{
	cleanup_guest struct guest_conn *c = reach(g);
	struct guest_session_start start = { .exec = { .flags = GUEST_EXEC_TTY } };
	const struct guest_keys keys = { "\x10\x11", 2 };
	struct guest_term term;
	const struct guest_seat seat = { &term, &keys };
	const struct guest_io io = {
		s->slave, s->slave, s->slave, client_signals(), clock_ms() + WAIT_MS, 0
	};
	struct guest_parting part = { 0 };
	struct err e = { 0 };
	int r;

	if (!guest_term_open(&term, s->slave))
		_exit(99);
	if (script)
		words_sh(&start.exec.argv, script);
	if (!name)
		r = guest_run_seated(c, &start.exec, &io, &seat, &part.status, &e);
	else if (script)
		r = COPY(start.name, name) < 0
			    ? -1
			    : guest_session_begin(c, &start, false, &io, &seat, &part, &e);
	else
		r = guest_session_attach(c, name, &io, &seat, &part, &e);
	if (r < 0)
		_exit(err_exit(&e));
	if (part.detached)
		_exit(part.signal ? 128 + part.signal : 77);
	_exit(WIFSIGNALED(part.status) ? 128 + WTERMSIG(part.status) : WEXITSTATUS(part.status));
}

static void seat_run(struct seat *s, const struct world *g, const char *script, const char *name)
{
	s->pid = fork();
	if (s->pid == 0)
		client(g, s, script, name);
}

static int seat_end(struct seat *s)
{
	int status;

	buf_free(&s->out);
	CHECK(waitpid(s->pid, &status, 0) == s->pid);
	CHECK(!seat_is_raw(s));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(keys_sizes_and_the_status_go_through_a_terminal)
{
	struct world g = up();
	struct seat s;
	const struct winsize w = { .ws_row = 50, .ws_col = 132 };

	seat_open(&s);
	seat_run(&s, &g,
		 "trap 'echo got int' INT; trap 'stty size' WINCH; echo $TERM; stty size; "
		 "while :; do sleep 0.05; done; exit 9",
		 NULL);
	seat_wait(&s, "33 111\r\n");
	CHECK(seat_is_raw(&s));
	seat_type(&s, "\x03"); // a byte here, a signal there
	seat_wait(&s, "got int");
	CHECK(ioctl(s.master, TIOCSWINSZ, &w) == 0 && kill(s.pid, SIGWINCH) == 0);
	seat_wait(&s, "50 132\r\n");
	seat_type(&s, "\x1c"); // QUIT
	CHECK_INT(seat_end(&s), 128 + SIGQUIT);
}

TEST(the_terminal_is_restored_when_the_client_is_told_to_go)
{
	static const int signals[] = { SIGTERM, SIGHUP };
	struct world g = up();

	for (size_t i = 0; i < COUNT(signals); i++) {
		struct seat s;

		seat_open(&s);
		seat_run(&s, &g, "trap '' TERM; echo ready; sleep 60", NULL);
		seat_wait(&s, "ready");
		CHECK(kill(s.pid, signals[i]) == 0);
		CHECK_INT(seat_end(&s), 128 + signals[i]);
	}
}

TEST(the_terminal_is_restored_when_the_connection_is_lost)
{
	struct world g = up();
	struct seat s;

	seat_open(&s);
	seat_run(&s, &g, "echo ready; read x; kill -KILL $PPID; sleep 60", NULL);
	seat_wait(&s, "ready");
	seat_type(&s, "go\r");
	CHECK_INT(seat_end(&s), 125);
}

TEST(a_client_whose_terminal_is_taken_away_takes_its_command_along)
{
	struct world g = up();
	char script[200];
	struct seat s;
	int lock;
	struct err e = { 0 };

	CHECK(base_fmt(script, sizeof(script), "cd %s; echo ready; exec flock held sleep 60",
		       tap_dir()) == 0);
	seat_open(&s);
	seat_run(&s, &g, script, NULL);
	seat_wait(&s, "ready");
	while (faccessat(g.dir, "held", F_OK, 0) < 0)
		(void)usleep(5000);
	CHECK(kill(s.pid, SIGKILL) == 0 && waitpid(s.pid, NULL, 0) == s.pid);
	buf_free(&s.out);
	lock = fd_lock(g.dir, "held", true, 10000, &e);
	CHECK(lock >= 0);
}

// --- sessions ----------------------------------------------------------------------------------

static int start(const struct world *g, const char *name, const char *script, uint32_t flags,
		 struct err *e)
{
	cleanup_guest struct guest_conn *c = reach(g);
	cleanup(guest_session_start_clear) struct guest_session_start s = {
		.exec = { .flags = flags }
	};
	const struct guest_io io = { -1, -1, -1, -1, clock_ms() + WAIT_MS, 0 };
	const struct guest_seat none = { NULL, NULL };
	struct guest_parting part;

	CHECK(COPY(s.name, name) == 0);
	words_sh(&s.exec.argv, script);
	return guest_session_begin(c, &s, true, &io, &none, &part, e);
}

static void started(const struct world *g, const char *name, const char *script)
{
	struct err e = { 0 };

	if (start(g, name, script, 0, &e) < 0)
		tap_fail(__FILE__, __LINE__, "%s: %s", name, e.msg);
}

// Reads it to its end; in -1: without its input.
static void attach_fds(const struct world *g, const char *name, int in, int out, int err,
		       struct ran *r)
{
	cleanup_guest struct guest_conn *c = reach(g);
	const struct guest_io io = { in, out, err, -1, clock_ms() + WAIT_MS, 0 };
	const struct guest_seat none = { NULL, NULL };
	struct guest_parting part = { 0 };

	*r = (struct ran){ .r = -1 };
	r->r = guest_session_attach(c, name, &io, &none, &part, &r->e);
	r->status = part.status;
}

static void attach(const struct world *g, const char *name, int in, struct ran *r)
{
	cleanup_fd int out = temp(), err = temp();

	attach_fds(g, name, in, out, err, r);
	take(out, &r->out);
	take(err, &r->err);
}

// Its row, as of now; false: there is none.
static bool look(const struct world *g, const char *name, struct guest_session *out)
{
	cleanup(guest_session_list_clear) struct guest_session_list l = { .count = 0 };
	cleanup_guest struct guest_conn *c = reach(g);
	struct err e = { 0 };

	if (guest_ask_sessions(c, clock_ms() + WAIT_MS, &l, &e) < 0)
		tap_fail(__FILE__, __LINE__, "%s", e.msg);
	for (size_t i = 0; i < l.count; i++) {
		if (!str_eq(l.items[i].name, name))
			continue;
		*out = l.items[i]; // without its words, which go with the list
		out->argv = (struct guest_words)GUEST_WORDS_INIT;
		return true;
	}
	return false;
}

static void wait_ended(const struct world *g, const char *name)
{
	struct guest_session s = { .ended = false };

	for (int64_t end = clock_ms() + WAIT_MS; !s.ended && clock_ms() < end;)
		CHECK(look(g, name, &s));
	CHECK(s.ended);
}

static int tell(const struct world *g, const char *name, uint32_t sig, struct err *e)
{
	cleanup_guest struct guest_conn *c = reach(g);

	return guest_ask_session_signal(c, name, sig, clock_ms() + WAIT_MS, e);
}

TEST(a_session_is_listed_replayed_and_forgotten)
{
	struct world g = up();
	struct guest_session s;
	cleanup_ran struct ran r, again, gone;
	struct err e = { 0 };

	started(&g, "job.1", "echo out; echo err >&2; exit 5");
	attach(&g, "job.1", -1, &r);
	CHECK_INT(r.r, 0);
	CHECK_INT(WEXITSTATUS(r.status), 5);
	CHECK_STR(buf_text(&r.out), "out\n");
	CHECK_STR(buf_text(&r.err), "err\n");
	attach(&g, "job.1", -1, &again); // as often as one likes
	CHECK_STR(buf_text(&again.out), "out\n");
	CHECK(look(&g, "job.1", &s));
	CHECK(s.ended && !s.tty && s.pid > 1);
	CHECK_INT(WEXITSTATUS((int)s.status), 5);
	CHECK_INT(s.kept, 8);
	CHECK(s.started_us / 1000000 > 1700000000);
	CHECK(start(&g, "job.1", "true", 0, &e) < 0 && e.kind == ERR_CONFLICT);
	err_clear(&e);
	CHECK(tell(&g, "job.1", SIGTERM, &e) < 0 && e.kind == ERR_STATE);
	err_clear(&e);
	CHECK(tell(&g, "job.1", 0, &e) == 0);
	CHECK(!look(&g, "job.1", &s));
	CHECK(tell(&g, "job.1", 0, &e) < 0 && e.kind == ERR_MISSING);
	attach(&g, "job.1", -1, &gone);
	CHECK(gone.r < 0 && gone.e.kind == ERR_MISSING);
}

TEST(a_session_that_cannot_be_run_leaves_nothing)
{
	struct world g = up();
	cleanup_guest struct guest_conn *c = reach(&g);
	struct guest_session_start s = { .name = "x" };
	const struct guest_io io = { -1, -1, -1, -1, clock_ms() + WAIT_MS, 0 };
	const struct guest_seat none = { NULL, NULL };
	struct guest_parting part;
	struct guest_session about;
	struct err e = { 0 };

	CHECK(guest_words_add(&s.exec.argv, "/no/such/program", &e) == 0);
	CHECK(guest_session_begin(c, &s, true, &io, &none, &part, &e) < 0);
	CHECK_INT(err_exit(&e), 127);
	CHECK(!look(&g, "x", &about));
	guest_session_start_clear(&s);
}

TEST(a_running_session_is_signalled_and_not_forgotten)
{
	struct world g = up();
	cleanup_ran struct ran r;
	struct err e = { 0 };

	started(&g, "s", "exec sleep 60");
	CHECK(tell(&g, "s", 0, &e) < 0 && e.kind == ERR_STATE);
	err_clear(&e);
	CHECK(tell(&g, "s", SIGUSR1, &e) == 0);
	attach(&g, "s", -1, &r);
	CHECK(WIFSIGNALED(r.status) && WTERMSIG(r.status) == SIGUSR1);
}

TEST(nobody_needs_to_read_and_the_newest_mebibyte_is_kept)
{
	struct world g = up();
	struct guest_session s;
	cleanup_ran struct ran r;

	started(&g, "big", "seq 1 400000; echo last >&2");
	wait_ended(&g, "big");
	CHECK(look(&g, "big", &s));
	CHECK_INT(s.kept, MIB);
	attach(&g, "big", -1, &r);
	CHECK_INT(r.out.len + r.err.len, MIB);
	CHECK(str_ends(buf_text(&r.out), "\n399999\n400000\n"));
	CHECK_STR(buf_text(&r.err), "last\n");
}

// A script waits for the file of that name.
static void let_go(const struct world *g, uint64_t n)
{
	char name[24];

	CHECK(base_fmt(name, sizeof(name), "%llu", (unsigned long long)n) == 0);
	CHECK(close(openat(g->dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) == 0);
}

TEST(both_streams_come_in_the_order_in_which_they_were_written)
{
	struct world g = up();
	cleanup_fd int both = temp();
	cleanup_buf struct buf got = BUF_INIT;
	cleanup_ran struct ran r;
	struct guest_session s = { 0 };
	char script[256];

	CHECK(base_fmt(script, sizeof(script),
		       "cd %s; n=0; go() { n=$((n + 1)); until [ -e $n ]; do sleep 0.02; done; }; "
		       "for i in 1 2 3; do echo $i; go; echo $i >&2; go; done",
		       tap_dir()) == 0);
	started(&g, "s", script);
	for (uint64_t n = 1; n <= 6; n++) { // the next one when this one has been taken
		while (look(&g, "s", &s) && s.kept < 2 * n)
			(void)usleep(2000);
		let_go(&g, n);
	}
	wait_ended(&g, "s");
	CHECK(fcntl(both, F_SETFL, O_APPEND) == 0);
	attach_fds(&g, "s", -1, both, both, &r);
	take(both, &got);
	CHECK_STR(buf_text(&got), "1\n1\n2\n2\n3\n3\n");
}

TEST(a_live_reader_gets_every_byte)
{
	struct world g = up();
	cleanup_ran struct ran r;
	cleanup_fd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	started(&g, "s", "read go; head -c 20000000 /dev/zero; exit 4");
	attach(&g, "s", null, &r); // the end of the input lets it go
	CHECK_INT(r.r, 0);
	CHECK_INT(WEXITSTATUS(r.status), 4);
	CHECK_INT(r.out.len, 20000000);
}

static pid_t attached(const struct world *g, const char *name, int in, int out)
{
	pid_t pid = fork();
	struct guest_session s = { .attached = 0 };

	if (pid == 0) {
		cleanup_ran struct ran r;

		attach_fds(g, name, in, out, -1, &r);
		_exit(r.r < 0 ? err_exit(&r.e) : WEXITSTATUS(r.status));
	}
	while (look(g, name, &s) && s.attached == 0)
		(void)usleep(2000);
	return pid;
}

// It then goes on with what is left, and ends as the others do.
TEST(a_reader_that_does_not_read_holds_nobody_up_for_long)
{
	struct world g = up();
	cleanup_buf struct buf got = BUF_INIT;
	struct err e = { 0 };
	int64_t begun;
	char script[200];
	int full[2], status;
	pid_t pid;

	CHECK(pipe2(full, O_CLOEXEC) == 0);
	CHECK(base_fmt(script, sizeof(script),
		       "until [ -e %s/1 ]; do sleep 0.02; done; head -c 5000000 /dev/zero; echo "
		       "end; exit 3",
		       tap_dir()) == 0);
	started(&g, "s", script);
	pid = attached(&g, "s", -1, full[1]);
	begun = clock_ms();
	let_go(&g, 1);
	wait_ended(&g, "s");
	CHECK(clock_ms() - begun < 15000);
	CHECK(close(full[1]) == 0 && fd_read_all(full[0], 8 * MIB, &got, &e) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 3);
	CHECK(got.len > MIB && got.len < 2 * MIB);
	CHECK(got.len > 4 && memcmp(got.data + got.len - 4, "end\n", 4) == 0);
}

TEST(a_session_outlives_its_client_and_gives_its_true_status)
{
	struct world g = up();
	cleanup_fd int out = temp();
	struct guest_session s;
	cleanup_ran struct ran r;
	pid_t pid;
	int in[2];

	CHECK(pipe2(in, O_CLOEXEC) == 0);
	started(&g, "s", "echo one; read x; echo $x; kill -KILL $$");
	pid = attached(&g, "s", in[0], out);
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
	do
		CHECK(look(&g, "s", &s) && !s.ended);
	while (s.attached);
	CHECK(write(in[1], "two\n", 4) == 4);
	attach(&g, "s", in[0], &r);
	CHECK_STR(buf_text(&r.out), "one\ntwo\n");
	CHECK(WIFSIGNALED(r.status) && WTERMSIG(r.status) == SIGKILL);
}

TEST(the_newest_client_has_the_input_and_all_read)
{
	struct world g = up();
	cleanup_fd int out = temp();
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_ran struct ran r;
	int first[2], second[2], status;
	pid_t pid;

	CHECK(pipe2(first, O_CLOEXEC) == 0);
	started(&g, "s", "cat; exit 6");
	pid = attached(&g, "s", first[0], out);
	CHECK(pipe2(second, O_CLOEXEC) == 0); // the first one must not hold its end
	CHECK(write(second[1], "second\n", 7) == 7 && close(second[1]) == 0);
	attach(&g, "s", second[0], &r);
	CHECK_STR(buf_text(&r.out), "second\n");
	CHECK_INT(WEXITSTATUS(r.status), 6);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_INT(WEXITSTATUS(status), 6); // the first one stayed, and read
	take(out, &text);
	CHECK_STR(buf_text(&text), "second\n");
	(void)close(first[1]);
}

TEST(no_more_than_32_sessions_and_the_oldest_ended_one_gives_way)
{
	struct world g = up();
	struct guest_session s;
	char name[16];
	struct err e = { 0 };

	for (unsigned i = 0; i < GUEST_SESSIONS_MAX; i++) {
		CHECK(base_fmt(name, sizeof(name), "s%u", i) == 0);
		started(&g, name, "exec sleep 60");
	}
	CHECK(start(&g, "more", "true", 0, &e) < 0 && e.kind == ERR_QUOTA);
	err_clear(&e);
	CHECK(tell(&g, "s7", SIGKILL, &e) == 0 && tell(&g, "s5", SIGKILL, &e) == 0);
	wait_ended(&g, "s5");
	wait_ended(&g, "s7");
	started(&g, "more", "true");
	CHECK(!look(&g, "s5", &s) && look(&g, "s7", &s));
}

TEST(keys_leave_a_session_on_a_terminal_and_it_goes_on)
{
	struct world g = up();
	struct guest_session about;
	struct seat s;

	seat_open(&s);
	seat_run(&s, &g, "echo ready; read x; stty size; echo got $x; read x; exit 4", "s");
	seat_wait(&s, "ready");
	seat_type(&s, "a\x10"
		      "b\r"); // the first key alone is no more than a key
	seat_wait(&s, "got a\x10"
		      "b");
	seat_type(&s, "\x10\x11");
	CHECK_INT(seat_end(&s), 77);
	CHECK(look(&g, "s", &about) && about.tty && !about.ended);
	seat_run(&s, &g, NULL, "s");
	seat_wait(&s, "33 111"); // the replay
	CHECK(seat_is_raw(&s));
	CHECK(kill(s.pid, SIGTERM) == 0);
	CHECK_INT(seat_end(&s), 128 + SIGTERM);
	CHECK(look(&g, "s", &about) && !about.ended);
	seat_run(&s, &g, NULL, "s");
	seat_wait(&s, "33 111");
	seat_type(&s, "\r");
	CHECK_INT(seat_end(&s), 4);
}

TEST(detach_keys_are_parsed)
{
	static const char *const bad[] = { "",	     "ctrl-", "ctrl-pp",
					   "ctrl-1", "a,,b",  "ctrl-p,",
					   "\x10",   " ",     "a,b,c,d,e,f,g,h,i" };
	struct guest_keys k;
	struct err e = { 0 };

	CHECK(guest_keys_parse("ctrl-p,ctrl-q", &k, &e) == 0);
	CHECK(k.count == 2 && k.key[0] == 0x10 && k.key[1] == 0x11);
	CHECK(guest_keys_parse("none", &k, &e) == 0 && k.count == 0);
	CHECK(guest_keys_parse("ctrl-],x", &k, &e) == 0);
	CHECK(k.count == 2 && k.key[0] == 0x1d && k.key[1] == 'x');
	for (size_t i = 0; i < COUNT(bad); i++) {
		err_clear(&e);
		if (guest_keys_parse(bad[i], &k, &e) == 0)
			tap_fail(__FILE__, __LINE__, "taken: '%s'", bad[i]);
		CHECK_INT(err_exit(&e), 2);
	}
}

// --- the tape ----------------------------------------------------------------------------------

TEST(the_tape_keeps_the_newest_of_both_streams_in_order)
{
	struct tape t;
	uint64_t pos, end = 0;
	char bytes[64];
	unsigned n = 0;

	tape_init(&t);
	for (unsigned i = 0; i < 40000; i++) // more changes of the stream than it has places for
		tape_add(&t, i % 2 ? GUEST_STDERR : GUEST_STDOUT, &(char){ (char)(i % 251) }, 1);
	CHECK_INT(tape_start(&t), 40000 - 16384);
	for (pos = tape_start(&t); pos < 40000; n++) {
		uint64_t at = pos;

		CHECK_INT(tape_peek(&t, pos, &end), at % 2 ? GUEST_STDERR : GUEST_STDOUT);
		CHECK_INT(tape_read(&t, &pos, bytes, sizeof(bytes)), 1);
		CHECK(bytes[0] == (char)(at % 251));
	}
	CHECK_INT(n, 16384);
	CHECK_INT(tape_peek(&t, pos, &end), -1);
	for (unsigned i = 0; i < 40; i++) { // and more bytes
		static char block[65536];

		tape_add(&t, GUEST_STDOUT, block, sizeof(block));
	}
	CHECK_INT(t.bytes.end - tape_start(&t), GUEST_SESSION_KEEP);
	CHECK_INT(t.count, 1);
	tape_free(&t);
}

// --- peers that lie ----------------------------------------------------------------------------

static void hello_put(struct buf *b)
{
	const struct guest_hello hello = { GUEST_VERSION, GUEST_VERSION, "bad" };
	size_t mark = guest_frame_begin(b, GUEST_HELLO, 0);

	guest_hello_put(b, &hello);
	guest_frame_end(b, mark);
}

// A connection on which these frames have come already, and no more will.
static struct guest_conn *scripted(const struct buf *frames, bool ends, int *theirs)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct guest_conn *c = NULL;
	struct err e = { 0 };
	int fds[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	hello_put(&b);
	buf_add(&b, frames->data, frames->len);
	CHECK(fd_write_all(fds[1], b.data, b.len, &e) == 0);
	if (ends)
		CHECK(shutdown(fds[1], SHUT_WR) == 0);
	CHECK(guest_open_fd(fds[0], clock_ms() + WAIT_MS, &c, &e) == 0);
	*theirs = fds[1];
	return c;
}

static void session_put(struct buf *b, const char *name)
{
	struct guest_session s = { 0 };
	size_t mark = guest_frame_begin(b, GUEST_SESSION, 0);

	CHECK(COPY(s.name, name) == 0);
	guest_session_put(b, &s);
	guest_frame_end(b, mark);
}

TEST(an_agent_that_knows_no_sessions_is_too_old)
{
	static const char *const says[] = { "frame of unknown type 36",
					    "no such way to run a command (flags 0x1)" };

	for (size_t i = 0; i < COUNT(says); i++) {
		cleanup_guest struct guest_conn *c = NULL;
		struct guest_session_list l = { .count = 0 };
		struct guest_error wire = { .kind = ERR_FAILED, .no = 5 };
		cleanup_buf struct buf b = BUF_INIT;
		cleanup_fd int theirs = -1;
		struct err e = { 0 };
		size_t mark = guest_frame_begin(&b, GUEST_ERROR, 0);

		CHECK(COPY(wire.msg, says[i]) == 0);
		guest_error_put(&b, &wire);
		guest_frame_end(&b, mark);
		c = scripted(&b, true, &theirs);
		CHECK(guest_ask_sessions(c, clock_ms() + WAIT_MS, &l, &e) < 0);
		CHECK_INT(err_exit(&e), 8);
		CHECK_STR(e.msg, "the guest's agent is too old for this");
	}
}

TEST(the_host_keeps_no_endless_list_and_waits_for_none)
{
	cleanup_guest struct guest_conn *c = NULL, *silent = NULL;
	struct guest_session_list l = { .count = 0 };
	cleanup_buf struct buf b = BUF_INIT, none = BUF_INIT;
	cleanup_fd int theirs = -1, other = -1;
	struct err e = { 0 };

	for (int i = 0; i < 100; i++)
		session_put(&b, "again");
	c = scripted(&b, true, &theirs);
	CHECK(guest_ask_sessions(c, clock_ms() + WAIT_MS, &l, &e) < 0);
	CHECK_STR(e.msg, "the guest's agent: too many sessions");
	CHECK_INT(l.count, GUEST_SESSIONS_MAX);
	guest_session_list_clear(&l);
	err_clear(&e);
	silent = scripted(&none, false, &other);
	CHECK(guest_ask_sessions(silent, clock_ms() + 100, &l, &e) < 0 && e.kind == ERR_TIMEOUT);
	guest_session_list_clear(&l);
}

TEST(frames_out_of_place_end_an_attachment)
{
	static const struct {
		uint8_t bytes[24];
		size_t len;
		int exit;
	} bad[] = {
		{ { 4, 0, 0, 0, GUEST_STARTED, 0, 0, 0, 1, 0, 0, 0 }, 12, 1 }, // not what was asked
		{ { 0, 0, 0, 0, GUEST_INPUT_TAKEN, 0, 0, 0 }, 8, 1 },
		{ { 0, 0, 0, 0, GUEST_OK, 0, 0, 0 }, 8, 125 }, // from here behind the session
		{ { 4, 0, 0, 0, GUEST_SKIPPED, 0, 0, 0, 1, 2, 3, 4 }, 12, 125 },
		{ { 4, 0, 0, 0, GUEST_WINDOW_ADD, 0, 1, 0, 1, 0, 0, 0 }, 12, 125 },
		{ { 1, 0, 0, 0, GUEST_DATA, 0, 0, 0, 'x' }, 9, 125 },
	};

	for (size_t i = 0; i < COUNT(bad); i++) {
		cleanup_guest struct guest_conn *c = NULL;
		cleanup_buf struct buf b = BUF_INIT;
		cleanup_fd int theirs = -1;
		const struct guest_io io = { -1, -1, -1, -1, clock_ms() + WAIT_MS, 0 };
		const struct guest_seat none = { NULL, NULL };
		struct guest_parting part;
		struct err e = { 0 };

		if (bad[i].exit == 125)
			session_put(&b, "s");
		buf_add(&b, bad[i].bytes, bad[i].len);
		c = scripted(&b, true, &theirs);
		CHECK(guest_session_attach(c, "s", &io, &none, &part, &e) < 0);
		CHECK_INT(err_exit(&e), bad[i].exit);
	}
}

// Both go to one place, some of them in pieces.
TEST(the_host_writes_both_streams_in_their_order)
{
	cleanup_guest struct guest_conn *c = NULL;
	cleanup_buf struct buf b = BUF_INIT, got = BUF_INIT, want = BUF_INIT;
	cleanup_fd int theirs = -1, both = temp();
	const struct guest_io io = { -1, both, both, -1, clock_ms() + WAIT_MS, 0 };
	const struct guest_seat none = { NULL, NULL };
	struct guest_parting part = { 0 };
	struct err e = { 0 };

	session_put(&b, "s");
	for (size_t i = 0; i < 300; i++) {
		char bytes[] = { (char)('a' + i % 26) };

		for (size_t n = 0; n < (i % 50 == 0 ? 9000 : 1); n++)
			buf_add(&want, bytes, 1);
		guest_frame_put(&b, GUEST_DATA, i % 3 ? GUEST_STDOUT : GUEST_STDERR,
				want.data + want.len - (i % 50 == 0 ? 9000 : 1),
				i % 50 == 0 ? 9000 : 1);
	}
	guest_frame_put(&b, GUEST_EXIT, 0, "\0\0\0", 4);
	CHECK(fcntl(both, F_SETFL, O_APPEND) == 0);
	c = scripted(&b, true, &theirs);
	CHECK(guest_session_attach(c, "s", &io, &none, &part, &e) == 0);
	take(both, &got);
	CHECK(got.len == want.len && memcmp(got.data, want.data, got.len) == 0);
}

// Takes the input over and over, each time with all that the window allows.
TEST(a_host_cannot_make_a_session_hoard)
{
	struct world g = up();
	static const char data[GUEST_DATA_MAX];
	struct err e = { 0 };
	bool refused = false;

	started(&g, "s", "sleep 60");
	(void)signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 8 && !refused; i++) {
		const struct guest_place at = { g.dir, "v.sock", getuid(), -1 };
		cleanup_fd int raw = guest_dial(&at, GUEST_PORT_AGENT, clock_ms() + WAIT_MS, &e);
		struct guest_attach want = { .name = "s" };
		cleanup_buf struct buf b = BUF_INIT, said = BUF_INIT;
		size_t mark;

		CHECK(raw >= 0);
		hello_put(&b);
		mark = guest_frame_begin(&b, GUEST_ATTACH, 0);
		guest_attach_put(&b, &want);
		guest_frame_end(&b, mark);
		for (int n = 0; n < 4; n++)
			guest_frame_put(&b, GUEST_DATA, GUEST_STDIN, data, sizeof(data));
		(void)!fd_write_all(raw, b.data, b.len, &e);
		(void)shutdown(raw, SHUT_WR);
		if (fd_read_all(raw, MIB, &said, &e) == 0)
			refused = memmem(said.data, said.len, "which is full", 13) != NULL;
		err_clear(&e);
	}
	CHECK(refused);
}
