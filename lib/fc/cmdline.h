// SPDX-License-Identifier: MIT
// The command line of mvm-fc-qemu: Firecracker's, by its rules (long flags with the value in the
// next word, each once, "--" ends them), and a few of ours. Not tool_main's: what starts
// Firecracker starts this.
#pragma once
#include "base/buf.h"
#include "base/err.h"

#define FC_VERSION	   "1.15.1" // whose API this is
#define FC_EXIT_FAILED	   1
#define FC_EXIT_BAD_CALL   148
#define FC_EXIT_BAD_CONFIG 152
#define FC_EXIT_BAD_ARGS   153

enum cmdline_flag {
	CMD_ACCEL,
	CMD_API_SOCK,
	CMD_BOOT_TIMER,
	CMD_CONFIG_FILE,
	CMD_DESCRIBE_SNAPSHOT,
	CMD_ENABLE_PCI,
	CMD_GID,
	CMD_HTTP_API_MAX_PAYLOAD_SIZE,
	CMD_ID,
	CMD_LEVEL,
	CMD_LOG_PATH,
	CMD_METADATA,
	CMD_METRICS_PATH,
	CMD_MMDS_SIZE_LIMIT,
	CMD_MODULE,
	CMD_NO_API,
	CMD_NO_SECCOMP,
	CMD_PARENT_CPU_TIME_US,
	CMD_ROOT,
	CMD_SECCOMP,
	CMD_SECCOMP_FILTER,
	CMD_SHOW_LEVEL,
	CMD_SHOW_LOG_ORIGIN,
	CMD_SNAPSHOT_VERSION,
	CMD_START_TIME_CPU_US,
	CMD_START_TIME_US,
	CMD_UID,
	CMD_VERSION,
	CMD_HELP,
	CMD_FLAGS
};

// One word per flag: NULL not given; "" for a flag without value; defaults filled in.
struct cmdline {
	const char *word[CMD_FLAGS];
};

// On failure e->msg is what follows "Error: ", e.g. ParseArguments(DuplicateArgument("id")).
int cmdline_parse(struct cmdline *c, int argc, char **argv, struct err *e) MUST_CHECK;
// The table as text for people; as the manual's OPTIONS ("scd"); for completion ("complete").
void cmdline_help(struct buf *out);
void cmdline_help_as(const char *form, struct buf *out);
