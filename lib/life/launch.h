// SPDX-License-Identifier: MIT
// launch.json: everything mvm-fc-launch has to know about one run. `mvm-instance prepare` writes it
// to $MVM_RUN_DIR/instances/<i>/ (0600, root), the launcher reads nothing else.
#pragma once
#include "base/name.h"
#include "state/result.h"
#include "json/codec.h"

#define LAUNCH_FILE "launch.json"

enum launch_mode { LAUNCH_BOOT, LAUNCH_LOAD };

// One call of the VMM's API; the last one starts the guest.
struct launch_request {
	char *stage; // what it is called in the stage times: "configure", "start"
	char *method;
	char *path;
	char *body; // raw JSON
};

// A file that is not linked into the jail but bound over a name in its root, read-only, in the
// VMM's own mount namespace: drives on the ramfs.
struct launch_bind {
	char *from; // absolute
	char name[64];
};

struct launch {
	address_text address;
	char vmm[12];		    // "firecracker" or "qemu"
	int mode;		    // enum launch_mode
	char *jail;		    // the chroot: .../jails/<vmm>/<i>/root
	uint32_t uid;		    // uid and gid of the VM
	int seccomp;		    // enum pool_seccomp
	struct codec_list argv;	    // char *: program (absolute) and arguments
	struct codec_list binds;    // struct launch_bind
	struct codec_list requests; // struct launch_request
	// Of a load: what is loaded, and the seal of its manifest when it was found good.
	char capture[41];
	char capture_seal[65];
	bool clone;		  // its memory is that of another instance
	bool restless;		  // its guest was not at rest when it was captured
	uint64_t begun_ms;	  // of prepare, on CLOCK_MONOTONIC
	struct codec_list stages; // struct start_stage: what prepare took
	// What the guest is told when it dials R.
	char hostname[65];
	ip_text guest_ip, gateway_ip;
	uint8_t prefix;
	struct codec_list entrypoint;  // char *
	struct codec_list environment; // char *: K=V
	struct codec_list probes;      // char *: words as of guest/probe.h
	uint64_t ready_timeout_ms;
};
// A base of the pool, which many go on from, and not the instance's own.
static inline bool launch_from_base(const struct launch *l)
{
	return l->mode == LAUNCH_LOAD && str_starts(l->capture, "base-");
}
// Its memory knows another guest: the template, or whom it is a clone of.
static inline bool launch_adopts(const struct launch *l)
{
	return launch_from_base(l) || l->clone;
}
extern const struct field launch_fields[];

// In the same directory: start.json (state/result.h), written by the launcher's helper before
// READY, or on failure before it ends the VMM; `commit` and `finish` take it over into the state.
int launch_load(const char *instance, struct launch *ret, struct err *e) MUST_CHECK;
int launch_save(const char *instance, const struct launch *l, struct err *e) MUST_CHECK;
// Did prepare get as far as writing launch.json in this run? Else no VMM was executed.
bool launch_written(const char *instance);
// start.json there. Absent: -ENOENT, kind missing.
int launch_load_start(const char *instance, struct start_record *ret, struct err *e) MUST_CHECK;
int launch_save_start(const char *instance, const struct start_record *r, struct err *e) MUST_CHECK;
// start.json of a step that failed before or after the launcher: told the same way as what fails in
// it.
void launch_leave_error(const struct address *a, const struct err *why);
void launch_free(struct launch *l);
#define cleanup_launch cleanup(launch_free)
