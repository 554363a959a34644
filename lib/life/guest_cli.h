// SPDX-License-Identifier: MIT
// The verbs of mvm-guest, as rows for its verb table: one file for each group of them.
#pragma once
#include "audit/actions.h"
#include "base/tool.h"
#include "guest/host_session.h"
#include "state/instance.h"

#define GUEST_CLI_ASK_MS   10000 // for an answer of the agent
#define GUEST_CLI_START_MS 30000 // until a command has started

// The agent of a running instance. *vmm: a pidfd that the connection watches; the caller closes it
// after the connection. A warm guest is there and does not answer: that is said at once.
int guest_cli_open(const char *word, int *vmm, struct guest_conn **ret, struct err *e) MUST_CHECK;
// The same for records that are at hand.
int guest_cli_reach(const struct address *a, const struct tenant *t, const struct instance *i,
		    int wait_ms, int *vmm, struct guest_conn **ret, struct err *e) MUST_CHECK;
// What a guest's program says of itself, as an index; 0 is unknown.
extern const char *const guest_worker_names[];
int guest_worker_of(const char *word);
// For a verb that from here on does nothing but pass bytes between the guest and open descriptors:
// the guest's words are read by a process that can open, make and execute nothing.
int guest_cli_settle(struct err *e) MUST_CHECK;
// The same to do something in the guest. That goes to the audit log before it begins: whoever can
// end this process at any moment shall not get past the log by it.
int guest_cli_enter(const char *word, enum audit_action action, const char *detail, int *vmm,
		    struct guest_conn **ret, struct err *e) MUST_CHECK;
// And when it came to nothing: a second entry. Both return -e->no; the latter names the instance.
int guest_cli_note(const char *word, enum audit_action action, const struct err *e);
int guest_cli_failed(const char *word, enum audit_action action, struct err *e);
// A status of waitpid(2) as a shell tells it.
int guest_cli_status(int wait_status);

// Streams, signals and terminal of this process for a command in a guest.
struct guest_client {
	struct guest_io io;
	struct guest_seat seat;
	struct guest_term term;
	struct guest_keys keys;
	int signals;
};
#define GUEST_CLIENT_KEYS "ctrl-p,ctrl-q" // that leave a session
#define GUEST_CLIENT_NONE      \
	{                      \
		.signals = -1, \
	}
#define cleanup_client cleanup(guest_client_close)
// input: pass ours on. tty: the command has a terminal of its own, and ours, if it is one, is its.
int guest_client_open(struct guest_client *k, bool input, bool tty, const char *keys,
		      struct err *e) MUST_CHECK;
void guest_client_close(struct guest_client *k); // restores the terminal
// The exit status after a session, and a word to somebody who has left it.
int guest_client_part(const struct guest_client *k, const struct guest_parting *p,
		      const char *instance, const char *name);

extern const struct opt guest_exec_opts[], guest_ssh_opts[];
int guest_exec_run(const struct call *call, struct buf *out, struct err *e);
int guest_ssh_run(const struct call *call, struct buf *out, struct err *e);
extern const struct opt guest_attach_opts[], guest_sessions_opts[];
int guest_attach_run(const struct call *call, struct buf *out, struct err *e);
int guest_sessions_run(const struct call *call, struct buf *out, struct err *e);
