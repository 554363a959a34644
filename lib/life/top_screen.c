// SPDX-License-Identifier: MIT
#include "life/top.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sig.h"

#define ENTER "\033[?1049h\033[?25l" // the alternate screen, without a cursor
#define LEAVE "\033[?25h\033[?1049l"

static void put(const char *text)
{
	struct err ignored = { 0 };

	// A terminal that has gone needs nothing.
	(void)!fd_write_all(STDOUT_FILENO, text, strlen(text), &ignored);
}

// Keys come one by one and are not shown; those that make signals still do.
static void take_terminal(struct screen *s)
{
	struct termios quiet;

	put(ENTER);
	if (!s->saved)
		return;
	quiet = *s->saved;
	quiet.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	quiet.c_cc[VMIN] = 0;
	quiet.c_cc[VTIME] = 0;
	(void)tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
}

static void give_terminal(struct screen *s)
{
	if (s->saved)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, s->saved);
	put(LEAVE);
}

int screen_enter(struct screen *s, bool batch, struct err *e)
{
	struct termios now;

	// TTOU: a terminal can be restored also from the background.
	s->signals = sig_open(e, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH, SIGTTOU, 0);
	if (s->signals < 0)
		return -e->no;
	if (batch || !isatty(STDOUT_FILENO))
		return 0;
	if (tcgetattr(STDIN_FILENO, &now) == 0) {
		s->saved = base_alloc(1, sizeof(*s->saved));
		*s->saved = now;
	}
	s->on = true;
	take_terminal(s);
	return 0;
}

void screen_leave(struct screen *s)
{
	if (s->on)
		give_terminal(s);
	free(s->saved);
	base_closep(&s->signals);
	*s = (struct screen)SCREEN_NONE;
}

int screen_show(const struct screen *s, const struct rate *rows, size_t n, const char *at,
		struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT, out = BUF_INIT;
	struct winsize size = { 0 };

	if (!s->on) {
		top_draw(rows, n, at, 0, 0, &out);
		buf_char(&out, '\n');
		return fd_write_all(STDOUT_FILENO, out.data, out.len, e);
	}
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col || !size.ws_row)
		size = (struct winsize){ .ws_col = 80, .ws_row = 24 };
	// The last line stays free: a newline there would scroll.
	top_draw(rows, n, at, size.ws_col, MAX(size.ws_row, 2) - 1u, &text);
	buf_str(&out, "\033[H");
	for (const char *line = buf_text(&text); *line;) {
		size_t len = strcspn(line, "\n");

		buf_add(&out, line, len);
		buf_str(&out, "\033[K\r\n");
		line += len + (line[len] == '\n');
	}
	buf_str(&out, "\033[J");
	return fd_write_all(STDOUT_FILENO, out.data, out.len, e);
}

// As any program: the shell gets its terminal back for as long as we are stopped.
static void stop(struct screen *s)
{
	if (s->on)
		give_terminal(s);
	(void)raise(SIGSTOP);
	if (s->on)
		take_terminal(s);
}

// True: it ends us.
static bool take_signal(struct screen *s, enum screen_event *ev, int *ret_signal)
{
	int sig;

	while ((sig = sig_read(s->signals)) != 0) {
		if (sig == SIGTSTP)
			stop(s);
		if (sig == SIGTSTP || sig == SIGWINCH)
			*ev = SCREEN_RESIZED;
		else if (sig != SIGTTOU)
			return *ret_signal = sig, true;
	}
	return false;
}

static bool take_key(const struct screen *s)
{
	char key;

	while (s->on && s->saved && read(STDIN_FILENO, &key, 1) == 1)
		if (key == 'q' || key == 'Q')
			return true;
	return false;
}

enum screen_event screen_wait(struct screen *s, int64_t deadline_ms, int *ret_signal)
{
	bool keys = s->on && s->saved;

	*ret_signal = 0;
	for (;;) {
		struct pollfd p[] = { { .fd = s->signals, .events = POLLIN },
				      { .fd = keys ? STDIN_FILENO : -1, .events = POLLIN } };
		enum screen_event ev = SCREEN_TIME;

		(void)poll(p, COUNT(p), (int)MIN(clock_left(deadline_ms), 3600000));
		if (take_signal(s, &ev, ret_signal) || (p[1].revents & POLLIN && take_key(s)))
			return SCREEN_ENDED;
		if (p[1].revents & (POLLHUP | POLLERR | POLLNVAL))
			keys = false;
		if (ev == SCREEN_RESIZED || clock_left(deadline_ms) == 0)
			return ev;
	}
}
