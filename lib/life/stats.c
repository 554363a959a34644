// SPDX-License-Identifier: MIT
#include "life/stats.h"
#include "base/fd.h"
#include "base/num.h"
#include "state/result.h"
#include "sys/cgroup.h"
#include <fcntl.h>

#define TEXT(member, type, text)                                                               \
	{                                                                                      \
		FIELD_SLOT(struct stats, member, type), .kind = KIND_TEXT,                     \
							.flags = FIELD_NULLABLE, .doc = (text) \
	}
#define COUNTER(member, text)                                                                      \
	{                                                                                          \
		FIELD_SLOT(struct stats, member, uint64_t), .kind = KIND_UINT,                     \
							    .max = (1ULL << 53) - 1, .doc = (text) \
	}

const struct field stats_fields[] = {
	{ FIELD_SLOT(struct stats, schema_version, uint32_t), .kind = KIND_UINT, .min = 1, .max = 1,
	  .doc = "version of this format" },
	TEXT(tenant_id, name_text, "tenant"),
	TEXT(pool_id, name_text, "pool"),
	TEXT(instance_id, instance_text, "instance"),
	{ FIELD_SLOT(struct stats, status, int), .kind = KIND_ENUM, .names = instance_status_names,
	  .doc = "where it is in its life" },
	{ FIELD_SLOT(struct stats, pid, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX,
	  .flags = FIELD_NULLABLE, .doc = "process of the VMM" },
	TEXT(guest_ip, ip_text, "address of the guest"),
	TEXT(tap_dev, ifname_text, "its TAP device"),
	TEXT(mac, mac_text, "its MAC address"),
	TEXT(vmm, char[12], "firecracker or qemu"),
	TEXT(vmm_version, char[32], "its version"),
	TEXT(revision_hash, char[65], "image it runs"),
	COUNTER(uptime_s, "seconds since it was started"),
	COUNTER(cpu_ms, "processor time of the VMM and all below it"),
	COUNTER(memory_bytes, "memory of the VMM and all below it"),
	COUNTER(net_rx_bytes, "bytes that the guest received"),
	COUNTER(net_tx_bytes, "bytes that the guest sent"),
	TEXT(limits, char[32], "cgroup, or none where this machine cannot set them"),
	TEXT(last_started_at, time_text, "UTC"),
	TEXT(last_stopped_at, time_text, "UTC"),
	TEXT(last_exit, char[32], "cause of the last end"),
	TEXT(message, char[904], "the same in words"),
	FIELD_END
};

// The TAP's counters are the host's view: what it received the guest has sent. From /proc/net/dev,
// since /sys shows the network namespace that it was mounted in.
static void add_traffic(struct stats *s)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct err ignored = { 0 };
	char *rest;

	if (fd_read_file(AT_FDCWD, "/proc/self/net/dev", 4 * MIB, &text, &ignored) < 0)
		return;
	rest = text.data;
	for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
		const char *p = line + strspn(line, " ");
		uint64_t column[9];
		size_t n = 0, len = strlen(s->tap_dev);

		if (strncmp(p, s->tap_dev, len) != 0 || p[len] != ':')
			continue;
		for (p += len + 1; n < COUNT(column) && num_next(&p, &column[n]); n++)
			;
		if (n == COUNT(column)) {
			s->net_tx_bytes = column[0];
			s->net_rx_bytes = column[8];
			return;
		}
	}
}

// Where the group has no memory controller: what its processes have resident.
static uint64_t resident_bytes(int group)
{
	cleanup_buf struct buf pids = BUF_INIT;
	struct err ignored = { 0 };
	uint64_t total = 0;
	char *rest;

	if (fd_read_file(group, "cgroup.procs", MIB, &pids, &ignored) < 0)
		return 0;
	rest = pids.data;
	for (char *pid = strsep(&rest, "\n"); pid; pid = strsep(&rest, "\n")) {
		cleanup_buf struct buf statm = BUF_INIT;
		uint64_t mapped, pages;
		const char *p;
		char path[48];

		if (base_fmt(path, sizeof(path), "/proc/%s/statm", pid) == 0 && *pid &&
		    fd_read_file(AT_FDCWD, path, 256, &statm, &ignored) == 0) {
			p = buf_text(&statm);
			if (num_next(&p, &mapped) && num_next(&p, &pages))
				total += pages * (uint64_t)sysconf(_SC_PAGESIZE);
		}
	}
	return total;
}

static void add_usage(struct stats *s, pid_t pid)
{
	struct cgroup_host host = { 0 };
	struct cgroup_usage u = { 0 };
	struct err ignored = { 0 };
	cleanup_fd int group = -1;

	(void)snprintf(s->limits, sizeof(s->limits), "none");
	if (cgroup_find(&host, &ignored) < 0)
		return;
	if (cgroup_has_limits(&host))
		(void)snprintf(s->limits, sizeof(s->limits), "cgroup");
	group = cgroup_open_pid(&host, pid, &ignored);
	if (group < 0 || cgroup_usage(group, &u, &ignored) < 0)
		return;
	s->cpu_ms = u.cpu_us / 1000;
	s->memory_bytes = u.has_memory ? u.memory_bytes : resident_bytes(group);
}

static void add_uptime(struct stats *s)
{
	struct err ignored = { 0 };
	int64_t started = 0, now = 0;
	time_text text;

	clock_utc(text);
	if (clock_parse_utc(s->last_started_at, &started, &ignored) == 0 &&
	    clock_parse_utc(text, &now, &ignored) == 0 && now > started)
		s->uptime_s = (uint64_t)(now - started);
}

static void add_run(struct stats *s, const struct instance *i)
{
	s->pid = i->vmm_process.pid;
	add_traffic(s);
	add_usage(s, (pid_t)s->pid);
	add_uptime(s);
}

int stats_read(const struct address *a, struct stats *s, struct err *e)
{
	cleanup_store struct store store = STORE_NONE;
	struct exit_record last = { 0 };
	struct err none = { 0 };
	struct instance i = { 0 };

	if (store_open(&store, STORE_INSTANCE, a, e) < 0 ||
	    instance_load_from(&store, a, NULL, &i, e) < 0)
		return -e->no;
	s->schema_version = 1;
	memcpy(s->tenant_id, i.tenant_id, sizeof(s->tenant_id));
	memcpy(s->pool_id, i.pool_id, sizeof(s->pool_id));
	memcpy(s->instance_id, i.instance_id, sizeof(s->instance_id));
	s->status = i.status;
	memcpy(s->guest_ip, i.net.guest_ip, sizeof(s->guest_ip));
	memcpy(s->tap_dev, i.net.tap_dev, sizeof(s->tap_dev));
	memcpy(s->mac, i.net.mac, sizeof(s->mac));
	(void)snprintf(s->vmm, sizeof(s->vmm), "%s", instance_vmm_names[i.vmm]);
	memcpy(s->vmm_version, i.vmm_version, sizeof(s->vmm_version));
	memcpy(s->revision_hash, i.revision_hash, sizeof(s->revision_hash));
	memcpy(s->last_started_at, i.last_started_at, sizeof(s->last_started_at));
	memcpy(s->last_stopped_at, i.last_stopped_at, sizeof(s->last_stopped_at));
	memcpy(s->last_exit, i.last_exit, sizeof(s->last_exit));
	if (exit_load(&store, &last, &none) == 0)
		memcpy(s->message, last.message, sizeof(s->message));
	else if (none.kind != ERR_MISSING)
		return *e = none, -e->no;
	if (instance_vmm_alive(&i))
		add_run(s, &i);
	return 0;
}
