// SPDX-License-Identifier: MIT
// The frame of every tool: one table drives parsing, --help, the manual's OPTIONS (--help=scd) and
// completion data (--help=complete). A main() is a table and one call:
//
//	int main(int argc, char **argv) { return tool_main(&tool, argc, argv); }
//
// tool_main makes sure of descriptors 0-2, saves the signal mask, ignores SIGPIPE, checks the
// MVM_* roots, parses, runs the verb, prints its document (once, whole, with write errors counted)
// or its one error line, and returns the exit status. It owns these options everywhere before "--":
//	-o/--output json|jsonl|yaml|table|wide|name   --json   --errors text|json   --lock-timeout
//	--request-id   -h/--help[=scd|complete]   --version
// Options and operands may be mixed; "--" ends options; long names are exact.
#pragma once
#include "base/buf.h"
#include "base/err.h"

enum opt_kind { OPT_FLAG, OPT_TEXT, OPT_U64, OPT_ENUM, OPT_LIST, OPT_MS };

struct strlist { // OPT_LIST: given several times
	const char **items;
	size_t len;
};

struct opt {
	char letter; // 0: none
	enum opt_kind kind;
	const char *name;  // NULL ends the table
	const char *arg;   // what the value is called in the help, NULL for flags
	const char *help;  // one sentence, no full stop
	void *slot;	   // bool, const char *, uint64_t, int, struct strlist, uint64_t (ms)
	uint64_t min, max; // OPT_U64, OPT_MS
	const char *const *words; // OPT_ENUM: NULL-terminated; the slot gets the index
	bool *given;		  // may be NULL: set when the option was there
};
#define OPT_END              \
	{                    \
		.name = NULL \
	}

enum verb_flags {
	VERB_RAW = 1,	 // writes its own stdout (exec, logs, renderers, completions); no -o
	VERB_HIDDEN = 2, // not in --help's list (steps called by units), but with its own --help
	VERB_DAEMON = 4, // log lines are wanted on stderr while it runs
};

struct call {
	const struct tool *tool;
	const struct verb *verb;
	int argc; // operands only
	char **argv;
	int lock_wait_ms;	// --lock-timeout, MVM_LOCK_TIMEOUT_MS, default 10,000
	const char *request_id; // --request-id, MVM_REQUEST_ID, or a fresh one
};

// Returns 0 or -errno with *e set: then out is dropped. A positive return is an exit status with
// out printed all the same (reports: 3). Positive with an empty out: status alone (exec).
typedef int (*verb_fn)(const struct call *call, struct buf *out, struct err *e);

struct verb {
	const char *name;    // NULL: the tool has this one verb and takes no verb word
	const char *args;    // "TENANT/POOL", shown after the verb
	const char *summary; // one sentence, no full stop
	const struct opt *opts;
	int min_args, max_args; // operands; max -1: any number
	verb_fn run;
	unsigned flags;
};

struct tool {
	const char *name;
	const char *summary;
	const struct verb *verbs;
	size_t verb_count;
	const char *details; // further paragraphs for --help, may be NULL
};

int tool_main(const struct tool *tool, int argc, char **argv);
// Progress of long work: one JSON line on the descriptor in MVM_PROGRESS_FD, if that is given.
void tool_progress(const char *object, const char *stage, uint64_t done, uint64_t total);
extern const char tool_version[];
