// SPDX-License-Identifier: MIT
#include "life/rates.h"

#include "life/top.h"
#include "tap.h"

#define UNKNOWN UINT64_MAX

static void put(struct stats_slot *slot, const char *path, int64_t at_us, uint64_t cpu, uint64_t rx)
{
	*slot = (struct stats_slot){ 0 };
	codec_unknown(stats_fields, &slot->stats);
	CHECK(COPY(slot->stats.instance_path, path) == 0);
	slot->stats.status = INSTANCE_RUNNING;
	slot->stats.pid = 7;
	slot->stats.vmm_start = 70;
	slot->stats.sampled_us = at_us;
	slot->stats.cpu_usec = cpu;
	slot->stats.net_rx_bytes = rx;
	slot->stats.memory_bytes = 1000;
}

TEST(a_rate_is_what_was_added_in_the_time_between)
{
	struct stats_slot was, is;
	const struct stats_many before = { &was, 1 }, after = { &is, 1 };
	struct rate r;

	put(&was, "a/b/i-00000001", 1000000, 100, 5000);
	put(&is, "a/b/i-00000001", 3000000, 1000100, 9000);
	CHECK_INT(rates_make(&before, &after, "now", &r), 1);
	CHECK(r.cpu_pct > 49.9 && r.cpu_pct < 50.1);
	CHECK_INT(r.net_rx_bytes_s, 2000);
	CHECK_INT(r.memory_bytes, 1000);
	CHECK(r.net_tx_bytes_s == UNKNOWN && r.block_read_bytes_s == UNKNOWN);
	CHECK_STR(r.at, "now");
}

static void check_unknown(const struct stats_slot *was, const struct stats_slot *is)
{
	struct stats_slot w = *was, i = *is;
	const struct stats_many before = { &w, 1 }, after = { &i, 1 };
	struct rate r;

	CHECK_INT(rates_make(&before, &after, "", &r), 1);
	CHECK(!(r.cpu_pct >= 0));
	CHECK(r.net_rx_bytes_s == UNKNOWN);
	CHECK_INT(r.memory_bytes, 1000);
}

TEST(another_run_no_time_and_what_went_backwards_have_no_rate)
{
	struct stats_slot was, is, other;

	put(&was, "a/b/i-00000001", 1000000, 100, 5000);
	put(&is, "a/b/i-00000001", 2000000, 200, 6000);
	other = was;
	other.stats.pid = 8;
	check_unknown(&other, &is);
	other = was;
	other.stats.vmm_start = 71;
	check_unknown(&other, &is);
	other = was;
	other.stats.sampled_us = is.stats.sampled_us;
	check_unknown(&other, &is);
	other = was;
	other.stats.cpu_usec = other.stats.net_rx_bytes = 1000000;
	check_unknown(&other, &is);
	other = was;
	CHECK(COPY(other.stats.instance_path, "a/b/i-00000002") == 0);
	check_unknown(&other, &is);
}

TEST(what_vanished_has_no_row_and_what_is_new_has_one)
{
	struct stats_slot was[2], is[3];
	const struct stats_many before = { was, 2 }, after = { is, 3 };
	struct rate r[3];

	put(&was[0], "a/b/i-00000001", 1000000, 100, 5000);
	put(&was[1], "a/b/i-00000002", 1000000, 100, 5000);
	put(&is[0], "a/b/i-00000002", 2000000, 200, 6000); // at another place
	put(&is[1], "a/b/i-00000003", 2000000, 200, 6000);
	put(&is[2], "a/b/i-00000004", 2000000, 200, 6000);
	is[2].error.no = ENOENT;
	CHECK_INT(rates_make(&before, &after, "", r), 2);
	CHECK_STR(r[0].instance_path, "a/b/i-00000002");
	CHECK_INT(r[0].net_rx_bytes_s, 1000);
	CHECK_STR(r[1].instance_path, "a/b/i-00000003");
	CHECK(r[1].net_rx_bytes_s == UNKNOWN);
}

static void row(struct rate *r, const char *path, double cpu, uint64_t mem, uint64_t rx,
		uint64_t io)
{
	*r = (struct rate){ .status = INSTANCE_RUNNING };
	codec_unknown(rate_fields, r);
	CHECK(COPY(r->instance_path, path) == 0);
	if (cpu >= 0)
		r->cpu_pct = cpu;
	r->memory_bytes = mem;
	r->net_rx_bytes_s = rx;
	r->block_write_bytes_s = io;
}

static void order(enum rate_key key, const char *want)
{
	struct rate r[4];
	char got[8];

	row(&r[0], "a", -1, UNKNOWN, UNKNOWN, UNKNOWN);
	row(&r[1], "b", 1, 30, 200, 0);
	row(&r[2], "c", 50, 20, 100, 9);
	row(&r[3], "d", 1, 10, 300, 5);
	rates_sort(r, COUNT(r), key);
	base_cut(got, sizeof(got), "%s%s%s%s", r[0].instance_path, r[1].instance_path,
		 r[2].instance_path, r[3].instance_path);
	CHECK_STR(got, want);
}

TEST(the_busiest_is_first_and_the_unknown_last)
{
	order(RATE_CPU, "cbda");
	order(RATE_MEM, "bcda");
	order(RATE_NET, "dbca");
	order(RATE_IO, "cdba");
	rates_sort(NULL, 0, RATE_CPU);
}

static size_t lines_of(const char *text, size_t *widest)
{
	size_t n = 0;

	for (*widest = 0; *text; text += strcspn(text, "\n") + 1, n++)
		*widest = MAX(*widest, strcspn(text, "\n"));
	return n;
}

TEST(a_table_fits_into_the_window)
{
	static const size_t sizes[][2] = { { 80, 24 }, { 20, 4 }, { 5, 2 }, { 1, 1 }, { 200, 3 } };
	struct rate rows[40];
	size_t widest;

	for (size_t i = 0; i < COUNT(rows); i++)
		row(&rows[i], "tenant/pool/i-00000001", 12.5, 123 << 20, 1 << 20, 99999);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		cleanup_buf struct buf out = BUF_INIT;

		top_draw(rows, COUNT(rows), "2026-01-02T03:04:05Z", sizes[i][0], sizes[i][1], &out);
		CHECK(lines_of(buf_text(&out), &widest) <= MAX(sizes[i][1], 2));
		CHECK(widest <= sizes[i][0]);
	}
	cleanup_buf struct buf all = BUF_INIT;

	top_draw(rows, COUNT(rows), "", 0, 0, &all);
	CHECK_INT(lines_of(buf_text(&all), &widest), 42);
	CHECK(strstr(buf_text(&all), "running"));
	CHECK(strstr(buf_text(&all), "12.5"));
	CHECK(strstr(buf_text(&all), "123M"));
	CHECK(strstr(buf_text(&all), "97.7K"));
}

TEST(a_figure_that_is_unknown_is_a_dash)
{
	cleanup_buf struct buf out = BUF_INIT;
	struct rate r;

	row(&r, "a/b/i-00000001", -1, UNKNOWN, UNKNOWN, UNKNOWN);
	top_draw(&r, 1, "", 0, 0, &out);
	CHECK(strstr(buf_text(&out), " -         -          -"));
	CHECK(!strstr(buf_text(&out), "nan") && !strstr(buf_text(&out), "18446744073709551615"));
	CHECK(!strstr(buf_text(&out), "0.0 \n"));
}
