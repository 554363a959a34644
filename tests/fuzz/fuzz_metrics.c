// SPDX-License-Identifier: MIT
// What a hostile VMM writes as its metrics: the first byte is the size of the pieces in which it
// comes. However it is cut, the sums are the same, in bounds, and stand a round through their file.
#include "fc/metrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void take(const char *text, size_t len, size_t piece, struct metrics *m)
{
	struct metrics_text t = METRICS_TEXT_INIT;

	metrics_init(m);
	must(metrics_want(m, "rootfs") && metrics_want(m, "data"));
	for (size_t at = 0; at < len; at += MIN(piece, len - at)) {
		metrics_feed(m, &t, text + at, MIN(piece, len - at));
		must(t.line.len <= METRICS_LINE_MAX);
	}
	metrics_end(m, &t);
}

static void must_be_exact(uint64_t v)
{
	must(v == UINT64_MAX || v < 1ULL << 53);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_metrics struct metrics whole = { 0 }, cut = { 0 }, read = { 0 };
	cleanup_buf struct buf a = BUF_INIT, b = BUF_INIT, c = BUF_INIT;
	const char *text = (const char *)data + 1;
	struct err e = { 0 };

	if (size < 1 || size > 256 * KIB)
		return 0;
	take(text, size - 1, size, &whole);
	take(text, size - 1, (size_t)data[0] + 1, &cut);
	must(whole.drives.len == 2 && whole.damaged <= size);
	for (size_t i = 0; i < 2; i++)
		must_be_exact(((const struct metrics_drive *)whole.drives.items)[i].read_bytes);
	must_be_exact(whole.vsock_rx_bytes);
	must_be_exact(whole.missed);
	codec_print(metrics_fields, &whole, &a);
	codec_print(metrics_fields, &cut, &b);
	must(str_eq(buf_text(&a), buf_text(&b)));
	metrics_init(&read);
	must(codec_parse(metrics_fields, buf_text(&a), a.len, &read, &e) == 0);
	codec_print(metrics_fields, &read, &c);
	must(str_eq(buf_text(&a), buf_text(&c)));
	return 0;
}
