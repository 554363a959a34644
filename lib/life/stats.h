// SPDX-License-Identifier: MIT
// What one instance is using now: `instance stats`.
#pragma once
#include "state/instance.h"

struct stats {
	uint32_t schema_version; // 1
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
	char revision_hash[65];
	uint64_t uptime_s;		     // of this run
	uint64_t cpu_ms;		     // of the VMM and all it started
	uint64_t memory_bytes;		     // the same
	uint64_t net_rx_bytes, net_tx_bytes; // as the guest sees them
	char limits[32];		     // "cgroup" or "none"
	time_text last_started_at;
	time_text last_stopped_at;
	char last_exit[32];
	char message[904]; // of exit.json
};
extern const struct field stats_fields[];
int stats_read(const struct address *a, struct stats *s, struct err *e) MUST_CHECK;
