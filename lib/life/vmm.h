// SPDX-License-Identifier: MIT
// Which VMM runs a guest on this machine (design.md section 4): firecracker inside its jailer where
// KVM is usable, mvm-fc-qemu everywhere else.
#pragma once
#include "base/path.h"
#include "state/instance.h"

struct vmm_choice {
	enum instance_vmm kind;
	char version[32];  // "1.15.1"; of mvm-fc-qemu: our own
	path_text program; // firecracker, or mvm-fc-qemu
	path_text jailer;  // "" for mvm-fc-qemu
	char why[200];	   // one sentence for doctor and messages
};

// Kind unavailable when no VMM can be had here, saying what to do.
int vmm_choose(struct vmm_choice *ret, struct err *e) MUST_CHECK;
// A firecracker of that version ("" for the default, else the newest in range): installed by
// bootstrap below the state directory, or on PATH. Kind missing when there is none.
int vmm_find_firecracker(const char *version, struct vmm_choice *ret, struct err *e) MUST_CHECK;
// Before anything is made of a start: kind unavailable or state when that VMM could not keep to the
// policy (enum pool_seccomp) with these drives (struct fc_drive). It is not started with less.
int vmm_check_seccomp(const struct vmm_choice *c, int policy, const struct codec_list *drives,
		      struct err *e) MUST_CHECK;
// Is "MAJOR.MINOR.PATCH" in the range this mvm knows (1.12 to 1.16)?
bool vmm_in_range(const char *version);
