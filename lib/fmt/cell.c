// SPDX-License-Identifier: MIT
#include "fmt/cell.h"

#include "base/log.h"

#define SHORT_LEN 12 // of a hash, enough to tell revisions apart

static const struct column instance_columns[] = {
	{ "INSTANCE", "instance_path", 0 },
	{ "STATUS", "status", COLUMN_STATUS },
	{ "GUEST IP", "guest_ip", 0 },
	{ "TAP", "tap_dev", 0 },
	{ "PID", "pid", COLUMN_RIGHT },
	{ "MAC", "mac", COLUMN_WIDE },
	{ "REVISION", "revision_hash", COLUMN_WIDE | COLUMN_SHORT },
	{ "VMM", "vmm", COLUMN_WIDE },
	{ "BUSY", "op.verb", COLUMN_WIDE },
	{ "LAST EXIT", "last_exit", COLUMN_WIDE },
	{ "STARTED", "last_started_at", COLUMN_WIDE },
	{ "STOPPED", "last_stopped_at", COLUMN_WIDE },
	{ NULL, NULL, 0 },
};

static const struct column stats_columns[] = {
	{ "INSTANCE", "instance_path", 0 },
	{ "STATUS", "status", COLUMN_STATUS },
	{ "AGENT", "agent", 0 },
	{ "CPU %", "cpu_pct", COLUMN_RIGHT },
	{ "MEMORY/LIMIT BYTES", "memory_bytes/memory_limit_bytes", COLUMN_RIGHT },
	{ "RX BYTES", "net_rx_bytes", COLUMN_RIGHT },
	{ "TX BYTES", "net_tx_bytes", COLUMN_RIGHT },
	{ "READ BYTES", "block_read_bytes", COLUMN_RIGHT },
	{ "WRITE BYTES", "block_write_bytes", COLUMN_RIGHT },
	{ "PID", "pid", COLUMN_WIDE | COLUMN_RIGHT },
	{ "UPTIME S", "uptime_s", COLUMN_WIDE | COLUMN_RIGHT },
	{ "CPU MS", "cpu_ms", COLUMN_WIDE | COLUMN_RIGHT },
	{ "SOURCE", "source", COLUMN_WIDE },
	{ "OOM KILLS", "oom_kills", COLUMN_WIDE | COLUMN_RIGHT },
	{ "WORKER", "worker", COLUMN_WIDE },
	{ "LAST EXIT", "last_exit", COLUMN_WIDE },
	{ NULL, NULL, 0 },
};

static const struct column pool_columns[] = {
	{ "POOL", "pool_path", 0 },
	{ "PROFILE", "profile", 0 },
	{ "VCPUS", "instance_resources.vcpus", COLUMN_RIGHT },
	{ "MEM MIB", "instance_resources.mem_mib", COLUMN_RIGHT },
	{ "RUNNING", "usage.instance_counts.running/desired_counts.running", COLUMN_RIGHT },
	{ "WARM", "usage.instance_counts.warm/desired_counts.warm", COLUMN_RIGHT },
	{ "SLEEPING", "usage.instance_counts.sleeping/desired_counts.sleeping", COLUMN_RIGHT },
	{ "REVISION", "revision", COLUMN_SHORT },
	{ "INSTANCES", "usage.total_instances", COLUMN_WIDE | COLUMN_RIGHT },
	{ "DATA MIB", "instance_resources.data_disk_mib", COLUMN_WIDE | COLUMN_RIGHT },
	{ "SECCOMP", "seccomp_policy", COLUMN_WIDE },
	{ "COMPRESSION", "snapshot_compression", COLUMN_WIDE },
	{ "FLAKE", "flake_ref", COLUMN_WIDE },
	{ NULL, NULL, 0 },
};

static const struct column tenant_columns[] = {
	{ "TENANT", "tenant_id", 0 },
	{ "SUBNET", "net.ipv4_subnet", 0 },
	{ "BRIDGE", "net.bridge_name", 0 },
	{ "MAX VCPUS", "quotas.max_vcpus", COLUMN_RIGHT },
	{ "MAX MEM", "quotas.max_mem_mib", COLUMN_RIGHT },
	{ "RUNNING", "usage.instance_counts.running/quotas.max_running", COLUMN_RIGHT },
	{ "NET ID", "net.tenant_net_id", COLUMN_WIDE | COLUMN_RIGHT },
	{ "GATEWAY", "net.gateway_ip", COLUMN_WIDE },
	{ "POOLS", "usage.pools/quotas.max_pools", COLUMN_WIDE | COLUMN_RIGHT },
	{ "INSTANCES", "usage.total_instances", COLUMN_WIDE | COLUMN_RIGHT },
	{ "VCPUS", "usage.total_vcpus", COLUMN_WIDE | COLUMN_RIGHT },
	{ "MEM MIB", "usage.total_mem_mib", COLUMN_WIDE | COLUMN_RIGHT },
	{ "CREATED", "created_at", COLUMN_WIDE },
	{ NULL, NULL, 0 },
};

// The node's own report has no bridge.
static const struct column net_columns[] = {
	{ "TENANT", "tenant_id", 0 },
	{ "BRIDGE", "bridge_name", 0 },
	{ "SUBNET", "subnet", 0 },
	{ "UP", "bridge_up", 0 },
	{ "TAPS", "taps", COLUMN_RIGHT },
	{ "OK", "ok", 0 },
	{ "SUMMARY", "summary", 0 },
	{ "GATEWAY", "gateway", COLUMN_WIDE },
	{ NULL, NULL, 0 },
};

static const struct column event_columns[] = {
	{ "TIME", "timestamp", 0 },
	{ "ACTION", "action", 0 },
	{ "OUTCOME", "outcome", 0 },
	{ "POOL", "pool_id", 0 },
	{ "INSTANCE", "instance_id", 0 },
	{ "DETAIL", "detail", 0 },
	{ "TENANT", "tenant_id", COLUMN_WIDE },
	{ NULL, NULL, 0 },
};

// A kind is told by two keys that all its records have. The first one that fits counts.
static const struct {
	const char *keys[2];
	const struct column *columns;
} kinds[] = {
	{ { "timestamp", "action" }, event_columns },
	{ { "instance_path", "net" }, instance_columns },
	{ { "instance_path", "cpu_usec" }, stats_columns },
	{ { "pool_path", "profile" }, pool_columns },
	{ { "tenant_id", "quotas" }, tenant_columns },
	{ { "bridge_exists", "issues" }, net_columns },
};

// A record that could not be read has little more than its name, and belongs to any kind.
static bool is_damaged(const struct codec_node *row)
{
	const struct codec_node *status = codec_get(row, "status");

	return status && str_eq(codec_text(status), "damaged") && codec_get(row, "error");
}

const struct column *columns_of(const struct codec_node *rows)
{
	for (size_t k = 0; k < COUNT(kinds); k++) {
		const struct codec_node *row = codec_child(rows);
		bool fits = true, seen = false;

		for (; row && fits; row = codec_next(row)) {
			bool has = codec_get(row, kinds[k].keys[0]) &&
				   codec_get(row, kinds[k].keys[1]);

			fits = has || is_damaged(row);
			seen |= has;
		}
		if (fits && seen)
			return kinds[k].columns;
	}
	return NULL;
}

const struct codec_node *cell_find(const struct codec_node *record, const char *path)
{
	const struct codec_node *at = record;

	while (at && *path) {
		size_t len = strcspn(path, ".");
		char key[64];

		if (codec_type(at) != CODEC_OBJECT ||
		    base_fmt(key, sizeof(key), "%.*s", (int)len, path) < 0)
			return NULL;
		at = codec_get(at, key);
		path += len + (path[len] == '.');
	}
	return at;
}

bool cell_is_plain(const struct codec_node *v)
{
	if (codec_type(v) == CODEC_OBJECT)
		return false;
	if (codec_type(v) != CODEC_ARRAY)
		return true;
	for (const struct codec_node *it = codec_child(v); it; it = codec_next(it))
		if (codec_type(it) == CODEC_OBJECT || codec_type(it) == CODEC_ARRAY)
			return false;
	return true;
}

static void list_value(const struct codec_node *v, struct buf *out)
{
	if (!codec_child(v))
		buf_char(out, '-');
	for (const struct codec_node *it = codec_child(v); it; it = codec_next(it)) {
		if (it != codec_child(v))
			buf_char(out, ',');
		cell_value(it, out);
	}
}

void cell_value(const struct codec_node *v, struct buf *out)
{
	size_t start = out->len;

	if (v && !cell_is_plain(v)) {
		codec_node_print(v, out);
		return;
	}
	switch (v ? codec_type(v) : CODEC_NULL) {
	case CODEC_NULL:
		buf_char(out, '-');
		break;
	case CODEC_BOOL:
		buf_str(out, codec_bool(v) ? "yes" : "no");
		break;
	case CODEC_NUMBER:
		buf_str(out, codec_number_text(v));
		break;
	case CODEC_TEXT:
		buf_str(out, codec_text(v)[0] ? codec_text(v) : "-");
		break;
	case CODEC_ARRAY:
	case CODEC_OBJECT:
		list_value(v, out);
		break;
	}
	log_clean(out->data + start);
	out->len = start + strlen(out->data + start);
}

void cell_print(const struct codec_node *record, const struct column *c, struct buf *out)
{
	const char *slash = strchr(c->path, '/');
	size_t start = out->len;
	char first[96];

	if (slash) {
		base_cut(first, sizeof(first), "%.*s", (int)(slash - c->path), c->path);
		cell_value(cell_find(record, first), out);
		buf_char(out, '/');
		cell_value(cell_find(record, slash + 1), out);
		return;
	}
	cell_value(cell_find(record, c->path), out);
	if (c->flags & COLUMN_SHORT && out->len > start + SHORT_LEN) {
		out->len = start + SHORT_LEN;
		out->data[out->len] = '\0';
	}
	if (c->flags & COLUMN_STATUS && out->data[start] >= 'a' && out->data[start] <= 'z')
		out->data[start] = (char)(out->data[start] - 'a' + 'A');
}
