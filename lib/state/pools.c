// SPDX-License-Identifier: MIT
#include "state/pools.h"

#include "audit/audit.h"
#include "base/fault.h"
#include "state/instances.h"
#include "state/usage.h"

// Appends a path to an absolute one: "." stays, ".." goes up, by the words alone.
static int append_path(char *out, size_t size, const char *path)
{
	while (*path) {
		size_t len = strcspn(path, "/"), end = strlen(out);

		if (len == 2 && memcmp(path, "..", 2) == 0) {
			char *slash = strrchr(out, '/');

			if (slash)
				*slash = '\0';
		} else if (len && !(len == 1 && path[0] == '.')) {
			if (base_fmt(out + end, size - end, "/%.*s", (int)len, path) < 0)
				return -1;
		}
		path += len + (path[len] == '/');
	}
	return out[0] ? 0 : base_copy(out, size, "/");
}

int pools_flake(const char *ref, char out[1024], struct err *e)
{
	const char *path = str_starts(ref, "path:") ? ref + 5 : ref, *query = strchr(path, '?');
	char here[1024], head[1024];

	if (strchr(ref, '#'))
		return err_usage(
			e, "flake '%.160s': name it without an attribute: the profile tells that",
			ref);
	for (const char *c = ref; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7F)
			return err_usage(e, "flake: blanks and control characters are not allowed");
	if (!ref[0] || strlen(ref) > 900)
		return err_usage(e, "flake: its length is outside 1..900");
	if (path[0] != '.' && path == ref)
		return base_copy(out, 1024, ref);
	if (!getcwd(here, sizeof(here)))
		return err_sys(e, "current directory");
	if (path[0] == '/')
		here[0] = '\0';
	base_cut(head, sizeof(head), "%.*s", query ? (int)(query - path) : 1023, path);
	if (append_path(here, sizeof(here), head) < 0 ||
	    base_fmt(out, 1024, "%s%s%s", path == ref ? "" : "path:", here, query ? query : "") < 0)
		return err_usage(e, "flake: its absolute path is too long");
	return 0;
}

// Everything but the counts, which scale changes, and the time.
static bool equal(const struct pool *a, const struct pool *b)
{
	cleanup_buf struct buf left = BUF_INIT, right = BUF_INIT;
	struct pool want = *a;

	want.desired_counts = b->desired_counts;
	memcpy(want.created_at, b->created_at, sizeof(want.created_at));
	codec_print(pool_fields, &want, &left);
	codec_print(pool_fields, b, &right);
	return str_eq(buf_text(&left), buf_text(&right));
}

static int compare(const struct store *s, const struct pool *want, struct err *e)
{
	cleanup_pool struct pool p = { 0 };

	if (pool_load_from(s, &p, e) < 0)
		return -e->no;
	if (equal(want, &p))
		return 0;
	err_kind(e, ERR_CONFLICT, "%s: exists with another specification", s->name);
	err_object(e, "%s", s->name);
	return err_hint(e, "mvm pool info %s shows it", s->name);
}

static int make(const struct store *tenant, const struct pool *p, struct err *e)
{
	cleanup_draft struct store_draft d = STORE_DRAFT_NONE;

	if (store_draft_begin(tenant, "pools", p->pool_id, &d, e) < 0 ||
	    store_draft_mkdir(&d, "artifacts", 0700, e) < 0 ||
	    store_draft_mkdir(&d, "snapshots", 0700, e) < 0 ||
	    store_draft_mkdir(&d, "instances", STORE_DIR_MODE, e) < 0 ||
	    store_draft_save(&d, POOL_FILE, pool_fields, p, e) < 0 || store_draft_commit(&d, e) < 0)
		return err_wrap(e, "%s/%s", p->tenant_id, p->pool_id);
	return 0;
}

// The command line went past the field table: what that would refuse must not be stored.
static int check_given(const struct pool *p, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_pool struct pool checked = { 0 };

	codec_print(pool_fields, p, &text);
	if (codec_parse(pool_fields, buf_text(&text), text.len, &checked, e) < 0 ||
	    pool_check(&checked, p->tenant_id, p->pool_id, e) < 0)
		return err_wrap(e, "%s/%s", p->tenant_id, p->pool_id);
	return 0;
}

static int over_quota(const struct address *a, bool dry_run, const struct err *e)
{
	if (!dry_run)
		audit_note_quota(a, e);
	return -e->no;
}

int pools_create(struct pool *want, bool dry_run, int wait_ms, bool *changed, struct err *e)
{
	cleanup_store struct store ts = STORE_NONE, ps = STORE_NONE;
	struct address a = { 0 };
	struct tenant t;
	struct usage u;

	if (check_given(want, e) < 0)
		return -e->no;
	memcpy(a.tenant, want->tenant_id, sizeof(a.tenant));
	memcpy(a.pool, want->pool_id, sizeof(a.pool));
	if (store_lock(&ts, STORE_TENANT, &a, wait_ms, e) < 0 || tenant_load_from(&ts, &t, e) < 0)
		return -e->no;
	*changed = !store_exists(STORE_POOL, &a);
	if (!*changed)
		return store_open(&ps, STORE_POOL, &a, e) < 0 ? -e->no : compare(&ps, want, e);
	if (usage_of_tenant(&t, &u, e) < 0)
		return -e->no;
	if (usage_check_pool(&t, &u, e) < 0)
		return over_quota(&a, dry_run, e);
	if (dry_run)
		return 0;
	audit_note(&a, AUDIT_POOL_CREATED, NULL, "flake %s, profile %s, vcpus %u, mem_mib %llu",
		   want->flake_ref, want->profile, want->instance_resources.vcpus,
		   (unsigned long long)want->instance_resources.mem_mib);
	return make(&ts, want, e) < 0 ? audit_note_failed(&a, AUDIT_POOL_CREATED, NULL, e) : 0;
}

static void apply(const struct pools_scale *s, struct pool_counts *c)
{
	if (s->running_given)
		c->running = s->counts.running;
	if (s->warm_given)
		c->warm = s->counts.warm;
	if (s->sleeping_given)
		c->sleeping = s->counts.sleeping;
}

static int lock_both(const struct address *a, int wait_ms, struct store *ts, struct store *ps,
		     struct err *e)
{
	if (store_lock(ts, STORE_TENANT, a, wait_ms, e) < 0 ||
	    store_lock(ps, STORE_POOL, a, wait_ms, e) < 0)
		return -e->no;
	return 0;
}

static int pool_address(const char *tenant, const char *id, struct address *ret, struct err *e)
{
	*ret = (struct address){ 0 };
	if (name_check(tenant, e) < 0 || name_check(id, e) < 0 || COPY(ret->tenant, tenant) < 0 ||
	    COPY(ret->pool, id) < 0)
		return err_wrap(e, "pool");
	return 0;
}

static void note_scaled(const struct address *a, const struct pool_counts *from,
			const struct pool_counts *to, uint32_t missing)
{
	audit_note(a, AUDIT_POOL_SCALED, NULL,
		   "running %u -> %u, warm %u -> %u, sleeping %u -> %u, to create: %u",
		   from->running, to->running, from->warm, to->warm, from->sleeping, to->sleeping,
		   missing);
}

int pools_scale(const char *tenant, const char *id, const struct pools_scale *s, bool dry_run,
		int wait_ms, struct pool *ret, bool *changed, uint32_t *missing,
		struct buf *created, struct err *e)
{
	cleanup_store struct store ts = STORE_NONE, ps = STORE_NONE;
	struct pool_counts before;
	struct usage all, here;
	struct address a;
	struct tenant t;
	uint32_t made;

	if (pool_address(tenant, id, &a, e) < 0 || lock_both(&a, wait_ms, &ts, &ps, e) < 0 ||
	    tenant_load_from(&ts, &t, e) < 0 || pool_load_from(&ps, ret, e) < 0 ||
	    usage_of_tenant(&t, &all, e) < 0 || usage_of_pool(&t, ret, &here, e) < 0)
		return -e->no;
	before = ret->desired_counts;
	apply(s, &ret->desired_counts);
	const struct pool_counts *c = &ret->desired_counts;
	uint32_t total = c->running + c->warm + c->sleeping;
	*missing = total > here.total_instances ? total - here.total_instances : 0;
	*changed = *missing || memcmp(&before, c, sizeof(before)) != 0;
	if (*missing && usage_check_create(&t, ret, &all, here.total_instances, *missing, e) < 0)
		return over_quota(&a, dry_run, e);
	if (dry_run || !*changed)
		return 0;
	note_scaled(&a, &before, c, *missing);
	if (pool_save(&ps, ret, e) < 0 ||
	    (*missing &&
	     instances_create_locked(&ps, &t, ret, &a, *missing, false, &made, created, e) < 0))
		return audit_note_failed(&a, AUDIT_POOL_SCALED, NULL, e);
	return 0;
}

static void apply_egress(const struct pools_change *c, struct pool *p)
{
	bool drop = c->given.egress && c->to.egress != POOL_EGRESS_ALLOW;
	const struct pool_allow *from = c->to.egress_allow.items;

	if (c->given.egress)
		p->egress = c->to.egress;
	if (!drop && !c->given.egress_allow)
		return;
	codec_free_list(pool_allow_fields, sizeof(*from), &p->egress_allow);
	for (size_t i = 0; c->given.egress_allow && i < c->to.egress_allow.len; i++)
		*(struct pool_allow *)codec_list_add(&p->egress_allow, sizeof(*from)) = from[i];
}

static void apply_probe(const struct pools_change *c, struct pool *p)
{
	const struct pool_probe *to = &c->to.probe;
	struct pool_probe new = *to;
	char *const *words = to->command.items;

	if (!c->given.probe)
		return;
	new.command = (struct codec_list){ 0 };
	new.interval_s = p->probe.interval_s;
	new.timeout_s = p->probe.timeout_s;
	new.failures = p->probe.failures;
	for (size_t i = 0; i < to->command.len; i++)
		codec_texts_add(&new.command, words[i]);
	codec_free(pool_probe_fields, &p->probe);
	p->probe = new;
}

static void apply_change(const struct pools_change *c, struct pool *p)
{
	apply_probe(c, p);

#define SET(name, member)  \
	if (c->given.name) \
	p->member = c->to.member
	SET(ingress_kbit, bandwidth.ingress_kbit);
	SET(egress_kbit, bandwidth.egress_kbit);
	SET(metadata, metadata_enabled);
	SET(pinned, pinned);
	SET(start_from, start_from);
	SET(snapshot_compression, snapshot_compression);
	SET(critical, critical);
	SET(start_timeout, runtime.start_timeout_s);
	SET(drain_timeout, runtime.drain_timeout_s);
	SET(probe_interval, probe.interval_s);
	SET(probe_timeout, probe.timeout_s);
	SET(probe_failures, probe.failures);
#undef SET
	apply_egress(c, p);
}

int pools_update(const char *tenant, const char *id, const struct pools_change *c, bool dry_run,
		 int wait_ms, struct pool *ret, bool *changed, struct err *e)
{
	cleanup_buf struct buf before = BUF_INIT, after = BUF_INIT;
	cleanup_store struct store ps = STORE_NONE;
	cleanup_pool struct pool p = { 0 };
	struct address a;

	if (pool_address(tenant, id, &a, e) < 0)
		return -e->no;
	if (!store_exists(STORE_TENANT, &a)) // name the tenant when that is what lacks
		return store_open(&ps, STORE_TENANT, &a, e);
	if (store_lock(&ps, STORE_POOL, &a, wait_ms, e) < 0 || pool_load_from(&ps, &p, e) < 0)
		return -e->no;
	codec_print(pool_fields, &p, &before);
	apply_change(c, &p);
	codec_print(pool_fields, &p, &after);
	*changed = !str_eq(buf_text(&before), buf_text(&after));
	if (check_given(&p, e) < 0)
		return -e->no;
	if (*changed && !dry_run) {
		audit_note_changes(&a, AUDIT_POOL_UPDATED, buf_text(&before), buf_text(&after));
		if (pool_save(&ps, &p, e) < 0)
			return audit_note_failed(&a, AUDIT_POOL_UPDATED, NULL, e);
	}
	*ret = p;
	p.egress_allow = p.probe.command = (struct codec_list){ 0 }; // *ret has them
	return 0;
}

// All that the pool has may go, or nothing does.
static int check_all(void *arg, const struct address *a, const struct instance *i,
		     const struct err *why, struct err *e)
{
	const bool *force = arg;

	if (!i && !*force) {
		*e = *why;
		return -e->no;
	}
	if (!i)
		return 0;
	if (i->status != INSTANCE_RUNNING && i->status != INSTANCE_WARM)
		return instance_op_check(i, e);
	err_kind(e, ERR_STATE, "%s/%s: instance %s is %s", a->tenant, a->pool, a->instance,
		 instance_status_names[i->status]);
	err_object(e, "%s/%s", a->tenant, a->pool);
	return err_hint(e, "mvm pool destroy --force %s/%s ends and removes all that it has",
			a->tenant, a->pool);
}

static int destroy_locked(const struct store *ts, const struct store *ps, const struct address *a,
			  const struct store_names *names, int wait_ms, struct err *e)
{
	struct address at = *a;

	for (size_t n = 0; n < names->len; n++) {
		if (COPY(at.instance, names->items[n]) <
		    0) // a stray file of that name goes with the pool
			continue;
		if (instances_remove_locked(ps, &at, wait_ms, e) < 0 && e->kind != ERR_MISSING)
			return -e->no;
	}
	err_clear(e);
	if (fault_point("pool-remove"))
		return err_sys(e, "%s/%s: remove", a->tenant, a->pool);
	audit_note(a, AUDIT_POOL_DESTROYED, NULL, "with %zu instance%s", names->len,
		   names->len == 1 ? "" : "s");
	return store_remove(ts, "pools", a->pool, e) < 0 ? err_wrap(e, "%s/%s", a->tenant, a->pool)
							 : 0;
}

int pools_destroy(const char *tenant, const char *id, bool force, bool dry_run, int wait_ms,
		  struct err *e)
{
	cleanup_store struct store ts = STORE_NONE, ps = STORE_NONE;
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	struct address a;

	if (pool_address(tenant, id, &a, e) < 0 || lock_both(&a, wait_ms, &ts, &ps, e) < 0 ||
	    instances_each(&a, check_all, &force, e) < 0 ||
	    store_list(&ps, "instances", &names, e) < 0)
		return -e->no;
	if (dry_run)
		return 0;
	if (destroy_locked(&ts, &ps, &a, &names, wait_ms, e) == 0)
		return 0;
	return audit_note_failed(&a, AUDIT_POOL_DESTROYED, NULL, e);
}
