// SPDX-License-Identifier: MIT
// The protocol between a guest's agent and its host: frames, messages, limits. Both sides use this
// module and neither trusts the other: every size is checked before it is used, every text is
// without NUL, every list is counted. docs/guest-protocol.md is the same in words.
//
// Wire: an 8-byte header, little-endian: u32 length of the payload | u8 type | u8 0 | u16 stream,
// then the payload. A connection starts with HELLO in both directions and does one job: the
// guest's dial at boot, a request with its answer, or one command with its streams.
#pragma once
#include "base/buf.h"
#include "base/err.h"

#define GUEST_PORT_READY 1024u // R: the host listens, the guest dials it after a cold boot
#define GUEST_PORT_AGENT 1025u // G: the agent listens
#define GUEST_VERSION	 1u
#define GUEST_HEADER	 8u
#define GUEST_FRAME_MAX	 131072u // payload of any frame
#define GUEST_DATA_MAX	 16384u	 // payload of a DATA frame
#define GUEST_WINDOW	 65536u	 // bytes in flight per stream before its WINDOW frames arrive
#define GUEST_EXECS	 64u	 // commands running at once
#define GUEST_CONNS	 128u	 // connections of the host served at once
#define GUEST_WORDS	 1024u	 // members of a list of words
#define GUEST_WORDS_SIZE 40960u	 // bytes of such a list, 4 more for each word
#define GUEST_DNS	 3u
#define GUEST_TEXT	 256u // short texts: user, hostname, reasons
#define GUEST_PATH	 1024u

enum guest_type {
	GUEST_HELLO = 1,
	GUEST_WELCOME = 2,  // host, on R: who the guest is and what it runs
	GUEST_READY = 3,    // guest, on R: network is up, the entrypoint was started
	GUEST_ERROR = 4,    // the request, or the boot, has failed; the sender closes
	GUEST_OK = 5,	    // the request, or READY, was taken
	GUEST_HEALTH = 6,   // request (empty) and answer (struct guest_health)
	GUEST_SHUTDOWN = 7, // answered by OK, then the guest goes down
	GUEST_LOGS = 8,	    // answered by DATA on stream 1, then EOF
	GUEST_EXEC = 16,    // answered by STARTED or ERROR
	GUEST_STARTED = 17,
	GUEST_DATA = 18,       // bytes of a stream
	GUEST_WINDOW_ADD = 19, // u32: the receiver has room for that many bytes more
	GUEST_EOF = 20,	       // a stream has ended
	GUEST_SIGNAL = 21,     // u32: signal for the command's process group
	GUEST_EXIT = 22,       // u32: wait status; after EOF of streams 1 and 2
	// Terminals and sessions: guest/session.h.
	GUEST_TERMINAL = 32, // the host's terminal has this size; before the request, and later
	GUEST_SESSION_START = 33,  // answered by STARTED, then as a command
	GUEST_ATTACH = 34,	   // answered by SESSION, then as a command
	GUEST_SESSION = 35,	   // what there is to say of one
	GUEST_SESSIONS = 36,	   // answered by SESSION for each, then OK
	GUEST_SESSION_SIGNAL = 37, // answered by OK
	GUEST_INPUT_TAKEN = 38,	   // another connection has the session's input now
	GUEST_SKIPPED = 39,	   // u64: bytes of output that were left out here
	// Files and port forward: guest/transfer.h. Answered by STARTED or ERROR, then streams.
	GUEST_PUT = 48,
	GUEST_GET = 49,
	GUEST_FORWARD = 64,
	// Around a capture: guest/hook.h. Answered by HOOK_DONE or ERROR.
	GUEST_SLEEP = 80,
	GUEST_REPAIR = 81,
	GUEST_THAW = 82,
	GUEST_HOOK_DONE = 83,
	// Rotation: guest/drive.h. Answered by OK or ERROR.
	GUEST_SECRETS_CHANGED = 88,
	GUEST_CONFIG_CHANGED = 89,
	// Reserved: 40-47 sessions and terminals, 50-63 files, 65-79 port forward,
	// 84-87 and 90-95 hooks, 96-111 probes.
};

enum { GUEST_STDIN, GUEST_STDOUT, GUEST_STDERR, GUEST_STREAMS };

struct guest_head {
	uint32_t len;
	uint8_t type;
	uint16_t stream;
};
void guest_head_put(const struct guest_head *h, uint8_t out[GUEST_HEADER]);
// Fails when reserved bits are set or the length is beyond the limit of its type.
int guest_head_get(const uint8_t in[GUEST_HEADER], struct guest_head *out,
		   struct err *e) MUST_CHECK;
const char *guest_type_name(uint8_t type);

// Words stand one behind the other in one block, each with its NUL.
struct guest_words {
	struct buf text;
	uint32_t count;
};
#define GUEST_WORDS_INIT    \
	{                   \
		BUF_INIT, 0 \
	}
int guest_words_add(struct guest_words *w, const char *word, struct err *e) MUST_CHECK;
const char *guest_words_at(const struct guest_words *w, uint32_t i); // NULL behind the end
// A NULL-terminated vector into the block, valid while w is not changed. The caller frees it.
char **guest_words_vector(const struct guest_words *w);
void guest_words_clear(struct guest_words *w);

struct guest_hello {
	uint16_t version_min, version_max; // what the sender speaks
	char agent[32];			   // its name and version
};

// What the host tells a guest at its cold boot. All zero is valid: no network, no entrypoint.
struct guest_net {
	char hostname[65];
	uint32_t address, gateway; // IPv4, host byte order; address 0: leave eth0 alone
	uint32_t dns[GUEST_DNS];   // 0: none
	uint8_t prefix;
	uint8_t gateway_mac[6]; // all zero: found by ARP
	uint16_t mtu;		// 0: leave it
};
struct guest_welcome {
	struct guest_net net;
	uint64_t time_us;	   // UTC; 0: the sender fills it in
	uint8_t seed[32];	   // for the guest's random numbers; guest_serve_ready fills it in
	struct guest_words argv;   // entrypoint; empty: none
	struct guest_words env;	   // K=V: for the entrypoint and every command
	char cwd[GUEST_PATH];	   // "" is /
	char user[GUEST_TEXT];	   // "" is root; a name, a number or either:group
	struct guest_words probes; // as of guest/probe.h
};
void guest_welcome_clear(struct guest_welcome *w);

enum guest_drive { GUEST_DRIVE_DATA = 1, GUEST_DRIVE_SECRETS = 2, GUEST_DRIVE_CONFIG = 4 };
struct guest_info { // READY
	char kernel[65];
	char boot_id[37];
	uint64_t uptime_ms;	 // since the kernel started
	uint32_t entrypoint_pid; // 0: none
	uint32_t drives;	 // enum guest_drive, or-ed: found and in place
};

enum guest_entry_state { GUEST_ENTRY_NONE, GUEST_ENTRY_RUNNING, GUEST_ENTRY_ENDED };
struct guest_health {
	uint64_t uptime_ms, time_us;
	uint64_t mem_total_kib, mem_available_kib;
	uint32_t load_milli;   // one-minute load average times 1000
	uint32_t execs;	       // commands running
	uint32_t entry_state;  // enum guest_entry_state
	uint32_t entry_status; // wait status once ended
	bool ready;
	bool more;			      // the rest is there: the request asked for it
	uint32_t probe_state, probe_failures; // enum guest_probe_state; one after the other
	uint64_t probe_age_ms;		      // since the last probe ended
	char probe_why[128];		      // of the last failure
	char worker[16];	// what the guest's program says of itself, "" for nothing
	uint64_t worker_age_ms; // since it said so
};
enum guest_probe_state { GUEST_HEALTH_NONE, GUEST_HEALTH_UNKNOWN, GUEST_HEALTHY, GUEST_UNHEALTHY };

struct guest_exec {
	struct guest_words argv, env;
	char cwd[GUEST_PATH];  // "": the home directory of the user
	char user[GUEST_TEXT]; // "": root
	uint32_t flags;	       // enum guest_exec_flags
};
enum guest_exec_flags {
	GUEST_EXEC_TTY = 1, // in a terminal: streams 1 and 2 are one
	GUEST_EXEC_NO_STDIN = 2,
	GUEST_EXEC_SHELL = 4, // the user's shell in place of the first word
};
void guest_exec_clear(struct guest_exec *x);

struct guest_down {
	char reason[GUEST_TEXT];
	uint32_t grace_ms; // between TERM and KILL
};

enum guest_log { GUEST_LOG_AGENT, GUEST_LOG_ENTRYPOINT };
struct guest_logs {
	uint8_t source; // enum guest_log
	bool follow;
	uint32_t tail; // bytes kept from the end; 0: all there is
	// Sent only when one of them is set.
	bool times;	   // each line begins with when it was written
	uint32_t lines;	   // lines kept from the end; 0: all
	uint64_t since_us; // UTC: nothing older
};
#define GUEST_LOG_TIME 25u // bytes of such a beginning: "2026-11-21T10:04:30.281Z "

// err.kind and the words; what the receiver makes its own struct err of.
struct guest_error {
	uint32_t kind; // enum err_kind
	uint32_t no;   // errno of Linux
	char msg[512];
};
void guest_error_from(const struct err *e, struct guest_error *out);
int guest_error_to(const struct guest_error *in, struct err *e); // returns -e->no

// Each *_put appends the payload to b; each *_get reads a whole payload, refuses what is too long,
// cut short or followed by more, and leaves *out cleared on failure.
void guest_hello_put(struct buf *b, const struct guest_hello *in);
int guest_hello_get(const void *p, size_t len, struct guest_hello *out, struct err *e) MUST_CHECK;
void guest_welcome_put(struct buf *b, const struct guest_welcome *in);
int guest_welcome_get(const void *p, size_t len, struct guest_welcome *out,
		      struct err *e) MUST_CHECK;
void guest_info_put(struct buf *b, const struct guest_info *in);
int guest_info_get(const void *p, size_t len, struct guest_info *out, struct err *e) MUST_CHECK;
void guest_health_put(struct buf *b, const struct guest_health *in);
int guest_health_get(const void *p, size_t len, struct guest_health *out, struct err *e) MUST_CHECK;
void guest_exec_put(struct buf *b, const struct guest_exec *in);
int guest_exec_get(const void *p, size_t len, struct guest_exec *out, struct err *e) MUST_CHECK;
void guest_down_put(struct buf *b, const struct guest_down *in);
int guest_down_get(const void *p, size_t len, struct guest_down *out, struct err *e) MUST_CHECK;
void guest_logs_put(struct buf *b, const struct guest_logs *in);
int guest_logs_get(const void *p, size_t len, struct guest_logs *out, struct err *e) MUST_CHECK;
void guest_error_put(struct buf *b, const struct guest_error *in);
int guest_error_get(const void *p, size_t len, struct guest_error *out, struct err *e) MUST_CHECK;
void guest_u32_put(struct buf *b, uint32_t v);
void guest_u64_put(struct buf *b, uint64_t v);
int guest_u64_get(const void *p, size_t len, uint64_t *out, struct err *e) MUST_CHECK;
int guest_u32_get(const void *p, size_t len, uint32_t *out, struct err *e) MUST_CHECK;
// Appends header and payload.
void guest_frame_put(struct buf *b, enum guest_type type, uint16_t stream, const void *p,
		     size_t len);
// Makes a frame in place: put the payload between the two calls.
size_t guest_frame_begin(struct buf *b, enum guest_type type, uint16_t stream);
void guest_frame_end(struct buf *b, size_t mark);
// A version both speak, or -EPROTONOSUPPORT (kind conflict).
int guest_hello_agree(const struct guest_hello *peer, uint16_t *ret_version,
		      struct err *e) MUST_CHECK;
