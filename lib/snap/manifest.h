// SPDX-License-Identifier: MIT
// manifest.json of a capture: what it is, what it was taken from, what its files have to be, and
// everything that has to be the same where it is loaded. Replaced whole or not at all.
//
// A manifest that does not decode, breaks a rule or does not fit its seal is kind damaged, and is
// never written over. One of another machine is kind conflict. Both begin with the field's name.
#pragma once
#include "snap/pages.h"
#include "state/instance.h"

#define SNAP_MANIFEST	   "manifest.json"
#define SNAP_VMSTATE	   "vmstate"
#define SNAP_MEM	   "mem"
#define SNAP_DELTA	   "delta"
#define SNAP_PACK	   "mem.pack"
#define SNAP_DATA	   "data.ext4" // of a named one: the data disk as it was then
#define SNAP_NONE	   "none"      // in place of a parent
#define SNAP_REF	   41	       // base-<32 hex digits>, gen-<n>
#define SNAP_STATE_MAX	   (64 * MIB)
#define SNAP_DEVICES	   32
#define SNAP_MANIFEST_MODE 0600
#define SNAP_MARKS	   385 // four digits for each of 96 fields at most

typedef char snap_ref[SNAP_REF];

enum snap_kind { SNAP_BASE, SNAP_DIFF, SNAP_FULL, SNAP_NAMED };
enum snap_form { SNAP_FORM_MEM, SNAP_FORM_DELTA, SNAP_FORM_PACK };
extern const char *const snap_kind_names[]; // base, delta, full, named
extern const char *const snap_form_names[]; // mem, delta, pack

struct snap_cpu {
	char vendor[16];
	uint32_t family, model, stepping;
	char microcode[24];
	char flags_sha256[65]; // of the sorted flags: what the guest may have been shown
};

// Kinds of device in the order in which the guest sees them.
struct snap_device {
	char kind[16]; // drive, net, vsock, entropy, balloon
	char id[32];
	uint64_t bytes;	   // of a drive
	char identity[80]; // of a drive: digest or file system's UUID; of a net: its MAC
};

// What makes a capture loadable. Without the guest's own part it is also what a base is named by.
struct snap_machine {
	char revision_hash[65];
	char arch[16];
	int vmm; // enum instance_vmm
	char vmm_version[32];
	char vmm_sha256[65];   // of the program
	char state_format[32]; // of vmstate
	char accel[8];	       // kvm, tcg
	struct snap_cpu cpu;
	char cpu_template[65];
	char host_kernel[80];
	uint32_t vcpus;
	uint64_t mem_mib;
	bool pci;
	uint32_t agent_protocol;
	struct codec_list devices; // struct snap_device
	// Of mvm-fc-qemu, which no other takes a state of; else "" and 0. Left out: not known.
	char emulator[128]; // version of QEMU
	uint64_t tsc_khz;   // as it was measured: the same rate is not the same number
};

struct snap_guest {
	name_text tenant_id, pool_id;
	instance_text instance_id; // of a base: its template
	ip_text guest_ip, gateway_ip;
	uint32_t cidr;
	mac_text mac;
	struct codec_list disks; // struct snap_device: the instance's own drives
};

struct snap_parent {
	snap_ref ref;	 // "none"
	char sha256[65]; // of its memory, ""
};

struct snap_file {
	uint64_t bytes;
	char sha256[65];
};

// inode, size and time of mem when its digest was taken: the same again, it need not be read.
struct snap_seen {
	char inode[24];
	char mtime[32];
};

struct snap_memory {
	int form; // enum snap_form: which file holds it
	uint64_t bytes;
	char sha256[65]; // of the memory; of a delta: of its data (snap/pages.h)
	struct snap_seen seen;
	struct snap_file pack; // the file, when packed
};

struct snap_manifest {
	uint32_t schema_version; // 1
	int kind;		 // enum snap_kind
	name_text name;		 // of a named one
	time_text created_at;
	// The guest was at rest: behind a load none of its processes runs before it is repaired.
	// Not so, or not known: then it may only go on as itself, for two of it would draw the
	// same random numbers.
	bool quiesced;
	struct snap_machine machine;
	struct snap_guest guest;
	struct snap_parent parent; // what a delta is laid over
	snap_ref composed_from;	   // the parent that a composed one had, ""
	struct snap_file vmstate;
	struct snap_memory memory;
	int compression; // enum pool_compression
	bool spent;	 // was loaded, so it may not be loaded again
	time_text spent_at;
	struct snap_file data;	   // of a named one: its pages' digest; no bytes: it has none
	instance_text cloned_from; // its memory is that one's, and does not know the guest yet
	char marks[SNAP_MARKS];	   // a few digits for each field, which tell what was changed
	char seal[65];		   // SHA-256 of the document without it
};
extern const struct field snap_manifest_fields[], snap_machine_fields[], snap_guest_fields[];

#define cleanup_manifest cleanup(snap_manifest_free)
void snap_manifest_free(struct snap_manifest *m);
int snap_ref_check(const char *ref, struct err *e) MUST_CHECK; // base-<hash> or gen-<n>
// The number of gen-<n>, 0 when it is none.
uint32_t snap_ref_number(const char *ref);
// What a base of such a machine is called.
void snap_base_ref(const struct snap_machine *m, snap_ref out);

// Decodes and holds it to its rules; its seal is compared by snap_manifest_sealed.
int snap_manifest_parse(const char *text, size_t len, struct snap_manifest *ret,
			struct err *e) MUST_CHECK;
int snap_manifest_rules(const struct snap_manifest *m, struct err *e) MUST_CHECK;
int snap_manifest_sealed(const struct snap_manifest *m, struct err *e) MUST_CHECK;
// Sets marks. And which field, as a path, is not as it was marked; false when they do not tell.
void snap_manifest_mark(struct snap_manifest *m);
bool snap_manifest_changed(const struct snap_manifest *m, char *out, size_t size);
// With its marks, its seal, and a newline.
void snap_manifest_print(struct snap_manifest *m, struct buf *out);

// May it be loaded on what is wanted? Each row of the two tables is compared, nothing is left out:
// the first that differs is named, with both values. What an operator can put right (emulator,
// tsc_khz) comes behind all else and is kind unavailable: the capture is good where that is right.
// Then the release is looked up and the seal compared. m comes from snap_manifest_parse, so that a
// field which was changed is named.
struct snap_wanted {
	struct snap_machine machine;
	struct snap_guest guest;
};
int snap_manifest_check(const struct snap_manifest *m, const struct snap_wanted *wanted,
			struct err *e) MUST_CHECK;
// From and to a directory of a capture. load: parsed, compared with wanted if that is not NULL, and
// sealed. save: replaced, under the capture's lock.
int snap_manifest_load(int dir, const struct snap_wanted *wanted, struct snap_manifest *ret,
		       struct err *e) MUST_CHECK;
int snap_manifest_save(int dir, struct snap_manifest *m, struct err *e) MUST_CHECK;

// What releases of a VMM are known to do wrong. Asked before a capture too, as one that cannot be
// loaded is no capture.
enum snap_use {
	SNAP_USE_LOAD,
	SNAP_USE_DIFF,
	SNAP_USE_WARM, // paused and resumed without a capture in between
};
int snap_release_check(int vmm, const char *version, enum snap_use use, uint64_t mem_mib,
		       struct err *e) MUST_CHECK; // kind state
// This host's part of a machine: arch, CPU and kernel.
int snap_machine_host(struct snap_machine *m, struct err *e) MUST_CHECK;
