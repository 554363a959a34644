// SPDX-License-Identifier: MIT
#include "guest/agent_core.h"

#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/clock.h"
#include "base/num.h"

static uint64_t uptime_ms(void)
{
	struct timespec t = { 0 };

	(void)clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t available_kib(void)
{
	cleanup_file FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	struct err ignored = { 0 };
	uint64_t kib = 0;

	while (f && fgets(line, sizeof(line), f)) {
		char *p = line + strcspn(line, ":");

		if (!str_starts(line, "MemAvailable:"))
			continue;
		p += 1 + strspn(p + 1, " ");
		p[strcspn(p, " ")] = '\0';
		if (num_u64(p, 0, UINT64_MAX, &kib, &ignored) == 0)
			break;
	}
	return kib;
}

void agent_health_read(const struct agent *a, struct guest_health *out)
{
	struct sysinfo si = { 0 };
	struct timespec now = { 0 };

	(void)sysinfo(&si);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	*out = (struct guest_health){
		.uptime_ms = uptime_ms(),
		.time_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000,
		.mem_total_kib = (uint64_t)si.totalram * si.mem_unit / 1024,
		.mem_available_kib = available_kib(),
		.load_milli = (uint32_t)((uint64_t)si.loads[0] * 1000 >> SI_LOAD_SHIFT),
		.execs = (uint32_t)a->exec_count,
		.entry_state = a->entry_state,
		.entry_status = (uint32_t)a->entry_status,
		.ready = a->ready,
	};
	agent_probe_read(a, out);
	agent_worker_read(a, out);
}

int agent_info_read(const struct agent *a, struct guest_info *out, struct err *e)
{
	struct utsname u;

	if (clock_boot_id(out->boot_id, e) < 0)
		return -e->no;
	if (uname(&u) < 0 || COPY(out->kernel, u.release) < 0)
		return err_set(e, EINVAL, "the kernel's release");
	out->uptime_ms = uptime_ms();
	out->entrypoint_pid = (uint32_t)a->entry_pid;
	return 0;
}
