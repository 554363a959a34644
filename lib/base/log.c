// SPDX-License-Identifier: MIT
#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/fd.h"

static const char *log_tool = "mvm";
static enum log_level log_max = LOG_LEVEL_INFO;
static bool log_json, log_journal, log_spans;

static const struct {
	enum log_level level;
	const char *name, *prefix;
} levels[] = {
	{ LOG_LEVEL_ERROR, "error", "" },
	{ LOG_LEVEL_WARN, "warn", "warning: " },
	{ LOG_LEVEL_INFO, "info", "" },
	{ LOG_LEVEL_DEBUG, "debug", "debug: " },
};

// systemd tells which stream is the journal's by device and inode: our stderr may be another one.
static bool stderr_is_journal(void)
{
	const char *s = getenv("JOURNAL_STREAM");
	char ours[48];
	struct stat st;

	if (!s || fstat(STDERR_FILENO, &st) < 0)
		return false;
	base_cut(ours, sizeof(ours), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	return str_eq(s, ours);
}

void log_open(const char *tool)
{
	const char *form = getenv("MVM_LOG");

	log_tool = tool;
	log_json = form && str_eq(form, "json");
	log_journal = stderr_is_journal();
	log_default(LOG_LEVEL_INFO);
}

void log_default(enum log_level level)
{
	const char *asked = getenv("MVM_LOG_LEVEL");

	log_max = level;
	log_spans = false;
	for (size_t i = 0; asked && i < COUNT(levels); i++)
		if (str_eq(asked, levels[i].name)) {
			log_max = levels[i].level;
			log_spans = log_max >= LOG_LEVEL_INFO;
		}
}

void log_clean(char *s)
{
	size_t len = strlen(s);

	for (size_t i = 0, n; i < len; i += n) {
		const unsigned char c = (unsigned char)s[i];

		n = utf8_length(s + i, len - i);
		// U+0080..U+009F are control characters too: a terminal may obey them.
		bool bad = n == 0 || c < 0x20 || c == 0x7F ||
			   (n == 2 && c == 0xC2 && (unsigned char)s[i + 1] < 0xA0);
		n = MAX(n, 1u);
		if (bad)
			memset(s + i, '?', n);
	}
}

static void json_line(struct buf *out, const char *level, const char *object,
		      const struct log_span *span, const char *text)
{
	const char *request = getenv("MVM_REQUEST_ID");
	time_text now;

	clock_utc_ms(now);
	buf_fmt(out, "{\"ts\":\"%s\",\"level\":\"%s\",\"tool\":", now, level);
	buf_json(out, log_tool);
	if (object && object[0]) {
		buf_str(out, ",\"object\":");
		buf_json(out, object);
	}
	if (request && request[0]) {
		buf_str(out, ",\"request_id\":");
		buf_json(out, request);
	}
	if (span) {
		buf_str(out, ",\"action\":");
		buf_json(out, span->action);
		buf_fmt(out, ",\"outcome\":\"%s\",\"status\":%d,\"elapsed_ms\":%lld", span->outcome,
			span->status, (long long)span->elapsed_ms);
	}
	buf_str(out, ",\"msg\":");
	buf_json(out, text);
	buf_str(out, "}\n");
}

// text is cleaned in place.
static void write_line(enum log_level level, const char *object, const struct log_span *span,
		       char *text)
{
	cleanup_buf struct buf out = BUF_INIT;
	struct err ignored = { 0 };
	const char *prefix = "", *name = "info";
	char about[160];

	log_clean(text);
	base_cut(about, sizeof(about), "%s", object ? object : "");
	log_clean(about);
	for (size_t i = 0; i < COUNT(levels); i++)
		if (levels[i].level == level) {
			prefix = levels[i].prefix;
			name = levels[i].name;
		}
	if (log_journal)
		buf_fmt(&out, "<%d>", (int)level);
	if (log_json)
		json_line(&out, name, about, span, text);
	else
		buf_fmt(&out, "%s: %s%s%s%s\n", log_tool, prefix, about, about[0] ? ": " : "",
			text);
	// One write, so that the lines of several processes do not mix.
	if (fd_write_all(STDERR_FILENO, out.data, out.len, &ignored) < 0)
		return; // nobody is left to be told
}

void log_line(enum log_level level, const char *object, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (level > log_max)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	write_line(level, object, NULL, text);
}

void log_span(const struct log_span *s)
{
	char text[256];

	if (!log_spans)
		return;
	base_cut(text, sizeof(text), "%s: %s, status %d, %lld ms", s->action, s->outcome, s->status,
		 (long long)s->elapsed_ms);
	write_line(LOG_LEVEL_INFO, s->object, s, text);
}

// A datagram socket connected to $NOTIFY_SOCKET; -1 with e->no 0 when there is none.
static int notify_socket(struct err *e)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	cleanup_fd int file = -1;
	cleanup_fd int sock = -1;
	socklen_t size = sizeof(sun);

	if (!path || (path[0] != '/' && path[0] != '@'))
		return -1;
	if (path[0] ==
	    '@') { // the abstract name space: the name is as long as it is, without a NUL
		if (strlen(path) > sizeof(sun.sun_path))
			return err_set(e, ENAMETOOLONG, "$NOTIFY_SOCKET");
		memcpy(sun.sun_path + 1, path + 1, strlen(path) - 1);
		size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	} else {
		file = open(path, O_PATH | O_CLOEXEC); // sun_path holds 108 bytes only
		if (file < 0)
			return err_sys(e, "open %s", path);
		base_cut(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d", file);
	}
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || connect(sock, (const struct sockaddr *)&sun, size) < 0)
		return err_sys(e, "connect to %s", path);
	return steal_fd(&sock);
}

int log_notify(const char *state, struct err *e)
{
	err_clear(e);
	cleanup_fd int sock = notify_socket(e);

	if (sock < 0)
		return -e->no;
	if (fd_send(sock, NULL, 0, state, strlen(state), e) < 0)
		return err_wrap(e, "notify");
	return 0;
}

int log_notify_barrier(int timeout_ms, struct err *e)
{
	static const char barrier[] = "BARRIER=1";
	cleanup_fd int ours = -1, theirs = -1;
	int pair[2];

	err_clear(e);
	cleanup_fd int sock = notify_socket(e);
	if (sock < 0)
		return -e->no;
	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	ours = pair[0];
	theirs = pair[1];
	if (fd_send(sock, &theirs, 1, barrier, sizeof(barrier) - 1, e) < 0)
		return err_wrap(e, "notify");
	(void)close(steal_fd(&theirs));
	// The manager closes its copy when it has come to it in its queue.
	struct pollfd p = { .fd = ours };
	int64_t deadline = clock_ms() + timeout_ms;
	for (;;) {
		int n = poll(&p, 1, (int)clock_left(deadline));

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (clock_left(deadline) == 0)
			return err_kind(e, ERR_TIMEOUT,
					"notify: no answer from the service manager");
	}
}
