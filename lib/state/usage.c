// SPDX-License-Identifier: MIT
#include "state/usage.h"

#include "state/transition.h"

#define COUNT_ROW(member, text)                                             \
	{                                                                   \
		FIELD_SLOT(struct usage_counts, member, uint32_t),          \
			.kind = KIND_UINT, .max = UINT32_MAX, .doc = (text) \
	}

const struct field usage_counts_fields[] = { COUNT_ROW(created, "never started"),
					     COUNT_ROW(ready, "never started, artifacts are there"),
					     COUNT_ROW(running, "running"),
					     COUNT_ROW(warm, "paused in memory"),
					     COUNT_ROW(sleeping, "captured, not in memory"),
					     COUNT_ROW(stopped, "stopped"),
					     COUNT_ROW(destroyed, "being removed"),
					     COUNT_ROW(damaged,
						       "with a record that does not decode"),
					     FIELD_END };

const struct field usage_fields[] = {
	{ FIELD_SLOT(struct usage, pools, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX,
	  .doc = "pools" },
	{ FIELD_SLOT(struct usage, total_instances, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX,
	  .doc = "instances in any state" },
	{ FIELD_SLOT(struct usage, instance_counts, struct usage_counts), .kind = KIND_RECORD,
	  .sub = usage_counts_fields, .doc = "instances by status" },
	{ FIELD_SLOT(struct usage, total_vcpus, uint64_t), .kind = KIND_UINT, .max = 1ULL << 52,
	  .doc = "vCPUs of running and warm ones" },
	{ FIELD_SLOT(struct usage, total_mem_mib, uint64_t), .kind = KIND_UINT, .max = 1ULL << 52,
	  .doc = "their memory" },
	{ FIELD_SLOT(struct usage, total_disk_mib, uint64_t), .kind = KIND_UINT, .max = 1ULL << 52,
	  .doc = "data disks of all, as asked for, and captures" },
	FIELD_END
};

static uint32_t *count_of(struct usage_counts *c, enum instance_status status)
{
	switch (status) {
	case INSTANCE_CREATED:
		return &c->created;
	case INSTANCE_READY:
		return &c->ready;
	case INSTANCE_RUNNING:
		return &c->running;
	case INSTANCE_WARM:
		return &c->warm;
	case INSTANCE_SLEEPING:
		return &c->sleeping;
	case INSTANCE_STOPPED:
		return &c->stopped;
	case INSTANCE_DESTROYED:
	case INSTANCE_STATUSES:
		break;
	}
	return &c->destroyed;
}

static bool uses_memory(enum instance_status status)
{
	return status == INSTANCE_RUNNING || status == INSTANCE_WARM;
}

void usage_add(struct usage *u, const struct instance *i, const struct pool *p)
{
	enum instance_status as = i ? transition_usage(i) : INSTANCE_RUNNING;

	if (i && i->role == INSTANCE_ROLE_TEMPLATE)
		return;
	u->total_instances++;
	u->total_disk_mib += p->instance_resources.data_disk_mib + (i ? i->capture_mib : 0);
	++*(i ? count_of(&u->instance_counts, as) : &u->instance_counts.damaged);
	if (!uses_memory(as))
		return;
	u->total_vcpus += p->instance_resources.vcpus;
	u->total_mem_mib += p->instance_resources.mem_mib;
}

static int add_pool(const struct tenant *t, const struct pool *p, struct usage *u, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	struct address a = { 0 };

	memcpy(a.tenant, p->tenant_id, sizeof(a.tenant));
	memcpy(a.pool, p->pool_id, sizeof(a.pool));
	if (store_list_instances(a.tenant, a.pool, &names, e) < 0)
		return -e->no;
	u->pools++;
	for (size_t n = 0; n < names.len; n++) {
		struct instance i;

		if (COPY(a.instance, names.items[n]) == 0 && instance_load(&a, t, &i, e) == 0)
			usage_add(u, &i, p);
		else if (e->kind == ERR_DAMAGED) // its cause is told where it is listed
			usage_add(u, NULL, p);
		else if (e->no && e->kind != ERR_MISSING) // gone meanwhile is fine
			return -e->no;
		err_clear(e);
	}
	return 0;
}

int usage_of_pool(const struct tenant *t, const struct pool *p, struct usage *ret, struct err *e)
{
	struct usage u = { 0 };

	if (add_pool(t, p, &u, e) < 0)
		return -e->no;
	*ret = u;
	return 0;
}

int usage_of_tenant(const struct tenant *t, struct usage *ret, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	struct usage u = { 0 };

	if (store_list_pools(t->tenant_id, &names, e) < 0)
		return -e->no;
	for (size_t n = 0; n < names.len; n++) {
		cleanup_pool struct pool p = { 0 };

		if (pool_load(t->tenant_id, names.items[n], &p, e) < 0) {
			if (e->kind != ERR_MISSING)
				return -e->no;
			err_clear(e);
			continue;
		}
		if (add_pool(t, &p, &u, e) < 0)
			return -e->no;
	}
	*ret = u;
	return 0;
}

static int over(const struct tenant *t, const char *limit, uint64_t max, uint64_t used,
		uint64_t more, const char *unit, struct err *e)
{
	if (used + more <= max)
		return 0;
	err_kind(e, ERR_QUOTA, "%s is %llu%s: %llu in use, %llu more asked for", limit,
		 (unsigned long long)max, unit, (unsigned long long)used, (unsigned long long)more);
	err_object(e, "%s", t->tenant_id);
	err_hint(e, "free some, or raise it: mvm tenant update %s", t->tenant_id);
	return err_wrap(e, "%s", t->tenant_id);
}

// u is what the records say, which is never less than there is.
static int over_disk(const struct tenant *t, const struct usage *u, uint64_t more, struct err *e)
{
	uint64_t max = t->quotas.max_disk_gib * 1024;
	struct usage shared = *u;

	if (u->total_disk_mib + more <= max)
		return 0;
	if (usage_share(t->tenant_id, NULL, &shared, e) < 0)
		return -e->no;
	return over(t, "max_disk_gib", max, shared.total_disk_mib, more, " MiB", e);
}

int usage_check_pool(const struct tenant *t, const struct usage *u, struct err *e)
{
	return over(t, "max_pools", t->quotas.max_pools, u->pools, 1, "", e);
}

int usage_check_create(const struct tenant *t, const struct pool *p, const struct usage *u,
		       uint32_t pool_total, uint32_t n, struct err *e)
{
	uint64_t disk = p->instance_resources.data_disk_mib;

	if (over(t, "max_instances_per_pool", t->quotas.max_instances_per_pool, pool_total, n, "",
		 e) < 0)
		return -e->no;
	return over_disk(t, u, disk * n, e);
}

int usage_check_start(const struct tenant *t, const struct pool *p, const struct usage *u,
		      const struct instance *i, struct err *e)
{
	const struct usage_counts *c = &u->instance_counts;
	enum instance_status as = transition_usage(i);
	bool runs = as == INSTANCE_RUNNING, holds = uses_memory(as);

	if (i->role == INSTANCE_ROLE_TEMPLATE)
		return 0;
	if (over(t, "max_running", t->quotas.max_running, c->running + c->damaged - runs, 1, "",
		 e) < 0)
		return -e->no;
	if (holds) // its vCPUs and memory are counted already
		return 0;
	if (over(t, "max_vcpus", t->quotas.max_vcpus, u->total_vcpus, p->instance_resources.vcpus,
		 "", e) < 0)
		return -e->no;
	return over(t, "max_mem_mib", t->quotas.max_mem_mib, u->total_mem_mib,
		    p->instance_resources.mem_mib, " MiB", e);
}

int usage_check_warm(const struct tenant *t, const struct usage *u, const struct instance *i,
		     struct err *e)
{
	bool counted = transition_usage(i) == INSTANCE_WARM;

	return over(t, "max_warm", t->quotas.max_warm, u->instance_counts.warm - counted, 1, "", e);
}

// Nobody knows how much of the memory is in use before it is written.
int usage_check_sleep(const struct tenant *t, const struct pool *p, const struct usage *u,
		      struct err *e)
{
	return over_disk(t, u, p->instance_resources.mem_mib, e);
}

int usage_check_snapshot(const struct tenant *t, const struct pool *p, const struct usage *u,
			 struct err *e)
{
	const struct pool_resources *r = &p->instance_resources;

	return over_disk(t, u, r->mem_mib + r->data_disk_mib, e);
}

int usage_check_clones(const struct tenant *t, const struct pool *p, const struct usage *u,
		       uint32_t n, struct err *e)
{
	const struct usage_counts *c = &u->instance_counts;
	const struct pool_resources *r = &p->instance_resources;

	if (over(t, "max_running", t->quotas.max_running, c->running + c->damaged, n, "", e) < 0 ||
	    over(t, "max_vcpus", t->quotas.max_vcpus, u->total_vcpus, (uint64_t)n * r->vcpus, "",
		 e) < 0 ||
	    over(t, "max_mem_mib", t->quotas.max_mem_mib, u->total_mem_mib, n * r->mem_mib, " MiB",
		 e) < 0)
		return -e->no;
	return over_disk(t, u, n * r->data_disk_mib, e);
}
