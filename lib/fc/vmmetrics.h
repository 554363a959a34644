// SPDX-License-Identifier: MIT
// Firecracker's metrics: one JSON object per line into a file or named pipe. Counters are what was
// added since the last line that was written; "stored" values are as they are.
#pragma once
#include "base/buf.h"
#include "base/err.h"

// One row per value, in upstream's names; groups are consecutive.
#define VMMETRICS(X)                                                             \
	X(API_START, "api_server", "process_startup_time_us", true)              \
	X(API_START_CPU, "api_server", "process_startup_time_cpu_us", true)      \
	X(BLOCK_READ_BYTES, "block", "read_bytes", false)                        \
	X(BLOCK_WRITE_BYTES, "block", "write_bytes", false)                      \
	X(BLOCK_READ_COUNT, "block", "read_count", false)                        \
	X(BLOCK_WRITE_COUNT, "block", "write_count", false)                      \
	X(BLOCK_FLUSH_COUNT, "block", "flush_count", false)                      \
	X(DEPRECATED, "deprecated_api", "deprecated_http_api_calls", false)      \
	X(GET_INFO, "get_api_requests", "instance_info_count", false)            \
	X(GET_MACHINE, "get_api_requests", "machine_cfg_count", false)           \
	X(GET_MMDS, "get_api_requests", "mmds_count", false)                     \
	X(GET_VERSION, "get_api_requests", "vmm_version_count", false)           \
	X(LATENCY_FULL, "latencies_us", "full_create_snapshot", true)            \
	X(LATENCY_DIFF, "latencies_us", "diff_create_snapshot", true)            \
	X(LATENCY_LOAD, "latencies_us", "load_snapshot", true)                   \
	X(LATENCY_PAUSE, "latencies_us", "pause_vm", true)                       \
	X(LATENCY_RESUME, "latencies_us", "resume_vm", true)                     \
	X(LATENCY_VMM_FULL, "latencies_us", "vmm_full_create_snapshot", true)    \
	X(LATENCY_VMM_DIFF, "latencies_us", "vmm_diff_create_snapshot", true)    \
	X(LATENCY_VMM_LOAD, "latencies_us", "vmm_load_snapshot", true)           \
	X(LATENCY_VMM_PAUSE, "latencies_us", "vmm_pause_vm", true)               \
	X(LATENCY_VMM_RESUME, "latencies_us", "vmm_resume_vm", true)             \
	X(MISSED_METRICS, "logger", "missed_metrics_count", false)               \
	X(METRICS_FAILS, "logger", "metrics_fails", false)                       \
	X(MISSED_LOG, "logger", "missed_log_count", false)                       \
	X(PATCH_DRIVE, "patch_api_requests", "drive_count", false)               \
	X(PATCH_DRIVE_FAILS, "patch_api_requests", "drive_fails", false)         \
	X(PATCH_NET, "patch_api_requests", "network_count", false)               \
	X(PATCH_NET_FAILS, "patch_api_requests", "network_fails", false)         \
	X(PATCH_MACHINE, "patch_api_requests", "machine_cfg_count", false)       \
	X(PATCH_MACHINE_FAILS, "patch_api_requests", "machine_cfg_fails", false) \
	X(PATCH_MMDS, "patch_api_requests", "mmds_count", false)                 \
	X(PATCH_MMDS_FAILS, "patch_api_requests", "mmds_fails", false)           \
	X(PUT_ACTIONS, "put_api_requests", "actions_count", false)               \
	X(PUT_ACTIONS_FAILS, "put_api_requests", "actions_fails", false)         \
	X(PUT_BOOT, "put_api_requests", "boot_source_count", false)              \
	X(PUT_BOOT_FAILS, "put_api_requests", "boot_source_fails", false)        \
	X(PUT_DRIVE, "put_api_requests", "drive_count", false)                   \
	X(PUT_DRIVE_FAILS, "put_api_requests", "drive_fails", false)             \
	X(PUT_LOGGER, "put_api_requests", "logger_count", false)                 \
	X(PUT_LOGGER_FAILS, "put_api_requests", "logger_fails", false)           \
	X(PUT_MACHINE, "put_api_requests", "machine_cfg_count", false)           \
	X(PUT_MACHINE_FAILS, "put_api_requests", "machine_cfg_fails", false)     \
	X(PUT_CPU, "put_api_requests", "cpu_cfg_count", false)                   \
	X(PUT_CPU_FAILS, "put_api_requests", "cpu_cfg_fails", false)             \
	X(PUT_METRICS, "put_api_requests", "metrics_count", false)               \
	X(PUT_METRICS_FAILS, "put_api_requests", "metrics_fails", false)         \
	X(PUT_NET, "put_api_requests", "network_count", false)                   \
	X(PUT_NET_FAILS, "put_api_requests", "network_fails", false)             \
	X(PUT_MMDS, "put_api_requests", "mmds_count", false)                     \
	X(PUT_MMDS_FAILS, "put_api_requests", "mmds_fails", false)               \
	X(PUT_VSOCK, "put_api_requests", "vsock_count", false)                   \
	X(PUT_VSOCK_FAILS, "put_api_requests", "vsock_fails", false)             \
	X(PUT_PMEM, "put_api_requests", "pmem_count", false)                     \
	X(PUT_PMEM_FAILS, "put_api_requests", "pmem_fails", false)               \
	X(PUT_SERIAL, "put_api_requests", "serial_count", false)                 \
	X(PUT_SERIAL_FAILS, "put_api_requests", "serial_fails", false)           \
	X(SECCOMP_FAULTS, "seccomp", "num_faults", true)                         \
	X(SIGNAL_PIPE, "signals", "sigpipe", true)                               \
	X(VCPU_IO_IN, "vcpu", "exit_io_in", false)                               \
	X(VCPU_IO_OUT, "vcpu", "exit_io_out", false)                             \
	X(VCPU_MMIO_READ, "vcpu", "exit_mmio_read", false)                       \
	X(VCPU_MMIO_WRITE, "vcpu", "exit_mmio_write", false)                     \
	X(VCPU_FAILURES, "vcpu", "failures", false)                              \
	X(VMM_PANICS, "vmm", "panic_count", true)                                \
	X(VSOCK_ADDED, "vsock", "conns_added", false)                            \
	X(VSOCK_RX, "vsock", "rx_bytes_count", false)                            \
	X(VSOCK_TX, "vsock", "tx_bytes_count", false)

#define VMMETRICS_ENUM(id, group, name, stored) METRIC_##id,
enum metric { VMMETRICS(VMMETRICS_ENUM) METRIC_COUNT, METRIC_NONE = METRIC_COUNT };

// The rows METRIC_BLOCK_READ_BYTES to METRIC_BLOCK_FLUSH_COUNT are told of each drive as well, in
// a group "block_<drive_id>".
#define VMMETRICS_BLOCK	 5
#define VMMETRICS_DRIVES 20
struct vmmetrics_drive {
	char id[65];
	uint64_t now[VMMETRICS_BLOCK], last[VMMETRICS_BLOCK];
};
struct vmmetrics {
	int fd;						    // -1: not asked for
	bool torn;					    // a line stands there half written
	uint64_t now[METRIC_COUNT + 1], last[METRIC_COUNT]; // now's last one is nobody's
	struct vmmetrics_drive drives[VMMETRICS_DRIVES];
	size_t drive_count;
};
#define VMMETRICS_INIT   \
	{                \
		.fd = -1 \
	}

static inline void vmmetrics_inc(struct vmmetrics *m, enum metric id)
{
	m->now[id]++;
}

static inline void vmmetrics_set(struct vmmetrics *m, enum metric id, uint64_t v)
{
	m->now[id] = v;
}

// Row METRIC_BLOCK_READ_BYTES + i of a drive. More drives than there is room for, or one with a
// name that is too long, stay out.
void vmmetrics_set_drive(struct vmmetrics *m, const char *id, size_t i, uint64_t v);
// Once only: a second time is an error.
int vmmetrics_open(struct vmmetrics *m, int root_fd, const char *path, struct err *e) MUST_CHECK;
// Writes a line. Without a file nothing happens. A line that cannot be written whole at once is
// counted as missed, and what it would have told is in the next one.
int vmmetrics_write(struct vmmetrics *m, struct err *e) MUST_CHECK;
void vmmetrics_close(struct vmmetrics *m);
