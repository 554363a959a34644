// SPDX-License-Identifier: MIT
// Firecracker's log: lines on stdout or in a file or named pipe, the form upstream's have:
//	2026-11-21T09:11:00.123456789 [id:thread:LEVEL:file:line] text
// A line that cannot be written at once is lost and counted: the guest never waits for a reader.
#pragma once
#include "base/err.h"
#include "fc/config.h"

enum vmlog_level { VMLOG_OFF, VMLOG_ERROR, VMLOG_WARN, VMLOG_INFO, VMLOG_DEBUG, VMLOG_TRACE };

struct vmlog {
	int fd; // -1: stdout
	enum vmlog_level level;
	bool show_level, show_origin;
	char *module; // only lines of parts that begin so, NULL: all
	char id[65];
	uint64_t missed;
};
#define VMLOG_INIT                                                        \
	{                                                                 \
		.fd = -1, .level = VMLOG_INFO, .id = "anonymous-instance" \
	}

#define VMLOG_API "firecracker::api_server"
#define VMLOG_VMM "firecracker::vmm"

void vmlog_line(struct vmlog *l, enum vmlog_level level, const char *module, const char *file,
		int line, const char *fmt, ...) PRINTF(6, 7);
#define vmlog(l, level, module, ...) \
	vmlog_line((l), (level), (module), __FILE__, __LINE__, __VA_ARGS__)

// false: no such level. Any case; "warn" and "warning" are one.
bool vmlog_level_of(const char *name, enum vmlog_level *ret);
// Takes what c tells; without a level it is Info again, as upstream has it.
int vmlog_configure(struct vmlog *l, int root_fd, const struct fc_logger *c,
		    struct err *e) MUST_CHECK;
void vmlog_clear(struct vmlog *l);
