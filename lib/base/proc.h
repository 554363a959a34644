// SPDX-License-Identifier: MIT
// Child processes. argv arrays only, never a shell string. The child gets default dispositions, the
// mask that was saved at start, CLOEXEC for everything but 0-2 and keep_fds, and only
// async-signal-safe calls run between fork and exec. A failed exec comes back as the error.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include <sys/types.h>

enum { PROC_INHERIT = -1, PROC_NULL = -2, PROC_PIPE = -3 };

struct proc_spec {
	const char *const *argv; // argv[0]: absolute, or looked up on PATH
	const char *const *env;	 // NULL: inherited
	int in, out, err;	 // a descriptor >= 0, or one of PROC_*. Use PROC_SPEC().
	const int *keep_fds;	 // descriptors the child keeps under the same number
	size_t keep_count;
	bool new_session;
	int death_signal; // PDEATHSIG, 0 = none
};
#define PROC_SPEC(args)                                                                      \
	{                                                                                    \
		.argv = (args), .in = PROC_INHERIT, .out = PROC_INHERIT, .err = PROC_INHERIT \
	}

struct proc {
	pid_t pid; // 0 when not running
	int pidfd;
	int in, out, err; // our ends of PROC_PIPE, else -1
};
#define PROC_NONE                                                     \
	{                                                             \
		.pid = 0, .pidfd = -1, .in = -1, .out = -1, .err = -1 \
	}
#define cleanup_proc cleanup(proc_free)

int proc_spawn(const struct proc_spec *spec, struct proc *ret, struct err *e) MUST_CHECK;
// Exit status as a shell tells it (128 + n for a signal); timeout_ms < 0 waits for ever;
// -ETIMEDOUT leaves the child running.
int proc_wait(struct proc *p, int timeout_ms, int *ret_status, struct err *e) MUST_CHECK;
// SIGKILLs and reaps what still runs, closes the descriptors.
void proc_free(struct proc *p);

// Runs to the end: input (may be NULL) on stdin, stdout captured up to max_out, the last line of
// stderr kept. The child is killed at the deadline.
struct proc_result {
	int status;
	struct buf out;
	char last_line[512]; // of stderr, without the newline
};
#define cleanup_proc_result cleanup(proc_result_free)
void proc_result_free(struct proc_result *r);
int proc_capture(const char *const *argv, const char *input, size_t max_out, int timeout_ms,
		 struct proc_result *ret, struct err *e) MUST_CHECK;
// A tool of ours (argv[0] = "mvm-bridge"; found by path_tool): its failure becomes *e, with its
// message, exit status, kind, object and hint. out may be NULL; it is filled also when the tool
// ended with another status than 0 (a report). Warnings of the tool go on to our stderr. The tool
// sees MVM_OUTPUT=json, and the descriptor of MVM_PROGRESS_FD when there is one.
#define PROC_TOOL_MAX (64 * MIB)
int proc_tool(const char *const *argv, const char *input, struct buf *out, int timeout_ms,
	      struct err *e) MUST_CHECK;

// A process that was written down: a pid alone may be somebody else's by now.
struct proc_id {
	pid_t pid;
	uint64_t start; // field 22 of /proc/PID/stat, clock ticks since boot
};
int proc_id_get(pid_t pid, struct proc_id *ret, struct err *e) MUST_CHECK;
bool proc_id_alive(const struct proc_id *id); // zombies are not alive
// pidfd of exactly that process; -ESRCH when gone.
int proc_id_open(const struct proc_id *id, struct err *e) MUST_CHECK;
int proc_kill(int pidfd, int sig, struct err *e) MUST_CHECK; // gone already is fine
// Waits until the process of the pidfd has ended (it need not be our child).
int proc_wait_gone(int pidfd, int timeout_ms, struct err *e) MUST_CHECK;

// In a forked child that goes on behind the caller's back: a session of its own, and no descriptor
// of the caller's but `keep` (-1: none), for somebody may wait for the end of a pipe or for a lock.
void proc_leave(int keep);

// Forks a process that is root and init (pid 1) of a new PID namespace and dies with the caller:
// PDEATHSIG, and a check through the inherited socket that the caller still lives. What it forks
// dies with it by the kernel's rule for a namespace's init. Needs CAP_SYS_ADMIN.
// *group: the directory of a cgroup that it is to be born in, or -1. Moving it there later waits
// for every processor (10 to 40 ms); where the kernel cannot do otherwise, *group is untouched,
// else it is -1 afterwards. NULL: none.
//
// Returns 0 in the child, where *sock is the child's end of a SOCK_SEQPACKET pair; in the caller
// the child's pid, with *pidfd and *sock the caller's end; or -errno.
pid_t proc_fork_init(int *group, int *pidfd, int *sock, struct err *e) MUST_CHECK;
// To be called (again) in the child after a change of uid, which clears PDEATHSIG.
int proc_die_with_parent(int sock, struct err *e) MUST_CHECK;
