// SPDX-License-Identifier: MIT
// `net verify --deep`: a tenant's network tried with packets. Ports of our own stand in for guests:
// veth pairs into throw-away namespaces, on the tenant's bridge and under its rules, and one
// namespace beyond the host for "outside". What is expected to be blocked has a target that would
// have answered, and an allowed twin that gets through; a blocked flow whose twin does not get
// through either proves nothing and is not ok.
//
// Links, addresses and routes live as long as the process (netns.h). The rules of the ports are the
// caller's (port_rules); when the process is killed they are left to `net repair`.
#pragma once
#include "sys/nft.h"
#include "json/codec.h"

#define NET_DEEP_WAIT_MS 300 // how long nothing must be seen before a flow counts as blocked

enum net_flow_end { NET_FLOW_BLOCKED, NET_FLOW_PASS };
struct net_flow {
	char name[48];
	char from[64], to[64];
	int expected, seen; // enum net_flow_end
	bool ok;
	char detail[160]; // "" when there is nothing to tell
};
extern const struct field net_flow_fields[];

struct net_deep_side { // a tenant
	uint32_t net_id;
	const char *tenant;
	struct subnet subnet;
	ifname_text bridge;
	// free offsets for the probes, 0: there is none. The tenant itself needs two, the other
	// one.
	uint32_t offsets[2];
};
struct net_deep_args {
	const char *node_id;
	struct net_deep_side own;
	struct net_deep_side other; // a second tenant of this node; net_id 0: none
	uint32_t mtu;
	uint32_t wait_ms; // 0: NET_DEEP_WAIT_MS; at most 1000
	// Puts or drops the rules of a port of the tenant net_id (own or other), under its lock.
	int (*port_rules)(void *arg, uint32_t net_id, const struct nft_guest *g, bool put,
			  struct err *e);
	void *arg;
};

// Appends to ret_flows (of struct net_flow); ends within 10 s. 0 also when flows are not ok. Kind
// quota without free offsets, state without the bridge, unavailable when another run is at work or
// no test network is free on this host. All that was made is gone again, whatever comes back.
int net_deep(const struct net_deep_args *a, struct codec_list *ret_flows, struct err *e) MUST_CHECK;
