// SPDX-License-Identifier: MIT
// A guest's agent as a program that uses it in-process, many times. RUN is the directory of v.sock.
//	guest-time RUN exec COUNT COMMAND...	one after the other: median and 99th percentile in
//						us
//	guest-time RUN stages COUNT COMMAND...	medians in us of its parts: the connection, until
//						STARTED, until EXIT, the close
//	guest-time RUN echo PORT COUNT		CONNECT, one line, the same line back: as exec
//	guest-time RUN row COUNT		/bin/sh -c 'exit N' one after the other, N from 0 to
//						255
//	guest-time RUN burst COUNT		the same all at once
#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"
#include "guest/host_conn.h"
#include <fcntl.h>
#include <sys/wait.h>

#define COUNT_MAX 100000
#define WAIT_MS	  30000

static int run_once(const struct guest_place *at, const struct guest_exec *x, int *ret,
		    struct err *e)
{
	cleanup_guest struct guest_conn *c = NULL;
	struct guest_io io = { -1, -1, -1, -1, clock_ms() + WAIT_MS, clock_ms() + WAIT_MS };

	if (guest_open(at, clock_ms() + WAIT_MS, &c, e) < 0)
		return -e->no;
	return guest_run(c, x, &io, ret, e);
}

// One frame of those that a command without streams has. False: none of these.
static bool await(struct guest_conn *c, uint8_t type, struct err *e)
{
	struct guest_head h = { 0 };
	const uint8_t *p = NULL;

	do {
		if (host_conn_read(c, clock_ms() + WAIT_MS, &h, &p, e) < 0)
			return false;
		if (h.type == GUEST_ERROR)
			return host_conn_refused(&h, p, e) == 0;
	} while (h.type != type);
	return true;
}

enum { OPENED, STARTED, ENDED, CLOSED, STAGES };

static int stages_once(const struct guest_place *at, const struct guest_exec *x,
		       int64_t took[STAGES], struct err *e)
{
	cleanup_guest struct guest_conn *c = NULL;
	cleanup_buf struct buf b = BUF_INIT;
	int64_t begun = clock_us(), at_us[STAGES];

	if (guest_open(at, clock_ms() + WAIT_MS, &c, e) < 0)
		return -e->no;
	at_us[OPENED] = clock_us();
	guest_exec_put(&b, x);
	guest_frame_put(&c->out, GUEST_EXEC, 0, b.data, b.len);
	if (host_conn_flush(c, clock_ms() + WAIT_MS, e) < 0 || !await(c, GUEST_STARTED, e))
		return -e->no;
	at_us[STARTED] = clock_us();
	if (!await(c, GUEST_EXIT, e))
		return -e->no;
	at_us[ENDED] = clock_us();
	guest_close(c);
	c = NULL;
	at_us[CLOSED] = clock_us();
	for (int s = 0; s < STAGES; begun = at_us[s++])
		took[s] = at_us[s] - begun;
	return 0;
}

static int echo_once(const struct guest_place *at, uint32_t port, struct err *e)
{
	cleanup_fd int fd = guest_dial(at, port, clock_ms() + WAIT_MS, e);
	char back[6] = "";

	if (fd < 0 || fd_write_all(fd, "hello\n", 6, e) < 0 ||
	    fd_read_exact(fd, back, sizeof(back), clock_ms() + WAIT_MS, e) < 0)
		return -e->no;
	return memcmp(back, "hello\n", 6) == 0 ? 0 : err_kind(e, ERR_FAILED, "not an echo");
}

static int by_size(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void tell(int64_t *took, size_t n)
{
	qsort(took, n, sizeof(*took), by_size);
	printf("%lld %lld\n", (long long)took[n / 2], (long long)took[n * 99 / 100]);
}

static int fill(struct guest_exec *x, char **words, struct err *e)
{
	for (; *words; words++)
		if (guest_words_add(&x->argv, *words, e) < 0)
			return -e->no;
	return 0;
}

static int time_stages(const struct guest_place *at, size_t n, char **words, struct err *e)
{
	cleanup(guest_exec_clear) struct guest_exec x = { .flags = GUEST_EXEC_NO_STDIN };
	cleanup_free int64_t *took = base_alloc(n * STAGES, sizeof(*took));
	int64_t one[STAGES];

	if (fill(&x, words, e) < 0)
		return -e->no;
	for (size_t i = 0; i < n; i++) {
		if (stages_once(at, &x, one, e) < 0)
			return -e->no;
		for (int s = 0; s < STAGES; s++)
			took[(size_t)s * n + i] = one[s];
	}
	for (size_t s = 0; s < STAGES; s++) {
		qsort(took + s * n, n, sizeof(*took), by_size);
		printf("%lld%c", (long long)took[s * n + n / 2], s + 1 < STAGES ? ' ' : '\n');
	}
	return 0;
}

static int time_exec(const struct guest_place *at, size_t n, char **words, struct err *e)
{
	cleanup_free int64_t *took = base_alloc(n, sizeof(*took));
	cleanup(guest_exec_clear) struct guest_exec x = { 0 };
	int status = 0;

	if (fill(&x, words, e) < 0)
		return -e->no;
	for (size_t i = 0; i < n; i++) {
		int64_t begun = clock_us();

		if (run_once(at, &x, &status, e) < 0)
			return -e->no;
		took[i] = clock_us() - begun;
		if (status != 0)
			return err_kind(e, ERR_FAILED, "wait status %#x", status);
	}
	tell(took, n);
	return 0;
}

static int time_echo(const struct guest_place *at, uint32_t port, size_t n, struct err *e)
{
	cleanup_free int64_t *took = base_alloc(n, sizeof(*took));

	for (size_t i = 0; i < n; i++) {
		int64_t begun = clock_us();

		if (echo_once(at, port, e) < 0)
			return -e->no;
		took[i] = clock_us() - begun;
	}
	tell(took, n);
	return 0;
}

static int exit_with(const struct guest_place *at, unsigned want, struct err *e)
{
	cleanup(guest_exec_clear) struct guest_exec x = { 0 };
	char script[32];
	int status = 0;

	base_cut(script, sizeof(script), "exit %u", want);
	if (guest_words_add(&x.argv, "/bin/sh", e) < 0 || guest_words_add(&x.argv, "-c", e) < 0 ||
	    guest_words_add(&x.argv, script, e) < 0 || run_once(at, &x, &status, e) < 0)
		return -e->no;
	if (!WIFEXITED(status) || (unsigned)WEXITSTATUS(status) != want)
		return err_kind(e, ERR_FAILED, "wait status %#x instead of exit %u", status, want);
	return 0;
}

static int row(const struct guest_place *at, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (exit_with(at, i % 256, e) < 0)
			return err_wrap(e, "%zu", i);
	printf("%zu\n", n);
	return 0;
}

static int burst(const struct guest_place *at, size_t n, struct err *e)
{
	size_t good = 0;
	int status;

	for (size_t i = 0; i < n; i++) {
		if (fork() == 0) {
			if (exit_with(at, i % 256, e) < 0)
				(void)fprintf(stderr, "guest-time: %s\n", e->msg);
			_exit(e->no != 0);
		}
	}
	while (wait(&status) > 0)
		good += status == 0;
	printf("%zu\n", good);
	return good == n ? 0 : err_kind(e, ERR_FAILED, "some were wrong");
}

static int work(int argc, char **argv, struct err *e)
{
	const char *verb = argc > 3 ? argv[2] : "";
	struct guest_place at = { -1, "v.sock", GUEST_ANY_UID, -1 };
	uint64_t n, port;

	if (argc < 4)
		return err_usage(e, "RUN exec|stages|echo|row|burst ...");
	at.dirfd = fd_open_dir(AT_FDCWD, argv[1], e);
	if (at.dirfd < 0)
		return -e->no;
	if (str_eq(verb, "echo")) {
		if (argc != 5 || num_u64(argv[3], 1, UINT32_MAX, &port, e) < 0 ||
		    num_u64(argv[4], 1, COUNT_MAX, &n, e) < 0)
			return err_usage(e, "RUN echo PORT COUNT");
		return time_echo(&at, (uint32_t)port, n, e);
	}
	if (num_u64(argv[3], 1, COUNT_MAX, &n, e) < 0)
		return -e->no;
	if (str_eq(verb, "exec") && argc > 4)
		return time_exec(&at, n, argv + 4, e);
	if (str_eq(verb, "stages") && argc > 4)
		return time_stages(&at, n, argv + 4, e);
	if (str_eq(verb, "row"))
		return row(&at, n, e);
	return str_eq(verb, "burst") ? burst(&at, n, e) : err_usage(e, "unknown: %s", verb);
}

int main(int argc, char **argv)
{
	struct err e = { 0 };

	if (work(argc, argv, &e) == 0)
		return 0;
	(void)fprintf(stderr, "guest-time: %s\n", e.msg);
	return 1;
}
