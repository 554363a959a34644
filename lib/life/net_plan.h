// SPDX-License-Identifier: MIT
// The rules that a tenant is to have, from its records and the ports that are on its bridge now.
// For lib/life/net*.c only.
#pragma once
#include "state/instance.h"
#include "sys/link.h"
#include "sys/nft.h"

#define BYTES_PER_KBIT 125

// A guest's record beside its rules; in the order of nft.guests.
struct net_guest {
	struct address a;
	int status;	  // enum instance_status
	uint64_t ingress; // bytes per second towards it, 0: no limit
};
struct net_plan {
	struct tenant tenant;
	struct link_row bridge; // index 0: there is none
	struct nft_tenant nft;
	struct net_guest *guests;
	size_t damaged; // records that could not be read; their guests get nowhere
	char damage[200];
};
#define NET_PLAN_NONE          \
	{                      \
		.guests = NULL \
	}
#define cleanup_net_plan cleanup(net_plan_free)
void net_plan_free(struct net_plan *p);
// Is the link one of the plan's guests'?
bool net_plan_has_port(const struct net_plan *p, const char *link);

struct net_job;
// The rules and limits of guest i of the plan, whose pool's ways are in place.
int net_guest_put(struct net_job *j, const struct net_plan *p, size_t i, struct err *e) MUST_CHECK;

// All pools and those guests whose TAP is on the bridge (without a bridge: is up). node_id is
// borrowed.
int net_plan_load(struct nl *route, const struct tenant *t, const char *node_id,
		  struct net_plan *out, struct err *e) MUST_CHECK;
// The same of one pool alone.
int net_plan_load_pool(struct nl *route, const struct tenant *t, const char *node_id,
		       const char *pool, struct net_plan *out, struct err *e) MUST_CHECK;
// One guest, whether its TAP is there or not.
int net_plan_load_guest(const struct tenant *t, const char *node_id, const struct address *a,
			const struct instance *i, struct net_plan *out, struct err *e) MUST_CHECK;
