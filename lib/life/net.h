// SPDX-License-Identifier: MIT
// What mvm-bridge does: a tenant's bridge and tables, an instance's TAP and its rules, in this
// network namespace (design.md section 5). Each call is idempotent and may be killed anywhere and
// repeated. All that change something take a lock of the tenant's network,
// $MVM_RUN_DIR/net-<net_id>.lock, which comes after every other lock.
//
// A TAP is made down and on no bridge. Attaching gives it its rules first, so there is no moment in
// which a guest may send what it should not; detaching takes them away last. A TAP that is not
// needed any more is kept in store for the next instance with its offset, since removing one holds
// a lock of the kernel's for longer than all the rest takes (docs/benchmarks.md).
#pragma once
#include "state/instance.h"
#include "sys/changes.h"

#define NET_MTU 1500u

struct net_call {
	bool dry_run;
	int wait_ms; // for locks
};

// What a call found or made; the same keys for all of them, empty ones are left out.
struct net_report {
	uint32_t schema_version; // 1
	address_text address;
	uint32_t net_id;
	ifname_text bridge;
	char table[16];
	subnet_text subnet;
	ip_text gateway;
	ifname_text tap;
	mac_text mac; // the guest's
	uint32_t uid;
	uint32_t mtu;
	bool ip_forward; // of this network namespace, after the call
	bool dry_run;
	bool changed;
	struct codec_list changes; // char *
};
extern const struct field net_report_fields[];
#define cleanup_net_report cleanup(net_report_free)
void net_report_free(struct net_report *r);

int net_ensure(const char *tenant, const struct net_call *c, struct net_report *ret,
	       struct err *e) MUST_CHECK;
// Also when the tenant's record is gone: then what says that it is the tenant's. Kind state while a
// TAP of an instance that has a record is there; other TAPs of the tenant are removed with it.
int net_destroy(const char *tenant, const struct net_call *c, struct net_report *ret,
		struct err *e) MUST_CHECK;
int net_tap_add(const struct address *a, const struct net_call *c, struct net_report *ret,
		struct err *e) MUST_CHECK;
int net_tap_attach(const struct address *a, const struct net_call *c, struct net_report *ret,
		   struct err *e) MUST_CHECK;
// Also when the instance's record is gone, as net_destroy.
int net_tap_del(const struct address *a, const struct net_call *c, struct net_report *ret,
		struct err *e) MUST_CHECK;
// For tests: link `port` becomes the instance's in place of a TAP, under the TAP's name.
int net_port_adopt(const struct address *a, const char *port, const struct net_call *c,
		   struct net_report *ret, struct err *e) MUST_CHECK;
// Applies the policy and the limits of a pool's record to its guests.
int net_policy(const struct address *a, const struct net_call *c, struct net_report *ret,
	       struct err *e) MUST_CHECK;
// Makes the number of the tenant's TAPs in store `count`, those of the lowest free offsets first;
// each is made or removed under a lock of its own. With trim none is made.
int net_stock(const char *tenant, unsigned count, bool trim, const struct net_call *c,
	      struct net_report *ret, struct err *e) MUST_CHECK;
// Removes what is too much in store for the tenant of an address, in a process of its own: removing
// a TAP takes longer than all the rest and holds a lock of the kernel's that every other link waits
// for, so whoever waits for the caller need not wait for that. If it is killed the next one does
// it.
void net_trim_later(const char *address, unsigned count);
// Every bridge, TAP and table with a name of ours, as an array.
int net_list(struct buf *out, struct err *e) MUST_CHECK;
