// SPDX-License-Identifier: MIT
// The verbs of mvm-instance that touch more than files, as rows for its verb table.
#pragma once
#include "base/tool.h"

extern const struct opt cli_start_opts[], cli_stop_opts[], cli_warm_opts[], cli_sleep_opts[],
	cli_destroy_opts[], cli_top_opts[], cli_snapshot_opts[], cli_clone_opts[];
int cli_start(const struct call *call, struct buf *out, struct err *e);
int cli_wake(const struct call *call, struct buf *out, struct err *e);
int cli_warm(const struct call *call, struct buf *out, struct err *e);
int cli_sleep(const struct call *call, struct buf *out, struct err *e);
int cli_discard(const struct call *call, struct buf *out, struct err *e);
int cli_stop(const struct call *call, struct buf *out, struct err *e);
int cli_destroy(const struct call *call, struct buf *out, struct err *e);
int cli_snapshot(const struct call *call, struct buf *out, struct err *e);
int cli_clone(const struct call *call, struct buf *out, struct err *e);
// Without operands: of all instances below that address, no tenant: of all there are.
struct address;
int cli_stats(const struct call *call, const struct address *below, struct buf *out, struct err *e);
int cli_top(const struct call *call, struct buf *out, struct err *e);
int cli_explain(const struct call *call, struct buf *out, struct err *e);
// {"changed":..., and the record
void cli_print_one(const struct address *a, bool changed, struct buf *out);
// Does one to each address, one a line, some at once and each in a process of its own. Those for
// which it was done are an array in out; of the others a line each is logged, and the status is the
// first one's.
typedef int (*cli_one)(const struct address *a, const struct call *call, bool *changed,
		       struct err *e);
int cli_lines(const struct call *call, cli_one one, const char *lines, struct buf *out,
	      struct err *e);
// What a dead predecessor left is brought to its end; each verb begins with it.
int cli_settle(const struct call *call, struct buf *out, struct err *e);
// The steps, called by mvm-instance@.service and mvm-sup.
int cli_prepare(const struct call *call, struct buf *out, struct err *e);
int cli_commit(const struct call *call, struct buf *out, struct err *e);
int cli_drain(const struct call *call, struct buf *out, struct err *e);
int cli_finish(const struct call *call, struct buf *out, struct err *e);

#define CLI_STEP(word, text, fn)                                                                  \
	{                                                                                         \
		.name = (word), .args = "TENANT/POOL/INSTANCE", .summary = (text), .min_args = 1, \
		.max_args = 1, .run = (fn), .flags = VERB_HIDDEN | VERB_RAW                       \
	}
