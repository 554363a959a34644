// SPDX-License-Identifier: MIT
// One guest behind QEMU's "microvm" machine: what mvm-fc-qemu's API acts on. Owns guest RAM (a
// memfd handed to QEMU), the QEMU process, its QMP connection, the console and the vsock socket.
//
// Every call is bounded in time and blocks until its effect is there. Paths are opened below
// env.root_fd with openat2(RESOLVE_IN_ROOT) and reach QEMU as descriptors.
//
// Confined (uid set): qemu_new forks, before the caller drops its rights, a *starter* which is root
// and init of a PID namespace and waits for QEMU's arguments and descriptors on a socketpair; it
// forks QEMU (-chroot an empty directory, -runas UID:GID, seccomp), drops to UID itself and passes
// QEMU's status on. Whichever of the three dies, all die. Without uid QEMU is our child with
// PDEATHSIG. In both cases QEMU has seccomp, no capability and no_new_privs.
#pragma once
#include "base/loop.h"
#include "fc/config.h"

enum qemu_accel { QEMU_ACCEL_AUTO, QEMU_ACCEL_KVM, QEMU_ACCEL_TCG };

struct qemu_confined {
	bool on, strict; // strict: a system call that is not on the lists ends the guest
	uint32_t uid, gid;
};
struct qemu_env {
	struct loop *loop;
	int root_fd; // directory all API paths are resolved in
	struct qemu_confined confined;
	enum qemu_accel accel;
	int console_fd; // the guest's serial output goes here (drained always); input from none
	// QEMU has ended: status 0 = the guest reset, powered off or was told to quit; else it
	// crashed (128 + signal, or its exit status). why: "guest-reset", "guest-shutdown",
	// "killed", "killed: a forbidden system call", or QEMU's last line. Called once, from the
	// loop.
	void (*ended)(void *arg, int status, const char *why);
	void *arg;
};

// Devices as configured through the API before the start; owned by the caller.
struct qemu_config {
	struct fc_machine_config machine;
	struct fc_boot_source boot;
	struct codec_list drives; // struct fc_drive
	struct codec_list nets;	  // struct fc_net
	bool has_vsock, has_entropy;
	struct fc_vsock vsock;
};

struct qemu;
int qemu_new(const struct qemu_env *env, struct qemu **ret, struct err *e) MUST_CHECK;
// Which accelerator "auto" means here: KVM when /dev/kvm opens and, on x86, the CPU has vmx or svm.
enum qemu_accel qemu_accel_usable(void);
// InstanceStart. Failure leaves no process behind and may be tried again.
int qemu_start(struct qemu *q, const struct qemu_config *c, struct err *e) MUST_CHECK;
int qemu_pause(struct qemu *q, struct err *e) MUST_CHECK;  // also when already so
int qemu_resume(struct qemu *q, struct err *e) MUST_CHECK; // also when already so
int qemu_ctrl_alt_del(struct qemu *q, struct err *e) MUST_CHECK;
// PATCH of a drive on a started guest: the backing file is exchanged.
int qemu_set_drive(struct qemu *q, const char *drive_id, const char *path,
		   struct err *e) MUST_CHECK;
// Paused only. Writes the state file (QEMU's device state, with our own header: format version,
// configuration, accelerator, CPU model, TSC rate, checksum) and the memory file: Full is all
// data; Diff only pages that differ from what was loaded (zero after a cold boot) or from the last
// successful create: Firecracker's meaning, whose create clears the dirty log.
int qemu_snapshot(struct qemu *q, const struct fc_snapshot_create *s, struct err *e) MUST_CHECK;
// In a fresh process: fills *ret_config from the state file. The guest is left paused unless
// resume_vm. After a failure the process has to end.
int qemu_load(struct qemu *q, const struct fc_snapshot_load *l, struct qemu_config *ret_config,
	      struct err *e) MUST_CHECK;
bool qemu_is_running(const struct qemu *q); // started (or loaded) and not ended
bool qemu_is_paused(const struct qemu *q);
// Figures for the metrics line: per device counters from QMP (query-blockstats) and ours.
#define QEMU_DRIVES 20
struct qemu_block {
	uint64_t read_bytes, write_bytes, read_ops, write_ops, flush_ops;
};
struct qemu_stats {
	struct qemu_block block; // all drives
	struct {
		const char *id; // the guest's, as long as it runs
		struct qemu_block block;
	} drives[QEMU_DRIVES];
	size_t drive_count;
	uint64_t vsock_conns, vsock_rx_bytes, vsock_tx_bytes; // rx: what the guest received
};
int qemu_stats(struct qemu *q, struct qemu_stats *ret, struct err *e) MUST_CHECK;
void qemu_free(struct qemu *q); // ends QEMU and waits for it
void qemu_config_clear(struct qemu_config *c);
// What a state depends on beside mvm-fc-qemu: another QEMU does not take it, and where the
// time-stamp counter runs at another rate the guest's clock would run wrong.
struct qemu_host {
	char version[128]; // "7.2.22 (package)"
	uint64_t tsc_khz;
};
int qemu_host(struct qemu_host *ret, struct err *e) MUST_CHECK;		     // here
int qemu_host_of(int file, struct qemu_host *ret, struct err *e) MUST_CHECK; // of a state file
// Two measurements of one rate differ by some 10 in a million; hosts of one model by hundreds.
#define QEMU_TSC_SLACK_PPM 500
static inline bool qemu_tsc_same(uint64_t state_khz, uint64_t here_khz)
{
	uint64_t apart = here_khz > state_khz ? here_khz - state_khz : state_khz - here_khz;

	return apart <= state_khz * QEMU_TSC_SLACK_PPM / 1000000;
}
// The format of state files that qemu_snapshot writes and qemu_load takes, "1.0.0".
extern const char qemu_format[];
// 0 when file (taken over) is a whole state file of that format.
int qemu_describe(int file, struct err *e) MUST_CHECK;
