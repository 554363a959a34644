// SPDX-License-Identifier: MIT
#include "life/top.h"

#include <signal.h>

#include "base/clock.h"
#include "base/fd.h"

#define FIRST_MS 1000 // nobody waits longer for the first table

static const struct {
	const char *head;
	int width;
} columns[] = { { "STATUS", -9 }, { "CPU %", 7 }, { "MEMORY", 8 }, { "NET IN", 9 },
		{ "NET OUT", 9 }, { "READ", 9 },  { "WRITE", 9 } };

// 1023, 1.0K, 12.3M: five characters at most.
static void print_size(uint64_t v, char out[16])
{
	static const char units[] = "BKMGTPE";
	double shown = (double)v;
	size_t unit = 0;

	if (v == UINT64_MAX) {
		(void)snprintf(out, 16, "-");
		return;
	}
	while (shown >= 999.5 && unit + 2 < sizeof(units)) {
		shown /= 1024;
		unit++;
	}
	(void)snprintf(out, 16, unit && shown < 99.95 ? "%.1f%c" : "%.0f%c", shown, units[unit]);
}

static void print_percent(double v, char out[16])
{
	if (v >= 0)
		(void)snprintf(out, 16, "%.1f", v);
	else
		(void)snprintf(out, 16, "-");
}

// A line of cells, cut to the width.
static void add_line(const char *text, size_t width, struct buf *out)
{
	size_t len = strlen(text);

	while (len && text[len - 1] == ' ')
		len--;
	buf_add(out, text, width ? MIN(len, width) : len);
	buf_char(out, '\n');
}

static void add_cells(const char *name, int name_width, char cells[][16], size_t width,
		      struct buf *out)
{
	cleanup_buf struct buf line = BUF_INIT;

	buf_fmt(&line, "%-*s", name_width, name);
	for (size_t i = 0; i < COUNT(columns); i++)
		buf_fmt(&line, "  %*s", columns[i].width, cells[i]);
	add_line(buf_text(&line), width, out);
}

static void add_row(const struct rate *r, int name_width, size_t width, struct buf *out)
{
	char cells[COUNT(columns)][16];

	(void)snprintf(cells[0], 16, "%s", instance_status_names[r->status]);
	print_percent(r->cpu_pct, cells[1]);
	print_size(r->memory_bytes, cells[2]);
	print_size(r->net_rx_bytes_s, cells[3]);
	print_size(r->net_tx_bytes_s, cells[4]);
	print_size(r->block_read_bytes_s, cells[5]);
	print_size(r->block_write_bytes_s, cells[6]);
	add_cells(r->instance_path, name_width, cells, width, out);
}

static void add_summary(const struct rate *rows, size_t n, const char *at, size_t width,
			struct buf *out)
{
	cleanup_free char *line = NULL;
	uint64_t memory = 0;
	double cpu = 0;
	char size[16];

	for (size_t i = 0; i < n; i++) {
		cpu += rows[i].cpu_pct >= 0 ? rows[i].cpu_pct : 0;
		memory += rows[i].memory_bytes != UINT64_MAX ? rows[i].memory_bytes : 0;
	}
	print_size(memory, size);
	line = base_printf("%s  %zu instance%s  CPU %.1f %%  memory %s  (rates are bytes a second)",
			   at, n, n == 1 ? "" : "s", cpu, size);
	add_line(line, width, out);
}

void top_draw(const struct rate *rows, size_t n, const char *at, size_t width, size_t height,
	      struct buf *out)
{
	size_t room = height ? MAX(height, 2) - 2 : n, shown = MIN(n, room);
	char heads[COUNT(columns)][16];
	int name_width = 8; // INSTANCE

	add_summary(rows, n, at, width, out);
	for (size_t i = 0; i < COUNT(columns); i++)
		(void)snprintf(heads[i], 16, "%s", columns[i].head);
	for (size_t i = 0; i < shown; i++)
		name_width = MAX(name_width, (int)strlen(rows[i].instance_path));
	add_cells("INSTANCE", name_width, heads, width, out);
	for (size_t i = 0; i < shown; i++)
		add_row(&rows[i], name_width, width, out);
}

static int sample(const struct top *t, struct stats_many *ret, struct err *e)
{
	cleanup_stats_names struct stats_names names = STATS_NAMES_NONE;
	unsigned damaged; // `instance list` tells of them

	if (stats_names_below(&names, &t->below, &damaged, e) < 0)
		return -e->no;
	return stats_read_many(names.items, names.count, STATS_VMM, ret, e);
}

static int print_json(const struct rate *rows, size_t n, struct err *e)
{
	cleanup_buf struct buf out = BUF_INIT;

	for (size_t i = 0; i < n; i++) {
		codec_print(rate_fields, &rows[i], &out);
		buf_char(&out, '\n');
	}
	return fd_write_all(STDOUT_FILENO, buf_text(&out), out.len, e);
}

struct round {
	struct stats_many before;
	struct rate *rows;
	size_t n;
	time_text at;
};

// The next sample, and what it says about the time since the one before.
static int next_round(const struct top *t, struct round *r, struct err *e)
{
	cleanup_many struct stats_many after = STATS_MANY_NONE;

	if (sample(t, &after, e) < 0)
		return -e->no;
	clock_utc(r->at);
	free(r->rows);
	r->rows = base_alloc(MAX(after.count, 1), sizeof(*r->rows));
	r->n = rates_make(&r->before, &after, r->at, r->rows);
	rates_sort(r->rows, r->n, (enum rate_key)t->sort);
	stats_many_free(&r->before);
	r->before = after;
	after = (struct stats_many)STATS_MANY_NONE;
	return 0;
}

static int show(const struct top *t, const struct screen *s, const struct round *r, struct err *e)
{
	return t->form == TOP_JSON ? print_json(r->rows, r->n, e)
				   : screen_show(s, r->rows, r->n, r->at, e);
}

static int rounds(const struct top *t, struct screen *s, struct round *r, struct err *e)
{
	int64_t due = clock_ms() + (int64_t)MIN(t->delay_ms, (uint64_t)FIRST_MS);
	uint64_t done = 0;
	int sig;

	if (sample(t, &r->before, e) < 0)
		return -e->no;
	for (;;) {
		switch (screen_wait(s, due, &sig)) {
		case SCREEN_ENDED:
			return sig && sig != SIGINT ? 128 + sig : 0;
		case SCREEN_RESIZED:
			if (s->on && done && show(t, s, r, e) < 0)
				return -e->no;
			continue;
		case SCREEN_TIME:
			break;
		}
		if (next_round(t, r, e) < 0 || show(t, s, r, e) < 0)
			return -e->no;
		if (++done == t->rounds)
			return 0;
		due = MAX(due + (int64_t)t->delay_ms, clock_ms());
	}
}

int top_run(const struct top *t, struct err *e)
{
	cleanup_screen struct screen s = SCREEN_NONE;
	struct round r = { .n = 0 };
	int status;

	if (screen_enter(&s, t->batch || t->form == TOP_JSON, e) < 0)
		return -e->no;
	status = rounds(t, &s, &r, e);
	stats_many_free(&r.before);
	free(r.rows);
	// `top | head`: a reader that has seen enough is no failure.
	return status < 0 && e->no == EPIPE ? 0 : status;
}
