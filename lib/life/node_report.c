// SPDX-License-Identifier: MIT
#include "life/node_report.h"

#include <sys/utsname.h>

#include "base/tool.h"
#include "fc/kvm.h"
#include "life/vmm.h"
#include "state/node.h"
#include "state/usage.h"
#include "sys/cgroup.h"

struct info {
	uint32_t schema_version;
	node_id_text node_id;
	char hostname[65], arch[65], kernel[65], version[32];
	uint32_t total_vcpus;
	uint64_t total_mem_mib;
	char lima_status[16];
	char *kvm_usable; // "true", "false", "null": not to be known without rights
	char kvm_reason[200];
	char vmm[16], vmm_version[32], vmm_reason[904];
	char firecracker_version[32];
	bool jailer_available;
	int cgroup; // enum cgroup_mode
	bool cgroup_v2;
	bool limits;
	char attestation_provider[8];
};

#define TEXT(member, size) FIELD_SLOT(struct info, member, char[size]), .kind = KIND_TEXT
static const struct field info_fields[] = {
	{ FIELD_SLOT(struct info, schema_version, uint32_t), .kind = KIND_UINT, .min = 1, .max = 1,
	  .doc = "version of this format" },
	{ TEXT(node_id, 37), .flags = FIELD_NULLABLE, .doc = "the node's identity, minted once" },
	{ TEXT(hostname, 65), .doc = "name of the machine" },
	{ TEXT(arch, 65), .doc = "processor, as uname -m" },
	{ TEXT(kernel, 65), .doc = "release of the kernel" },
	{ TEXT(version, 32), .doc = "of mvm" },
	{ FIELD_SLOT(struct info, total_vcpus, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX,
	  .doc = "processors online" },
	{ FIELD_SLOT(struct info, total_mem_mib, uint64_t), .kind = KIND_UINT, .max = 1ULL << 40,
	  .doc = "memory of the machine" },
	{ TEXT(lima_status, 16), .flags = FIELD_NULLABLE,
	  .doc = "running inside a Lima VM, else null" },
	{ FIELD_SLOT(struct info, kvm_usable, char *), .kind = KIND_RAW, .flags = FIELD_NULLABLE,
	  .doc = "the device opens and the CPU has the flag; null: no right to know" },
	{ TEXT(kvm_reason, 200), .flags = FIELD_NULLABLE, .doc = "what is missing" },
	{ TEXT(vmm, 16), .flags = FIELD_NULLABLE, .doc = "what would run a guest" },
	{ TEXT(vmm_version, 32), .flags = FIELD_NULLABLE, .doc = "its version" },
	{ TEXT(vmm_reason, 904), .flags = FIELD_NULLABLE, .doc = "why this one, or why none" },
	{ TEXT(firecracker_version, 32), .flags = FIELD_NULLABLE, .doc = "that is installed" },
	{ FIELD_SLOT(struct info, jailer_available, bool), .kind = KIND_BOOL,
	  .doc = "its jailer is there too" },
	{ FIELD_SLOT(struct info, cgroup, int), .kind = KIND_ENUM, .names = cgroup_mode_names,
	  .doc = "control groups of the machine" },
	{ FIELD_SLOT(struct info, cgroup_v2, bool), .kind = KIND_BOOL,
	  .doc = "version 2 is mounted" },
	{ FIELD_SLOT(struct info, limits, bool), .kind = KIND_BOOL,
	  .doc = "memory, CPU and tasks can be limited" },
	{ TEXT(attestation_provider, 8), .doc = "none" },
	FIELD_END
};

static uint64_t total_mem_mib(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / MIB : 0;
}

static void fill_machine(struct info *n)
{
	struct utsname u;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (uname(&u) == 0) { // its members hold 64 characters
		(void)snprintf(n->hostname, sizeof(n->hostname), "%s", u.nodename);
		(void)snprintf(n->arch, sizeof(n->arch), "%s", u.machine);
		(void)snprintf(n->kernel, sizeof(n->kernel), "%s", u.release);
	}
	(void)snprintf(n->version, sizeof(n->version), "%s", tool_version);
	n->total_vcpus = cpus > 0 ? (uint32_t)cpus : 0;
	n->total_mem_mib = total_mem_mib();
	if (access("/mnt/lima-cidata", F_OK) == 0 || access("/run/lima-boot-done", F_OK) == 0)
		(void)snprintf(n->lima_status, sizeof(n->lima_status), "running");
	(void)snprintf(n->attestation_provider, sizeof(n->attestation_provider), "none");
}

static void fill_kvm(struct info *n)
{
	bool hidden = geteuid() != 0 && access("/dev/kvm", F_OK) == 0 &&
		      access("/dev/kvm", R_OK | W_OK) < 0;
	bool usable = kvm_usable(n->kvm_reason);

	n->kvm_usable = base_strdup(hidden ? "null" : usable ? "true" : "false");
}

static void fill_vmm(struct info *n)
{
	struct vmm_choice v = { 0 };
	struct err why = { 0 };

	if (vmm_choose(&v, &why) == 0) {
		(void)snprintf(n->vmm, sizeof(n->vmm), "%s", instance_vmm_names[v.kind]);
		memcpy(n->vmm_version, v.version, sizeof(n->vmm_version));
		(void)snprintf(n->vmm_reason, sizeof(n->vmm_reason), "%s", v.why);
	} else {
		(void)snprintf(n->vmm_reason, sizeof(n->vmm_reason), "%s", why.msg);
	}
	v = (struct vmm_choice){ 0 };
	if (vmm_find_firecracker("", &v, &why) == 0) {
		memcpy(n->firecracker_version, v.version, sizeof(n->firecracker_version));
		n->jailer_available = v.jailer[0] != '\0';
	}
}

// Without the right to read the identity, or to mint it, it is not known; a damaged one is an
// error.
static int fill_node_id(struct info *n, int wait_ms, struct err *e)
{
	if (node_id_ensure(NULL, wait_ms, n->node_id, e) == 0)
		return 0;
	n->node_id[0] = '\0';
	if (e->kind != ERR_DENIED && e->no != EROFS)
		return -e->no;
	err_clear(e);
	return 0;
}

int node_report_info(int wait_ms, struct buf *out, struct err *e)
{
	struct info n = { .schema_version = 1 };
	struct cgroup_host groups = { 0 };

	if (fill_node_id(&n, wait_ms, e) < 0 || cgroup_find(&groups, e) < 0)
		return -e->no;
	fill_machine(&n);
	fill_kvm(&n);
	fill_vmm(&n);
	n.cgroup = (int)groups.mode;
	n.cgroup_v2 = groups.root[0] != '\0';
	n.limits = cgroup_has_limits(&groups);
	codec_print(info_fields, &n, out);
	codec_free(info_fields, &n);
	return 0;
}

struct stats {
	uint32_t schema_version;
	uint32_t tenant_count, damaged_tenants, pool_count, total_instances;
	uint32_t created_instances, ready_instances, running_instances, warm_instances;
	uint32_t sleeping_instances, stopped_instances, damaged_instances;
	uint64_t total_vcpus_used, total_mem_used_mib, total_disk_mib;
	char limits[8];
};

#define COUNT_OF(member) \
	FIELD_SLOT(struct stats, member, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX
#define SUM_OF(member) \
	FIELD_SLOT(struct stats, member, uint64_t), .kind = KIND_UINT, .max = 1ULL << 52
static const struct field stats_fields[] = {
	{ COUNT_OF(schema_version), .doc = "version of this format" },
	{ COUNT_OF(tenant_count), .doc = "tenants" },
	{ COUNT_OF(damaged_tenants), .doc = "tenants whose record does not decode" },
	{ COUNT_OF(pool_count), .doc = "pools" },
	{ COUNT_OF(total_instances), .doc = "instances" },
	{ COUNT_OF(created_instances), .doc = "of state created" },
	{ COUNT_OF(ready_instances), .doc = "of state ready" },
	{ COUNT_OF(running_instances), .doc = "of state running" },
	{ COUNT_OF(warm_instances), .doc = "of state warm" },
	{ COUNT_OF(sleeping_instances), .doc = "of state sleeping" },
	{ COUNT_OF(stopped_instances), .doc = "of state stopped" },
	{ COUNT_OF(damaged_instances),
	  .doc = "whose record does not decode; they count as running" },
	{ SUM_OF(total_vcpus_used), .doc = "vCPUs of running and warm instances" },
	{ SUM_OF(total_mem_used_mib), .doc = "memory of running and warm instances" },
	{ SUM_OF(total_disk_mib), .doc = "data disks of all instances, as asked for" },
	{ FIELD_SLOT(struct stats, limits, char[8]), .kind = KIND_TEXT,
	  .doc = "cgroup: guests are held to their size; none: this machine cannot" },
	FIELD_END
};

static void add_usage(struct stats *s, const struct usage *u)
{
	const struct usage_counts *c = &u->instance_counts;

	s->pool_count += u->pools;
	s->total_instances += u->total_instances;
	s->created_instances += c->created;
	s->ready_instances += c->ready;
	s->running_instances += c->running;
	s->warm_instances += c->warm;
	s->sleeping_instances += c->sleeping;
	s->stopped_instances += c->stopped;
	s->damaged_instances += c->damaged;
	s->total_vcpus_used += u->total_vcpus;
	s->total_mem_used_mib += u->total_mem_mib;
	s->total_disk_mib += u->total_disk_mib;
}

int node_report_stats(struct buf *out, struct err *e)
{
	cleanup_names struct store_names tenants = STORE_NAMES_NONE;
	struct stats s = { .schema_version = 1 };
	struct cgroup_host groups = { 0 };

	if (cgroup_find(&groups, e) < 0)
		return -e->no;
	(void)snprintf(s.limits, sizeof(s.limits), "%s",
		       cgroup_has_limits(&groups) ? "cgroup" : "none");
	if (store_list_tenants(&tenants, e) < 0 && e->kind != ERR_MISSING)
		return -e->no;
	err_clear(e);
	for (size_t i = 0; i < tenants.len; i++) {
		struct tenant t = { 0 };
		struct usage u = { 0 };

		if (tenant_load(tenants.items[i], &t, e) == 0 && usage_of_tenant(&t, &u, e) == 0 &&
		    usage_share(t.tenant_id, NULL, &u, e) == 0) {
			s.tenant_count++;
			add_usage(&s, &u);
		} else if (e->kind == ERR_DAMAGED) {
			s.tenant_count++;
			s.damaged_tenants++;
		} else if (e->kind != ERR_MISSING) { // missing: destroyed while we count
			return err_wrap(e, "tenant %s", tenants.items[i]);
		}
		err_clear(e);
	}
	codec_print(stats_fields, &s, out);
	return 0;
}
