// SPDX-License-Identifier: MIT
#include "state/instance.h"

#include "base/num.h"
#include "state/transition.h"

const char *const instance_status_names[] = { "created",  "ready",   "running",	  "warm",
					      "sleeping", "stopped", "destroyed", NULL };
const char *const instance_vmm_names[] = { "", "firecracker", "qemu", NULL };
const char *const instance_role_names[] = { "", "template", NULL };
const char *const instance_health_names[] = { "unknown", "healthy", "unhealthy", NULL };
const char *const op_stage_names[] = { "asked", "starting", "working", "ending", NULL };

const struct field instance_net_fields[] = {
	{ FIELD_SLOT(struct instance_net, tap_dev, ifname_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "tn<net id>i<offset>" },
	{ FIELD_SLOT(struct instance_net, mac, mac_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "02:fc:<net id>:<offset>" },
	{ FIELD_SLOT(struct instance_net, guest_ip, ip_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_ip,
	  .doc = "the offset in the tenant's subnet" },
	{ FIELD_SLOT(struct instance_net, gateway_ip, ip_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_ip, .doc = "the tenant's gateway" },
	{ FIELD_SLOT(struct instance_net, cidr, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 16, .max = 28, .doc = "length of the subnet's prefix" },
	{ FIELD_SLOT(struct instance_net, offset, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 0xFFFF, .doc = "place in the subnet; 0 for a template" },
	FIELD_END
};

static const struct field process_fields[] = {
	{ FIELD_SLOT(struct instance_process, pid, uint32_t), .kind = KIND_UINT, .max = 1 << 22,
	  .flags = FIELD_REQUIRED, .doc = "process id" },
	{ FIELD_SLOT(struct instance_process, pid_start, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 1ULL << 52, .doc = "when it started, ticks since boot" },
	FIELD_END
};

const struct field instance_op_fields[] = {
	{ FIELD_SLOT(struct instance_op, id, char[11]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .doc = "o-<8 hex>, new for each" },
	{ FIELD_SLOT(struct instance_op, verb, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = action_names, .doc = "what is being done" },
	{ FIELD_SLOT(struct instance_op, from, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = instance_status_names, .doc = "the status before" },
	{ FIELD_SLOT(struct instance_op, stage, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = op_stage_names, .doc = "how far it is" },
	{ FIELD_SLOT(struct instance_op, since, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_time,
	  .doc = "when it was asked for (UTC)" },
	{ FIELD_SLOT(struct instance_op, boot_id, char[37]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "the boot of the host in which its process runs" },
	{ FIELD_SLOT(struct instance_op, pid, uint32_t), .kind = KIND_UINT, .flags = FIELD_REQUIRED,
	  .max = 1 << 22, .doc = "the process that does it" },
	{ FIELD_SLOT(struct instance_op, pid_start, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 1ULL << 52,
	  .doc = "when that started, ticks since boot" },
	{ FIELD_SLOT(struct instance_op, spent, bool), .kind = KIND_BOOL,
	  .doc = "a capture was spent: a failed start ends in stopped" },
	{ FIELD_SLOT(struct instance_op, boot, bool), .kind = KIND_BOOL,
	  .doc = "a boot was asked for, whatever memory could be gone on from" },
	FIELD_END
};

static const struct field base_fields[] = {
	{ FIELD_SLOT(struct instance_base, ref, char[80]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "base-<hash> or gen-<n>" },
	{ FIELD_SLOT(struct instance_base, sha256, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "digest of its memory file" },
	FIELD_END
};

static const struct field maker_fields[] = {
	{ FIELD_SLOT(struct instance_maker, pid, uint32_t), .kind = KIND_UINT, .max = 1 << 22,
	  .flags = FIELD_REQUIRED, .doc = "process id" },
	{ FIELD_SLOT(struct instance_maker, pid_start, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 1ULL << 52, .doc = "when it started, ticks since boot" },
	{ FIELD_SLOT(struct instance_maker, boot_id, char[37]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "the boot of the host in which it runs" },
	FIELD_END
};

#define COLD_ROW(member, text)                                              \
	{                                                                   \
		FIELD_SLOT(struct instance_colds, member, uint32_t),        \
			.kind = KIND_UINT, .max = UINT32_MAX, .doc = (text) \
	}

const struct field instance_colds_fields[] = {
	COLD_ROW(damaged, "a file of the capture was cut or changed"),
	COLD_ROW(other, "it was of another image, VMM, machine, network or disk"),
	COLD_ROW(refused, "it was spent, or of a release that is known to be bad"),
	COLD_ROW(gone, "there was nothing to load"),
	COLD_ROW(ended, "it had ended without having been asked to"),
	COLD_ROW(failed, "the VMM or the guest failed when it was loaded"),
	FIELD_END
};

static const struct field idle_fields[] = {
	{ FIELD_SLOT(struct instance_idle, last_updated, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_time, .doc = "when it was measured (UTC)" },
	{ FIELD_SLOT(struct instance_idle, idle_s, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = UINT32_MAX, .doc = "idle for" },
	{ FIELD_SLOT(struct instance_idle, cpu_pct, double), .kind = KIND_REAL,
	  .flags = FIELD_REQUIRED, .doc = "of all its vCPUs" },
	{ FIELD_SLOT(struct instance_idle, net_bytes, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 1ULL << 52, .doc = "since the last measurement" },
	FIELD_END
};

// A point in time that may not have come yet.
#define TIME_OR_NULL(member, text)                                                             \
	{                                                                                      \
		FIELD_SLOT(struct instance, member, time_text),                                \
			.kind = KIND_TEXT, .flags = FIELD_NULLABLE, .check = store_check_time, \
			.doc = (text)                                                          \
	}

const struct field instance_fields[] = {
	{ FIELD_SLOT(struct instance, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct instance, instance_id, instance_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_instance, .doc = "unique on the node",
	  .schema_pattern = "^i-[0-9a-f]{8}$" },
	{ FIELD_SLOT(struct instance, pool_id, name_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_name, .doc = "its pool" },
	{ FIELD_SLOT(struct instance, tenant_id, name_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_name, .doc = "whose it is" },
	{ FIELD_SLOT(struct instance, status, int), .kind = KIND_ENUM, .flags = FIELD_REQUIRED,
	  .names = instance_status_names, .doc = "where it is in its life" },
	{ FIELD_SLOT(struct instance, status_since, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .check = store_check_time, .doc = "since when (UTC)" },
	{ FIELD_SLOT(struct instance, role, int), .kind = KIND_ENUM, .names = instance_role_names,
	  .doc = "template: made for a base snapshot" },
	{ FIELD_SLOT(struct instance, net, struct instance_net), .kind = KIND_RECORD,
	  .flags = FIELD_REQUIRED, .sub = instance_net_fields, .doc = "its network" },
	{ FIELD_SLOT(struct instance, revision_hash, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "the revision of its image" },
	{ FIELD_SLOT(struct instance, vmm, int), .kind = KIND_ENUM, .names = instance_vmm_names,
	  .doc = "the VMM that last ran it" },
	{ FIELD_SLOT(struct instance, vmm_version, char[32]), .kind = KIND_TEXT,
	  .doc = "its version" },
	{ FIELD_SLOT(struct instance, seccomp, int), .kind = KIND_ENUM, .names = pool_seccomp_names,
	  .doc = "system calls that VMM might make: baseline or strict" },
	{ FIELD_SLOT(struct instance, boot_id, char[37]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "the boot of the host in which the VMM runs" },
	{ FIELD_SLOT(struct instance, vmm_process, struct instance_process), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = process_fields, .doc = "the VMM's process" },
	{ FIELD_SLOT(struct instance, op, struct instance_op), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = instance_op_fields, .doc = "work in flight" },
	{ FIELD_SLOT(struct instance, maker, struct instance_maker), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = maker_fields,
	  .doc = "who makes it, of a clone that has not run yet" },
	{ FIELD_SLOT(struct instance, diff_base, struct instance_base), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = base_fields,
	  .doc = "the memory file it was loaded from; null: its next capture is full" },
	{ FIELD_SLOT(struct instance, capture_mib, uint64_t), .kind = KIND_UINT, .max = 1ULL << 40,
	  .doc = "what its captures take on the disk" },
	{ FIELD_SLOT(struct instance, cold, char[240]), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "why its last start was one from the disks although its memory was wanted" },
	{ FIELD_SLOT(struct instance, cold_starts, struct instance_colds), .kind = KIND_RECORD,
	  .sub = instance_colds_fields, .doc = "how many were, by the cause" },
	{ FIELD_SLOT(struct instance, last_exit, char[32]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "cause of its last end (exit.json)" },
	{ FIELD_SLOT(struct instance, degraded, char[256]), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "why reconcile waits with it" },
	{ FIELD_SLOT(struct instance, failures, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX,
	  .doc = "starts that failed in a row" },
	TIME_OR_NULL(retry_after, "reconcile tries again then"),
	{ FIELD_SLOT(struct instance, health, int), .kind = KIND_ENUM,
	  .names = instance_health_names, .doc = "what its probe said last" },
	TIME_OR_NULL(last_health_check_at, "when it was asked"),
	TIME_OR_NULL(manual_override_until, "reconcile leaves it as it is until then"),
	{ FIELD_SLOT(struct instance, idle_metrics, struct instance_idle), .kind = KIND_RECORD,
	  .flags = FIELD_NULLABLE, .sub = idle_fields, .doc = "how idle it is" },
	{ FIELD_SLOT(struct instance, secrets_epoch, uint64_t), .kind = KIND_UINT,
	  .max = UINT32_MAX, .doc = "the secrets it has" },
	{ FIELD_SLOT(struct instance, config_version, uint64_t), .kind = KIND_UINT,
	  .max = UINT32_MAX, .doc = "the configuration it has" },
	{ FIELD_SLOT(struct instance, created_at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .check = store_check_time,
	  .doc = "when it was made (UTC)" },
	TIME_OR_NULL(last_started_at, "when it last began to run"),
	TIME_OR_NULL(last_stopped_at, "when it last ended"),
	{ FIELD_SLOT(struct instance, unreleased, bool), .kind = KIND_BOOL,
	  .flags = FIELD_OMIT_EMPTY,
	  .doc = "its last run ended, and TAP, secrets or jail of that may be there yet" },
	FIELD_END
};

// The formulas of design.md section 2, in one place for init and check.
static void net_of(const struct tenant *t, uint32_t offset, struct instance_net *out)
{
	*out = (struct instance_net){ .cidr = t->subnet.prefix, .offset = offset };
	name_tap(t->net.tenant_net_id, offset, out->tap_dev);
	name_mac(t->net.tenant_net_id, offset, out->mac);
	subnet_ip(&t->subnet, offset, out->guest_ip);
	memcpy(out->gateway_ip, t->net.gateway_ip, sizeof(out->gateway_ip));
}

void instance_init(struct instance *i, const struct address *a, const struct tenant *t,
		   uint32_t offset)
{
	*i = (struct instance){ .schema_version = 1, .status = INSTANCE_CREATED };
	memcpy(i->tenant_id, a->tenant, sizeof(i->tenant_id));
	memcpy(i->pool_id, a->pool, sizeof(i->pool_id));
	memcpy(i->instance_id, a->instance, sizeof(i->instance_id));
	i->role = offset ? INSTANCE_ROLE_NONE : INSTANCE_ROLE_TEMPLATE;
	net_of(t, offset, &i->net);
	clock_utc(i->created_at);
	memcpy(i->status_since, i->created_at, sizeof(i->status_since));
}

static int check_net(const struct instance *i, const struct tenant *t, struct err *e)
{
	struct instance_net want;
	uint32_t last = subnet_last(&t->subnet);
	bool template = i->role == INSTANCE_ROLE_TEMPLATE;

	if (template ? i->net.offset != 0 : i->net.offset < OFFSET_FIRST || i->net.offset > last)
		return err_usage(e, "net: offset: %u is outside %d..%u", i->net.offset,
				 OFFSET_FIRST, last);
	net_of(t, i->net.offset, &want);
	if (!str_eq(want.tap_dev, i->net.tap_dev))
		return err_usage(e, "net: tap_dev: %s, must be %s", i->net.tap_dev, want.tap_dev);
	if (!str_eq(want.mac, i->net.mac))
		return err_usage(e, "net: mac: %s, must be %s", i->net.mac, want.mac);
	if (!str_eq(want.guest_ip, i->net.guest_ip))
		return err_usage(e, "net: guest_ip: %s, must be %s", i->net.guest_ip,
				 want.guest_ip);
	if (!str_eq(want.gateway_ip, i->net.gateway_ip))
		return err_usage(e, "net: gateway_ip: %s, must be %s", i->net.gateway_ip,
				 want.gateway_ip);
	if (want.cidr != i->net.cidr)
		return err_usage(e, "net: cidr: %u, must be %u", i->net.cidr, want.cidr);
	return 0;
}

int instance_check(const struct instance *i, const struct address *a, const struct tenant *t,
		   struct err *e)
{
	if (!str_eq(i->tenant_id, a->tenant) || !str_eq(i->pool_id, a->pool) ||
	    !str_eq(i->instance_id, a->instance))
		return err_usage(e, "instance_id: %s/%s/%s lies in the directory of %s/%s/%s",
				 i->tenant_id, i->pool_id, i->instance_id, a->tenant, a->pool,
				 a->instance);
	return t ? check_net(i, t, e) : 0;
}

int instance_load_from(const struct store *s, const struct address *a, const struct tenant *t,
		       struct instance *ret, struct err *e)
{
	struct instance i = { 0 };

	if (store_load_record(s, INSTANCE_FILE, instance_fields, &i, e) < 0)
		return -e->no;
	if (instance_check(&i, a, t, e) < 0)
		return store_damaged(s, INSTANCE_FILE, e);
	*ret = i;
	return 0;
}

int instance_load(const struct address *a, const struct tenant *t, struct instance *ret,
		  struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	enum store_level level = STORE_INSTANCE;

	// Name the part that lacks, not all that hangs on it.
	if (!store_exists(STORE_TENANT, a))
		level = STORE_TENANT;
	else if (!store_exists(STORE_POOL, a))
		level = STORE_POOL;
	if (store_open(&s, level, a, e) < 0)
		return -e->no;
	if (level != STORE_INSTANCE) // it came into being just now
		return err_kind(e, ERR_MISSING, "%s: no such instance", a->instance);
	return instance_load_from(&s, a, t, ret, e);
}

int instance_save(const struct store *s, const struct instance *i, struct err *e)
{
	return store_save(s, INSTANCE_FILE, instance_fields, i, e);
}

uint32_t *instance_cold_counter(struct instance *i, enum err_kind kind)
{
	struct instance_colds *c = &i->cold_starts;

	if (kind == ERR_DAMAGED)
		return &c->damaged;
	if (kind == ERR_CONFLICT)
		return &c->other;
	if (kind == ERR_STATE)
		return &c->refused;
	return kind == ERR_MISSING ? &c->gone : &c->failed;
}

void instance_set_cold(struct instance *i, const char *why, uint32_t *counter)
{
	base_cut(i->cold, sizeof(i->cold), "%s", why);
	if (i->cold[0] && *counter < UINT32_MAX)
		(*counter)++;
}

void instance_set_status(struct instance *i, enum instance_status status)
{
	if (i->status == (int)status)
		return;
	i->status = (int)status;
	if (status == INSTANCE_RUNNING)
		i->maker = (struct instance_maker){ 0 };
	clock_utc(i->status_since);
}
