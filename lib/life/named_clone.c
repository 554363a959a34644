// SPDX-License-Identifier: MIT
#include "audit/audit.h"
#include "base/fault.h"
#include "base/log.h"
#include "life/ask.h"
#include "life/named.h"
#include "life/verbs.h"
#include "life/wake.h"
#include "snap/rules.h"
#include "state/instances.h"
#include "state/transition.h"
#include "state/usage.h"

// All of them or none: that they fit is seen before the first is made, under the locks that keep
// others from filling the room.
static int make_records(const struct address *pool, uint32_t n, int wait_ms, struct buf *created,
			struct err *e)
{
	cleanup_store struct store ts = STORE_NONE, ps = STORE_NONE;
	cleanup_pool struct pool p = { 0 };
	struct usage u = { 0 };
	struct tenant t;
	uint32_t made;

	if (store_lock(&ts, STORE_TENANT, pool, wait_ms, e) < 0 ||
	    tenant_load_from(&ts, &t, e) < 0 || store_lock(&ps, STORE_POOL, pool, wait_ms, e) < 0 ||
	    pool_load_from(&ps, &p, e) < 0 || usage_of_tenant(&t, &u, e) < 0)
		return -e->no;
	if (usage_check_clones(&t, &p, &u, n, e) < 0) {
		audit_note_quota(pool, e);
		return -e->no;
	}
	return instances_create_locked(&ps, &t, &p, pool, n, true, &made, created, e);
}

// What did not come as far as running, whoever was killed on the way.
static bool is_half(const struct address *a)
{
	struct instance i = { 0 };
	struct err gone = { 0 };

	return instance_load(a, NULL, &i, &gone) == 0 && i.maker.pid;
}

static void unmake(const char *lines, int wait_ms)
{
	while (*lines) {
		size_t len = strcspn(lines, "\n");
		cleanup_free char *line = base_printf("%.*s", (int)len, lines);
		struct err e = { 0 };
		struct address a;
		bool changed;

		if (address_parse(line, ADDRESS_INSTANCE, ADDRESS_INSTANCE, &a, &e) < 0 ||
		    (is_half(&a) && verb_destroy(&a, false, wait_ms, &changed, &e) < 0))
			log_warn(line, "%s", e.msg);
		lines += len + (lines[len] == '\n');
	}
}

static int take_own(struct named_clone *c, int wait_ms, struct err *e)
{
	struct named_created done = { 0 };
	struct instance i = { 0 };
	enum instance_status to;
	instance_text random;

	if (ask_settle(&c->of, false, wait_ms, e) < 0 || instance_load(&c->of, NULL, &i, e) < 0 ||
	    transition_check(DO_CLONE, (enum instance_status)i.status, &to, e) < 0)
		return -e->no;
	if (name_new_instance(random, e) < 0)
		return -e->no;
	base_cut(c->name, sizeof(c->name), "clone-%s", random + strlen("i-"));
	if (named_create(&c->of, c->name, false, true, wait_ms, &done, e) < 0)
		return -e->no;
	named_created_free(&done);
	c->own = true;
	return 0;
}

static int begin(struct named_clone *c, uint32_t n, int wait_ms, struct buf *created, struct err *e)
{
	struct address pool = c->of;

	pool.instance[0] = '\0';
	if ((!c->name[0] && take_own(c, wait_ms, e) < 0) ||
	    named_open(&c->of, c->name, wait_ms, &c->gen, e) < 0)
		return -e->no;
	if (snap_may_share(&c->gen.m, e) < 0)
		return err_wrap(e, "snapshot %s", c->name);
	if (fault_point("life-clone-opened"))
		return err_sys(e, "fault");
	if (make_records(&pool, n, wait_ms, created, e) == 0 && !fault_point("life-clone-made"))
		return 0;
	if (!e->no)
		(void)err_sys(e, "fault");
	unmake(buf_text(created), wait_ms);
	return -e->no;
}

int named_clone_begin(struct named_clone *c, const struct address *of, const char *name, uint32_t n,
		      int wait_ms, struct buf *created, struct err *e)
{
	address_text address;

	address_print(of, address);
	c->of = *of;
	if (name && (name_check(name, e) < 0 || COPY(c->name, name) < 0))
		return e->no ? -e->no : err_usage(e, "'%.64s': too long", name);
	if (begin(c, n, wait_ms, created, e) == 0)
		return 0;
	(void)err_object(e, "%s", address);
	return err_wrap(e, "clone %s", address);
}

int named_clone_start(const struct named_clone *c, const struct address *a, int wait_ms,
		      struct err *e)
{
	struct err later = { 0 };
	bool changed;

	if (named_give(&c->gen, a, c->of.instance, wait_ms, e) == 0 &&
	    wake_run(a, DO_WAKE, false, wait_ms, &changed, e) == 0)
		return 0;
	// Nobody has asked for it by its name yet.
	if (verb_destroy(a, false, wait_ms, &changed, &later) < 0)
		log_warn(a->instance, "%s", later.msg);
	return -e->no;
}

void named_clone_end(struct named_clone *c, const char *failed, int wait_ms)
{
	struct err e = { 0 };
	bool changed;

	if (fault_point("life-clone-end"))
		return;
	unmake(failed, wait_ms);
	snap_gen_close(&c->gen);
	if (c->own && named_remove(&c->of, c->name, wait_ms, &changed, &e) < 0)
		log_warn(c->of.instance, "%s", e.msg);
	*c = (struct named_clone)NAMED_CLONE_NONE;
}
