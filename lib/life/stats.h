// SPDX-License-Identifier: MIT
// What an instance uses now: `instance stats`, and the samples of `instance top`. A figure that
// nobody could measure is unknown, never 0.
#pragma once
#include "fc/metrics.h"
#include "life/sleep.h"
#include "state/instance.h"

#define STATS_STAGES 64 // the most that start.json and sleep.json hold

enum agent_state { AGENT_UNKNOWN, AGENT_READY, AGENT_NOT_READY, AGENT_SILENT };

struct stats_stages {
	struct start_stage stage[STATS_STAGES];
	size_t count;
};

struct stats {
	uint32_t schema_version; // 1
	address_text instance_path;
	name_text tenant_id;
	name_text pool_id;
	instance_text instance_id;
	int status;   // enum instance_status
	uint32_t pid; // of the VMM, 0: none
	ip_text guest_ip;
	ifname_text tap_dev;
	mac_text mac;
	char vmm[12];
	char vmm_version[32];
	int seccomp;
	char revision_hash[65];
	char limits[32]; // "cgroup" or "none"
	char source[12]; // of processor and memory: "cgroup", "process", "" when nothing runs
	double uptime_s; // of the VMM
	uint64_t cpu_usec, cpu_ms, cpu_throttled_usec;
	double cpu_pct; // since the start, of one processor
	uint64_t memory_bytes, memory_peak_bytes, memory_limit_bytes;
	uint64_t pids, oom_kills;
	// As the guest sees it, since the start.
	uint64_t net_rx_bytes, net_rx_packets, net_rx_drops;
	uint64_t net_tx_bytes, net_tx_packets, net_tx_drops;
	// As the VMM tells it.
	time_text metrics_at;
	uint64_t metrics_lost;
	uint64_t block_read_bytes, block_write_bytes, block_read_ops, block_write_ops;
	uint64_t vsock_rx_bytes, vsock_tx_bytes, vsock_connections;
	int agent; // enum agent_state
	char agent_message[200];
	int worker; // of guest_worker_names
	uint64_t worker_age_ms;
	uint64_t guest_mem_total_mib, guest_mem_available_mib;
	double guest_load_1m;
	time_text last_started_at;
	time_text last_stopped_at;
	char last_exit[32];
	char message[904]; // of exit.json
	struct instance_colds cold_starts;
	// Of the last start or wake, and of the last sleep. Their stages: see drives.
	struct start_record start;
	struct sleep_record sleep;
	struct stats_stages start_stages, sleep_stages;
	// Inline, so that a record can lie in memory that processes share.
	struct metrics_drive drive[METRICS_DRIVES];
	size_t drive_count;
	struct codec_list drives; // of those, while it is printed
	// Not printed.
	int64_t sampled_us; // CLOCK_MONOTONIC
	uint64_t vmm_start;
};
extern const struct field stats_fields[];

enum stats_want {
	STATS_AGENT = 1, // asks the guest: up to STATS_AGENT_MS
	STATS_VMM = 2,	 // asks the VMM: up to STATS_VMM_MS
	STATS_TIMES = 4, // how long the last start and sleep took
};
#define STATS_AGENT_MS 2000
#define STATS_VMM_MS   1000
int stats_read(const struct address *a, unsigned want, struct stats *s, struct err *e) MUST_CHECK;
void stats_print(const struct stats *s, struct buf *out);

// The parts, in stats_use.c and stats_ask.c.
void stats_add_use(struct stats *s, pid_t pid);
void stats_add_vmm(struct stats *s, const struct tenant *t, const struct instance *i,
		   unsigned want);
void stats_add_agent(struct stats *s, const struct address *a, const struct tenant *t,
		     const struct instance *i);

// Many at once, each in its place of an array that stats_many_free releases. One that cannot be
// read has its error there.
struct stats_slot {
	struct err error; // no is 0: none
	struct stats stats;
};
struct stats_many {
	struct stats_slot *slots;
	size_t count;
};
#define STATS_MANY_NONE        \
	{                      \
		.slots = NULL, \
	}
#define cleanup_many cleanup(stats_many_free)
int stats_read_many(const struct address *all, size_t count, unsigned want, struct stats_many *ret,
		    struct err *e) MUST_CHECK;
void stats_many_free(struct stats_many *m);

// Instances, as operands name them: INSTANCE, or with below those of a tenant or pool (no tenant:
// all). Templates stay out.
struct stats_names {
	struct address *items;
	size_t count;
};
#define STATS_NAMES_NONE       \
	{                      \
		.items = NULL, \
	}
#define cleanup_stats_names cleanup(stats_names_free)
void stats_names_free(struct stats_names *n);
int stats_names_add(struct stats_names *n, const char *word, struct err *e) MUST_CHECK;
// Damaged records are counted and left out.
int stats_names_below(struct stats_names *n, const struct address *a, unsigned *damaged,
		      struct err *e) MUST_CHECK;
