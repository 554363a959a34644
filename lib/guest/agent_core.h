// SPDX-License-Identifier: MIT
// Inside of the agent, for lib/guest/agent_*.c only.
//
// Lifetime: nothing is freed in the middle of an event. What has ended is marked dead, and the
// outermost callback calls agent_settle, which flushes and frees.
#pragma once
#include "guest/agent.h"

#define AGENT_IDLE_MS	30000 // a connection without a request
#define AGENT_LINGER_MS 5000  // for the host to close after our last frame
#define AGENT_DOWN_MS	500   // the same, before the guest goes down
#define AGENT_KILL_MS	2000  // HUP, then KILL for the command of a host that went away

struct ring { // the last bytes of a log
	char *data;
	size_t size;
	uint64_t end; // bytes ever written
};
void agent_ring_add(struct ring *r, const void *p, size_t len);
uint64_t agent_ring_start(const struct ring *r);
// Copies up to len bytes from *pos on (moved to the oldest kept byte first) and moves *pos.
size_t agent_ring_read(const struct ring *r, uint64_t *pos, void *out, size_t len);

enum conn_state {
	CONN_HELLO,
	CONN_IDLE,
	CONN_WELCOME,
	CONN_READY,
	CONN_EXEC,
	CONN_LOGS,
	CONN_LINGER
};

struct conn {
	struct agent *a;
	struct conn *next;
	int fd;
	struct loop_source *source, *timer;
	struct buf in, out;
	enum conn_state state;
	bool ours;    // dialled by us (port R)
	bool taken;   // the host has said OK to our READY
	bool dead;    // to be freed by agent_settle
	bool closing; // nothing more will be said
	bool down;    // asked for the guest's end: done when the host has its answer
	struct exec *exec;
	uint64_t log_pos;
	uint32_t log_window;
	struct guest_logs log;
};

struct exec {
	struct agent *a;
	struct exec *next;
	struct conn *conn; // NULL: the host went away
	pid_t pid;
	bool ended; // reaped
	int status;
	int fd[GUEST_STREAMS]; // our ends, -1 when closed
	struct loop_source *source[GUEST_STREAMS], *kill_timer;
	struct buf in; // bytes for the command's stdin
	bool in_eof;
	uint32_t in_owed;		// taken by the command, not yet granted again
	uint32_t window[GUEST_STREAMS]; // what we may still send
	int64_t left[GUEST_STREAMS];	// bytes to send after the end, -1: it still runs
};

struct agent {
	struct loop *loop;
	struct agent_hooks hooks;
	void *arg;
	struct conn *conns;
	struct exec *execs;
	size_t conn_count, exec_count;
	bool ready;
	struct guest_welcome welcome;
	pid_t entry_pid;
	uint32_t entry_state; // enum guest_entry_state
	int entry_status, entry_fd;
	struct loop_source *entry_source;
	struct ring logs[2]; // by enum guest_log
	struct guest_down down;
	bool down_asked; // by a connection that is over
};

// agent.c
void agent_settle(struct agent *a);
// agent_conn.c
void agent_conn_add(struct agent *a, int fd, bool ours);
void agent_conn_send(struct conn *c, enum guest_type type, uint16_t stream, const void *p,
		     size_t len);
void agent_conn_send_u32(struct conn *c, enum guest_type type, uint16_t stream, uint32_t v);
void agent_conn_fail(struct conn *c, const struct err *e); // ERROR, then closes
void agent_conn_finish(struct conn *c);			   // closes once all is sent
void agent_conn_settle(struct conn *c);
void agent_conn_free(struct conn *c);
void agent_conn_set_timer(struct conn *c, int64_t ms); // 0: none
// agent_request.c: one frame of a connection whose hello is done
int agent_request(struct conn *c, const struct guest_head *h, const uint8_t *p,
		  struct err *e) MUST_CHECK;
// agent_exec.c
int agent_exec_start(struct conn *c, const struct guest_exec *want, struct err *e) MUST_CHECK;
int agent_exec_frame(struct conn *c, const struct guest_head *h, const uint8_t *p,
		     struct err *e) MUST_CHECK;
void agent_exec_ended(struct exec *x, int status);
void agent_exec_orphan(struct exec *x); // its connection has gone
void agent_exec_free(struct exec *x);
// agent_log.c
void agent_log_start(struct conn *c, const struct guest_logs *what);
int agent_log_frame(struct conn *c, const struct guest_head *h, const uint8_t *p,
		    struct err *e) MUST_CHECK;
void agent_log_pump(struct conn *c);
// agent_entry.c
int agent_entry_start(struct agent *a, struct err *e) MUST_CHECK;
void agent_entry_ended(struct agent *a, int status);
void agent_entry_free(struct agent *a);
// agent_health.c
void agent_health_read(const struct agent *a, struct guest_health *out);
int agent_info_read(const struct agent *a, struct guest_info *out, struct err *e) MUST_CHECK;

// agent_spawn.c
struct spawn {
	const struct guest_words *argv;
	const struct guest_words *env_base, *env; // the later one wins; env may be NULL
	const char *cwd, *user;			  // "": the user's home, root
	bool cwd_root;				  // "" means / instead
	int fd[3];				  // become 0, 1, 2
};
// A process in a session of its own. Kinds exec-missing, exec-denied, missing (user, directory).
int agent_spawn_run(const struct spawn *s, pid_t *ret, struct err *e) MUST_CHECK;
// A pipe: ours (non-blocking) in *ours, the command's in *theirs; ours_writes says which end.
int agent_spawn_pipe(bool ours_writes, int *ours, int *theirs, struct err *e) MUST_CHECK;
struct spawn_user {
	uid_t uid;
	gid_t gid;
	gid_t groups[64];
	int group_count;
	char name[64], home[256];
};
int agent_spawn_find_user(const char *user, struct spawn_user *out, struct err *e) MUST_CHECK;
