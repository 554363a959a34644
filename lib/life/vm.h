// SPDX-License-Identifier: MIT
// The VM of an instance that runs or is paused: its VMM's API and its guest's agent, as the verbs
// around a pause and a capture use them.
#pragma once
#include "fc/config.h"
#include "guest/host.h"
#include "state/instance.h"
#include "state/tenant.h"
#include "sys/jail.h"

struct vm {
	struct address a;
	struct tenant tenant;
	struct instance i;
	struct jail jail;
	uint32_t uid;
	int gone;   // a pidfd of the VMM
	bool heard; // its agent has answered, with whatever
};
#define VM_NONE                                \
	{                                      \
		.jail = JAIL_NONE, .gone = -1, \
	}
#define cleanup_vm cleanup(vm_close)
// Kind unavailable when its VMM does not run (any more).
int vm_open(struct vm *v, const struct address *a, struct err *e) MUST_CHECK;
// The same for a VM that no record names yet; the pidfd is copied.
int vm_open_started(struct vm *v, const struct address *a, int vmm_fd, struct err *e) MUST_CHECK;
void vm_close(struct vm *v);

// Of the VMM. Already so is fine. What has connections to the guest's vsock may lose them when it
// is run again, as by a capture.
int vm_pause(const struct vm *v, struct err *e) MUST_CHECK;
int vm_run(const struct vm *v, struct err *e) MUST_CHECK;
// Into the jail's snap/ directory. What the VMM did is unknown after an error.
int vm_create(const struct vm *v, enum fc_snapshot_type type, const char *state, const char *memory,
	      uint64_t mem_mib, struct err *e) MUST_CHECK;
// What an attempt to create left there; nothing is fine, also of a VM that was not opened.
int vm_drop_files(const struct vm *v, struct err *e) MUST_CHECK;

// Of the guest's agent. quiet: without the guest's own programs.
int vm_quiesce(struct vm *v, uint32_t deadline_ms, bool quiet, struct err *e) MUST_CHECK;
int vm_repair(struct vm *v, struct err *e) MUST_CHECK; // clock, random numbers, network
// The same with its drives, as of guest_repair_telling.
int vm_repair_telling(struct vm *v, struct guest_told *told, size_t count,
		      struct err *e) MUST_CHECK;
// The guest becomes a template, and what was loaded from one this instance's guest.
int vm_leave(struct vm *v, uint32_t deadline_ms, struct err *e) MUST_CHECK;
int vm_adopt(struct vm *v, struct err *e) MUST_CHECK;
int vm_thaw(struct vm *v, struct err *e) MUST_CHECK;
