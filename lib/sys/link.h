// SPDX-License-Identifier: MIT
// Links of this network namespace: bridges and TAPs of ours, by netlink and /dev/net/tun. Every
// object carries its owner in its alias: "mvm <node-id> <address>". It is set in the same system
// call that makes a bridge, and before a TAP is made persistent, so a kill at any line leaves
// either nothing or an object that says whose it is.
#pragma once
#include "base/name.h"
#include "sys/changes.h"
#include "sys/nl.h"

typedef char link_alias[256];

struct link_row {
	int index, master; // master 0: none
	ifname_text name;
	char kind[16]; // "bridge", "tun", "veth", ... "" for hardware
	link_alias alias;
	uint32_t mtu;
	uint8_t mac[6];
	bool up, carrier;			// carrier of a TAP: some process has it open
	bool tap;				// kind tun, mode TAP
	bool persistent, vnet_hdr, multi_queue; // of a TAP
	bool has_owner;
	uint32_t uid, gid; // who may attach to the TAP
};
struct links {
	struct link_row *items;
	size_t len;
};
#define LINKS_INIT      \
	{               \
		NULL, 0 \
	}
#define cleanup_links cleanup(links_free)

int link_dump(struct nl *nl, struct links *out, struct err *e) MUST_CHECK;
void links_free(struct links *l);
const struct link_row *links_by_index(const struct links *l, int index); // NULL: none
const struct link_row *links_by_name(const struct links *l, const char *name);
int link_get(struct nl *nl, const char *name, struct link_row *out,
	     struct err *e) MUST_CHECK; // -ENOENT

// What has gone through a link since it was made, as this machine sees it: what it received on a
// TAP its guest has sent.
struct link_traffic {
	uint64_t rx_bytes, rx_packets, rx_drops, tx_bytes, tx_packets, tx_drops;
};
int link_traffic(struct nl *nl, const char *name, struct link_traffic *ret,
		 struct err *e) MUST_CHECK; // -ENOENT

// The owner text, and back; false when the alias is not of this form (then the outputs are "").
void link_owner_print(const char *node_id, const char *address, link_alias out);
bool link_owner_parse(const char *alias, char node_id[37], address_text address);
// Kind conflict unless text names this node and address.
int link_owner_check(const char *name, const char *text, const char *node_id, const char *address,
		     struct err *e) MUST_CHECK;

struct link_bridge {
	ifname_text name;
	const char *node_id, *address;
	mac_text mac; // fixed: a bridge without one takes a new MAC whenever ports come and go
	uint32_t mtu;
	uint32_t ip; // host byte order
	uint8_t prefix;
};
// Kind conflict when a link of that name is of another kind or owner.
int link_bridge_ensure(struct nl *nl, const struct link_bridge *b, struct changes *c,
		       struct err *e) MUST_CHECK;
// ip in host byte order.
int link_has_address(struct nl *nl, int index, uint32_t ip, uint8_t prefix, bool *ret,
		     struct err *e) MUST_CHECK;
struct link_tap {
	ifname_text name;
	const char *node_id, *address;
	const char *spare;
	uint32_t mtu;
	uint32_t uid, gid;
};
// Persistent, single queue, with vnet header, down, on no bridge. One that is kept in store for
// `spare` (NULL: nobody) is taken.
int link_tap_ensure(struct nl *nl, const struct link_tap *t, struct changes *c,
		    struct err *e) MUST_CHECK;
// Makes the TAP another owner's: from t->address it becomes to's. Kind conflict unless it is t's.
int link_tap_give(struct nl *nl, const struct link_tap *t, const char *to, struct changes *c,
		  struct err *e) MUST_CHECK;
// A link of any kind gets a name and an owner, and is set down. Kind conflict when it has an owner.
int link_adopt(struct nl *nl, const char *name, const char *as, const char *node_id,
	       const char *address, struct changes *c, struct err *e) MUST_CHECK;
// On the bridge and up; detach takes it off any bridge and sets it down, and gone is fine.
int link_attach(struct nl *nl, const char *name, const char *bridge, struct changes *c,
		struct err *e) MUST_CHECK;
int link_set_mtu(struct nl *nl, const char *name, uint32_t mtu, struct changes *c,
		 struct err *e) MUST_CHECK;
int link_detach(struct nl *nl, const char *name, struct changes *c, struct err *e) MUST_CHECK;
// Gone is fine; kind conflict when it is another's.
int link_remove(struct nl *nl, const char *name, const char *node_id, const char *address,
		struct changes *c, struct err *e) MUST_CHECK;
// Writes value to /proc/sys/net/<name>, of this network namespace. A name that the kernel does not
// have is fine with optional (IPv6 may be off).
int link_sysctl(const char *name, const char *value, bool optional, struct changes *c,
		struct err *e) MUST_CHECK;
