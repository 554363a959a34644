// SPDX-License-Identifier: MIT
// What the calls of net.h have in common: sockets, lock and report of one call, and finding a
// tenant's or an instance's objects by their owner text when the record is gone. For net.c only.
#pragma once
#include "life/net.h"
#include "state/node.h"
#include "sys/nl.h"

struct net_job {
	struct nl *route, *filter;
	int lock;
	int wait_ms;
	node_id_text node_id;
	struct changes changes;
	struct net_report report;
};
#define NET_JOB_NONE       \
	{                  \
		.lock = -1 \
	}
#define cleanup_net_job cleanup(net_job_drop)

int net_job_open(struct net_job *j, const char *address, const struct net_call *c,
		 struct err *e) MUST_CHECK;
// The same, and fills the report from the records. Kind missing (the sockets are open then) when
// the instance has none.
int net_job_open_instance(struct net_job *j, const struct address *a, const struct net_call *c,
			  struct err *e) MUST_CHECK;
int net_job_lock(struct net_job *j, struct err *e) MUST_CHECK; // of report.net_id
// Hands the report out.
int net_job_close(struct net_job *j, struct net_report *ret, struct err *e) MUST_CHECK;
void net_job_drop(struct net_job *j);

// Fills report.net_id and the names: from the record, or from a bridge or table that names the
// tenant as its owner. Kind missing when there is nothing.
int net_find_tenant(struct net_job *j, const char *tenant, struct err *e) MUST_CHECK;
// The TAP whose alias names report.address.
int net_find_tap(struct net_job *j, struct err *e) MUST_CHECK;
