// SPDX-License-Identifier: MIT
#include "life/stats.h"

#include <time.h>

#include "base/clock.h"
#include "life/guest_cli.h"
#include "state/result.h"

#define TEXT(member, type, text)                                                               \
	{                                                                                      \
		FIELD_SLOT(struct stats, member, type), .kind = KIND_TEXT,                     \
							.flags = FIELD_NULLABLE, .doc = (text) \
	}
#define FIGURE(member, text)                                                        \
	{                                                                           \
		FIELD_SLOT(struct stats, member, uint64_t),                         \
			.kind = KIND_UINT, .flags = FIELD_NULLABLE | FIELD_UNKNOWN, \
			.max = (1ULL << 53) - 1, .doc = (text)                      \
	}
#define RATIO(member, text)                                                                       \
	{                                                                                         \
		FIELD_SLOT(struct stats, member, double),                                         \
			.kind = KIND_REAL, .flags = FIELD_NULLABLE | FIELD_UNKNOWN, .doc = (text) \
	}

static const char *const agent_names[] = { "unknown", "ready", "not-ready", "not-answering", NULL };

const struct field stats_fields[] = {
	{ FIELD_SLOT(struct stats, schema_version, uint32_t), .kind = KIND_UINT, .min = 1, .max = 1,
	  .doc = "version of this format" },
	TEXT(instance_path, address_text, "tenant/pool/instance"),
	TEXT(tenant_id, name_text, "tenant"),
	TEXT(pool_id, name_text, "pool"),
	TEXT(instance_id, instance_text, "instance"),
	{ FIELD_SLOT(struct stats, status, int), .kind = KIND_ENUM, .names = instance_status_names,
	  .doc = "where it is in its life" },
	{ FIELD_SLOT(struct stats, pid, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX,
	  .flags = FIELD_NULLABLE, .doc = "process of the VMM" },
	TEXT(guest_ip, ip_text, "address of the guest"),
	TEXT(tap_dev, ifname_text, "its TAP device"),
	TEXT(mac, mac_text, "its MAC address"),
	TEXT(vmm, char[12], "firecracker or qemu"),
	TEXT(vmm_version, char[32], "its version"),
	{ FIELD_SLOT(struct stats, seccomp, int), .kind = KIND_ENUM, .names = pool_seccomp_names,
	  .doc = "system calls the VMM may make: baseline or strict" },
	TEXT(revision_hash, char[65], "image it runs"),
	TEXT(limits, char[32], "cgroup, or none where this machine cannot set them"),
	TEXT(source, char[12],
	     "where processor and memory are read: cgroup, or process where this machine has no "
	     "such group"),
	RATIO(uptime_s, "seconds since its VMM was started"),
	FIGURE(cpu_usec, "processor time of the VMM and all below it, in microseconds"),
	FIGURE(cpu_ms, "the same in milliseconds"),
	RATIO(cpu_pct, "the same in per cent of one processor since the start"),
	FIGURE(cpu_throttled_usec, "how long its limit kept it from running"),
	FIGURE(memory_bytes, "memory of the VMM and all below it"),
	FIGURE(memory_peak_bytes, "the most it was"),
	FIGURE(memory_limit_bytes, "the most it may be, null: no limit"),
	FIGURE(pids, "processes and threads"),
	FIGURE(oom_kills, "processes that the kernel ended for want of memory"),
	FIGURE(net_rx_bytes, "bytes that the guest received since the start"),
	FIGURE(net_rx_packets, "packets that the guest received"),
	FIGURE(net_rx_drops, "packets to the guest that were dropped"),
	FIGURE(net_tx_bytes, "bytes that the guest sent since the start"),
	FIGURE(net_tx_packets, "packets that the guest sent"),
	FIGURE(net_tx_drops, "packets from the guest that were dropped"),
	TEXT(metrics_at, time_text, "when the VMM told what follows (UTC)"),
	FIGURE(metrics_lost, "lines of the VMM's that were lost: then what follows is a minimum"),
	FIGURE(block_read_bytes, "bytes that the guest read from all drives"),
	FIGURE(block_write_bytes, "bytes that the guest wrote to all drives"),
	FIGURE(block_read_ops, "its reads"),
	FIGURE(block_write_ops, "its writes"),
	{ FIELD_SLOT(struct stats, drives, struct codec_list), .kind = KIND_LIST,
	  .max = METRICS_DRIVES, .sub = metrics_drive_fields,
	  .item_size = sizeof(struct metrics_drive), .doc = "each drive" },
	FIGURE(vsock_rx_bytes, "bytes that the guest received over vsock"),
	FIGURE(vsock_tx_bytes, "bytes that the guest sent over vsock"),
	FIGURE(vsock_connections, "connections over vsock"),
	{ FIELD_SLOT(struct stats, agent, int), .kind = KIND_ENUM, .names = agent_names,
	  .doc = "whether the guest's agent answers" },
	TEXT(agent_message, char[200], "why it does not"),
	{ FIELD_SLOT(struct stats, worker, int), .kind = KIND_ENUM, .names = guest_worker_names,
	  .doc = "what the guest's program says of itself" },
	FIGURE(worker_age_ms, "since it said so"),
	FIGURE(guest_mem_total_mib, "memory as the guest sees it"),
	FIGURE(guest_mem_available_mib, "of it for new work"),
	RATIO(guest_load_1m, "load average of the guest"),
	TEXT(last_started_at, time_text, "UTC"),
	TEXT(last_stopped_at, time_text, "UTC"),
	TEXT(last_exit, char[32], "cause of the last end"),
	TEXT(message, char[904], "the same in words"),
	{ FIELD_SLOT(struct stats, cold_starts, struct instance_colds), .kind = KIND_RECORD,
	  .sub = instance_colds_fields,
	  .doc = "starts that were cold although a memory was wanted, by the cause" },
	{ FIELD_SLOT(struct stats, start, struct start_record), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = start_fields,
	  .doc = "the last start or wake, with the time of each stage" },
	{ FIELD_SLOT(struct stats, sleep, struct sleep_record), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = sleep_fields,
	  .doc = "the last sleep, with the time of each stage" },
	FIELD_END
};

static void copy_record(struct stats *s, const struct address *a, const struct instance *i)
{
	s->schema_version = 1;
	address_print(a, s->instance_path);
	memcpy(s->tenant_id, i->tenant_id, sizeof(s->tenant_id));
	memcpy(s->pool_id, i->pool_id, sizeof(s->pool_id));
	memcpy(s->instance_id, i->instance_id, sizeof(s->instance_id));
	s->status = i->status;
	memcpy(s->guest_ip, i->net.guest_ip, sizeof(s->guest_ip));
	memcpy(s->tap_dev, i->net.tap_dev, sizeof(s->tap_dev));
	memcpy(s->mac, i->net.mac, sizeof(s->mac));
	(void)snprintf(s->vmm, sizeof(s->vmm), "%s", instance_vmm_names[i->vmm]);
	memcpy(s->vmm_version, i->vmm_version, sizeof(s->vmm_version));
	s->seccomp = i->seccomp;
	memcpy(s->revision_hash, i->revision_hash, sizeof(s->revision_hash));
	memcpy(s->last_started_at, i->last_started_at, sizeof(s->last_started_at));
	memcpy(s->last_stopped_at, i->last_stopped_at, sizeof(s->last_stopped_at));
	memcpy(s->last_exit, i->last_exit, sizeof(s->last_exit));
	s->cold_starts = i->cold_starts;
}

// By the process's own start, which a clock that was set does not change.
static void add_uptime(struct stats *s)
{
	struct timespec now = { 0 };
	double start = (double)s->vmm_start / (double)sysconf(_SC_CLK_TCK), up;

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	up = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - start;
	if (up <= 0)
		return;
	s->uptime_s = (double)(int64_t)(up * 1000) / 1000;
	if (s->cpu_usec != UINT64_MAX)
		s->cpu_pct = (double)(int64_t)((double)s->cpu_usec / up / 100) / 100;
}

static void add_run(struct stats *s, const struct address *a, const struct tenant *t,
		    const struct instance *i, unsigned want)
{
	s->pid = i->vmm_process.pid;
	s->vmm_start = i->vmm_process.pid_start;
	stats_add_vmm(s, t, i, want);
	if (want & STATS_AGENT)
		stats_add_agent(s, a, t, i);
	// The counters last: a sample is of the moment in which it is handed out.
	stats_add_use(s, (pid_t)s->pid);
	s->sampled_us = clock_us();
	if (s->cpu_usec != UINT64_MAX)
		s->cpu_ms = s->cpu_usec / 1000;
	add_uptime(s);
}

// What there is none of yet is left out.
static int load_times(const struct store *store, const char *file, const struct field *tab,
		      void *record, struct codec_list *of, struct stats_stages *to, struct err *e)
{
	if (store_load(store, file, tab, record, e) < 0) {
		if (e->kind == ERR_MISSING)
			err_clear(e);
		return e->no ? -e->no : 0;
	}
	to->count = MIN(of->len, STATS_STAGES);
	if (to->count)
		memcpy(to->stage, of->items, to->count * sizeof(to->stage[0]));
	codec_free_list(start_stage_fields, sizeof(to->stage[0]), of);
	return 0;
}

static int add_times(struct stats *s, const struct store *store, struct err *e)
{
	if (load_times(store, START_FILE, start_fields, &s->start, &s->start.stages,
		       &s->start_stages, e) < 0)
		return -e->no;
	return load_times(store, SLEEP_FILE, sleep_fields, &s->sleep, &s->sleep.taken.stages,
			  &s->sleep_stages, e);
}

int stats_read(const struct address *a, unsigned want, struct stats *s, struct err *e)
{
	cleanup_store struct store store = STORE_NONE;
	struct exit_record last = { 0 };
	struct err none = { 0 };
	struct instance i = { 0 };
	struct tenant t = { 0 };

	*s = (struct stats){ 0 };
	codec_unknown(stats_fields, s);
	if (tenant_load(a->tenant, &t, e) < 0 || store_open(&store, STORE_INSTANCE, a, e) < 0 ||
	    instance_load_from(&store, a, &t, &i, e) < 0)
		return -e->no;
	copy_record(s, a, &i);
	if (exit_load(&store, &last, &none) == 0)
		memcpy(s->message, last.message, sizeof(s->message));
	else if (none.kind != ERR_MISSING)
		return *e = none, -e->no;
	if (want & STATS_TIMES && add_times(s, &store, e) < 0)
		return -e->no;
	if (instance_vmm_alive(&i))
		add_run(s, a, &t, &i, want);
	return 0;
}

void stats_print(const struct stats *s, struct buf *out)
{
	cleanup_free struct metrics_drive *drives = base_alloc(METRICS_DRIVES, sizeof(*drives));
	cleanup_free struct stats *copy = base_alloc(1, sizeof(*copy));

	*copy = *s;
	memcpy(drives, s->drive, sizeof(s->drive));
	copy->drives = (struct codec_list){ drives, s->drive_count };
	copy->start.stages = (struct codec_list){ copy->start_stages.stage, s->start_stages.count };
	copy->sleep.taken.stages =
		(struct codec_list){ copy->sleep_stages.stage, s->sleep_stages.count };
	codec_print(stats_fields, copy, out);
}
