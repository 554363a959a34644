// SPDX-License-Identifier: MIT
// The host's side of a guest's agent, over the VMM's vsock socket. Blocking calls with deadlines
// (CLOCK_MONOTONIC milliseconds as of clock_ms()); no loop, nothing but lib/base.
//
// The socket is the guest's and VMM's ground and therefore hostile: it is opened by directory
// descriptor and name without following links, must be a socket of uid, and its peer must be uid.
// What comes out of it is decoded by guest/proto, which trusts no size.
#pragma once
#include "guest/drive.h"
#include "guest/hook.h"
#include "guest/proto.h"
#include "guest/transfer.h"

#define GUEST_ANY_UID UINT32_MAX // tests and by hand: whoever

// Where a guest is to be reached, and on whose account.
struct guest_place {
	int dirfd;	  // the jail's run/ directory
	const char *name; // "v.sock"
	uint32_t uid;	  // owner of the socket and of its peer, or GUEST_ANY_UID
	int gone_fd;	  // readable when the VMM has ended (a pidfd), or -1
};

struct guest_conn;
// Connects to the agent (port G). Kind unavailable when nobody listens, timeout at the deadline (a
// guest whose driver is not up yet never answers). The request goes out together with our hello,
// without a wait for the agent's, whose deadline this one is, too: a round trip is saved, and what
// is wrong with the hello is told by the request.
int guest_open(const struct guest_place *at, int64_t deadline_ms, struct guest_conn **ret,
	       struct err *e) MUST_CHECK;
// Waits for the agent's hello where there is no request.
int guest_greet(struct guest_conn *c, struct err *e) MUST_CHECK;
// Only the raw connection "CONNECT <port>" -> "OK <n>", without a hello: a connected descriptor.
int guest_dial(const struct guest_place *at, uint32_t port, int64_t deadline_ms,
	       struct err *e) MUST_CHECK;
// The same over a descriptor that is already a stream to the agent (tests; taken over, also when
// it fails).
int guest_open_fd(int fd, int64_t deadline_ms, struct guest_conn **ret, struct err *e) MUST_CHECK;
// Its agent has said hello.
bool guest_heard(const struct guest_conn *c);
void guest_close(struct guest_conn *c);
#define cleanup_guest cleanup(guest_closep)
void guest_closep(struct guest_conn **c);

// One request per connection.
int guest_ask_health(struct guest_conn *c, int64_t deadline_ms, struct guest_health *ret,
		     struct err *e) MUST_CHECK;
// Returns when the agent has taken the request; then wait for the VMM to end.
int guest_ask_shutdown(struct guest_conn *c, const struct guest_down *down, int64_t deadline_ms,
		       struct err *e) MUST_CHECK;
// Copies log bytes to out_fd until their end (follow: until the guest is gone).
int guest_ask_logs(struct guest_conn *c, const struct guest_logs *what, int out_fd,
		   struct err *e) MUST_CHECK;

// Runs one command. in/out/err are descriptors (may block; -1: none, read from /dev/null or
// thrown away); signals is a signalfd whose signals go to the command, or -1.
struct guest_io {
	int in, out, err;
	int signals;
	int64_t start_deadline_ms; // until the command must have started
	int64_t deadline_ms;	   // 0: none. Then TERM, two seconds later KILL, and -ETIMEDOUT
};
// Returns 0 and the wait status (waitpid(2)'s) once the command has ended and its output is
// written. Errors: before it started those of the agent (kinds exec-missing, exec-denied,
// missing for the user or directory, quota, ...) or of the way there; after it started kind
// exec-lost when the connection broke, timeout at the deadline.
int guest_run(struct guest_conn *c, const struct guest_exec *x, const struct guest_io *io,
	      int *ret_wait_status, struct err *e) MUST_CHECK;

// Files. The local side runs in a process of its own, which ends with this one.
struct guest_copy {
	const char *local; // in: the path that is read. NULL: a tar stream at fd
	int fd;		   // that stream: read when it goes in, written when it comes out
	// out, with a path: where it goes (files_aim), and what is taken
	struct files_target target;
	struct files_rules rules;
	struct guest_files want;  // the guest's side
	int64_t idle_ms;	  // for a guest that does not move anything
	struct files_count count; // what was copied
};
int guest_copy_in(struct guest_conn *c, struct guest_copy *what, struct err *e) MUST_CHECK;
int guest_copy_out(struct guest_conn *c, struct guest_copy *what, struct err *e) MUST_CHECK;

// One connection to a port of the guest, joined with a connected socket until both directions have
// ended. Kind unavailable: nobody listens there.
int guest_forward(struct guest_conn *c, const struct guest_forward *to, int sock,
		  struct err *e) MUST_CHECK;

// Around a capture (GUEST_SLEEP, REPAIR, THAW). The agent answers within h->deadline_ms, else this
// ends with kind timeout a little later. ret may be NULL, else the caller clears it. Before a
// capture guest_prepare_sleep must have succeeded; after a load guest_repair, then guest_thaw. Each
// may be repeated. time_us and seed of a repair are filled in here when zero.
int guest_prepare_sleep(struct guest_conn *c, const struct guest_hook *h,
			struct guest_hook_done *ret, struct err *e) MUST_CHECK;
int guest_repair(struct guest_conn *c, const struct guest_hook *h, struct guest_hook_done *ret,
		 struct err *e) MUST_CHECK;
// A guest that goes on as itself is then told of its drives on the same connection. Whatever keeps
// it from taking one is no failure of the repair: it is not marked as taken, and is to be told
// again. (An agent that knows of one request for a connection only closes it.)
int guest_repair_telling(struct guest_conn *c, const struct guest_hook *h, struct guest_told *told,
			 size_t count, struct err *e) MUST_CHECK;
int guest_thaw(struct guest_conn *c, const struct guest_hook *h, struct guest_hook_done *ret,
	       struct err *e) MUST_CHECK;

// Cold boot. Accepts the guest's dial on listen_fd (R), exchanges hellos, sends the welcome and
// waits for READY. A connection that breaks or talks nonsense is dropped and the next one awaited,
// until the deadline; an ERROR of the agent ends the wait with its words. gone_fd as above: then
// kind failed, "the VMM has ended". time_us and seed of the welcome are filled in here when zero.
int guest_serve_ready(int listen_fd, uint32_t uid, int gone_fd, const struct guest_welcome *w,
		      int64_t deadline_ms, struct guest_info *ret, struct err *e) MUST_CHECK;
