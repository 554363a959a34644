// SPDX-License-Identifier: MIT
// Control groups, version 2: what the `direct` backend uses for kill, liveness and limits, and what
// both backends read usage from. A machine may have v2 with controllers, v2 beside v1 (no
// controllers: kill and liveness work, limits do not), v1 only, or nothing.
//
// Groups of the direct backend are ROOT/mvm/<node-id>/<tenant>/<pool>/<instance>: the node id is in
// the path because two nodes may share a machine, and names of ours cannot collide with the
// kernel's files, which all have a dot. A group is used by the descriptor of its directory.
#pragma once
#include "base/path.h"

enum cgroup_mode { CGROUP_NONE, CGROUP_V1, CGROUP_HYBRID, CGROUP_V2 };
extern const char *const cgroup_mode_names[]; // "none", "v1", "hybrid", "v2", NULL

struct cgroup_host {
	enum cgroup_mode mode;
	path_text root;		// where v2 is mounted, "" for none and v1
	bool memory, cpu, pids; // controllers that v2 has
};
// What this machine offers. Lacking everything is an answer, not a failure.
int cgroup_find(struct cgroup_host *ret, struct err *e) MUST_CHECK;
bool cgroup_has_limits(const struct cgroup_host *h); // memory, cpu and pids, all of them

// Makes the group (there already: fine), enables the controllers on the way down and returns the
// descriptor of its directory. Kind unavailable where no v2 group can be made.
int cgroup_make(const struct cgroup_host *h, const char *node_id, const struct address *a,
		struct err *e) MUST_CHECK;
// The same without making it: -ENOENT (kind missing) when it is not there.
int cgroup_open(const struct cgroup_host *h, const char *node_id, const struct address *a,
		struct err *e) MUST_CHECK;
// The group of a process (a systemd unit's), from /proc/PID/cgroup.
int cgroup_open_pid(const struct cgroup_host *h, pid_t pid, struct err *e) MUST_CHECK;
// Kills what is inside, waits for it to be empty, removes it and those parents that are then empty.
// Gone is fine.
int cgroup_remove(const struct cgroup_host *h, const char *node_id, const struct address *a,
		  int timeout_ms, struct err *e) MUST_CHECK;

struct cgroup_limits {	       // 0: left as it is
	uint64_t memory_max;   // bytes; swap is set to 0 with it
	uint64_t cpu_quota_us; // per 100 ms
	uint64_t pids_max;
};
// *ret_set: false when at least one asked limit has no controller here ("limits: none"); those that
// have one are set all the same.
int cgroup_limit(int group, const struct cgroup_limits *l, bool *ret_set, struct err *e) MUST_CHECK;
int cgroup_enter(int group, pid_t pid, struct err *e) MUST_CHECK; // pid 0: the caller
// SIGKILLs everything inside, descendants included: cgroup.kill, or by pid on kernels before 5.14.
int cgroup_kill(int group, struct err *e) MUST_CHECK;
int cgroup_populated(int group, bool *ret, struct err *e) MUST_CHECK; // a removed group is not
int cgroup_wait_empty(int group, int timeout_ms, struct err *e) MUST_CHECK;

struct cgroup_usage {
	bool has_cpu, has_throttled, has_memory, has_peak, has_limit, has_oom_kills, has_pids;
	uint64_t cpu_us, cpu_user_us, cpu_system_us, cpu_throttled_us;
	uint64_t memory_bytes, memory_peak_bytes, memory_limit_bytes; // has_limit: there is one
	uint64_t oom_kills; // of processes in it or below it, since it was made
	uint64_t pids;
};
int cgroup_usage(int group, struct cgroup_usage *ret, struct err *e) MUST_CHECK;
// Did the kernel end a process of the group for want of memory? What cannot be read is a no.
bool cgroup_was_oom(int group);

// Every group of the direct backend on this machine, other nodes' too. The address has as many
// parts as the group is deep; fn's failure ends the walk.
typedef int (*cgroup_fn)(void *arg, const char *node_id, const struct address *a, struct err *e);
int cgroup_each(const struct cgroup_host *h, cgroup_fn fn, void *arg, struct err *e) MUST_CHECK;
