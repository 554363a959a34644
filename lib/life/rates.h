// SPDX-License-Identifier: MIT
// From two samples of instances to what they do a second: `instance top`. Pure. What one of the
// samples does not know, what went backwards, and what belongs to another run is unknown.
#pragma once
#include "life/stats.h"

enum rate_key { RATE_CPU, RATE_MEM, RATE_NET, RATE_IO };

struct rate {
	uint32_t schema_version; // 1
	time_text at;
	address_text instance_path;
	int status; // enum instance_status
	uint32_t pid;
	double cpu_pct;
	uint64_t memory_bytes;
	uint64_t net_rx_bytes_s, net_tx_bytes_s, block_read_bytes_s, block_write_bytes_s;
};
extern const struct field rate_fields[];

// A rate for each instance of `after` that could be read; out has room for all of them. Returns how
// many there are. before may have others, or none.
size_t rates_make(const struct stats_many *before, const struct stats_many *after, const char *at,
		  struct rate *out);
// The busiest first, then by name; unknown is last.
void rates_sort(struct rate *rows, size_t n, enum rate_key key);
