// SPDX-License-Identifier: MIT
// What the files of qemu.h share; nobody else includes it.
//
//	qemu.c		the life of a guest
//	qemu_args.c	QEMU's command line from a plan
//	qemu_open.c	what the configuration names becomes descriptors of a plan
//	qemu_spawn.c	QEMU as our child, or as the child of the starter (qemu_confine.c)
//	qemu_filter.c	the system calls of each process
//	qemu_qmp.c	the monitor's protocol
//	qemu_pipe.c	console and messages
//	qemu_ram.c	the guest's memory, and what of it goes into a snapshot
//	qemu_state.c	the state file
//	qemu_snap.c	create and load
//	qemu_vsock.c	the host's side of vsock
//	qemu_tsc.c	the rate of the time-stamp counter
#pragma once
#include "base/mux.h"
#include "base/name.h"
#include "fc/qemu.h"

#define QEMU_FD_BASE  10 // descriptors of QEMU start here, without a gap
#define QEMU_MUX_PORT "mvm.0"
#define QEMU_NETS     8
#define QEMU_SLOTS    22 // virtio-mmio transports of the machine, less the low ones

// --- plan and arguments

// What one run of QEMU is made of. Descriptors are the plan's until qemu_plan_clear.
struct qemu_plan {
	const struct qemu_config *config;
	const char *program;
	bool kvm, incoming;
	const char *chroot_dir; // NULL: not confined
	uint32_t uid, gid;
	uint64_t tsc_khz;
	int kernel, initrd, ram, console, qmp, mux;
	int drives[QEMU_DRIVES];
	const struct fc_drive *order[QEMU_DRIVES]; // of drives[]: the root device comes first
	int nets[QEMU_NETS];
	mac_text macs[QEMU_NETS];
};
#define cleanup_plan cleanup(qemu_plan_clear)
void qemu_plan_init(struct qemu_plan *p);
void qemu_plan_clear(struct qemu_plan *p);

struct qemu_args {
	struct codec_list argv; // of char *, NULL behind the last
	int fds[64];		// the child gets fds[i] as QEMU_FD_BASE + i; not owned
	size_t fd_count;
};
#define cleanup_args cleanup(qemu_args_clear)
void qemu_args_build(const struct qemu_plan *p, struct qemu_args *out);
void qemu_args_clear(struct qemu_args *a);
void qemu_cmdline(const struct qemu_plan *p, struct buf *out); // the guest kernel's
const char *qemu_cpu_model(bool kvm);

// Drives as the guest sees them. At most QEMU_DRIVES.
size_t qemu_drive_order(const struct codec_list *drives, const struct fc_drive *out[QEMU_DRIVES]);
const char *qemu_drive_node(size_t index, char kind, char out[16]); // "f0", "d0", "b0"
int qemu_open_drive(int root_fd, const struct fc_drive *d, const char *path,
		    struct err *e) MUST_CHECK;
// Devices that are not to be had here are refused.
int qemu_check_config(const struct qemu_config *c, struct err *e) MUST_CHECK;
// Opens kernel and initrd (unless incoming), drives and TAPs. tun: descriptors of /dev/net/tun that
// were opened with more rights, -1 when used up.
int qemu_open_all(struct qemu_plan *p, int root_fd, int tun[QEMU_NETS], struct err *e) MUST_CHECK;

// --- the monitor

struct qmp;
struct qmp_ops {
	void (*event)(void *arg, const char *name, const struct codec_node *data);
	void (*closed)(void *arg); // the end of the stream, or nonsense came; from the loop only
};
// Takes fd over. Reads the greeting and ends the negotiation.
int qmp_new(struct loop *l, int fd, const struct qmp_ops *ops, void *arg, int timeout_ms,
	    struct qmp **ret, struct err *e) MUST_CHECK;
void qmp_free(struct qmp *m);
// Waits for the answer; events that come meanwhile are delivered. args: a JSON object or NULL.
// fd >= 0 is passed along. *ret (may be NULL): the whole answer, to be freed.
int qmp_call(struct qmp *m, const char *command, const char *args, int fd, int timeout_ms,
	     struct codec_node **ret, struct err *e) MUST_CHECK;
// Delivers what has come, without waiting: the events before an end.
void qmp_drain(struct qmp *m);
#define QEMU_PROGRAM "qemu-system-x86_64"
char *qemu_program(void);		      // its path, to be freed; NULL: there is none on PATH
const char *qmp_version(const struct qmp *m); // "7.2.22 (package)"

// --- the process

struct qemu_spawn {
	struct qemu_confined confined;
	bool running;
	pid_t starter;
	int starter_pidfd, starter_sock;
	pid_t pid; // our own child
	int pidfd;
};
// Confined: makes the starter. To be called while the caller is root and has no threads.
int qemu_spawn_init(struct qemu_spawn *s, const struct qemu_confined *c, const char *empty,
		    struct err *e) MUST_CHECK;
// Runs QEMU with err_fd as its stdout and stderr.
int qemu_spawn_run(struct qemu_spawn *s, const struct qemu_args *a, int err_fd,
		   struct err *e) MUST_CHECK;
// QEMU answers: the starter gives up root. A failure after this is final.
int qemu_spawn_settle(struct qemu_spawn *s, struct err *e) MUST_CHECK;
int qemu_spawn_watch(const struct qemu_spawn *s); // readable when QEMU may have ended
// True: it has ended, *ret_status as a shell tells it.
bool qemu_spawn_ended(struct qemu_spawn *s, int timeout_ms, int *ret_status);
// Ends a QEMU that did not come up; another can be run after it.
void qemu_spawn_abort(struct qemu_spawn *s);
void qemu_spawn_kill(struct qemu_spawn *s); // for good, and waits

// --- console and stderr

struct qemu_pipe;
// Copies what comes from fd (taken over) to out (-1: nowhere) and keeps the last line.
int qemu_pipe_new(struct loop *l, int fd, int out, struct qemu_pipe **ret,
		  struct err *e) MUST_CHECK;
void qemu_pipe_drain(struct qemu_pipe *p); // what is there now, without waiting
const char *qemu_pipe_last(const struct qemu_pipe *p);
void qemu_pipe_free(struct qemu_pipe *p);

// --- time-stamp counter

struct qemu_tsc {
	uint64_t tsc, ns;
};
void qemu_tsc_sample(struct qemu_tsc *out);
uint64_t qemu_tsc_khz(const struct qemu_tsc *since); // waits until since is 20 ms ago

// --- memory

#define QEMU_PAGE 4096u

// What a Diff is taken against: nothing yet written (ZERO), the memory file that was loaded or
// written last (FILE), the memory itself as long as the guest is paused after a Diff (SAME), and
// then a copy (COPY: costs as much memory as the guest has touched, and is made only with
// track_dirty_pages). UNKNOWN: the file was changed by others, or no copy was made; then a Diff
// holds every page.
enum qemu_ref { REF_ZERO, REF_FILE, REF_COPY, REF_SAME, REF_UNKNOWN };
struct qemu_ram {
	int fd; // memfd, sealed; -1 before the start
	uint64_t size;
	enum qemu_ref ref;
	int ref_fd; // FILE, COPY
	uint64_t ref_dev, ref_ino;
	int64_t ref_mtime_s, ref_mtime_ns;
};
int qemu_ram_new(struct qemu_ram *r, uint64_t size, struct err *e) MUST_CHECK;
void qemu_ram_free(struct qemu_ram *r);
// Fills it from the memory file, which becomes the reference. Takes file over.
int qemu_ram_load(struct qemu_ram *r, int file, struct err *e) MUST_CHECK;
// Writes a memory file (open for reading too). On success the memory as it is now is the reference,
// else nothing changes. Takes file over.
int qemu_ram_save(struct qemu_ram *r, int file, bool diff, struct err *e) MUST_CHECK;
// To be called before the guest runs on: a reference that is the memory itself becomes a copy, or
// is given up.
void qemu_ram_leave(struct qemu_ram *r, bool keep);

// --- state file

struct qemu_doc { // the head of a state file
	char accel[8], cpu[32], qemu[128];
	uint64_t tsc_khz;
	struct fc_machine_config machine;
	struct fc_boot_source boot;
	struct codec_list drives, nets, vsocks; // of struct fc_drive, fc_net, fc_vsock
	bool entropy;
};
extern const struct field qemu_doc_fields[];
// Deep copies.
int qemu_doc_from_config(struct qemu_doc *d, const struct qemu_config *c, struct err *e) MUST_CHECK;
int qemu_config_from_doc(struct qemu_config *c, const struct qemu_doc *d, struct err *e) MUST_CHECK;
void qemu_doc_clear(struct qemu_doc *d);
// stream: a memfd that holds QEMU's part.
int qemu_state_write(int file, const struct qemu_doc *d, int stream, struct err *e) MUST_CHECK;
// *ret_stream: a memfd with QEMU's part, at its beginning.
int qemu_state_read(int file, struct qemu_doc *d, int *ret_stream, struct err *e) MUST_CHECK;

// --- vsock

struct qemu_vsock;
// Binds uds_path below root_fd and joins it to the guest through port_fd (taken over).
int qemu_vsock_new(struct loop *l, int root_fd, const char *uds_path, int port_fd,
		   struct qemu_vsock **ret, struct err *e) MUST_CHECK;
void qemu_vsock_counts(const struct qemu_vsock *v, struct qemu_stats *out);
void qemu_vsock_unbind(struct qemu_vsock *v); // removes the socket's name: the start has failed
void qemu_vsock_free(struct qemu_vsock *v);

// --- the guest

struct qemu {
	struct qemu_env env;
	struct qemu_tsc tsc;
	bool kvm;
	char *program, *chroot_dir;
	int tun[QEMU_NETS];
	struct qemu_spawn spawn;
	// of the present run
	bool running, paused, ended;
	struct qmp *qmp;
	struct qemu_pipe *console, *messages;
	struct qemu_vsock *vsock;
	struct qemu_ram ram;
	struct qemu_doc doc;
	struct loop_source *watch;
	int state_stream;   // memfd: QEMU's state as of this pause, -1 until asked for
	unsigned exchanges; // of drives, so far
	unsigned drive_sets[QEMU_DRIVES]; // descriptor set of the file behind each; 0: the first
	uint64_t drive_sizes[QEMU_DRIVES];
	char reason[32]; // of the SHUTDOWN event
};
// Starts QEMU with its vCPUs stopped. incoming: it waits for a state.
int qemu_run(struct qemu *q, const struct qemu_config *c, bool incoming, struct err *e) MUST_CHECK;
void qemu_stop(struct qemu *q);			       // undoes qemu_run, whatever of it was done
int qemu_go(struct qemu *q, struct err *e) MUST_CHECK; // the vCPUs run on
