// SPDX-License-Identifier: MIT
// Inside of the agent, for lib/guest/agent_*.c only.
//
// Lifetime: nothing is freed in the middle of an event. What has ended is marked dead, and the
// outermost callback calls agent_settle, which flushes and frees.
#pragma once
#include "guest/agent.h"
#include "guest/session.h"

#define AGENT_IDLE_MS	 30000 // a connection without a request
#define AGENT_LINGER_MS	 5000  // for the host to close after our last frame
#define AGENT_DOWN_MS	 500   // the same, before the guest goes down
#define AGENT_CONNECT_MS 10000 // to a port of the guest
#define AGENT_KILL_MS	 2000  // HUP, then KILL for the command of a host that went away

struct ring { // the last bytes of a log
	char *data;
	size_t size;
	uint64_t end; // bytes ever written
};
void agent_ring_add(struct ring *r, const void *p, size_t len);
uint64_t agent_ring_start(const struct ring *r);
// Copies up to len bytes from *pos on (moved to the oldest kept byte first) and moves *pos.
size_t agent_ring_read(const struct ring *r, uint64_t *pos, void *out, size_t len);

struct log {
	struct ring bytes;
	bool line_begun;   // the last byte was not the end of a line
	struct log_stamp { // when the line at pos began
		uint64_t pos, us;
	} stamps[4096];
	size_t count;
};

enum conn_state {
	CONN_HELLO,
	CONN_IDLE,
	CONN_WELCOME,
	CONN_READY,
	CONN_EXEC,
	CONN_LOGS,
	CONN_SESSION,
	CONN_FORWARD,
	CONN_HOOK,
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
	bool log_in_line; // the last byte was not the end of a line
	uint32_t log_window;
	struct guest_logs log;
	struct guest_size size;	 // of the host's terminal, if it said so
	struct session *session; // that it is attached to
	uint64_t tape_pos;
	bool tape_slow; // the session does not wait for it
	uint32_t room[GUEST_STREAMS];
	struct forward *forward;
	struct hook *hook; // that it has asked for
	bool owed;	   // when it ends, what was put off is done
};

struct exec {
	struct agent *a;
	struct exec *next;
	struct conn *conn;	 // NULL: the host went away, or none has a session's input
	struct session *session; // what has its output, and keeps it; NULL: conn
	bool tty;
	pid_t pid;
	bool ended; // reaped
	int status;
	int fd[GUEST_STREAMS]; // our ends, -1 when closed
	struct loop_source *source[GUEST_STREAMS], *kill_timer;
	struct buf in;	    // bytes for the command's stdin
	size_t in_old;	    // bytes at its front that are owed to nobody
	bool in_line_begun; // the last byte was not the end of a line
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
	struct session *sessions; // the oldest first
	size_t conn_count, exec_count;
	bool ready;
	struct guest_welcome welcome;
	pid_t entry_pid;
	uint32_t entry_state; // enum guest_entry_state
	int entry_status, entry_fd;
	struct loop_source *entry_source;
	struct log logs[2]; // by enum guest_log
	struct guest_down down;
	bool down_asked;   // by a connection that is over
	struct hook *hook; // under way
	struct probe *probe;
	bool asleep;	  // between a sleep that is done and a wake
	bool owing;	  // something was put off
	struct buf later; // lines that wait for a quiet moment
	struct loop_source *later_timer;
};

// agent.c
void agent_settle(struct agent *a);
// The same as agent_say, but that the console has it in a quiet moment: it takes its time, and with
// a guest that was just loaded more of it.
void agent_say_later(struct agent *a, const char *fmt, ...) PRINTF(2, 3);
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
// The same for work of ours: STARTED, streams and EXIT as of a command. flags: NO_STDIN.
int agent_exec_work(struct conn *c, const char *user, int (*work)(const void *arg), const void *arg,
		    struct err *e) MUST_CHECK;
// The command alone: streams and process.
int agent_exec_new(struct agent *a, const struct guest_exec *want, const struct guest_size *size,
		   struct exec **ret, struct err *e) MUST_CHECK;
void agent_exec_signal(struct exec *x, int sig);
void agent_exec_orphan(struct exec *x); // its connection has gone
void agent_exec_free(struct exec *x);
// agent_stream.c
void agent_exec_close(struct exec *x, int stream);
void agent_exec_watch_all(struct exec *x);
void agent_exec_watch(struct exec *x); // after its windows, or what stands in their place, changed
int agent_exec_take(struct exec *x, const struct guest_head *h, const uint8_t *p,
		    struct err *e) MUST_CHECK;
int agent_exec_frame(struct conn *c, const struct guest_head *h, const uint8_t *p,
		     struct err *e) MUST_CHECK;
void agent_exec_ended(struct exec *x, int status);
// agent_session.c, agent_attach.c
void agent_session_output(struct session *s, int stream, const void *p, size_t len);
void agent_session_done(struct session *s); // ended, all its output was handed over
bool agent_session_may_read(struct session *s);
void agent_session_child(struct agent *a, pid_t pid, int wait_status);
int agent_session_frame(struct conn *c, const struct guest_head *h, const uint8_t *p,
			struct err *e) MUST_CHECK;
void agent_session_left(struct conn *c); // the connection has gone
void agent_session_free_all(struct agent *a);
// agent_pty.c
int agent_pty_open(const struct guest_size *size, int fd[GUEST_STREAMS], int *theirs,
		   struct err *e) MUST_CHECK;
void agent_pty_resize(int master, const struct guest_size *size); // zero: 24 by 80
void agent_pty_eof(int master, bool line_begun, struct buf *out);
void agent_pty_signal(int master, pid_t pid, int sig);
// agent_service.c: frames 48 and up; whether a request can be served while the guest sleeps
int agent_service(struct conn *c, const struct guest_head *h, const uint8_t *p,
		  struct err *e) MUST_CHECK;
int agent_awake(const struct agent *a, const struct guest_head *h, struct err *e) MUST_CHECK;
// agent_files.c, agent_forward.c
int agent_files_start(struct conn *c, const struct guest_head *h, const uint8_t *p,
		      struct err *e) MUST_CHECK;
int agent_forward_start(struct conn *c, const struct guest_head *h, const uint8_t *p,
			struct err *e) MUST_CHECK;
int agent_forward_frame(struct conn *c, const struct guest_head *h, const uint8_t *p,
			struct err *e) MUST_CHECK;
void agent_forward_free(struct forward *f);
// agent_hook.c
int agent_hook_start(struct conn *c, const struct guest_head *head, const uint8_t *p,
		     struct err *e) MUST_CHECK;
void agent_hook_orphan(struct hook *h); // its connection has gone; the work goes on
void agent_hook_pay(struct agent *a);	// does what was put off
void agent_hook_child(struct agent *a, pid_t pid);
void agent_hook_free(struct hook *h);
// agent_probe.c, agent_worker.c
int agent_probe_start(struct agent *a, struct err *e) MUST_CHECK;
void agent_probe_child(struct agent *a, pid_t pid, int status);
void agent_probe_read(const struct agent *a, struct guest_health *out);
void agent_probe_free(struct agent *a);
void agent_worker_read(const struct agent *a, struct guest_health *out);
// agent_drive.c
int agent_drive(struct conn *c, const struct guest_head *h, const uint8_t *p,
		struct err *e) MUST_CHECK;
// agent_log.c
void agent_log_add(struct agent *a, enum guest_log source, const char *p, size_t len);
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
	// Work of ours in a process of its own instead of argv: what it returns is its status.
	int (*work)(const void *arg);
	const void *work_arg;
	bool tty;   // fd 0 becomes the controlling terminal
	bool shell; // the user's shell is run, in place of argv[0]
	int fd[3];  // become 0, 1, 2
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
	char name[64], home[256], shell[256];
};
// agent_user.c
int agent_spawn_find_user(const char *user, struct spawn_user *out, struct err *e) MUST_CHECK;
