// SPDX-License-Identifier: MIT
#include "state/instances.h"

#include "state/rows.h"

struct walk {
	instances_fn fn;
	void *arg;
};

static int walk_instance(const struct walk *w, const struct tenant *t, struct address *a,
			 const char *name, struct err *e)
{
	struct err why = { 0 };
	struct instance i;

	a->instance[0] = '\0';
	if (name_check_instance(name, &why) < 0 || COPY(a->instance, name) < 0)
		return w->fn(w->arg, a, NULL, &why, e);
	if (instance_load(a, t, &i, &why) == 0)
		return w->fn(w->arg, a, &i, NULL, e);
	if (why.kind == ERR_MISSING) // removed since it was listed
		return 0;
	return w->fn(w->arg, a, NULL, &why, e);
}

static int walk_pool(const struct walk *w, const struct tenant *t, struct address *a, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;

	if (store_list_instances(a->tenant, a->pool, &names, e) < 0)
		return -e->no;
	for (size_t n = 0; n < names.len; n++)
		if (walk_instance(w, t, a, names.items[n], e) < 0)
			return -e->no;
	return 0;
}

// What is in the way is passed on as a row; what went away meanwhile is not there.
static int pass_on(const struct walk *w, const struct address *a, const struct err *why,
		   struct err *e)
{
	if (why->kind == ERR_MISSING)
		return 0;
	return w->fn(w->arg, a, NULL, why, e);
}

static int walk_tenant(const struct walk *w, struct address *a, struct err *e)
{
	cleanup_names struct store_names pools = STORE_NAMES_NONE;
	struct err why = { 0 };
	struct tenant t;

	a->pool[0] = a->instance[0] = '\0';
	if (tenant_load(a->tenant, &t, &why) < 0 || store_list_pools(a->tenant, &pools, &why) < 0)
		return pass_on(w, a, &why, e);
	for (size_t p = 0; p < pools.len; p++) {
		why = (struct err){ 0 };
		if (COPY(a->pool, pools.items[p]) < 0)
			abort(); // both hold names
		if (walk_pool(w, &t, a, &why) == 0)
			continue;
		a->instance[0] = '\0';
		if (pass_on(w, a, &why, e) < 0)
			return -e->no;
	}
	return 0;
}

int instances_each(const struct address *a, instances_fn fn, void *arg, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	const struct walk w = { fn, arg };
	struct address at = { 0 };
	struct tenant t;

	if (a && a->tenant[0]) { // here what is damaged or absent is what was asked for
		at = *a;
		if (tenant_load(a->tenant, &t, e) < 0)
			return -e->no;
		return a->pool[0] ? walk_pool(&w, &t, &at, e) : walk_tenant(&w, &at, e);
	}
	if (store_list_tenants(&names, e) < 0)
		return -e->no;
	for (size_t n = 0; n < names.len; n++) {
		if (COPY(at.tenant, names.items[n]) < 0)
			abort(); // both hold names
		if (walk_tenant(&w, &at, e) < 0)
			return -e->no;
	}
	return 0;
}

static void print_instance(const struct address *a, const struct instance *i, struct buf *out)
{
	address_text text;
	ip_text ip = "";

	address_print(a, text);
	codec_print(instance_fields, i, out);
	rows_reopen(out);
	rows_text(out, "instance_path", text);
	memcpy(ip, i->net.guest_ip, sizeof(ip));
	rows_text(out, "guest_ip", ip);
	rows_text(out, "tap_dev", i->net.tap_dev);
	rows_text(out, "mac", i->net.mac);
	if (i->vmm_process.pid)
		buf_fmt(out, ",\"pid\":%u", i->vmm_process.pid);
	else
		buf_str(out, ",\"pid\":null");
	buf_char(out, '}');
}

struct list {
	struct buf *out;
	bool templates;
	unsigned *damaged;
};

static int list_one(void *arg, const struct address *a, const struct instance *i,
		    const struct err *why, struct err *e)
{
	struct list *l = arg;

	(void)e;
	if (i && i->role == INSTANCE_ROLE_TEMPLATE && !l->templates)
		return 0;
	rows_next(l->out);
	if (i) {
		print_instance(a, i, l->out);
		return 0;
	}
	++*l->damaged;
	rows_damaged(l->out, a, why);
	return 0;
}

int instances_list(const struct address *a, bool templates, struct buf *out, unsigned *damaged,
		   struct err *e)
{
	struct list l = { .out = out, .templates = templates, .damaged = damaged };

	*damaged = 0;
	buf_char(out, '[');
	if (instances_each(a, list_one, &l, e) < 0)
		return -e->no;
	buf_char(out, ']');
	return 0;
}

int instances_info(const struct address *a, struct buf *out, struct err *e)
{
	struct instance i;
	struct tenant t;

	if (tenant_load(a->tenant, &t, e) < 0 || instance_load(a, &t, &i, e) < 0)
		return -e->no;
	print_instance(a, &i, out);
	return 0;
}
