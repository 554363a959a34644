// SPDX-License-Identifier: MIT
// tenants/<t>/pools/<p>/pool.json: what the instances of a pool are made of, how many are wanted.
#pragma once
#include "base/clock.h"
#include "state/store.h"

#define POOL_FILE "pool.json"

enum pool_seccomp { POOL_SECCOMP_BASELINE, POOL_SECCOMP_STRICT };
enum pool_compression { POOL_COMPRESSION_NONE, POOL_COMPRESSION_LZ4, POOL_COMPRESSION_ZSTD };
enum pool_egress { POOL_EGRESS_OPEN, POOL_EGRESS_ALLOW, POOL_EGRESS_NONE };
// What `start` of its instances is: a boot, or the load of the base of its image.
enum pool_start { POOL_START_BOOT, POOL_START_TEMPLATE };
extern const char *const pool_start_names[];
extern const char *const pool_seccomp_names[];
extern const char *const pool_compression_names[];
extern const char *const pool_egress_names[];

struct pool_resources {
	uint32_t vcpus;
	uint64_t mem_mib;
	uint64_t data_disk_mib; // 0: no /data
	uint64_t secrets_mib;	// size of the secrets drive, part of the VM's state
};

struct pool_counts {
	uint32_t running, warm, sleeping;
};

struct pool_runtime {
	uint32_t start_timeout_s; // until the guest said that it is ready
	uint32_t drain_timeout_s; // asked to shut down, until it is ended
	uint32_t min_running_s;	  // by policy nothing younger is paused
	uint32_t min_warm_s;	  // by policy nothing younger is put to sleep
};

struct pool_sleep_policy {
	uint32_t warm_idle_s;
	uint32_t sleep_idle_s;
	uint32_t cpu_pct;
	uint64_t net_bytes;
};

// One way out of the pool's guests, when egress is "allow".
struct pool_allow {
	char cidr[19];
	uint32_t port; // 0: any
	char proto[4]; // "tcp", "udp", "" for any
};

// Limits of each guest's link, in kilobits (1000 bits) per second; 0: none.
#define POOL_KBIT_MIN 64
#define POOL_KBIT_MAX 100000000
struct pool_bandwidth {
	uint32_t ingress_kbit; // towards the guest
	uint32_t egress_kbit;  // from it
};

// How it is found out whether what a guest runs is well.
enum pool_probe_kind { POOL_PROBE_NONE, POOL_PROBE_EXEC, POOL_PROBE_HTTP };
extern const char *const pool_probe_names[];
#define POOL_PROBE_WORDS 64
struct pool_probe {
	int kind;		   // enum pool_probe_kind
	struct codec_list command; // of exec: char *
	uint32_t port;		   // of http, on the guest's loopback
	char path[256];
	uint32_t interval_s, timeout_s;
	uint32_t failures; // so many one after the other make a guest unhealthy
};

struct pool {
	uint32_t schema_version; // 1
	name_text pool_id;
	name_text tenant_id;
	char flake_ref[1024]; // absolute; "" never
	name_text profile;
	struct pool_resources instance_resources;
	struct pool_counts desired_counts;
	int seccomp_policy;	  // enum pool_seccomp
	int snapshot_compression; // enum pool_compression
	int start_from;		  // enum pool_start
	bool metadata_enabled;
	bool pinned;   // never put to sleep by policy
	bool critical; // left alone by reconcile
	struct pool_runtime runtime;
	struct pool_sleep_policy sleep_policy;
	int egress;			// enum pool_egress
	struct codec_list egress_allow; // of struct pool_allow
	struct pool_bandwidth bandwidth;
	struct pool_probe probe;
	time_text created_at;
};
extern const struct field pool_fields[];
extern const struct field pool_resources_fields[];
extern const struct field pool_counts_fields[];
extern const struct field pool_runtime_fields[];
extern const struct field pool_sleep_policy_fields[];
extern const struct field pool_allow_fields[];
extern const struct field pool_bandwidth_fields[];
extern const struct field pool_probe_fields[];

#define cleanup_pool cleanup(pool_free)
void pool_init(struct pool *p, const char *tenant, const char *id); // defaults
void pool_free(struct pool *p);
// CIDR[:PORT[/PROTO]] as people write it. The network itself is checked with the whole record.
int pool_allow_parse(const char *word, struct pool_allow *ret, struct err *e) MUST_CHECK;
// The network of an entry's cidr, any prefix, no host bits; an address is a /32.
int pool_allow_net(const char *cidr, struct subnet *ret, struct err *e) MUST_CHECK;
// PORT[/PATH] as people write it.
int pool_probe_parse_http(const char *word, struct pool_probe *ret, struct err *e) MUST_CHECK;
// Checks the record as a whole against its address.
int pool_check(const struct pool *p, const char *tenant, const char *id, struct err *e) MUST_CHECK;

int pool_load(const char *tenant, const char *id, struct pool *ret, struct err *e) MUST_CHECK;
int pool_load_from(const struct store *s, struct pool *ret, struct err *e) MUST_CHECK;
int pool_save(const struct store *s, const struct pool *p, struct err *e) MUST_CHECK;
// The revision that artifacts/current names; "" when the pool was not built yet.
int pool_revision(const char *tenant, const char *id, char ret[65], struct err *e) MUST_CHECK;
