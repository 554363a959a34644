// SPDX-License-Identifier: MIT
// A fake, for faults only: a guest's agent that means harm. Binds DIR/v.sock as a VMM would, as
// user UID, and plays the same acts to everybody who connects, one after the other; then it closes.
//	hostile-agent DIR UID ACT...	says when it listens
//	ok		the VMM's line; hello: the agent's
//	request		waits for a frame that is no hello
//	f:TYPE:STREAM:BYTES	a frame; BYTES with \xHH
//	h:LENGTH:TYPE:STREAM	its header alone, which may lie
//	r:BYTES		as they are
//	stream:FILE	its contents as DATA of stream 1, within the window
//	drip:BYTES	one byte a second, again and again; flood:BYTES: as fast as they go
//	hang		says nothing more and leaves the connection open
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"
#include "guest/proto.h"
#include <fcntl.h>

#define LAST_MS 120000 // nobody waits for longer
#define FLOOD	(64u << 10)

static void give(int fd, const void *p, size_t len)
{
	struct err e = { 0 };

	if (fd_write_all(fd, p, len, &e) < 0)
		_exit(0); // the client has had enough
}

static void give_frame(int fd, uint32_t len, uint8_t type, uint16_t stream, const struct buf *body)
{
	const struct guest_head h = { len, type, stream };
	uint8_t head[GUEST_HEADER];

	guest_head_put(&h, head);
	give(fd, head, sizeof(head));
	if (body)
		give(fd, body->data, body->len);
}

// False at the end.
static bool get(int fd, void *out, size_t len)
{
	struct err e = { 0 };

	return fd_read_exact(fd, out, len, clock_ms() + LAST_MS, &e) == 0;
}

// The next frame's type; *ret: the number that its payload begins with.
static uint8_t get_frame(int fd, uint32_t *ret)
{
	cleanup_buf struct buf b = BUF_INIT;
	uint8_t head[GUEST_HEADER], body[GUEST_FRAME_MAX];
	struct guest_head h;
	struct err e = { 0 };

	if (!get(fd, head, sizeof(head)) || guest_head_get(head, &h, &e) < 0 ||
	    !get(fd, body, h.len))
		_exit(0);
	*ret = 0;
	memcpy(ret, body, MIN(h.len, sizeof(*ret)));
	return h.type;
}

static void unescape(const char *s, struct buf *out)
{
	for (; *s; s++) {
		unsigned v;

		if (s[0] == '\\' && s[1] == 'x' && sscanf(s + 2, "%2x", &v) == 1) {
			buf_char(out, (char)v);
			s += 3;
		} else {
			buf_char(out, *s);
		}
	}
}

static void play_hello(int fd)
{
	const struct guest_hello hello = { GUEST_VERSION, GUEST_VERSION, "hostile" };
	cleanup_buf struct buf b = BUF_INIT;

	guest_hello_put(&b, &hello);
	give_frame(fd, (uint32_t)b.len, GUEST_HELLO, 0, &b);
}

static void play_stream(int fd, const char *path)
{
	cleanup_fd int file = open(path, O_RDONLY | O_CLOEXEC);
	uint32_t window = GUEST_WINDOW, more;
	char bytes[GUEST_DATA_MAX];
	ssize_t n;

	while ((n = read(file, bytes, MIN(sizeof(bytes), window))) > 0) {
		struct buf b = { bytes, (size_t)n, 0 };

		give_frame(fd, (uint32_t)n, GUEST_DATA, GUEST_STDOUT, &b);
		window -= (uint32_t)n;
		while (!window)
			if (get_frame(fd, &more) == GUEST_WINDOW_ADD)
				window += more;
	}
}

static void play_drip(int fd, const struct buf *b)
{
	for (size_t i = 0;; i = (i + 1) % b->len) {
		give(fd, b->data + i, 1);
		clock_sleep_ms(1000);
	}
}

// Many at a time: a client that is never short of them, and not a processor spent on calls of a few
// bytes.
static void play_flood(int fd, const struct buf *b)
{
	cleanup_buf struct buf many = BUF_INIT;

	while (many.len < FLOOD)
		buf_add(&many, b->data, b->len);
	for (;;)
		give(fd, many.data, many.len);
}

static void play_frame(int fd, const char *words)
{
	cleanup_buf struct buf b = BUF_INIT;
	unsigned type = 0, stream = 0;
	int at = 0;

	(void)sscanf(words, "%u:%u:%n", &type, &stream, &at);
	unescape(at ? words + at : "", &b);
	give_frame(fd, (uint32_t)b.len, (uint8_t)type, (uint16_t)stream, &b);
}

static void play_header(int fd, const char *words)
{
	unsigned len = 0, type = 0, stream = 0;

	(void)sscanf(words, "%u:%u:%u", &len, &type, &stream);
	give_frame(fd, len, (uint8_t)type, (uint16_t)stream, NULL);
}

static void play(int fd, const char *act)
{
	const char *words = strchr(act, ':') ? strchr(act, ':') + 1 : "";
	cleanup_buf struct buf b = BUF_INIT;
	uint32_t ignored;

	if (str_eq(act, "ok"))
		give(fd, "OK 77\n", 6);
	else if (str_eq(act, "hello"))
		play_hello(fd);
	else if (str_eq(act, "request"))
		while (get_frame(fd, &ignored) == GUEST_HELLO)
			;
	else if (str_eq(act, "hang"))
		clock_sleep_ms(LAST_MS);
	else if (str_starts(act, "f:"))
		play_frame(fd, words);
	else if (str_starts(act, "h:"))
		play_header(fd, words);
	else if (str_starts(act, "stream:"))
		play_stream(fd, words);
	else
		unescape(words, &b);
	if (str_starts(act, "r:"))
		give(fd, b.data, b.len);
	else if (str_starts(act, "drip:") && b.len)
		play_drip(fd, &b);
	else if (str_starts(act, "flood:") && b.len)
		play_flood(fd, &b);
}

static void serve(int fd, char **acts)
{
	char line[32] = "";
	size_t n = 0;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (n < sizeof(line) - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
		n++;
	for (; *acts; acts++)
		play(fd, *acts);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct err e = { 0 };
	uint64_t uid = 0;
	int dir, listener;

	if (argc < 3 || num_u64(argv[2], 1, UINT32_MAX - 1, &uid, &e) < 0)
		return 2;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGCHLD, SIG_IGN);
	dir = fd_open_dir(AT_FDCWD, argv[1], &e);
	if (dir < 0 || setgroups(0, NULL) < 0 || setgid((gid_t)uid) < 0 || setuid((uid_t)uid) < 0)
		return 1;
	listener = fd_unix_listen(dir, "v.sock", 0600, 64, &e);
	if (listener >= 0 && puts("listens") >= 0)
		(void)fflush(stdout);
	while (listener >= 0) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0 && fork() == 0)
			serve(fd, argv + 3);
		if (fd >= 0)
			(void)close(fd);
	}
	return 1;
}
