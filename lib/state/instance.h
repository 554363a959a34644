// SPDX-License-Identifier: MIT
// instances/<i>/instance.json: one microVM. Written under the instance's lock only (`op` and all
// that counts as usage: under the tenant's lock as well).
// Derived values (tap, mac, addresses) are stored and compared with the formulas at every load.
#pragma once
#include "base/clock.h"
#include "base/proc.h"
#include "state/pool.h"
#include "state/tenant.h"

#define INSTANCE_FILE "instance.json"

enum instance_status {
	INSTANCE_CREATED,
	INSTANCE_READY,
	INSTANCE_RUNNING,
	INSTANCE_WARM,
	INSTANCE_SLEEPING,
	INSTANCE_STOPPED,
	INSTANCE_DESTROYED,
	INSTANCE_STATUSES
};
enum instance_vmm { INSTANCE_VMM_NONE, INSTANCE_VMM_FIRECRACKER, INSTANCE_VMM_QEMU };
enum instance_role { INSTANCE_ROLE_NONE, INSTANCE_ROLE_TEMPLATE };
enum instance_health { INSTANCE_HEALTH_UNKNOWN, INSTANCE_HEALTH_GOOD, INSTANCE_HEALTH_BAD };
// How far the work in flight is (design.md section 4).
enum op_stage { OP_ASKED, OP_STARTING, OP_WORKING, OP_ENDING };
extern const char *const instance_status_names[]; // "created", ...
extern const char *const instance_vmm_names[];	  // "", "firecracker", "qemu"
extern const char *const instance_role_names[];	  // "", "template"
extern const char *const instance_health_names[]; // "unknown", "healthy", "unhealthy"
extern const char *const op_stage_names[];

struct instance_net {
	ifname_text tap_dev;
	mac_text mac;
	ip_text guest_ip;
	ip_text gateway_ip;
	uint32_t cidr;
	uint32_t offset; // 0: template
};

struct instance_process { // pid 0: none (null)
	uint32_t pid;
	uint64_t pid_start;
};

struct instance_maker { // pid 0: none (null)
	uint32_t pid;
	uint64_t pid_start;
	char boot_id[37];
};

struct instance_op { // id "": none (null)
	char id[11]; // o-<8 hex>
	int verb;    // enum action of transition.h
	int from;    // enum instance_status
	int stage;   // enum op_stage
	time_text since;
	char boot_id[37];
	uint32_t pid;
	uint64_t pid_start;
	bool spent; // a capture was spent: a failed start goes to stopped
	bool boot;  // from the disks, whatever memory could be gone on from
};

struct instance_base {	 // ref "": none (null)
	char ref[80];	 // base-<hash> or gen-<n>
	char sha256[65]; // of its memory file
};

// Its starts that were cold although a memory was wanted, by the cause.
struct instance_colds {
	uint32_t damaged; // a file of the capture
	uint32_t other;	  // a capture of another image, VMM, machine, network or disk
	uint32_t refused; // spent, or of a release that is known to be bad
	uint32_t gone;	  // nothing to load
	uint32_t ended;	  // it ran, and ended without having been asked to
	uint32_t failed;  // the VMM or the guest, when it was loaded
};

struct instance_idle { // last_updated "": none (null)
	time_text last_updated;
	uint64_t idle_s;
	double cpu_pct;
	uint64_t net_bytes;
};

struct instance { // in the order of their sizes; instance_fields has the order of the document
	struct instance_op op;
	struct instance_process vmm_process;
	struct instance_idle idle_metrics;
	uint64_t secrets_epoch;	 // what the guest has
	uint64_t config_version; // what the guest has
	uint64_t capture_mib;	 // what its captures take on the disk
	struct instance_net net;
	uint32_t schema_version; // 1
	int status;		 // enum instance_status
	int role;		 // enum instance_role
	int vmm;		 // enum instance_vmm: what last ran it
	int seccomp;		 // enum pool_seccomp: under which it last ran
	int health;		 // enum instance_health
	uint32_t failures;	 // starts that failed in a row
	struct instance_colds cold_starts;
	struct instance_base diff_base;
	struct instance_maker maker; // of a clone that has not run yet
	instance_text instance_id;
	name_text pool_id;
	name_text tenant_id;
	char revision_hash[65]; // "" (null): not started yet
	char vmm_version[32];
	char boot_id[37];   // of the host's boot in which vmm_process runs; "" when none
	char last_exit[32]; // cause of the last exit.json, "" when never
	char cold[240]; // why its last start was one from the disks although its memory was kept
	char degraded[256]; // why reconcile gave up for now, ""
	time_text status_since;
	time_text retry_after;
	time_text last_health_check_at;
	time_text manual_override_until; // reconcile leaves it alone until then
	time_text created_at;
	time_text last_started_at;
	time_text last_stopped_at;
	bool unreleased; // its last run ended, and what that held may be there yet
};
extern const struct field instance_fields[];
extern const struct field instance_net_fields[];
extern const struct field instance_op_fields[];
extern const struct field instance_colds_fields[];

// A record of status created with the network of that offset; a names the full address. Offset 0
// makes a template (role template; guest_ip is the network's base address and never used).
void instance_init(struct instance *i, const struct address *a, const struct tenant *t,
		   uint32_t offset);
// Checks the record against its address and, when t is not NULL, against the tenant's network.
int instance_check(const struct instance *i, const struct address *a, const struct tenant *t,
		   struct err *e) MUST_CHECK;
// t may be NULL (then only what needs no tenant is compared). No lock.
int instance_load(const struct address *a, const struct tenant *t, struct instance *ret,
		  struct err *e) MUST_CHECK;
int instance_load_from(const struct store *s, const struct address *a, const struct tenant *t,
		       struct instance *ret, struct err *e) MUST_CHECK;
int instance_save(const struct store *s, const struct instance *i, struct err *e) MUST_CHECK;
// Which of them an error of that kind counts as.
uint32_t *instance_cold_counter(struct instance *i, enum err_kind kind);
// Why a start is going to be cold, which is counted there; "": it is not, and nothing is counted.
void instance_set_cold(struct instance *i, const char *why, uint32_t *counter);
// Sets status and, when it differs, status_since. What has run is its maker's no longer.
void instance_set_status(struct instance *i, enum instance_status status);

// Work in flight. op_set: this process starts a verb now (stage asked).
int instance_op_set(struct instance *i, int verb, struct err *e) MUST_CHECK;
// This process takes the op over (pid, pid_start, boot_id) at a stage.
int instance_op_take(struct instance *i, enum op_stage stage, struct err *e) MUST_CHECK;
void instance_op_clear(struct instance *i);
static inline bool instance_has_op(const struct instance *i)
{
	return i->op.id[0] != '\0';
}
// The process that does it lives, in this boot of the host. A backend that still works on it is the
// caller's to ask.
bool instance_op_alive(const struct instance *i);
// Kind unavailable, naming verb, stage and pid, when an op is alive; 0 otherwise (also for a dead
// op).
int instance_op_check(const struct instance *i, struct err *e) MUST_CHECK;
// It is this process's, who makes it, until it has run.
int instance_own(struct instance *i, struct err *e) MUST_CHECK;
// Its maker was killed before it ran, and nobody else has begun with it.
bool instance_is_left(const struct instance *i);
// vmm_process names a process that lives in this boot.
bool instance_vmm_alive(const struct instance *i);
// Running or warm by its record: it has a VMM, or says so.
bool instance_has_vmm(const struct instance *i);
