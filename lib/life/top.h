// SPDX-License-Identifier: MIT
// `instance top`: what the instances do, round after round.
#pragma once
#include "base/tool.h"
#include "life/rates.h"

enum top_form { TOP_TABLE, TOP_JSON };

struct top {
	struct address below; // no tenant: all
	uint64_t rounds;      // 0: until it is ended
	uint64_t delay_ms;
	int sort;   // enum rate_key
	int form;   // enum top_form
	bool batch; // one table below the other, also on a terminal
};
// Returns 0, or 128 + n after a signal that ends it.
int top_run(const struct top *t, struct err *e) MUST_CHECK;

// A round as text, of at most width columns and height lines (0: as many as there are).
void top_draw(const struct rate *rows, size_t n, const char *at, size_t width, size_t height,
	      struct buf *out);

// The terminal, as long as the table is on it. A screen of its own, restored by screen_leave.
struct termios;
struct screen {
	int signals;	       // the ones that end, stop and resize
	bool on;	       // a table is drawn over the last one
	struct termios *saved; // of stdin, where keys are read; NULL: it is no terminal
};
#define SCREEN_NONE            \
	{                      \
		.signals = -1, \
	}
#define cleanup_screen cleanup(screen_leave)
int screen_enter(struct screen *s, bool batch, struct err *e) MUST_CHECK;
void screen_leave(struct screen *s);
int screen_show(const struct screen *s, const struct rate *rows, size_t n, const char *at,
		struct err *e) MUST_CHECK;
enum screen_event { SCREEN_TIME, SCREEN_RESIZED, SCREEN_ENDED };
// Until deadline_ms (clock_ms()). SCREEN_ENDED: *ret_signal by which, 0: by a key.
enum screen_event screen_wait(struct screen *s, int64_t deadline_ms, int *ret_signal);
