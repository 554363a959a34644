// SPDX-License-Identifier: MIT
#include "life/net_deep.h"

#include "base/fault.h"
#include "life/net_deep_parts.h"

#define WAIT_MAX_MS 1000

static const char *const end_names[] = { "blocked", "pass", NULL };

const struct field net_flow_fields[] = {
	{ FIELD_NAMED("flow", struct net_flow, name, char[48]), .kind = KIND_TEXT,
	  .doc = "what was tried" },
	{ FIELD_SLOT(struct net_flow, from, char[64]), .kind = KIND_TEXT,
	  .doc = "where it started" },
	{ FIELD_SLOT(struct net_flow, to, char[64]), .kind = KIND_TEXT,
	  .doc = "where it was to arrive" },
	{ FIELD_SLOT(struct net_flow, expected, int), .kind = KIND_ENUM, .names = end_names,
	  .doc = "what the tenant's rules ask for" },
	{ FIELD_SLOT(struct net_flow, seen, int), .kind = KIND_ENUM, .names = end_names,
	  .doc = "what became of it" },
	{ FIELD_SLOT(struct net_flow, ok, bool), .kind = KIND_BOOL,
	  .doc = "as expected, and shown to be" },
	{ FIELD_SLOT(struct net_flow, detail, char[160]), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .doc = "how it was seen, or why it proves nothing" },
	FIELD_END
};

static int check_side(const struct net_deep_side *s, unsigned wanted, struct err *e)
{
	subnet_text text;

	for (unsigned i = 0; i < wanted; i++)
		if (s->offsets[i] < OFFSET_FIRST || s->offsets[i] > subnet_last(&s->subnet) ||
		    (i > 0 && s->offsets[i] == s->offsets[0])) {
			subnet_print(&s->subnet, text);
			(void)err_kind(e, ERR_QUOTA,
				       "%s of tenant %s has no %s to try the network from", text,
				       s->tenant,
				       wanted > 1 ? "two free addresses" : "free address");
			return err_hint(e, "destroy an instance, or verify without --deep");
		}
	return 0;
}

int net_deep(const struct net_deep_args *a, struct codec_list *ret_flows, struct err *e)
{
	struct net_deep_args args = *a;
	cleanup_deep_rig struct deep_rig rig = { .a = NULL };

	if (args.wait_ms == 0)
		args.wait_ms = NET_DEEP_WAIT_MS;
	args.wait_ms = MIN(args.wait_ms, WAIT_MAX_MS);
	if (check_side(&args.own, 2, e) < 0 ||
	    (args.other.net_id != 0 && check_side(&args.other, 1, e) < 0))
		return -e->no;
	if (deep_rig_make(&args, &rig, e) < 0)
		return err_wrap(e, "try the network");
	if (fault_point("net-deep"))
		return err_sys(e, "try the network");
	if (deep_flows(&rig, ret_flows, e) < 0 || deep_frames(&rig, ret_flows, e) < 0 ||
	    deep_rig_end(&rig, e) < 0)
		return err_wrap(e, "try the network");
	return 0;
}
