// SPDX-License-Identifier: MIT
#include "fc/metrics.h"

#include <fcntl.h>

#include "base/clock.h"
#include "base/fd.h"
#include "tap.h"

#define EXACT_MAX ((1ULL << 53) - 1)

static void begin(struct metrics *m)
{
	metrics_init(m);
	CHECK(metrics_want(m, "rootfs"));
	CHECK(metrics_want(m, "data"));
}

static void feed(struct metrics *m, const char *text)
{
	struct metrics_text t = METRICS_TEXT_INIT;

	metrics_feed(m, &t, text, strlen(text));
	metrics_end(m, &t);
}

static const struct metrics_drive *drive(const struct metrics *m, size_t i)
{
	return (const struct metrics_drive *)m->drives.items + i;
}

#define LINE(read, rx)                                                                  \
	"{\"utc_timestamp_ms\":1,\"block\":{\"read_bytes\":77},\"block_data\":{\"read_" \
	"bytes\":" read                                                                 \
	",\"write_bytes\":1,\"read_count\":2,\"write_count\":3,\"flush_count\":4},"     \
	"\"vsock\":{\"rx_bytes_count\":" rx ",\"tx_bytes_count\":5,\"conns_added\":1}}\n"

TEST(increments_are_added_up_for_the_drives_that_are_wanted)
{
	cleanup_metrics struct metrics m;

	begin(&m);
	CHECK_INT(drive(&m, 0)->read_bytes, UINT64_MAX);
	feed(&m, LINE("10", "100") LINE("5", "1"));
	CHECK_INT(m.lines, 2);
	CHECK_INT(m.damaged, 0);
	CHECK_INT(drive(&m, 1)->read_bytes, 15);
	CHECK_INT(drive(&m, 1)->flush_ops, 8);
	CHECK_INT(m.vsock_rx_bytes, 101);
	CHECK_INT(m.vsock_connections, 2);
	// Nothing was told of it: unknown, not 0.
	CHECK_INT(drive(&m, 0)->read_bytes, UINT64_MAX);
}

TEST(a_drive_that_is_none_is_not_wanted)
{
	cleanup_metrics struct metrics m;
	char name[72];

	begin(&m);
	CHECK(metrics_want(&m, "data")); // again
	CHECK_INT(m.drives.len, 2);
	CHECK(!metrics_want(&m, "") && !metrics_want(&m, "a/b") && !metrics_want(&m, "a\"b"));
	memset(name, 'x', sizeof(name));
	name[65] = '\0';
	CHECK(!metrics_want(&m, name));
	name[64] = '\0';
	CHECK(metrics_want(&m, name));
	for (int i = 0; m.drives.len < METRICS_DRIVES; i++) {
		base_cut(name, sizeof(name), "d%d", i);
		CHECK(metrics_want(&m, name));
	}
	CHECK(!metrics_want(&m, "more"));
}

TEST(what_is_no_line_is_counted_as_damaged_and_the_next_one_still_counts)
{
	static const char *const bad[] = {
		"x\n",
		"[]\n",
		"{\"block_data\":{\"read_bytes\":1\n",
		"{\"block_data\":{\"read_bytes\":1},\"block_data\":{}}\n",
		"\xff\n",
		"{\"block_data\":{\"read_bytes\":01}}\n",
	};

	for (size_t i = 0; i < COUNT(bad); i++) {
		cleanup_metrics struct metrics m;

		begin(&m);
		feed(&m, bad[i]);
		CHECK_INT(m.damaged, 1);
		CHECK_INT(drive(&m, 1)->read_bytes, UINT64_MAX);
		feed(&m, LINE("10", "1"));
		CHECK_INT(drive(&m, 1)->read_bytes, 10);
	}
}

TEST(a_line_behind_a_torn_one_is_found)
{
	cleanup_metrics struct metrics m;

	begin(&m);
	feed(&m, "{\"utc_timestamp_ms\":1,\"block_data\":{\"rea" LINE("10", "1"));
	CHECK_INT(m.damaged, 1);
	CHECK_INT(drive(&m, 1)->read_bytes, 10);
}

TEST(an_unfinished_last_line_is_damaged)
{
	cleanup_metrics struct metrics m;

	begin(&m);
	feed(&m, LINE("10", "1") "{\"utc");
	CHECK_INT(m.lines, 1);
	CHECK_INT(m.damaged, 1);
}

TEST(figures_that_are_none_are_left_out_and_sums_stop_where_they_are_exact)
{
	cleanup_metrics struct metrics m;

	begin(&m);
	feed(&m, LINE("-1", "1.5") LINE("\"7\"", "1e3") LINE("null", "{}"));
	CHECK_INT(drive(&m, 1)->read_bytes, UINT64_MAX);
	CHECK_INT(m.vsock_rx_bytes, UINT64_MAX);
	feed(&m, LINE("9007199254740991", "9007199254740992"));
	feed(&m, LINE("9007199254740991", "1"));
	CHECK(drive(&m, 1)->read_bytes == EXACT_MAX);
	CHECK_INT(m.vsock_rx_bytes, 1);
}

TEST(lines_that_the_vmm_lost_are_told)
{
	cleanup_metrics struct metrics m;

	begin(&m);
	feed(&m, "{\"logger\":{\"missed_metrics_count\":3}}\n"
		 "{\"logger\":{\"missed_metrics_count\":1}}\n");
	CHECK_INT(m.missed, 4);
}

TEST(a_line_without_an_end_takes_no_memory)
{
	cleanup_metrics struct metrics m;
	struct metrics_text t = METRICS_TEXT_INIT;
	char piece[4096];

	begin(&m);
	memset(piece, '[', sizeof(piece));
	for (int i = 0; i < 1000; i++)
		metrics_feed(&m, &t, piece, sizeof(piece));
	CHECK(t.line.len <= METRICS_LINE_MAX);
	metrics_feed(&m, &t, "\n", 1);
	metrics_feed(&m, &t, LINE("10", "1"), strlen(LINE("10", "1")));
	metrics_end(&m, &t);
	CHECK_INT(m.damaged, 1);
	CHECK_INT(drive(&m, 1)->read_bytes, 10);
}

TEST(a_pipe_is_read_to_its_end_and_nobody_is_waited_for)
{
	cleanup_metrics struct metrics m;
	struct err e = { 0 };
	int64_t since = clock_ms();
	int ends[2];

	begin(&m);
	CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
	CHECK(metrics_drain(&m, ends[0], clock_ms() + 10000, &e) == 0);
	CHECK_INT(m.lines, 0);
	CHECK(fd_write_all(ends[1], LINE("10", "1"), strlen(LINE("10", "1")), &e) == 0);
	CHECK(metrics_drain(&m, ends[0], clock_ms() + 10000, &e) == 0);
	CHECK_INT(m.lines, 1);
	(void)close(ends[1]);
	CHECK(metrics_drain(&m, ends[0], clock_ms() + 10000, &e) == 0);
	CHECK(clock_ms() - since < 5000);
	(void)close(ends[0]);
	CHECK(metrics_drain(&m, ends[0], clock_ms() + 10000, &e) < 0);
}

TEST(a_writer_that_never_stops_is_left_at_the_bound)
{
	cleanup_metrics struct metrics m;
	cleanup_fd int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	struct err e = { 0 };

	begin(&m);
	CHECK(metrics_drain(&m, zero, clock_ms() + 60000, &e) == 0);
	CHECK_INT(m.damaged, 1);
	CHECK(lseek(zero, 0, SEEK_CUR) >= 0);
	CHECK(metrics_drain(&m, zero, clock_ms() - 1, &e) == 0); // no time left: nothing is read
	CHECK_INT(m.damaged, 1);
}

TEST(the_record_goes_through_its_file_as_it_is)
{
	cleanup_metrics struct metrics a, b;
	cleanup_buf struct buf text = BUF_INIT, again = BUF_INIT;
	struct err e = { 0 };

	begin(&a);
	metrics_init(&b);
	feed(&a, LINE("0", "7"));
	codec_print(metrics_fields, &a, &text);
	CHECK(strstr(buf_text(&text), "\"drive_id\":\"rootfs\",\"read_bytes\":null"));
	CHECK(strstr(buf_text(&text), "\"drive_id\":\"data\",\"read_bytes\":0"));
	CHECK(codec_parse(metrics_fields, buf_text(&text), text.len, &b, &e) == 0);
	codec_print(metrics_fields, &b, &again);
	CHECK_STR(buf_text(&again), buf_text(&text));
}
