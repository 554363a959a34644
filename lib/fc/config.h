// SPDX-License-Identifier: MIT
// The bodies of Firecracker's API (v1.12 to v1.16) as records and field tables: what mvm-fc-launch
// sends and what mvm-fc-qemu accepts. Paths are text as sent; nothing is opened here.
// Optional strings are NULL when absent. fc_*_fields decode strictly (unknown keys refused), as
// upstream's deserializer does. Source: upstream's API definition at v1.15.1.
#pragma once
#include "json/codec.h"

struct fc_boot_source {
	char *kernel_image_path; // required
	char *initrd_path;
	char *boot_args;
};

enum fc_huge_pages { FC_HUGE_NONE, FC_HUGE_2M };
struct fc_machine_config {
	uint32_t vcpu_count;   // 1..32
	uint64_t mem_size_mib; // > 0
	bool smt;
	char *cpu_template;
	bool track_dirty_pages;
	int huge_pages; // enum fc_huge_pages
};

enum fc_cache { FC_CACHE_UNSAFE, FC_CACHE_WRITEBACK };
enum fc_io_engine { FC_IO_SYNC, FC_IO_ASYNC };
struct fc_drive {
	char *drive_id;
	char *path_on_host;
	bool is_root_device;
	bool is_read_only;
	char *partuuid;
	int cache_type;	    // enum fc_cache
	int io_engine;	    // enum fc_io_engine
	char *rate_limiter; // raw JSON
	char *socket;
};

struct fc_net {
	char *iface_id;
	char *host_dev_name;
	char *guest_mac;
	char *rx_rate_limiter, *tx_rate_limiter; // raw JSON
};

struct fc_vsock {
	char *vsock_id; // deprecated upstream, accepted
	uint32_t guest_cid;
	char *uds_path;
};

struct fc_entropy {
	char *rate_limiter; // raw JSON
};

struct fc_logger {
	char *log_path;
	char *level;
	bool show_level, show_log_origin;
	char *module;
};

struct fc_metrics {
	char *metrics_path;
};

struct fc_serial {
	char *serial_out_path;
};

enum fc_action_type { FC_INSTANCE_START, FC_FLUSH_METRICS, FC_SEND_CTRL_ALT_DEL };
struct fc_action {
	int action_type; // enum fc_action_type
};

enum fc_vm_state { FC_PAUSED, FC_RESUMED };
struct fc_vm {
	int state; // enum fc_vm_state
};

enum fc_snapshot_type { FC_SNAPSHOT_FULL, FC_SNAPSHOT_DIFF };
struct fc_snapshot_create {
	char *snapshot_path;
	char *mem_file_path;
	int snapshot_type; // enum fc_snapshot_type
};

enum fc_backend_type { FC_BACKEND_FILE, FC_BACKEND_UFFD };
struct fc_mem_backend {
	char *backend_path;
	int backend_type; // enum fc_backend_type
};
struct fc_net_override {
	char *iface_id;
	char *host_dev_name;
};
struct fc_snapshot_load {
	char *snapshot_path;
	char *mem_file_path; // deprecated: exactly one of this and mem_backend
	struct fc_mem_backend mem_backend;
	bool enable_diff_snapshots; // deprecated name of track_dirty_pages
	bool track_dirty_pages;
	bool resume_vm;
	struct codec_list network_overrides; // struct fc_net_override
	bool clock_realtime;		     // since 1.14.4 and 1.15.1; sent only when true
};

extern const struct field fc_boot_source_fields[], fc_machine_config_fields[], fc_drive_fields[],
	fc_net_fields[], fc_vsock_fields[], fc_entropy_fields[], fc_logger_fields[],
	fc_metrics_fields[], fc_serial_fields[], fc_action_fields[], fc_vm_fields[],
	fc_snapshot_create_fields[], fc_snapshot_load_fields[];

// PATCH /machine-config: what is given and not null replaces that member, the rest stays. Nothing
// given is refused. *ret_deprecated: a cpu_template was among it.
int fc_machine_config_patch(struct fc_machine_config *c, const char *text, size_t len,
			    bool *ret_deprecated, struct err *e) MUST_CHECK;
// The range of CPUs and memory (1..32, even with SMT; > 0): fits no single field.
int fc_machine_config_check(const struct fc_machine_config *c, struct err *e) MUST_CHECK;
// Ids of drives and interfaces: letters, digits and '_', not empty.
int fc_id_check(const char *id, struct err *e) MUST_CHECK;
