// SPDX-License-Identifier: MIT
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "life/guest_cli.h"
#include "life/guest_verbs.h"
#include "json/codec.h"

struct health {
	uint32_t schema_version;
	bool ready;
	uint64_t uptime_ms, mem_total_mib, mem_available_mib;
	double load_1m;
	int64_t clock_offset_ms;
	uint32_t commands_running;
	int entrypoint; // enum guest_entry_state
	uint32_t entrypoint_status;
	int probe; // enum guest_probe_state
	uint32_t probe_failures;
	uint64_t probe_age_ms;
	char probe_message[128];
	int worker; // of guest_worker_names
	uint64_t worker_age_ms;
};
static const char *const entry_names[] = { "none", "running", "ended", NULL };
static const char *const probe_names[] = { "none", "unknown", "healthy", "unhealthy", NULL };
const char *const guest_worker_names[] = { "unknown", "ready", "idle", "busy", NULL };
static const struct field health_fields[] = {
	{ FIELD_SLOT(struct health, schema_version, uint32_t), .kind = KIND_UINT, .max = 1,
	  .doc = "1" },
	{ FIELD_SLOT(struct health, ready, bool), .kind = KIND_BOOL, .doc = "set up by the host" },
	{ FIELD_SLOT(struct health, uptime_ms, uint64_t), .kind = KIND_UINT, .max = UINT64_MAX,
	  .doc = "since its kernel started" },
	{ FIELD_SLOT(struct health, mem_total_mib, uint64_t), .kind = KIND_UINT, .max = UINT64_MAX,
	  .doc = "memory as the guest sees it" },
	{ FIELD_SLOT(struct health, mem_available_mib, uint64_t), .kind = KIND_UINT,
	  .max = UINT64_MAX, .doc = "for new work" },
	{ FIELD_SLOT(struct health, load_1m, double), .kind = KIND_REAL, .doc = "load average" },
	{ FIELD_SLOT(struct health, clock_offset_ms, int64_t), .kind = KIND_INT, .imin = INT64_MIN,
	  .max = INT64_MAX, .doc = "its clock less ours" },
	{ FIELD_SLOT(struct health, commands_running, uint32_t), .kind = KIND_UINT,
	  .max = UINT32_MAX, .doc = "of exec" },
	{ FIELD_SLOT(struct health, entrypoint, int), .kind = KIND_ENUM, .names = entry_names,
	  .doc = "what the image runs" },
	{ FIELD_SLOT(struct health, entrypoint_status, uint32_t), .kind = KIND_UINT, .max = 255,
	  .doc = "once ended; 128+n by signal n" },
	{ FIELD_SLOT(struct health, probe, int), .kind = KIND_ENUM, .names = probe_names,
	  .doc = "what the pool's probe found" },
	{ FIELD_SLOT(struct health, probe_failures, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX,
	  .doc = "one after the other" },
	{ FIELD_SLOT(struct health, probe_age_ms, uint64_t), .kind = KIND_UINT, .max = UINT64_MAX,
	  .doc = "since the last probe" },
	{ FIELD_SLOT(struct health, probe_message, char[128]), .kind = KIND_TEXT,
	  .doc = "why the last one failed" },
	{ FIELD_SLOT(struct health, worker, int), .kind = KIND_ENUM, .names = guest_worker_names,
	  .doc = "what the guest's program says of itself" },
	{ FIELD_SLOT(struct health, worker_age_ms, uint64_t), .kind = KIND_UINT, .max = UINT64_MAX,
	  .doc = "since it said so" },
	FIELD_END
};

int guest_worker_of(const char *word)
{
	for (int i = 1; guest_worker_names[i]; i++)
		if (str_eq(word, guest_worker_names[i]))
			return i;
	return 0;
}

int guest_health_run(const struct call *call, struct buf *out, struct err *e)
{
	cleanup_fd int vmm = -1;
	cleanup_guest struct guest_conn *c = NULL;
	struct guest_health h;
	struct timespec now = { 0 };

	if (guest_cli_open(call->argv[0], &vmm, &c, e) < 0)
		return -e->no;
	if (guest_ask_health(c, clock_ms() + GUEST_CLI_ASK_MS, &h, e) < 0) {
		(void)err_object(e, "%s", call->argv[0]);
		return err_wrap(e, "%s", call->argv[0]);
	}
	(void)clock_gettime(CLOCK_REALTIME, &now);
	struct health doc = {
		.schema_version = 1,
		.ready = h.ready,
		.uptime_ms = h.uptime_ms,
		.mem_total_mib = h.mem_total_kib / 1024,
		.mem_available_mib = h.mem_available_kib / 1024,
		.load_1m = h.load_milli / 1000.0,
		.clock_offset_ms = (int64_t)(h.time_us / 1000) -
				   ((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000),
		.commands_running = h.execs,
		.entrypoint = (int)h.entry_state,
		.entrypoint_status = (uint32_t)guest_cli_status((int)h.entry_status),
		.probe = (int)h.probe_state,
		.probe_failures = h.probe_failures,
		.probe_age_ms = h.probe_age_ms,
		.worker = guest_worker_of(h.worker),
		.worker_age_ms = h.worker_age_ms,
	};
	log_clean(h.probe_why);
	memcpy(doc.probe_message, h.probe_why, sizeof(doc.probe_message));
	codec_print(health_fields, &doc, out);
	return h.ready && h.probe_state != GUEST_UNHEALTHY ? 0 : 3;
}
