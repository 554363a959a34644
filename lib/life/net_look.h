// SPDX-License-Identifier: MIT
// One look at the node's links, rules and records, and the reports that come of it. For
// lib/life/net_*.c only.
#pragma once
#include "life/net_plan.h"
#include "life/net_verify.h"
#include "state/node.h"

struct net_look {
	struct nl *route, *filter;
	node_id_text node_id; // "" when the node has none yet
	struct links links;
	struct nft_tables tables;
};
#define NET_LOOK_NONE         \
	{                     \
		.route = NULL \
	}
#define cleanup_net_look cleanup(net_look_close)
int net_look_open(struct net_look *l, struct err *e) MUST_CHECK;
void net_look_close(struct net_look *l);

// What has a name of ours and no owner: a bridge, TAP or table of this node whose tenant or
// instance has no record. Calls fn with a link, or with a table (the other is NULL).
typedef int (*net_orphan_fn)(void *arg, const struct link_row *link, const struct nft_row *table,
			     const char *owner, struct err *e);
int net_look_orphans(const struct net_look *l, net_orphan_fn fn, void *arg,
		     struct err *e) MUST_CHECK;

void net_issue_add(struct net_verdict *v, const char *check, const char *fix, const char *fmt, ...)
	PRINTF(4, 5);
bool net_verdict_holds(const struct net_verdict *v, const char *check); // no issue of that name
void net_verdict_close(struct net_verdict *v); // counts, fills ok and summary
int net_look_tenant(struct net_look *l, const char *tenant, struct net_verdict *v,
		    struct err *e) MUST_CHECK;
int net_look_node(struct net_look *l, struct net_verdict *v, struct err *e) MUST_CHECK;
