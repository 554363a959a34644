// SPDX-License-Identifier: MIT
// Around a capture; probes; what a worker says; logs with times. What a guest would do to its
// system is done by stand-ins here, in the agent's own process for it.
#include "agent_world.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <time.h>

#include "guest/probe.h"
#include "guest/worker.h"

// What the stand-in is asked by the deadline's last digit: 1 fails, 2 hangs, else it is done.
static int stand_in(void *arg, uint8_t type, const struct guest_hook *h, struct guest_steps *steps,
		    struct err *e)
{
	cleanup_fd int dir =
		open(tap_dir(), O_DIRECTORY | O_CLOEXEC); // the agent's are closed here
	struct err ignored = { 0 };

	(void)arg;
	guest_step(steps, "first");
	if (type == GUEST_THAW && fd_replace_file(dir, "thawed", h->flags ? "quiet" : "loud",
						  h->flags ? 5 : 4, 0600, &ignored) < 0)
		return err_kind(e, ERR_FAILED, "%s", ignored.msg);
	guest_step(steps, "second %u", type);
	if (h->deadline_ms % 10 == 1)
		return err_kind(e, ERR_FAILED, "it broke");
	if (h->deadline_ms % 10 == 2)
		(void)!fd_replace_file(dir, "hangs", "1", 1, 0600, &ignored);
	while (h->deadline_ms % 10 == 2)
		(void)sleep(1);
	return 0;
}

static struct world hooked(void)
{
	struct world g = { .around = stand_in };
	struct guest_welcome w = { 0 };
	struct guest_info info;
	struct err e = { 0 };

	CHECK(boot(&g, &w, &info, &e) == 0);
	return g;
}

typedef int (*ask_fn)(struct guest_conn *c, const struct guest_hook *h, struct guest_hook_done *ret,
		      struct err *e);

static int ask(const struct world *g, ask_fn fn, uint32_t deadline_ms, struct guest_hook_done *ret,
	       struct err *e)
{
	cleanup_guest struct guest_conn *c = reach(g);
	const struct guest_hook h = { .deadline_ms = deadline_ms };

	err_clear(e);
	return fn(c, &h, ret, e);
}

static bool runs(const struct world *g, struct err *e)
{
	struct guest_exec x = { 0 };
	cleanup_ran struct ran r;

	CHECK(guest_words_add(&x.argv, "true", e) == 0);
	run_spec(g, &x, -1, 0, &r);
	guest_exec_clear(&x);
	*e = r.e;
	return r.r == 0;
}

static void wait_file(const struct world *g, const char *name, const char *want)
{
	cleanup_buf struct buf b = BUF_INIT;
	struct err e = { 0 };

	for (int i = 0; i < 4000 && fd_read_file(g->dir, name, 64, &b, &e) < 0; i++)
		(void)usleep(10000);
	CHECK_STR(buf_text(&b), want);
}

TEST(sleep_repair_and_thaw_tell_their_steps)
{
	struct world g = hooked();
	cleanup(guest_hook_done_clear) struct guest_hook_done d = { 0 }, again = { 0 },
							      wake = { 0 };
	struct err e = { 0 };

	CHECK_INT(ask(&g, guest_prepare_sleep, 10000, &d, &e), 0);
	CHECK_INT(d.steps.count, 2);
	CHECK_STR(guest_words_at(&d.steps, 1), "second 80");
	CHECK(!runs(&g, &e) && e.kind == ERR_UNAVAILABLE);
	CHECK_INT(ask(&g, guest_prepare_sleep, 10000, &again, &e), 0);
	CHECK_STR(guest_words_at(&again.steps, 0), "asleep already");
	CHECK_INT(ask(&g, guest_repair, 10000, NULL, &e), 0);
	CHECK_INT(ask(&g, guest_repair, 10000, NULL, &e), 0);
	CHECK_INT(ask(&g, guest_thaw, 10000, &wake, &e), 0);
	wait_file(&g, "thawed", "loud");
	CHECK(runs(&g, &e));
	// what never slept is not woken, only freed
	CHECK_INT(ask(&g, guest_thaw, 10000, NULL, &e), 0);
	wait_file(&g, "thawed", "quiet");
}

static bool but_sleep(void *arg, uint8_t type, const struct guest_hook *h)
{
	(void)arg;
	(void)h;
	return type != GUEST_SLEEP;
}

TEST(what_waits_for_nobody_is_done_by_the_agent_itself_with_the_same_answers)
{
	struct world g = { .around = stand_in, .at_once = but_sleep };
	cleanup(guest_hook_done_clear) struct guest_hook_done d = { 0 };
	struct guest_welcome w = { 0 };
	struct guest_info info;
	struct err e = { 0 };

	CHECK(boot(&g, &w, &info, &e) == 0);
	CHECK_INT(ask(&g, guest_prepare_sleep, 10000, NULL, &e), 0);
	CHECK(!runs(&g, &e) && e.kind == ERR_UNAVAILABLE);
	CHECK_INT(ask(&g, guest_repair, 10000, &d, &e), 0);
	CHECK_STR(guest_words_at(&d.steps, 1), "second 81");
	CHECK(ask(&g, guest_thaw, 10001, NULL, &e) < 0);
	CHECK_STR(e.msg, "guest: wake: second 82: it broke");
	CHECK(!runs(&g, &e) && e.kind == ERR_UNAVAILABLE);
	CHECK_INT(ask(&g, guest_thaw, 10000, NULL, &e), 0);
	CHECK(runs(&g, &e));
}

static int pay(void *arg, struct err *e)
{
	cleanup_fd int dir = open(tap_dir(), O_DIRECTORY | O_CLOEXEC);

	(void)arg;
	if (faccessat(dir, "refuse", F_OK, 0) == 0)
		return err_kind(e, ERR_FAILED, "not today");
	return fd_replace_file(dir, "paid", "1", 1, 0600, e);
}

static struct world owing(void)
{
	struct world g = { .around = stand_in, .at_once = but_sleep, .owed = pay };
	struct guest_welcome w = { 0 };
	struct guest_info info;
	struct err e = { 0 };

	CHECK(boot(&g, &w, &info, &e) == 0);
	CHECK_INT(ask(&g, guest_prepare_sleep, 10000, NULL, &e), 0);
	return g;
}

static bool is_paid(const struct world *g)
{
	return faccessat(g->dir, "paid", F_OK, 0) == 0;
}

TEST(what_a_repair_puts_off_is_done_when_its_host_is_gone)
{
	struct world g = owing();
	struct guest_conn *c = reach(&g);
	const struct guest_hook h = { .deadline_ms = 10000 };
	struct err e = { 0 };

	CHECK_INT(guest_repair(c, &h, NULL, &e), 0);
	CHECK(!is_paid(&g));
	guest_close(c);
	wait_file(&g, "paid", "1");
}

TEST(and_before_a_thaw_at_the_latest)
{
	struct world g = owing();
	cleanup_guest struct guest_conn *c = reach(&g);
	const struct guest_hook h = { .deadline_ms = 10000 };
	struct err e = { 0 };

	CHECK_INT(guest_repair(c, &h, NULL, &e), 0);
	CHECK(!is_paid(&g));
	CHECK_INT(ask(&g, guest_thaw, 10000, NULL, &e), 0);
	CHECK(is_paid(&g));
}

TEST(what_cannot_be_done_keeps_the_guest_from_being_thawed)
{
	const struct guest_hook quiet = { .deadline_ms = 10000, .flags = GUEST_HOOK_QUIET };
	struct world g = owing();
	struct err e = { 0 };

	CHECK_INT(fd_replace_file(g.dir, "refuse", "1", 1, 0600, &e), 0);
	CHECK_INT(ask(&g, guest_repair, 10000, NULL, &e), 0);
	CHECK(ask(&g, guest_thaw, 10000, NULL, &e) < 0);
	CHECK_STR(e.msg, "guest: what the repair has put off: not today");
	cleanup_guest struct guest_conn *c = reach(&g);
	err_clear(&e);
	CHECK(guest_thaw(c, &quiet, NULL, &e) < 0);
	CHECK(faccessat(g.dir, "thawed", F_OK, 0) < 0);
	CHECK(!runs(&g, &e) && e.kind == ERR_UNAVAILABLE);
	CHECK_INT(unlinkat(g.dir, "refuse", 0), 0);
	CHECK_INT(ask(&g, guest_thaw, 10000, NULL, &e), 0);
	CHECK(runs(&g, &e));
}

// Takes drives whose digest begins with a 1.
static int take_drive(void *arg, enum guest_drive which, const char *user,
		      const uint8_t digest[GUEST_DIGEST], struct err *e)
{
	(void)arg;
	(void)which;
	(void)user;
	return digest[0] == 1 ? 0 : err_kind(e, ERR_CONFLICT, "it holds something else");
}

static int tell(const struct world *g, struct guest_told told[2], struct err *e)
{
	const struct guest_hook h = { .deadline_ms = 10000 };
	cleanup_guest struct guest_conn *c = reach(g);

	err_clear(e);
	return guest_repair_telling(c, &h, told, 2, e);
}

TEST(a_repair_tells_of_drives_and_does_not_depend_on_them)
{
	struct world g = { .around = stand_in, .at_once = but_sleep, .changed = take_drive };
	struct guest_told both[] = { { GUEST_DRIVE_SECRETS, { 1 }, false },
				     { GUEST_DRIVE_CONFIG, { 1 }, false } },
			  first[] = { { GUEST_DRIVE_SECRETS, { 1 }, false },
				      { GUEST_DRIVE_CONFIG, { 2 }, true } },
			  none[] = { { GUEST_DRIVE_SECRETS, { 2 }, true },
				     { GUEST_DRIVE_CONFIG, { 1 }, true } };
	struct guest_welcome w = { 0 };
	struct guest_info info;
	struct err e = { 0 };

	CHECK(boot(&g, &w, &info, &e) == 0);
	CHECK_INT(ask(&g, guest_prepare_sleep, 10000, NULL, &e), 0);
	CHECK(tell(&g, both, &e) == 0 && both[0].taken && both[1].taken);
	CHECK(tell(&g, first, &e) == 0 && first[0].taken && !first[1].taken);
	CHECK(tell(&g, none, &e) == 0 && !none[0].taken && !none[1].taken);
	CHECK_INT(ask(&g, guest_thaw, 10000, NULL, &e), 0);
}

TEST(an_agent_that_closes_after_its_repair_has_taken_no_drive)
{
	struct world g = hooked(); // it repairs in a process of its own
	struct guest_told told[] = { { GUEST_DRIVE_SECRETS, { 1 }, true },
				     { GUEST_DRIVE_CONFIG, { 1 }, true } };
	struct err e = { 0 };

	CHECK_INT(tell(&g, told, &e), 0);
	CHECK(!told[0].taken && !told[1].taken);
}

TEST(a_step_that_fails_is_named_and_what_was_stopped_goes_on)
{
	struct world g = hooked();
	struct err e = { 0 };

	CHECK(ask(&g, guest_prepare_sleep, 10001, NULL, &e) < 0);
	CHECK_STR(e.msg, "guest: sleep-prep: second 80: it broke");
	wait_file(&g, "thawed", "quiet");
	for (int i = 0; i < 2000 && !runs(&g, &e); i++)
		(void)usleep(10000);
	CHECK_STR(e.msg, "");
}

TEST(one_that_hangs_is_ended_at_its_deadline)
{
	struct world g = hooked();
	struct err e = { 0 };
	int64_t start = clock_ms();

	CHECK(ask(&g, guest_prepare_sleep, 302, NULL, &e) < 0);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	CHECK_STR(e.msg, "guest: sleep-prep: second 80: not done after 302 ms");
	CHECK(clock_ms() - start < 20000);
	wait_file(&g, "thawed", "quiet");
	for (int i = 0; i < 2000 && !runs(&g, &e); i++)
		(void)usleep(10000);
	CHECK_STR(e.msg, "");
	CHECK(ask(&g, guest_prepare_sleep, 0, NULL, &e) < 0);
}

TEST(a_second_one_waits_for_nobody)
{
	struct world g = hooked();
	cleanup_guest struct guest_conn *c = reach(&g);
	cleanup_buf struct buf b = BUF_INIT;
	const struct guest_hook h = { .deadline_ms = 6002 };
	struct err e = { 0 };
	pid_t pid = fork();

	if (pid == 0) {
		(void)!guest_prepare_sleep(c, &h, NULL, &e);
		_exit(0);
	}
	wait_file(&g, "hangs", "1");
	CHECK(ask(&g, guest_repair, 1000, NULL, &e) < 0);
	CHECK_INT(e.kind, ERR_UNAVAILABLE);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

TEST(a_sleep_whose_host_is_gone_is_undone_at_once)
{
	struct world g = hooked();
	struct guest_conn *c = reach(&g);
	const struct guest_hook h = { .deadline_ms = 600002 };
	struct err e = { 0 };
	pid_t pid = fork();

	if (pid == 0) {
		(void)!guest_prepare_sleep(c, &h, NULL, &e);
		_exit(0);
	}
	guest_close(c);
	wait_file(&g, "hangs", "1");
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
	wait_file(&g, "thawed", "quiet");
	for (int i = 0; i < 2000 && !runs(&g, &e); i++)
		(void)usleep(10000);
	CHECK_STR(e.msg, "");
}

static struct guest_health health(const struct world *g)
{
	cleanup_guest struct guest_conn *c = reach(g);
	struct guest_health h = { 0 };
	struct err e = { 0 };

	CHECK(guest_ask_health(c, clock_ms() + WAIT_MS, &h, &e) == 0);
	return h;
}

static struct world probed(const struct guest_probe *p)
{
	struct world g = { 0 };
	struct guest_welcome w = { 0 };
	struct guest_info info;
	struct err e = { 0 };

	CHECK(guest_probe_put(&w.probes, p, &e) == 0);
	CHECK(boot(&g, &w, &info, &e) == 0);
	guest_welcome_clear(&w);
	return g;
}

static struct guest_health wait_state(const struct world *g, uint32_t state)
{
	struct guest_health h = { 0 };

	for (int i = 0; i < 2000; i++) {
		h = health(g);
		if (h.probe_state == state)
			return h;
		(void)usleep(20000);
	}
	tap_fail(__FILE__, __LINE__, "state %u: %s", h.probe_state, h.probe_why);
	return h;
}

TEST(a_command_probes_and_failures_are_counted)
{
	cleanup_free char *file = base_printf("%s/up", tap_dir());
	struct guest_probe p = { GUEST_PROBE_EXEC, 1, 2, 2, 0, "", GUEST_WORDS_INIT };
	struct err e = { 0 };
	struct guest_health h;

	CHECK(guest_words_add(&p.command, "test", &e) == 0 &&
	      guest_words_add(&p.command, "-e", &e) == 0 &&
	      guest_words_add(&p.command, file, &e) == 0);
	struct world g = probed(&p);
	h = health(&g);
	CHECK(h.more && h.probe_state != GUEST_HEALTHY);
	h = wait_state(&g, GUEST_UNHEALTHY);
	CHECK(h.probe_failures >= 2);
	CHECK_STR(h.probe_why, "ended with 1");
	(void)close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	h = wait_state(&g, GUEST_HEALTHY);
	CHECK(h.probe_failures == 0 && h.probe_why[0] == '\0');
	guest_probe_clear(&p);
}

TEST(a_probe_that_hangs_is_ended_and_none_overlaps)
{
	cleanup_free char *file = base_printf("echo x >>%s/runs; exec sleep 60", tap_dir());
	struct guest_probe p = { GUEST_PROBE_EXEC, 1, 1, 1, 0, "", GUEST_WORDS_INIT };
	cleanup_buf struct buf b = BUF_INIT;
	struct err e = { 0 };
	struct guest_health h;

	CHECK(guest_words_add(&p.command, "sh", &e) == 0 &&
	      guest_words_add(&p.command, "-c", &e) == 0 &&
	      guest_words_add(&p.command, file, &e) == 0);
	int64_t begun = clock_ms();
	struct world g = probed(&p);
	h = wait_state(&g, GUEST_UNHEALTHY);
	CHECK_STR(h.probe_why, "no answer in time");
	// two by now, and another one with each second that nobody looked
	CHECK(fd_read_file(g.dir, "runs", 4096, &b, &e) == 0);
	CHECK(b.len <= 4 + 2 * (size_t)(MAX(clock_ms() - begun - 2000, 0) / 1000));
	guest_probe_clear(&p);
}

static void answer(int listener, const char *text)
{
	char bytes[1024];
	int fd;

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		(void)!read(fd, bytes, sizeof(bytes));
		(void)!write(fd, text, strlen(text));
		(void)close(fd);
	}
}

static void forget_sockets(void)
{
	cleanup_fd int dir = open(tap_dir(), O_DIRECTORY | O_CLOEXEC);

	(void)unlinkat(dir, "v.sock", 0);
	(void)unlinkat(dir, "v.sock_1024", 0);
}

TEST(a_web_server_is_probed)
{
	static const struct {
		const char *text;
		uint32_t state;
		const char *why;
	} rows[] = {
		{ "HTTP/1.1 200 OK\r\n\r\n", GUEST_HEALTHY, "" },
		{ "HTTP/1.0 302 Found\r\n\r\n", GUEST_HEALTHY, "" },
		{ "HTTP/1.1 503 No\r\n\r\n", GUEST_UNHEALTHY, "status 503" },
		{ "SSH-2.0-nonsense\r\n", GUEST_UNHEALTHY, "the answer is not HTTP" },
		{ "HTTP", GUEST_UNHEALTHY, "closed without an answer" },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct sockaddr_in at = { .sin_family = AF_INET,
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		socklen_t len = sizeof(at);
		struct guest_probe p = {
			GUEST_PROBE_HTTP, 1, 2, 1, 0, "/health", GUEST_WORDS_INIT
		};
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		pid_t pid;

		CHECK(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 8) == 0 &&
		      getsockname(fd, (struct sockaddr *)&at, &len) == 0);
		p.port = ntohs(at.sin_port);
		pid = fork();
		if (pid == 0)
			answer(fd, rows[i].text);
		(void)close(fd);
		forget_sockets(); // of the row before
		struct world g = probed(&p);
		struct guest_health h = wait_state(&g, rows[i].state);
		CHECK_STR(h.probe_why, rows[i].why);
		(void)kill(pid, SIGKILL);
	}
}

TEST(a_probe_as_words_comes_back_and_nonsense_does_not)
{
	static const char *const bad[][7] = {
		{ "ping", "1", "1", "1", "x" },
		{ "exec", "1", "1", "1" },
		{ "exec", "0", "1", "1", "x" },
		{ "http", "1", "1", "1", "80" },
		{ "http", "1", "1", "1", "0", "/" },
		{ "http", "1", "1", "1", "80", "x" },
		{ "http", "1", "1", "1", "80", "/ x" },
		{ "http", "1", "1", "1", "80", "/", "y" },
		{ "exec", "1", "1" },
	};
	struct guest_probe p = { GUEST_PROBE_HTTP, 5, 3, 2, 8080, "/x?y=z", GUEST_WORDS_INIT }, out;
	struct guest_words w = GUEST_WORDS_INIT;
	struct err e = { 0 };

	CHECK(guest_probe_put(&w, &p, &e) == 0 && guest_probe_get(&w, &out, &e) == 0);
	CHECK(out.kind == p.kind && out.interval_s == 5 && out.timeout_s == 3 &&
	      out.failures == 2 && out.port == 8080);
	CHECK_STR(out.path, p.path);
	for (size_t i = 0; i < COUNT(bad); i++) {
		guest_words_clear(&w);
		for (size_t k = 0; k < 7 && bad[i][k]; k++)
			CHECK(guest_words_add(&w, bad[i][k], &e) == 0);
		if (guest_probe_get(&w, &out, &e) == 0)
			tap_fail(__FILE__, __LINE__, "row %zu was taken", i);
	}
	guest_words_clear(&w);
}

TEST(a_worker_says_how_it_is_and_nonsense_is_nothing)
{
	cleanup_free char *file = base_printf("%s/worker", tap_dir());
	struct world g = { .worker_file = file };
	struct guest_welcome w = { 0 };
	struct guest_info info;
	struct guest_health h;
	struct err e = { 0 };

	CHECK(boot(&g, &w, &info, &e) == 0);
	CHECK_STR(health(&g).worker, "");
	CHECK(worker_say(file, "ready", &e) == 0 && worker_say(file, "busy", &e) == 0);
	(void)usleep(50000);
	h = health(&g);
	CHECK_STR(h.worker, "busy");
	CHECK(h.worker_age_ms >= 40 && h.worker_age_ms < 20000);
	CHECK(worker_say(file, "asleep", &e) < 0 && e.kind == ERR_USAGE);
	CHECK(fd_replace_file(g.dir, "worker", "evil \033[2J", 9, 0644, &e) == 0);
	CHECK_STR(health(&g).worker, "");
	CHECK(unlink(file) == 0 && mkfifo(file, 0600) == 0);
	CHECK_STR(health(&g).worker, "");
	CHECK(unlink(file) == 0 && symlink("/etc/hostname", file) == 0);
	CHECK_STR(health(&g).worker, "");
}

static void read_log(const struct world *g, const struct guest_logs *what, struct buf *text)
{
	cleanup_guest struct guest_conn *c = reach(g);
	cleanup_fd int out = temp();
	struct err e = { 0 };

	CHECK(guest_ask_logs(c, what, out, &e) == 0);
	buf_clear(text);
	take(out, text);
}

static void wait_log(const struct world *g, const struct guest_logs *what, const char *end,
		     struct buf *text)
{
	for (int i = 0; i < 2000 && !str_ends(buf_text(text), end); i++) {
		(void)usleep(10000);
		read_log(g, what, text);
	}
}

TEST(logs_have_times_lines_and_a_beginning)
{
	struct world g = { 0 };
	struct guest_welcome w = { 0 };
	struct guest_info info;
	struct guest_logs what = { .source = GUEST_LOG_ENTRYPOINT, .times = true };
	cleanup_buf struct buf text = BUF_INIT;
	struct err e = { 0 };
	struct timespec now;

	cleanup_free char *script =
		base_printf("echo one; echo two; until [ -e %s/go ]; do sleep 0.05; "
			    "done; echo three; printf half",
			    tap_dir());

	CHECK(guest_words_add(&w.argv, "sh", &e) == 0 && guest_words_add(&w.argv, "-c", &e) == 0 &&
	      guest_words_add(&w.argv, script, &e) == 0);
	CHECK(boot(&g, &w, &info, &e) == 0);
	guest_welcome_clear(&w);
	wait_log(&g, &what, "two\n", &text);
	(void)usleep(10000);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	CHECK(close(openat(g.dir, "go", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) == 0);
	wait_log(&g, &what, "half", &text);
	CHECK_INT(text.len, 4 * GUEST_LOG_TIME + strlen("one\ntwo\nthree\nhalf"));
	CHECK(buf_text(&text)[10] == 'T' && buf_text(&text)[23] == 'Z');
	what = (struct guest_logs){ .source = GUEST_LOG_ENTRYPOINT, .lines = 2 };
	read_log(&g, &what, &text);
	CHECK_STR(buf_text(&text), "three\nhalf");
	what = (struct guest_logs){ .source = GUEST_LOG_ENTRYPOINT, .lines = 100 };
	read_log(&g, &what, &text);
	CHECK_STR(buf_text(&text), "one\ntwo\nthree\nhalf");
	what = (struct guest_logs){ .source = GUEST_LOG_ENTRYPOINT,
				    .since_us = (uint64_t)now.tv_sec * 1000000 +
						(uint64_t)now.tv_nsec / 1000 };
	read_log(&g, &what, &text);
	CHECK_STR(buf_text(&text), "three\nhalf");
	what.since_us += (uint64_t)3600 * 1000000;
	read_log(&g, &what, &text);
	CHECK_STR(buf_text(&text), "");
}
