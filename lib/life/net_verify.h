// SPDX-License-Identifier: MIT
// Looking at tenants' networks: what the kernel has against what the records ask for, with what is
// missing, wrong or somebody else's named by the check that it breaks. Reads only, but for repair.
#pragma once
#include "life/net.h"

// One thing that is not as it should be.
struct net_issue {
	char check[24];
	char message[520];
	char fix[120]; // a command, or what to look at
};
struct net_tap_row {
	ifname_text name;
	address_text instance;
	bool up, attached;
	uint32_t mtu;
};
// A report of a tenant; the one of the node itself has an empty tenant_id.
struct net_verdict {
	uint32_t schema_version; // 1
	name_text tenant_id;
	ifname_text bridge_name;
	subnet_text subnet;
	ip_text gateway;
	bool ok;
	char summary[400]; // "ok", or all issues as far as there is room
	bool bridge_exists, bridge_up, gateway_assigned, nat_masquerade, forward_outbound,
		forward_established, cross_tenant, anti_spoof, host_input;
	uint32_t taps;
	struct codec_list tap_devices; // of struct net_tap_row
	struct codec_list issues;      // of struct net_issue
	struct codec_list flows;       // of struct net_flow, with deep
};
extern const struct field net_verdict_fields[];

struct net_verify_args {
	const char *tenant; // NULL: all, and the node itself
	bool deep;
	int wait_ms;
};
// Prints an array of reports; *bad counts those with issues.
int net_verify(const struct net_verify_args *a, struct buf *out, unsigned *bad,
	       struct err *e) MUST_CHECK;

// Makes what is missing and removes what has no owner: of one tenant, or of all and the node. What
// can't be mended is told by the next verify. Prints one report for each tenant and, with tenant
// NULL, one for what belonged to none.
int net_repair(const char *tenant, const struct net_call *c, struct buf *out,
	       struct err *e) MUST_CHECK;

// One object: the tenant's network with its TAPs, its store, its pools' policies and counters.
int net_info(const char *tenant, struct buf *out, struct err *e) MUST_CHECK;
