// SPDX-License-Identifier: MIT
// Names and everything that is derived from them. Rules and formulas: design.md section 2.
//   tenant, pool   [a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?  and no "--"
//   instance       i-<8 hex>
//   address        tenant[/pool[/instance]]
// Every name is checked where it enters: argv, stdin, state files, network, guest.
#pragma once
#include "base/err.h"

#define NAME_MAX_LEN   40
#define NET_ID_MIN     1
#define NET_ID_MAX     4093 // 4093 is the hidden tenant "dev"
#define OFFSET_GATEWAY 1
#define OFFSET_BUILDER 2
#define OFFSET_FIRST   3
#define VM_UID_BASE    0x70000000u // below systemd's foreign id range
#define GUEST_CID      3
#define IFNAME_SIZE    16

typedef char name_text[NAME_MAX_LEN + 1];
typedef char instance_text[11]; // i-xxxxxxxx

struct address {
	name_text tenant;
	name_text pool;		// "" when not given
	instance_text instance; // "" when not given
};
typedef char address_text[NAME_MAX_LEN * 2 + 16];
enum address_depth { ADDRESS_TENANT = 1, ADDRESS_POOL, ADDRESS_INSTANCE };

int name_check(const char *s, struct err *e) MUST_CHECK;	    // tenant or pool id
int name_check_instance(const char *s, struct err *e) MUST_CHECK;   // i-<8 hex>
int name_new_instance(instance_text out, struct err *e) MUST_CHECK; // random, not claimed
// Exactly depth segments, or between min and max; surplus ones are an error.
int address_parse(const char *s, enum address_depth min, enum address_depth max,
		  struct address *out, struct err *e) MUST_CHECK;
void address_print(const struct address *a, address_text out);

// IPv4 network; host byte order. Prefix /16 to /28, no host bits set.
struct subnet {
	uint32_t base;
	uint8_t prefix;
};
typedef char ip_text[16];
typedef char subnet_text[19];
int subnet_parse(const char *s, struct subnet *out, struct err *e) MUST_CHECK;
void subnet_print(const struct subnet *s, subnet_text out);
bool subnet_overlap(const struct subnet *a, const struct subnet *b);
// Last usable offset (the address before the broadcast address).
uint32_t subnet_last(const struct subnet *s);
void subnet_ip(const struct subnet *s, uint32_t offset, ip_text out);
int ip_parse(const char *s, uint32_t *out, struct err *e) MUST_CHECK;

typedef char ifname_text[IFNAME_SIZE];
typedef char mac_text[18];
void name_bridge(uint32_t net_id, ifname_text out);		  // br-tenant-<net_id>
void name_tap(uint32_t net_id, uint32_t offset, ifname_text out); // tn<net_id>i<offset>
void name_mac(uint32_t net_id, uint32_t offset, mac_text out);	  // 02:fc:<net_id>:<offset>
void name_mac_bytes(uint32_t net_id, uint32_t offset, uint8_t out[6]);
void name_table(uint32_t net_id, char out[16]); // mvm-<net_id>
uint32_t name_uid(uint32_t net_id, uint32_t offset);
// Reverse of the formulas above; false when the name is not ours.
bool name_is_bridge(const char *ifname, uint32_t *net_id);
bool name_is_tap(const char *ifname, uint32_t *net_id, uint32_t *offset);
bool name_is_table(const char *table, uint32_t *net_id);
// systemd's path escaping of an address ("a-b/c" -> "a\x2db-c"), as systemd-escape --path does.
void name_escape(const char *address, char out[256]);
int name_unescape(const char *escaped, char *out, size_t size, struct err *e) MUST_CHECK;
void name_unit(const struct address *a, char out[256]); // mvm-instance@<escaped>.service
