// SPDX-License-Identifier: MIT
#include "life/net_verify.h"

#include "life/net_deep.h"
#include "life/net_find.h"
#include "life/net_look.h"
#include "state/alloc.h"

static const struct field issue_fields[] = {
	{ FIELD_SLOT(struct net_issue, check, char[24]), .kind = KIND_TEXT,
	  .doc = "what it breaks" },
	{ FIELD_SLOT(struct net_issue, message, char[520]), .kind = KIND_TEXT,
	  .doc = "what is not as it should be" },
	{ FIELD_SLOT(struct net_issue, fix, char[120]), .kind = KIND_TEXT, .doc = "what to do" },
	FIELD_END
};
static const struct field tap_fields[] = {
	{ FIELD_SLOT(struct net_tap_row, name, ifname_text), .kind = KIND_TEXT, .doc = "the TAP" },
	{ FIELD_SLOT(struct net_tap_row, instance, address_text), .kind = KIND_TEXT,
	  .doc = "whose it is" },
	{ FIELD_SLOT(struct net_tap_row, attached, bool), .kind = KIND_BOOL,
	  .doc = "it is on the bridge" },
	{ FIELD_SLOT(struct net_tap_row, up, bool), .kind = KIND_BOOL, .doc = "it is up" },
	{ FIELD_SLOT(struct net_tap_row, mtu, uint32_t), .kind = KIND_UINT, .doc = "its MTU" },
	FIELD_END
};
#define CHECK(member, text)                                                                    \
	{                                                                                      \
		FIELD_SLOT(struct net_verdict, member, bool), .kind = KIND_BOOL, .doc = (text) \
	}
const struct field net_verdict_fields[] = {
	{ FIELD_SLOT(struct net_verdict, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct net_verdict, tenant_id, name_text), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "the tenant, null for the node itself" },
	{ FIELD_SLOT(struct net_verdict, bridge_name, ifname_text), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "its bridge" },
	{ FIELD_SLOT(struct net_verdict, subnet, subnet_text), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "its addresses" },
	{ FIELD_SLOT(struct net_verdict, gateway, ip_text), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "address of the bridge" },
	CHECK(ok, "nothing is in issues, and every flow ended as expected"),
	{ FIELD_SLOT(struct net_verdict, summary, char[400]), .kind = KIND_TEXT,
	  .doc = "ok, or the issues in a line" },
	CHECK(bridge_exists, "the bridge is there and the tenant's"),
	CHECK(bridge_up, "it is up"),
	CHECK(gateway_assigned, "it has the gateway's address, prefix and MAC"),
	CHECK(nat_masquerade, "guests get out under the host's address"),
	CHECK(forward_outbound, "what leaves the tenant passes its rules"),
	CHECK(forward_established, "answers come in, and nothing else"),
	CHECK(cross_tenant, "nothing passes to or from other tenants"),
	CHECK(anti_spoof, "every TAP sends under its own MAC and address alone"),
	CHECK(host_input, "of this host guests reach the named exceptions alone"),
	{ FIELD_SLOT(struct net_verdict, taps, uint32_t), .kind = KIND_UINT,
	  .doc = "TAPs on the bridge" },
	{ FIELD_SLOT(struct net_verdict, tap_devices, struct codec_list), .kind = KIND_LIST,
	  .max = 65536, .sub = tap_fields, .item_size = sizeof(struct net_tap_row),
	  .doc = "each of them" },
	{ FIELD_SLOT(struct net_verdict, issues, struct codec_list), .kind = KIND_LIST,
	  .max = 65536, .sub = issue_fields, .item_size = sizeof(struct net_issue),
	  .doc = "what is not as it should be" },
	{ FIELD_SLOT(struct net_verdict, flows, struct codec_list), .kind = KIND_LIST, .max = 4096,
	  .flags = FIELD_OMIT_EMPTY, .sub = net_flow_fields, .item_size = sizeof(struct net_flow),
	  .doc = "what was tried with packets" },
	FIELD_END
};

// --- deep
// -------------------------------------------------------------------------------------------

struct deep {
	struct net_job *job;
	const struct net_deep_args *args;
};

static int port_rules(void *arg, uint32_t net_id, const struct nft_guest *g, bool put,
		      struct err *e)
{
	const struct deep *d = arg;
	const struct net_deep_side *side =
		net_id == d->args->own.net_id ? &d->args->own : &d->args->other;
	const struct nft_tenant t = { .net_id = side->net_id,
				      .node_id = d->args->node_id,
				      .address = side->tenant,
				      .subnet = side->subnet };

	return put ? nft_guest_put(d->job->filter, &t, g, &d->job->changes, e)
		   : nft_guest_drop(d->job->filter, &t, g, &d->job->changes, e);
}

// From the top of the subnet, where instances come last.
static int free_offsets(const struct tenant *t, uint32_t ret[2], struct err *e)
{
	cleanup_alloc struct alloc taken = ALLOC_NONE;
	size_t n = 0;

	if (alloc_scan(t, &taken, e) < 0)
		return -e->no;
	for (uint32_t o = taken.last; o >= OFFSET_FIRST && n < 2; o--)
		if (!alloc_is_used(&taken, o))
			ret[n++] = o;
	return 0;
}

static int side_of(const struct tenant *t, struct net_deep_side *ret, struct err *e)
{
	*ret = (struct net_deep_side){ .net_id = t->net.tenant_net_id,
				       .tenant = t->tenant_id,
				       .subnet = t->subnet };
	memcpy(ret->bridge, t->net.bridge_name, sizeof(ret->bridge));
	return free_offsets(t, ret->offsets, e);
}

// Any other tenant whose bridge is there and that has an address to spare.
static int find_other(const struct net_look *l, const char *but, struct tenant *t,
		      struct net_deep_side *ret, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	struct err why = { 0 };

	if (store_list_tenants(&names, e) < 0)
		return -e->no;
	for (size_t i = 0; i < names.len; i++)
		if (!str_eq(names.items[i], but) && tenant_load(names.items[i], t, &why) == 0 &&
		    links_by_name(&l->links, t->net.bridge_name) && side_of(t, ret, &why) == 0 &&
		    ret->offsets[0])
			return 0;
	*ret = (struct net_deep_side){ .net_id = 0 };
	return 0;
}

// From now on the tenant's network stays as it is; what was seen before may have been another's
// work.
static int look_lock(struct net_look *l, const char *tenant, int wait_ms, struct net_job *job,
		     struct err *e)
{
	const struct net_call c = { .wait_ms = wait_ms };
	struct tenant t = { 0 };

	if (tenant_load(tenant, &t, e) < 0 || net_job_open(job, tenant, &c, e) < 0)
		return -e->no;
	job->report.net_id = t.net.tenant_net_id;
	if (net_job_lock(job, e) < 0)
		return err_wrap(e, "%s", tenant);
	net_look_close(l);
	*l = (struct net_look)NET_LOOK_NONE;
	return net_look_open(l, e);
}

static int deep(const struct net_look *l, struct net_job *job, struct net_verdict *v, struct err *e)
{
	struct net_deep_args args = { .node_id = l->node_id, .mtu = NET_MTU };
	struct deep d = { .job = job, .args = &args };
	const struct net_flow *f;
	struct tenant t = { 0 }, other = { 0 };

	args.port_rules = port_rules;
	args.arg = &d;
	if (tenant_load(v->tenant_id, &t, e) < 0 || side_of(&t, &args.own, e) < 0 ||
	    find_other(l, v->tenant_id, &other, &args.other, e) < 0 ||
	    net_deep(&args, &v->flows, e) < 0)
		return -e->no;
	f = v->flows.items;
	for (size_t i = 0; i < v->flows.len; i++)
		if (!f[i].ok)
			net_issue_add(v, "packets", "see the other issues, then nft list ruleset",
				      "%s from %s to %s was %s%s%s", f[i].name, f[i].from, f[i].to,
				      f[i].seen == NET_FLOW_PASS ? "let through" : "blocked",
				      f[i].detail[0] ? ": " : "", f[i].detail);
	return 0;
}

// --- verify
// -----------------------------------------------------------------------------------------

static void print(struct net_verdict *v, struct buf *out, unsigned *bad)
{
	net_verdict_close(v);
	*bad += !v->ok;
	if (out->data[out->len - 1] != '[')
		buf_char(out, ',');
	codec_print(net_verdict_fields, v, out);
	codec_free(net_verdict_fields, v);
}

// Whatever else is wrong, packets tell what comes of it; but they need a bridge and tables.
static bool can_be_tried(const struct net_verdict *v)
{
	return net_verdict_holds(v, "bridge-exists") && net_verdict_holds(v, "bridge-up") &&
	       net_verdict_holds(v, "rules");
}

// Packets are sent under the lock. Without them the lock is taken only when something looks wrong,
// to look once more: it may have been somebody at work. While that takes too long the first look
// counts.
static int look(struct net_look *l, const char *tenant, const struct net_verify_args *a,
		struct net_job *job, struct net_verdict *v, struct err *e)
{
	if (a->deep && look_lock(l, tenant, a->wait_ms, job, e) < 0)
		return -e->no;
	if (net_look_tenant(l, tenant, v, e) < 0)
		return -e->no;
	if (a->deep || v->issues.len == 0)
		return 0;
	if (look_lock(l, tenant, a->wait_ms, job, e) < 0) {
		if (e->kind != ERR_UNAVAILABLE)
			return -e->no;
		err_clear(e);
		return 0;
	}
	codec_free(net_verdict_fields, v);
	return net_look_tenant(l, tenant, v, e);
}

// A tenant that can't be looked at is a finding, not the end of the report.
static int verify_one(struct net_look *l, const char *tenant, const struct net_verify_args *a,
		      struct buf *out, unsigned *bad, struct err *e)
{
	struct net_verdict v = { .schema_version = 1 };
	cleanup_net_job struct net_job job = NET_JOB_NONE;

	if (look(l, tenant, a, &job, &v, e) < 0) {
		if (e->kind != ERR_DAMAGED || a->tenant) {
			codec_free(net_verdict_fields, &v);
			return e->kind == ERR_MISSING && !a->tenant ? 0 : -e->no;
		}
		(void)snprintf(v.tenant_id, sizeof(v.tenant_id), "%s", tenant);
		net_issue_add(&v, "records", "see the message", "%s", e->msg);
		err_clear(e);
	} else if (a->deep && can_be_tried(&v) && deep(l, &job, &v, e) < 0) {
		codec_free(net_verdict_fields, &v);
		return err_wrap(e, "%s", tenant);
	}
	print(&v, out, bad);
	return 0;
}

static int verify_all(struct net_look *l, const struct net_verify_args *a, struct buf *out,
		      unsigned *bad, struct err *e)
{
	cleanup_names struct store_names names = STORE_NAMES_NONE;
	struct net_verdict v;

	if (store_list_tenants(&names, e) < 0)
		return -e->no;
	for (size_t i = 0; i < names.len; i++)
		if (verify_one(l, names.items[i], a, out, bad, e) < 0)
			return -e->no;
	if (net_look_node(l, &v, e) < 0)
		return -e->no;
	print(&v, out, bad);
	return 0;
}

int net_verify(const struct net_verify_args *a, struct buf *out, unsigned *bad, struct err *e)
{
	cleanup_net_look struct net_look l = NET_LOOK_NONE;

	*bad = 0;
	if (net_look_open(&l, e) < 0)
		return -e->no;
	buf_char(out, '[');
	if ((a->tenant ? verify_one(&l, a->tenant, a, out, bad, e)
		       : verify_all(&l, a, out, bad, e)) < 0)
		return -e->no;
	buf_char(out, ']');
	return 0;
}
