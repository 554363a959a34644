// SPDX-License-Identifier: MIT
// What is counted of one run by others than the control group: the VMM's metrics, and what the TAP
// had carried before (one in store keeps its counters).
//
// The VMM writes its metrics into a FIFO of its own, run/metrics in its jail, and never waits: a
// line that does not fit is lost, and the VMM says how many were. Nothing of ours stays beside a
// VMM to read them, so each reader takes what has gathered, asks the VMM for a line of now, and
// adds all of it to figures.json in the instance's run directory. FIGURES_PIPE_SIZE holds some
// hours of a line a minute.
#pragma once
#include "fc/metrics.h"
#include "state/instance.h"
#include "sys/jail.h"
#include "sys/link.h"

#define FIGURES_PIPE	  "metrics"
#define FIGURES_PIPE_SIZE (1 << 20)

struct figures {
	uint32_t schema_version;    // 1
	time_text read_at;	    // when the VMM's newest line was read, "": none yet
	struct link_traffic before; // of the TAP, at the start
	struct metrics metrics;
};
extern const struct field figures_fields[];
#define cleanup_figures cleanup(figures_clear)
void figures_clear(struct figures *f);

// prepare, before the VMM is there: the FIFO in a fresh jail and the figures at zero, those of the
// drives (char *: their ids) too.
int figures_begin(const char *instance, const char *tap, const struct jail *jail,
		  const struct codec_list *drives, struct err *e) MUST_CHECK;
// The launcher's helper, until the VMM has it open: the FIFO, made large.
int figures_hold(int run_dir, uint32_t uid, struct err *e) MUST_CHECK;
// Everything until now. wait_ms: how long a VMM that does not answer may take (0: it
// is not asked); what gathered before counts all the same. Kind missing for a run that was begun
// without figures.
int figures_read(const struct instance *i, uint32_t uid, int wait_ms, struct figures *ret,
		 struct err *e) MUST_CHECK;
