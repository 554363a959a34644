// SPDX-License-Identifier: MIT
// Reader of a VMM's metrics, of firecracker and of mvm-fc-qemu alike. A line tells what was added
// since the one before it, so lines are added up; what a lost line told is lost with it.
//
// What is read is a hostile VMM's: lengths, counts and time are bounded, sums stop at 2^53-1, and
// only those drives count that the caller named before.
#pragma once
#include "json/codec.h"

#define METRICS_LINE_MAX (32 * KIB)
#define METRICS_TAKE_MAX (2 * MIB) // of one drain
#define METRICS_DRIVES	 20

struct metrics_drive {
	char drive_id[65];
	uint64_t read_bytes, write_bytes, read_ops, write_ops, flush_ops; // unknown until told
};
struct metrics {
	uint64_t lines;	  // that were read
	uint64_t damaged; // that were none, or torn
	uint64_t missed;  // that the VMM could not write, as it says
	uint64_t vsock_rx_bytes, vsock_tx_bytes, vsock_connections;
	struct codec_list drives; // of struct metrics_drive
};
extern const struct field metrics_fields[], metrics_drive_fields[];

void metrics_init(struct metrics *m);
// A drive that is to be counted; there already is fine. False: no room, or no name for a drive.
bool metrics_want(struct metrics *m, const char *drive_id);
void metrics_clear(struct metrics *m);
#define cleanup_metrics cleanup(metrics_clear)

// Bytes as they come, in pieces of any size.
struct metrics_text {
	struct buf line;
	bool skip; // to the end of a line that is too long
};
#define METRICS_TEXT_INIT       \
	{                       \
		BUF_INIT, false \
	}
void metrics_feed(struct metrics *m, struct metrics_text *t, const char *data, size_t len);
void metrics_end(struct metrics *m, struct metrics_text *t); // what is unfinished is damaged
// Asks a VMM for a line: FlushMetrics at its API socket, which is hostile as in fc/api.h. One fixed
// request by hand, so that who only looks at a VMM needs no libcurl. The line is there on return.
int metrics_ask(int dir_fd, const char *socket, uint32_t uid, int64_t deadline_ms,
		struct err *e) MUST_CHECK;
// All that a pipe holds, read without waiting; no more than METRICS_TAKE_MAX, and not beyond
// deadline_ms (clock_ms()), however fast the other side writes.
int metrics_drain(struct metrics *m, int fd, int64_t deadline_ms, struct err *e) MUST_CHECK;
