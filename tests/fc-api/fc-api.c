// SPDX-License-Identifier: MIT
//
// Runs the table of requests (rows.txt, its form is in README.md) against a VMM that speaks
// Firecracker's API, and prints TAP. It knows nothing of any request: what is sent, in which
// state, and what has to come back stands in the table.
//
//	fc-api [--as real|qemu] [--record FILE] [--kernel FILE] [--initrd FILE] [--only PATTERN]
//	       [--jail UID] TABLE VMM [ARGUMENT...]
#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	FIELDS_MAX = 40,  // of one block
	CONNS = 10,	  // @0 ... @9; @0 is the runner's own
	IDLE_MAX = 16,	  // what `open N` may hold
	ARGS_MAX = 48,	  // of one command line
	START_MS = 20000, // until the socket answers
	ANSWER_MS = 60000,
	QUIET_MS = 30,	       // nothing more is looked for after the last awaited answer
	NONE_MS = 200,	       // "no answer" is believed after this
	RECORD_QUIET_MS = 600, // as both, when it is not known what comes
	ALIVE_MS = 1500,       // a command that still runs then is "alive"
};

struct field {
	char *key, *val;
	int line;
};

struct block {
	struct field f[FIELDS_MAX];
	int n;
	bool made; // `once` and `file` blocks: already done
};

struct buf {
	char *s;
	size_t len;
};

struct conn {
	int fd; // -1: not connected
	struct buf in;
	bool eof;
};

struct answer {
	int status;
	bool deprecated;
	bool length_given;
	char *body; // NUL-terminated, owned
};

struct vmm {
	pid_t pid;	   // 0: none
	int seq;	   // number of processes so far: $P is its directory
	const char *state; // the state block it was brought into
	bool clean;	   // what ran in it left no trace
	int status;	   // as a shell would say, once it ended; -1 before
	struct conn conn[CONNS];
	int idle[IDLE_MAX];
	int idles;
};

static const char *arg_as, *arg_record, *arg_kernel, *arg_initrd, *arg_jail, *arg_only = "*";
static unsigned jail_uid;
static const char *table_path;
static char **vmm_argv; // program and the arguments every process of it gets
static struct block *blocks;
static int blocks_n;
static char **lines; // of the table, for --record
static int lines_n;
static struct vmm vm;
static char work[64];
static char why[8192]; // why the current row failed, as TAP comments
static int slow = 1;
static int left_behind;

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("Bail out! ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	exit(1);
}

static void *must(void *p)
{
	if (!p)
		die("out of memory");
	return p;
}

// Adds a line to the reasons of the running row.
__attribute__((format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
	size_t at = strlen(why);
	va_list ap;

	if (at > sizeof(why) - 2)
		return;
	va_start(ap, fmt);
	int n = vsnprintf(why + at, sizeof(why) - at - 1, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(why) - at - 1)
		n = (int)(sizeof(why) - at - 2);
	for (char *c = why + at; *c; c++)
		if (*c == '\n' || *c == '\r')
			*c = ' ';
	why[at + (size_t)n] = '\n';
	why[at + (size_t)n + 1] = '\0';
}

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nap_ms(int ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	(void)nanosleep(&t, NULL);
}

static void buf_add(struct buf *b, const char *s, size_t n)
{
	b->s = must(realloc(b->s, b->len + n + 1));
	memcpy(b->s + b->len, s, n);
	b->len += n;
	b->s[b->len] = '\0';
}

static void buf_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

static char *read_file(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "re");
	struct buf b = { 0 };
	char chunk[4096];
	size_t n;

	if (!f)
		return NULL;
	buf_str(&b, "");
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		buf_add(&b, chunk, n);
	fclose(f);
	if (ret_len)
		*ret_len = b.len;
	return b.s;
}

// ---- the table ----

static const char *const keys[] = {
	"file", "text", "size", "state",  "once",	 "after", "needs",  "args",   "row",
	"in",	"do",	"run",	"real",	  "qemu",	 "why",	  "from",   "see",    "unseen",
	"made", "key",	"own",	"config", "deprecation", "says",  "unmade", "socket",
};

static bool key_known(const char *key)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcmp(keys[i], key) == 0)
			return true;
	return false;
}

static const char *get(const struct block *b, const char *key)
{
	for (int i = 0; i < b->n; i++)
		if (strcmp(b->f[i].key, key) == 0)
			return b->f[i].val;
	return NULL;
}

static struct block *find(const char *kind, const char *name)
{
	for (int i = 0; i < blocks_n; i++)
		if (strcmp(blocks[i].f[0].key, kind) == 0 && strcmp(blocks[i].f[0].val, name) == 0)
			return &blocks[i];
	die("%s: no %s named '%s'", table_path, kind, name);
}

static void table_line(struct block **cur, char *s, int line)
{
	char *colon = strchr(s, ':');

	if (*s == '#')
		return;
	if (s[strspn(s, " \t")] == '\0') {
		*cur = NULL;
		return;
	}
	if (!colon)
		die("%s:%d: expected KEY: VALUE", table_path, line);
	*colon++ = '\0';
	colon += strspn(colon, " \t");
	if (!key_known(s))
		die("%s:%d: unknown key '%s'", table_path, line, s);
	if (!*cur) {
		blocks = must(reallocarray(blocks, (size_t)blocks_n + 1, sizeof(*blocks)));
		*cur = &blocks[blocks_n++];
		memset(*cur, 0, sizeof(**cur));
	}
	if ((*cur)->n == FIELDS_MAX)
		die("%s:%d: too many lines in one block", table_path, line);
	(*cur)->f[(*cur)->n++] = (struct field){ s, colon, line };
}

static void table_read(void)
{
	char *text = read_file(table_path, NULL);
	struct block *cur = NULL;

	if (!text)
		die("open %s: %s", table_path, strerror(errno));
	for (char *s = text, *end; *s; s = end) {
		end = s + strcspn(s, "\n");
		if (*end)
			*end++ = '\0';
		lines = must(reallocarray(lines, (size_t)lines_n + 1, sizeof(*lines)));
		lines[lines_n++] = must(strdup(s));
		table_line(&cur, s, lines_n);
	}
}

// The statuses a row has to get here, one word per step.
static const char *wanted(const struct block *row)
{
	const char *qemu = get(row, "qemu");
	const char *real = get(row, "real");

	if (qemu && strcmp(arg_as, "qemu") == 0)
		return qemu;
	return real ? real : "";
}

// What stands in place of $D, $P, $K, $I: files as the VMM names them. $x(N) is N letters, $fill(N)
// as many as bring the whole text to N bytes, $pad(N) the same with blanks.
static char *expand_below(const char *base, const char *s, size_t *ret_len)
{
	struct buf b = { 0 };
	size_t fill_at = 0, fill_to = 0;
	char own[96], fill = 'x';

	(void)snprintf(own, sizeof(own), "%s/p%d", base, vm.seq);
	buf_str(&b, "");
	while (*s) {
		size_t plain = strcspn(s, "$");
		unsigned long n;
		char *end;

		buf_add(&b, s, plain);
		s += plain;
		if (!*s)
			break;
		if (strncmp(s, "$x(", 3) == 0 || strncmp(s, "$fill(", 6) == 0 ||
		    strncmp(s, "$pad(", 5) == 0) {
			n = strtoul(strchr(s, '(') + 1, &end, 10);
			assert(*end == ')' && n < 1 << 20);
			if (s[1] != 'x') {
				fill = s[1] == 'p' ? ' ' : 'x';
				fill_at = b.len;
				fill_to = n;
			} else {
				char *xs = must(malloc(n + 1));

				memset(xs, 'x', n);
				buf_add(&b, xs, n);
				free(xs);
			}
			s = end + 1;
			continue;
		}
		if (s[1] == 'D' || s[1] == 'K' || s[1] == 'I')
			buf_str(&b, base);
		if (s[1] == 'P')
			buf_str(&b, own);
		if (s[1] == 'K')
			buf_str(&b, "/vmlinux");
		if (s[1] == 'I')
			buf_str(&b, "/initrd");
		assert(strchr("DKIP", s[1]));
		s += 2;
	}
	if (fill_to > b.len) {
		size_t n = fill_to - b.len, tail = b.len - fill_at;

		b.s = must(realloc(b.s, fill_to + 1));
		memmove(b.s + fill_at + n, b.s + fill_at, tail + 1);
		memset(b.s + fill_at, fill, n);
		b.len = fill_to;
	}
	if (ret_len)
		*ret_len = b.len;
	return b.s;
}

// As the VMM sees it: in a jail the folder of all files is its root.
static char *expand(const char *s, size_t *ret_len)
{
	return expand_below(arg_jail ? "" : work, s, ret_len);
}

// \r \n \\ and \xHH, for what is sent as it stands.
static size_t unescape(char *s)
{
	char *const start = s, *out = s;

	for (; *s; s++) {
		unsigned v = 0;

		if (*s != '\\') {
			*out++ = *s;
			continue;
		}
		switch (*++s) {
		case 'r':
			*out++ = '\r';
			break;
		case 'n':
			*out++ = '\n';
			break;
		case 'x':
			if (sscanf(s + 1, "%2x", &v) != 1)
				die("%s: \\x without two digits", table_path);
			*out++ = (char)v;
			s += 2;
			break;
		default:
			*out++ = *s;
		}
	}
	return (size_t)(out - start);
}

// ---- connections ----

static void conn_close(struct conn *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	free(c->in.s);
	*c = (struct conn){ .fd = -1 };
}

static int socket_open(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket: %s", strerror(errno));
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/p%d/api.sock", work, vm.seq);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	int no = errno;

	(void)close(fd);
	errno = no;
	return -1;
}

// Reads what is there within ms; false when nothing came.
static bool conn_read(struct conn *c, int ms)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	char chunk[8192];

	if (c->eof || poll(&p, 1, ms) <= 0)
		return false;
	ssize_t n = read(c->fd, chunk, sizeof(chunk));

	if (n <= 0) {
		c->eof = true;
		return false;
	}
	buf_add(&c->in, chunk, (size_t)n);
	return true;
}

static void conn_write(struct conn *c, const char *s, size_t n, bool byte_by_byte)
{
	while (n) {
		ssize_t w = send(c->fd, s, byte_by_byte ? 1 : n, MSG_NOSIGNAL);

		if (w < 0)
			return; // the server hung up: what it said before is still to be read
		s += w;
		n -= (size_t)w;
		if (byte_by_byte && n % 8 == 0)
			nap_ms(1);
	}
}

// The value of a header within [head, end), or NULL. Header names have no case.
static const char *header(const char *head, const char *end, const char *name)
{
	for (const char *s = head; s < end; s = strstr(s, "\r\n") + 2) {
		size_t n = strlen(name);

		if (strncasecmp(s, name, n) == 0 && s[n] == ':')
			return s + n + 1 + strspn(s + n + 1, " \t");
		if (!strstr(s, "\r\n"))
			break;
	}
	return NULL;
}

// Takes one whole answer out of what was read. 0: not whole yet.
static int answer_take(struct conn *c, struct answer *a)
{
	char *end = c->in.s ? strstr(c->in.s, "\r\n\r\n") : NULL;
	const char *length, *deprecated;
	size_t body = 0;
	char version;

	if (!end)
		return 0;
	*a = (struct answer){ 0 };
	if (sscanf(c->in.s, "HTTP/1.%c %3d", &version, &a->status) != 2) {
		fail("an answer does not start with a status line: %.60s", c->in.s);
		a->status = 999;
	}
	length = header(c->in.s, end + 2, "Content-Length");
	if (length)
		body = strtoul(length, NULL, 10);
	a->length_given = length;
	deprecated = header(c->in.s, end + 2, "Deprecation");
	a->deprecated = deprecated && strncmp(deprecated, "true", 4) == 0;
	end += 4;
	if ((size_t)(c->in.s + c->in.len - end) < body)
		return 0;
	a->body = must(strndup(end, body));
	c->in.len -= (size_t)(end + body - c->in.s);
	memmove(c->in.s, end + body, c->in.len + 1);
	return 1;
}

static int answer_wait(struct conn *c, struct answer *a, int ms)
{
	int64_t until = now_ms() + ms;

	while (!answer_take(c, a)) {
		int64_t left = until - now_ms();

		if (left < 0 || c->eof || (!conn_read(c, (int)left) && c->eof))
			return 0;
	}
	return 1;
}

// ---- processes ----

static void dir_clear(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	(void)closedir(d);
}

// Sockets outlive their process, and a second bind of one is refused.
static void sockets_clear(void)
{
	DIR *d = opendir(work);
	struct dirent *e;

	if (!d)
		die("open %s: %s", work, strerror(errno));
	while ((e = readdir(d)))
		if (e->d_type == DT_SOCK)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	(void)closedir(d);
}

// The children of a VMM become ours when it dies (PR_SET_CHILD_SUBREAPER): all have to end with it.
static void children_gone(void)
{
	int64_t until = now_ms() + (int64_t)START_MS * slow;

	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);

		if (pid < 0)
			return;
		if (pid == 0 && now_ms() > until) {
			left_behind++;
			fail("processes outlive the VMM");
			return;
		}
		if (pid == 0)
			nap_ms(1);
	}
}

static int shell_status(int st)
{
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

// Waits for the end of the process; -1 when it lives on.
static int vmm_wait(int ms)
{
	int64_t until = now_ms() + ms;
	int st;

	while (vm.pid && vm.status < 0) {
		pid_t got = waitpid(vm.pid, &st, WNOHANG);

		if (got == vm.pid)
			vm.status = shell_status(st);
		else if (now_ms() >= until)
			return -1;
		else
			nap_ms(1);
	}
	return vm.status;
}

static void vmm_stop(void)
{
	char path[96];

	for (int i = 0; i < CONNS; i++)
		conn_close(&vm.conn[i]);
	while (vm.idles)
		(void)close(vm.idle[--vm.idles]);
	if (!vm.pid)
		return;
	if (vm.status < 0) {
		(void)kill(vm.pid, SIGKILL);
		(void)vmm_wait(10000);
	}
	children_gone();
	vm.pid = 0;
	vm.state = NULL;
	(void)snprintf(path, sizeof(path), "%s/p%d", work, vm.seq);
	dir_clear(path);
	(void)rmdir(path);
}

// Splits at blanks; every word is expanded for itself, so a file name may hold none. "''" is
// the empty word.
static int args_split(char **argv, int n, const char *s)
{
	char *copy = must(strdup(s)), *save = NULL;

	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		if (n == ARGS_MAX - 1)
			die("%s: too many words: %s", table_path, s);
		argv[n++] = strcmp(w, "''") == 0 ? must(strdup("")) : expand(w, NULL);
	}
	free(copy);
	argv[n] = NULL;
	return n;
}

static void vmm_exec(char **argv, const char *dir)
{
	char path[112];
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC);

	// A VMM must not outlive a killed test run.
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)snprintf(path, sizeof(path), "%s/out", dir);
	int out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	(void)snprintf(path, sizeof(path), "%s/err", dir);
	int err = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0 || chdir(dir) < 0)
		_exit(127);
	(void)close_range(3, ~0U, 0);
	execv(argv[0], argv);
	_exit(127);
}

// Something at $P/api.sock: a socket that is served, or one whose process is gone.
static void socket_occupy(const char *dir, const char *how)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/api.sock", dir);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 1) < 0)
		die("bind %s: %s", sa.sun_path, strerror(errno));
	if (strcmp(how, "live") == 0)
		vm.idle[vm.idles++] = fd; // closed with the process
	else
		(void)close(fd);
}

// Forks a new process of the VMM in a directory of its own, with these words after the common ones.
static void vmm_spawn(const char *base, const char *more, const char *occupied)
{
	char *argv[ARGS_MAX] = { 0 };
	char dir[96];
	int n = 0, fixed;

	vmm_stop();
	sockets_clear();
	vm.seq++;
	(void)snprintf(dir, sizeof(dir), "%s/p%d", work, vm.seq);
	if (mkdir(dir, 0755) < 0)
		die("mkdir %s: %s", dir, strerror(errno));
	if (arg_jail && chown(dir, jail_uid, jail_uid) < 0)
		die("chown %s: %s", dir, strerror(errno));
	if (occupied)
		socket_occupy(dir, occupied);
	for (; vmm_argv[n]; n++)
		argv[n] = vmm_argv[n];
	fixed = n;
	if (arg_jail) {
		n = args_split(argv, n, "--root");
		argv[n++] = must(strdup(work));
		n = args_split(argv, n, "--uid");
		argv[n++] = must(strdup(arg_jail));
		n = args_split(argv, n, "--gid");
		argv[n++] = must(strdup(arg_jail));
	}
	n = args_split(argv, n, base);
	n = args_split(argv, n, more);
	vm.status = -1;
	vm.clean = true;
	vm.pid = fork();
	if (vm.pid < 0)
		die("fork: %s", strerror(errno));
	if (vm.pid == 0)
		vmm_exec(argv, dir);
	while (n > fixed)
		free(argv[--n]);
}

// A process that serves its socket.
static void vmm_start(const char *more)
{
	int64_t until;
	int fd = -1;

	vmm_spawn("--api-sock $P/api.sock --id fc-api", more, NULL);
	for (until = now_ms() + (int64_t)START_MS * slow; fd < 0 && now_ms() < until; nap_ms(1)) {
		fd = socket_open();
		if (fd < 0 && vmm_wait(0) >= 0) {
			fail("the VMM ended with %d before its socket was there", vm.status);
			return;
		}
	}
	if (fd < 0)
		fail("no API socket in time: %s", strerror(errno));
	else
		(void)close(fd);
}

// ---- steps ----

struct step {
	const struct block *row;
	struct conn *c;
	const char *want; // the word of the `real` or `qemu` line
	char seen[64];
	bool plain;   // one request, one answer, on a connection that nothing odd happened on
	bool changes; // it may have changed something
};

static bool conn_need(struct conn *c)
{
	if (c->fd >= 0)
		return true;
	c->fd = socket_open();
	return c->fd >= 0;
}

// A refusal says why under a key that clients look for; wording is upstream's affair.
static void answer_check(const struct step *st, const struct answer *a)
{
	const char *key = get(st->row, "key");
	char quoted[32];

	(void)snprintf(quoted, sizeof(quoted), "\"%s\"", key ? key : "fault_message");
	if (a->status >= 400) {
		const char *at = strstr(a->body, a->status == 503 ? "\"error\"" : quoted);

		if (a->body[0] != '{' || !at)
			fail("%d without %s: %.120s", a->status, quoted, a->body);
		else if (strncmp(at + strcspn(at, ":") + 1 + strspn(strchr(at, ':') + 1, " "),
				 "\"\"", 2) == 0)
			fail("%d with an empty reason", a->status);
	}
	if (a->status == 200 && a->body[0] != '{')
		fail("200 without an object: %.120s", a->body);
	if (a->status == 204 && a->body[0])
		fail("204 with a body: %.120s", a->body);
	if ((a->status == 200 || a->status >= 400) && !a->length_given)
		fail("%d without a Content-Length", a->status);
	if (a->deprecated != !!get(st->row, "deprecation") && a->status < 400)
		fail("%d %s a Deprecation header", a->status, a->deprecated ? "with" : "without");
}

static void seen_add(struct step *st, const char *word)
{
	size_t at = strlen(st->seen);

	(void)snprintf(st->seen + at, sizeof(st->seen) - at, "%s%s", at ? "+" : "", word);
}

static void seen_answer(struct step *st, struct answer *a)
{
	char word[16];

	(void)snprintf(word, sizeof(word), "%d", a->status);
	seen_add(st, word);
	answer_check(st, a);
	if (a->status >= 400 && strstr(st->want, word) == NULL)
		fail("  it said: %.300s", a->body);
	if (a->status < 400 && a->status != 200)
		st->changes = true;
	free(a->body);
}

static char *request(const char *line, size_t *ret_len)
{
	size_t method = strcspn(line, " "), path = 0, body_len = 0;
	const char *p = line + method + strspn(line + method, " ");
	struct buf b = { 0 };
	char *body = NULL;

	path = strcspn(p, " ");
	if (p[path])
		body = expand(p + path + 1, &body_len);
	buf_add(&b, line, method);
	buf_str(&b, " ");
	buf_add(&b, p, path);
	buf_str(&b, " HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n");
	if (body) {
		char head[96];

		(void)snprintf(head, sizeof(head),
			       "Content-Type: application/json\r\nContent-Length: %zu\r\n",
			       body_len);
		buf_str(&b, head);
	}
	buf_str(&b, "\r\n");
	if (body)
		buf_add(&b, body, body_len);
	free(body);
	*ret_len = b.len;
	return b.s;
}

static void step_send(struct step *st, const char *line, bool byte_by_byte)
{
	size_t len = 0;
	char *text = request(line, &len);

	if (!conn_need(st->c))
		seen_add(st, "refused");
	else
		conn_write(st->c, text, len, byte_by_byte);
	free(text);
}

static void step_recv(struct step *st)
{
	struct answer a;

	if (st->c->fd < 0)
		return; // already said
	if (answer_wait(st->c, &a, ANSWER_MS * slow))
		seen_answer(st, &a);
	else
		seen_add(st, st->c->eof ? "close" : "none");
}

// As many answers as the table awaits, and the end where it awaits that; then a short look for one
// too many.
static void step_collect(struct step *st)
{
	const bool closes = memmem(st->want, strcspn(st->want, " "), "close", 5) != NULL;
	int awaited = 0, got = 0;
	struct answer a;

	for (const char *s = st->want; *s && *s != ' '; s++)
		if (isdigit((unsigned char)*s) && (s == st->want || s[-1] == '+'))
			awaited++;
	for (;;) {
		int ms = arg_record		   ? RECORD_QUIET_MS
			 : got < awaited || closes ? ANSWER_MS
			 : awaited		   ? QUIET_MS
						   : NONE_MS;

		if (!answer_wait(st->c, &a, ms * slow))
			break;
		seen_answer(st, &a);
		got++;
	}
	if (st->c->in.len)
		fail("left over: %.80s", st->c->in.s);
	if (st->c->eof)
		seen_add(st, "close");
	if (!st->seen[0])
		seen_add(st, "none");
}

static void step_raw(struct step *st, const char *line)
{
	size_t len;
	char *text;

	// Escapes first by length: a body made by $x() holds no backslash.
	text = expand(line, NULL);
	len = unescape(text);
	if (!conn_need(st->c)) {
		seen_add(st, "refused");
	} else {
		conn_write(st->c, text, len, false);
		step_collect(st);
	}
	free(text);
}

static void step_connect(struct step *st)
{
	conn_close(st->c);
	if (!conn_need(st->c))
		seen_add(st, "refused");
	else
		step_collect(st);
}

static char *fetch(const char *path);

// Leaves conn[0] answered: what was closed before has been seen then, and its place is free.
static void conn_settle(void)
{
	const int64_t until = now_ms() + (int64_t)ANSWER_MS * slow;
	char *body;

	for (;;) {
		conn_close(&vm.conn[0]);
		nap_ms(QUIET_MS * slow);
		body = fetch("/");
		if (body || now_ms() > until)
			break;
	}
	if (!body)
		fail("no answer after connections were closed");
	free(body);
}

static void step_open(struct step *st, const char *line)
{
	int n = 0;

	if (sscanf(line, "%d", &n) != 1 || n > IDLE_MAX)
		die("%s: open %s", table_path, line);
	for (int i = 0; i < CONNS; i++)
		conn_close(&vm.conn[i]); // so that the count is exact
	conn_settle();
	vm.idle[vm.idles++] = vm.conn[0].fd; // one of them
	vm.conn[0].fd = -1;
	while (vm.idles < n) {
		int fd = socket_open();

		if (fd < 0) {
			seen_add(st, "refused");
			return;
		}
		vm.idle[vm.idles++] = fd;
	}
	seen_add(st, "-");
}

static void step_wait(struct step *st)
{
	bool alive = strcmp(st->want, "alive") == 0;
	int status = vmm_wait((alive ? ALIVE_MS : START_MS) * slow);
	char word[24] = "alive";

	if (status >= 0)
		(void)snprintf(word, sizeof(word), "exit=%d", status);
	seen_add(st, word);
	st->changes = true;
}

static bool starts(const char **s, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(*s, word, n) != 0 || ((*s)[n] && (*s)[n] != ' '))
		return false;
	*s += n + ((*s)[n] == ' ');
	return true;
}

static void step_do(struct step *st, const char *line)
{
	const char *const whole = line;
	int n = 1;

	if (*line == '@') {
		n = line[1] - '0';
		assert(n >= 0 && n < CONNS);
		line += 2 + strspn(line + 2, " ");
	}
	st->c = &vm.conn[n];
	st->plain = false;
	if (starts(&line, "raw")) {
		step_raw(st, line);
	} else if (starts(&line, "slow")) {
		step_send(st, line, true);
		step_recv(st);
	} else if (starts(&line, "send")) {
		step_send(st, line, false);
		if (!st->seen[0])
			seen_add(st, "-");
	} else if (starts(&line, "recv")) {
		step_recv(st);
	} else if (starts(&line, "connect")) {
		step_connect(st);
	} else if (starts(&line, "open")) {
		step_open(st, line);
	} else if (starts(&line, "shut")) {
		while (vm.idles)
			(void)close(vm.idle[--vm.idles]);
		conn_settle();
		seen_add(st, "-");
	} else if (starts(&line, "close")) {
		conn_close(st->c);
		seen_add(st, "-");
	} else if (starts(&line, "term")) {
		(void)kill(vm.pid, SIGTERM);
		seen_add(st, "-");
	} else if (starts(&line, "wait")) {
		step_wait(st);
	} else if (isupper((unsigned char)*line)) {
		st->plain = whole == line;
		step_send(st, line, false);
		step_recv(st);
	} else {
		die("%s: unknown step '%s'", table_path, line);
	}
}

// ---- rows ----

static bool blank_eq(const char *body, const char *text, bool found)
{
	struct buf b = { 0 };
	bool in_text = false, r;

	buf_str(&b, "");
	for (const char *s = body; *s; s++) {
		if (*s == '"' && (s == body || s[-1] != '\\'))
			in_text = !in_text;
		if (in_text || !isspace((unsigned char)*s))
			buf_add(&b, s, 1);
	}
	r = (strstr(b.s, text) != NULL) == found;
	free(b.s);
	return r;
}

// The body of a GET, or NULL.
static char *fetch(const char *path)
{
	struct conn *c = &vm.conn[0];
	struct answer a;
	char line[256];
	size_t len = 0;

	(void)snprintf(line, sizeof(line), "GET %s", path);
	if (!conn_need(c))
		return NULL;
	char *text = request(line, &len);

	conn_write(c, text, len, false);
	free(text);
	if (!answer_wait(c, &a, ANSWER_MS * slow)) {
		conn_close(c);
		return NULL;
	}
	if (a.status == 200)
		return a.body;
	free(a.body);
	return NULL;
}

static void effect_see(const char *val, bool found)
{
	size_t n = strcspn(val, " ");
	char *path = must(strndup(val, n));
	char *text = expand(val + n + strspn(val + n, " "), NULL);
	char *body = fetch(path);

	if (!body)
		fail("GET %s: no 200", path);
	else if (!blank_eq(body, text, found))
		fail("GET %s %s %s: %.400s", path, found ? "lacks" : "still has", text, body);
	free(body);
	free(text);
	free(path);
}

static void effect_file(const char *val, bool made)
{
	char *text = expand_below(work, val, NULL), *min;
	struct stat sb;

	min = strchr(text, ' ');
	if (min)
		*min++ = '\0';
	bool there = stat(text, &sb) == 0;

	if (there != made)
		fail("file %s is %s", val, there ? "there" : "not there");
	else if (made && sb.st_size < (min ? (off_t)strtoul(min, NULL, 10) : 1))
		fail("file %s has only %lld bytes", val, (long long)sb.st_size);
	free(text);
}

static void effect_says(const char *text)
{
	char path[112];

	(void)snprintf(path, sizeof(path), "%s/p%d/out", work, vm.seq);
	char *out = read_file(path, NULL);

	if (!out || !strstr(out, text))
		fail("stdout lacks '%s': %.120s", text, out ? out : "");
	free(out);
}

static void effects(const struct block *row)
{
	for (int i = 0; i < row->n; i++) {
		const char *key = row->f[i].key, *val = row->f[i].val;

		if (strcmp(key, "see") == 0)
			effect_see(val, true);
		if (strcmp(key, "unseen") == 0)
			effect_see(val, false);
		if (strcmp(key, "made") == 0)
			effect_file(val, true);
		if (strcmp(key, "unmade") == 0)
			effect_file(val, false);
		if (strcmp(key, "says") == 0)
			effect_says(val);
	}
}

static void state_enter(const struct block *state);

// A `once` block runs in a process of its own, and leaves files for the others.
static void need(const struct block *b)
{
	const char *name = get(b, "needs");
	struct block *once = name ? find("once", name) : NULL;

	if (!once || once->made)
		return;
	once->made = true;
	vmm_start("");
	state_enter(once);
	vmm_stop();
}

// Every request of a state's recipe has to be obeyed.
static void state_enter(const struct block *state)
{
	const char *after = get(state, "after");

	if (after)
		state_enter(find("state", after));
	for (int i = 0; i < state->n; i++) {
		struct step st = { .row = state, .want = "204" };

		if (strcmp(state->f[i].key, "do") != 0)
			continue;
		step_do(&st, state->f[i].val);
		if (strcmp(st.seen, "204") != 0)
			fail("%s %s: %s -> %s", state->f[0].key, state->f[0].val, state->f[i].val,
			     st.seen);
	}
	for (int i = 0; i < CONNS; i++)
		conn_close(&vm.conn[i]);
}

// What the states on the way need is made before the process starts.
static void needs_all(const struct block *b, const char *next)
{
	const char *name = get(b, next);

	need(b);
	if (name && *name)
		needs_all(find("state", name), "after");
}

static void row_start(const struct block *row)
{
	const char *name = get(row, "in"), *args = get(row, "args");

	if (!name)
		die("%s:%d: no state", table_path, row->f[0].line);
	if (vm.pid && vm.clean && !args && !get(row, "own") && vm.state &&
	    strcmp(vm.state, name) == 0 && vmm_wait(0) < 0)
		return;
	vmm_stop();
	needs_all(row, "in");
	vmm_start(args ? args : "");
	if (!why[0])
		state_enter(find("state", name));
	vm.state = args ? NULL : name;
}

// Runs the row's steps and returns what was seen, one word per step.
static void row_steps(const struct block *row, struct buf *seen, bool *plain, bool *changes)
{
	const char *want = wanted(row);

	for (int i = 0; i < row->n; i++) {
		struct step st = { .row = row };
		char word[64] = "";

		if (strcmp(row->f[i].key, "do") != 0)
			continue;
		(void)sscanf(want, "%63s", word);
		want += strspn(want, " ");
		want += strcspn(want, " ");
		st.want = word;
		step_do(&st, row->f[i].val);
		if (seen->len)
			buf_str(seen, " ");
		buf_str(seen, st.seen);
		*plain &= st.plain;
		*changes |= st.changes;
	}
}

static void row_api(const struct block *row, struct buf *seen)
{
	bool plain = true, changes = false, same = !get(row, "config");
	char *before, *after;

	row_start(row);
	if (why[0])
		return;
	before = same ? fetch("/vm/config") : NULL;
	conn_close(&vm.conn[0]); // a row counts its connections itself
	row_steps(row, seen, &plain, &changes);
	for (int i = 1; i < CONNS; i++)
		conn_close(&vm.conn[i]);
	while (vm.idles)
		(void)close(vm.idle[--vm.idles]);
	if (!strstr(seen->s, "exit=")) {
		if (vmm_wait(0) >= 0)
			fail("the VMM ended with %d", vm.status);
		// Refused means that nothing was changed.
		after = same && plain && !changes ? fetch("/vm/config") : NULL;
		if (same && plain && !changes && (!before || !after || strcmp(before, after) != 0))
			fail("refused, but GET /vm/config went from %s to %s",
			     before ? before : "nothing", after ? after : "nothing");
		free(after);
	}
	free(before);
	vm.clean = plain && !changes && !get(row, "own") && vm.status < 0;
}

static void row_command(const struct block *row, struct buf *seen)
{
	struct step st = { .row = row, .want = wanted(row) };

	vmm_stop();
	needs_all(row, "in");
	vmm_spawn("", get(row, "run"), get(row, "socket"));
	vm.clean = false;
	step_wait(&st);
	buf_str(seen, st.seen);
}

static bool row_run(const struct block *row)
{
	const char *want = wanted(row);
	struct buf seen = { 0 };
	bool refused_here = strcmp(arg_as, "qemu") == 0 && get(row, "qemu");
	bool r;

	why[0] = '\0';
	buf_str(&seen, "");
	if (get(row, "run"))
		row_command(row, &seen);
	else
		row_api(row, &seen);
	if (arg_record && !get(row, "from"))
		for (int i = 0; i < row->n; i++)
			if (strcmp(row->f[i].key, "real") == 0) {
				struct buf line = { 0 };

				buf_str(&line, "real: ");
				buf_str(&line, seen.s);
				lines[row->f[i].line - 1] = line.s;
			}
	if (strcmp(seen.s, want) != 0)
		fail("expected %s, got %s", want, seen.s);
	else if (!refused_here)
		effects(row);
	if (get(row, "run"))
		vmm_stop();
	r = !why[0];
	free(seen.s);
	return r;
}

// ---- the run ----

static void file_make(const char *name, const char *text, size_t size)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/%s", work, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || (text && write(fd, text, strlen(text)) < 0) ||
	    (size && ftruncate(fd, (off_t)size) < 0) || fchmod(fd, 0666) < 0)
		die("make %s: %s", path, strerror(errno));
	(void)close(fd);
}

static void file_copy(const char *from, const char *name)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	char path[160];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/%s", work, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	do
		n = sendfile(fd, in, NULL, 1 << 30);
	while (n > 0);
	if (in < 0 || fd < 0 || n < 0 || close(fd) < 0)
		die("copy %s to %s: %s", from, path, strerror(errno));
	(void)close(in);
}

static void work_make(void)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(work, sizeof(work), "%.40s/fc-api.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(work) || chmod(work, 0777) < 0)
		die("mkdtemp %s: %s", work, strerror(errno));
	if (arg_kernel)
		file_copy(arg_kernel, "vmlinux");
	if (arg_initrd)
		file_copy(arg_initrd, "initrd");
	for (int i = 0; i < blocks_n; i++) {
		const char *name = get(&blocks[i], "file"), *size = get(&blocks[i], "size");
		const char *text = get(&blocks[i], "text");
		char *s = text ? expand(text, NULL) : NULL;

		if (name)
			file_make(name, s, size ? strtoul(size, NULL, 10) : 0);
		free(s);
	}
}

// The devices the rows speak of, as an operator makes them before a VMM starts.
static void tap_make(const char *name)
{
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &r) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
		die("make the TAP device %s: %s", name, strerror(errno));
	if (arg_jail && ioctl(fd, TUNSETOWNER, jail_uid) < 0)
		die("give the TAP device %s away: %s", name, strerror(errno));
	(void)close(fd);
}

static void record_write(void)
{
	FILE *f = fopen(arg_record, "we");

	if (!f)
		die("open %s: %s", arg_record, strerror(errno));
	for (int i = 0; i < lines_n; i++)
		fprintf(f, "%s\n", lines[i]);
	if (fclose(f) != 0)
		die("write %s: %s", arg_record, strerror(errno));
}

static void table_check(void)
{
	static const char *const named[] = { "mmds",	  "balloon",	    "rate-limiter",
					     "pmem",	  "memory-hotplug", "cpu-template",
					     "huge-pages" };

	for (int i = 0; i < blocks_n; i++) {
		const char *reason = get(&blocks[i], "why"), *row = get(&blocks[i], "row");
		bool ok = false;

		for (size_t k = 0; k < sizeof(named) / sizeof(named[0]); k++)
			ok |= reason && strcmp(named[k], reason) == 0;
		if (!!get(&blocks[i], "qemu") != ok)
			die("%s:%d: only the named features may differ", table_path,
			    blocks[i].f[0].line);
		if (row && !get(&blocks[i], "real"))
			die("%s:%d: no real:", table_path, blocks[i].f[0].line);
		for (int j = 0; row && j < i; j++)
			if (get(&blocks[j], "row") && strcmp(get(&blocks[j], "row"), row) == 0)
				die("%s:%d: a second '%s'", table_path, blocks[i].f[0].line, row);
	}
}

static int rows_run(void)
{
	int n = 0, total = 0, bad = 0;

	for (int i = 0; i < blocks_n; i++)
		total += get(&blocks[i], "row") && !fnmatch(arg_only, get(&blocks[i], "row"), 0);
	printf("1..%d\n", total + 1);
	for (int i = 0; i < blocks_n; i++) {
		const char *name = get(&blocks[i], "row");
		int64_t t = now_ms();

		if (!name || fnmatch(arg_only, name, 0) != 0)
			continue;
		bool ok = row_run(&blocks[i]);

		bad += !ok;
		printf("%sok %d - %s\n", ok ? "" : "not ", ++n, name);
		for (char *s = why, *end; !ok && *s; s = end) {
			end = s + strcspn(s, "\n") + 1;
			printf("# %.*s\n", (int)(end - s - 1), s);
		}
		if (getenv("FC_API_TIMES"))
			printf("# %lld ms\n", (long long)(now_ms() - t));
		(void)fflush(stdout);
		if (!ok)
			vm.clean = false;
	}
	why[0] = '\0';
	vmm_stop();
	printf("%sok %d - no process outlives its VMM\n", left_behind ? "not " : "", ++n);
	return bad || left_behind;
}

static void options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "as", required_argument, NULL, 'a' },
		{ "record", required_argument, NULL, 'r' },
		{ "kernel", required_argument, NULL, 'k' },
		{ "initrd", required_argument, NULL, 'i' },
		{ "only", required_argument, NULL, 'o' },
		{ "jail", required_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "+", longs, NULL)) >= 0) {
		if (c == 'a')
			arg_as = optarg;
		else if (c == 'r')
			arg_record = optarg;
		else if (c == 'k')
			arg_kernel = optarg;
		else if (c == 'i')
			arg_initrd = optarg;
		else if (c == 'o')
			arg_only = optarg;
		else if (c == 'j')
			arg_jail = optarg;
		else
			exit(2);
	}
	if (argc - optind < 2) {
		fprintf(stderr, "fc-api: expected TABLE VMM [ARGUMENT...]\n");
		exit(2);
	}
	table_path = argv[optind];
	vmm_argv = argv + optind + 1;
	// Each process runs in a folder of its own.
	vmm_argv[0] = realpath(vmm_argv[0], NULL);
	if (!vmm_argv[0])
		die("%s: %s", argv[optind + 1], strerror(errno));
	if (!arg_as)
		arg_as = strstr(vmm_argv[0], "qemu") ? "qemu" : "real";
}

int main(int argc, char **argv)
{
	const char *s = getenv("FC_API_SLOW");
	int bad;

	options(argc, argv);
	if (s && sscanf(s, "%d", &slow) != 1)
		die("FC_API_SLOW: %s", s);
	if (arg_jail && sscanf(arg_jail, "%u", &jail_uid) != 1)
		die("--jail %s", arg_jail);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	(void)signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < CONNS; i++)
		vm.conn[i].fd = -1;
	vm.status = -1;
	table_read();
	table_check();
	work_make();
	tap_make("fcapi0");
	tap_make("fcapi1");
	bad = rows_run();
	if (arg_record)
		record_write();
	dir_clear(work);
	(void)rmdir(work);
	return bad ? 1 : 0;
}
