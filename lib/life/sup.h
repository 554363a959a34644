// SPDX-License-Identifier: MIT
// What mvm-sup writes down about itself in $MVM_RUN_DIR/instances/<i>/sup.lock, a file it holds a
// flock on for its whole life and whose text it replaces in place by one write.
#pragma once
#include "base/name.h"
#include "base/proc.h"

#define SUP_LOCK "sup.lock"

enum sup_phase { SUP_INACTIVE, SUP_ACTIVATING, SUP_ACTIVE, SUP_DEACTIVATING };
extern const char *const sup_phase_names[];

struct sup_record {
	struct proc_id sup;  // mvm-sup
	struct proc_id init; // of the PID namespace below it; pid 0: none yet
	char boot_id[37];
	enum sup_phase phase;
};

// Opens and locks it for the life of the caller; kind unavailable when another mvm-sup holds it.
// Waits first for the init of a killed predecessor: until it is gone its VMM may still run.
int sup_lock(const char *instance, int wait_ms, int *ret_dir, struct err *e) MUST_CHECK;
int sup_write(int lock, const struct sup_record *r, struct err *e) MUST_CHECK;
// phase SUP_INACTIVE when nobody holds the lock and no recorded init lives.
int sup_read(const char *instance, struct sup_record *ret, struct err *e) MUST_CHECK;

// How a process ended, as systemd tells it to ExecStopPost.
struct sup_end {
	int code;   // CLD_EXITED, CLD_KILLED, CLD_DUMPED
	int status; // exit status or signal
};
// Sets SERVICE_RESULT, EXIT_CODE and EXIT_STATUS in the environment. result NULL: from the end.
void sup_set_result(const struct sup_end *end, const char *result);

// The init of the launcher's namespace: starts the launcher as its child, tells its pid by
// SCM_CREDENTIALS, waits for it and sends its end over sock; then gives what is left two seconds.
// Never returns.
_Noreturn void sup_init(int sock, const char *const *argv);
// In mvm-sup: the launcher's pid as seen here.
int sup_launched(int sock, pid_t *ret, struct err *e) MUST_CHECK;
