// SPDX-License-Identifier: MIT
// What a tenant's network is now, for people and for scripts.
#include <linux/netfilter.h>

#include "life/net_look.h"

struct count_row {
	char where[8]; // the table's family
	char name[32];
	uint64_t packets, bytes;
};
struct guest_row {
	ifname_text tap;
	address_text instance;
	ip_text ip;
	mac_text mac;
	int egress; // enum nft_egress
	bool metadata;
	uint64_t ingress_kbit, egress_kbit;
};
struct info {
	uint32_t schema_version; // 1
	name_text tenant_id;
	uint32_t net_id;
	ifname_text bridge;
	char table[16];
	subnet_text subnet;
	ip_text gateway;
	bool up;
	uint32_t mtu;
	bool deny_log;
	uint32_t spare_taps;
	struct codec_list guests;  // of guest_row
	struct codec_list dropped; // of count_row
};

static const char *const egress_names[] = { "none", "open", "allow", NULL };
static const struct field count_fields[] = {
	{ FIELD_SLOT(struct count_row, where, char[8]), .kind = KIND_TEXT,
	  .doc = "inet: beyond the bridge; netdev: at the TAP" },
	{ FIELD_SLOT(struct count_row, name, char[32]), .kind = KIND_TEXT, .doc = "why" },
	{ FIELD_SLOT(struct count_row, packets, uint64_t), .kind = KIND_UINT, .doc = "packets" },
	{ FIELD_SLOT(struct count_row, bytes, uint64_t), .kind = KIND_UINT, .doc = "bytes" },
	FIELD_END
};
static const struct field guest_fields[] = {
	{ FIELD_SLOT(struct guest_row, tap, ifname_text), .kind = KIND_TEXT, .doc = "its TAP" },
	{ FIELD_SLOT(struct guest_row, instance, address_text), .kind = KIND_TEXT, .doc = "it" },
	{ FIELD_SLOT(struct guest_row, ip, ip_text), .kind = KIND_TEXT, .doc = "its address" },
	{ FIELD_SLOT(struct guest_row, mac, mac_text), .kind = KIND_TEXT, .doc = "its MAC" },
	{ FIELD_SLOT(struct guest_row, egress, int), .kind = KIND_ENUM, .names = egress_names,
	  .doc = "its ways out" },
	{ FIELD_SLOT(struct guest_row, metadata, bool), .kind = KIND_BOOL,
	  .doc = "it may ask the metadata service" },
	{ FIELD_SLOT(struct guest_row, ingress_kbit, uint64_t), .kind = KIND_UINT,
	  .doc = "limit towards it, 0 for none" },
	{ FIELD_SLOT(struct guest_row, egress_kbit, uint64_t), .kind = KIND_UINT,
	  .doc = "limit from it, 0 for none" },
	FIELD_END
};
static const struct field info_fields[] = {
	{ FIELD_SLOT(struct info, schema_version, uint32_t), .kind = KIND_UINT, .min = 1, .max = 1,
	  .doc = "version of this format" },
	{ FIELD_SLOT(struct info, tenant_id, name_text), .kind = KIND_TEXT, .doc = "the tenant" },
	{ FIELD_SLOT(struct info, net_id, uint32_t), .kind = KIND_UINT, .doc = "its net id" },
	{ FIELD_SLOT(struct info, bridge, ifname_text), .kind = KIND_TEXT, .doc = "its bridge" },
	{ FIELD_SLOT(struct info, table, char[16]), .kind = KIND_TEXT,
	  .doc = "its nftables tables, of families inet and netdev" },
	{ FIELD_SLOT(struct info, subnet, subnet_text), .kind = KIND_TEXT, .doc = "its addresses" },
	{ FIELD_SLOT(struct info, gateway, ip_text), .kind = KIND_TEXT,
	  .doc = "address of the bridge" },
	{ FIELD_SLOT(struct info, up, bool), .kind = KIND_BOOL,
	  .doc = "the bridge is there and up" },
	{ FIELD_SLOT(struct info, mtu, uint32_t), .kind = KIND_UINT, .doc = "of the bridge" },
	{ FIELD_SLOT(struct info, deny_log, bool), .kind = KIND_BOOL,
	  .doc = "what is dropped goes to the kernel's log, at a limited rate" },
	{ FIELD_SLOT(struct info, spare_taps, uint32_t), .kind = KIND_UINT,
	  .doc = "TAPs in store for the next instances" },
	{ FIELD_SLOT(struct info, guests, struct codec_list), .kind = KIND_LIST, .max = 65536,
	  .sub = guest_fields, .item_size = sizeof(struct guest_row),
	  .doc = "instances on the bridge" },
	{ FIELD_SLOT(struct info, dropped, struct codec_list), .kind = KIND_LIST,
	  .sub = count_fields, .item_size = sizeof(struct count_row),
	  .doc = "what was dropped since the tables were made" },
	FIELD_END
};

static void add_guests(const struct net_plan *p, struct info *to)
{
	for (size_t i = 0; i < p->nft.guest_count; i++) {
		const struct nft_guest *g = &p->nft.guests[i];
		struct guest_row *row = codec_list_add(&to->guests, sizeof(*row));

		memcpy(row->tap, g->port, sizeof(row->tap));
		address_print(&p->guests[i].a, row->instance);
		subnet_ip(&p->nft.subnet, g->ip - p->nft.subnet.base, row->ip);
		name_mac(p->nft.net_id, g->ip - p->nft.subnet.base, row->mac);
		row->egress = g->egress;
		row->metadata = g->metadata;
		row->ingress_kbit = p->guests[i].ingress / BYTES_PER_KBIT;
		row->egress_kbit = g->rate / BYTES_PER_KBIT;
	}
}

static int add_counts(struct net_look *l, uint32_t net_id, struct info *to, struct err *e)
{
	struct codec_list counts = { 0 };
	const struct nft_count *c;
	int r = nft_counts(l->filter, net_id, &counts, e);

	c = counts.items;
	for (size_t i = 0; r == 0 && i < counts.len; i++) {
		struct count_row *row = codec_list_add(&to->dropped, sizeof(*row));

		(void)snprintf(row->where, sizeof(row->where), "%s",
			       c[i].family == NFPROTO_INET ? "inet" : "netdev");
		memcpy(row->name, c[i].name, sizeof(row->name));
		row->packets = c[i].packets;
		row->bytes = c[i].bytes;
	}
	free(counts.items);
	return r;
}

static uint32_t count_spares(const struct net_look *l, const char *tenant)
{
	link_alias mine;
	uint32_t n = 0, net_id, offset;

	link_owner_print(l->node_id, tenant, mine);
	for (size_t i = 0; i < l->links.len; i++)
		n += name_is_tap(l->links.items[i].name, &net_id, &offset) &&
		     str_eq(l->links.items[i].alias, mine);
	return n;
}

static void info_free(struct info *i)
{
	codec_free(info_fields, i);
}

int net_info(const char *tenant, struct buf *out, struct err *e)
{
	cleanup_net_look struct net_look l = NET_LOOK_NONE;
	cleanup_net_plan struct net_plan p = NET_PLAN_NONE;
	cleanup(info_free) struct info i = { .schema_version = 1 };
	const struct link_row *bridge;
	struct tenant t = { 0 };

	if (tenant_load(tenant, &t, e) < 0 || net_look_open(&l, e) < 0 ||
	    net_plan_load(l.route, &t, l.node_id, &p, e) < 0)
		return -e->no;
	memcpy(i.tenant_id, t.tenant_id, sizeof(i.tenant_id));
	i.net_id = t.net.tenant_net_id;
	memcpy(i.bridge, t.net.bridge_name, sizeof(i.bridge));
	name_table(i.net_id, i.table);
	memcpy(i.subnet, t.net.ipv4_subnet, sizeof(i.subnet));
	memcpy(i.gateway, t.net.gateway_ip, sizeof(i.gateway));
	i.deny_log = t.net.deny_log;
	bridge = links_by_name(&l.links, i.bridge);
	i.up = bridge && bridge->up;
	i.mtu = bridge ? bridge->mtu : 0;
	i.spare_taps = count_spares(&l, tenant);
	add_guests(&p, &i);
	if (add_counts(&l, i.net_id, &i, e) < 0)
		return -e->no;
	codec_print(info_fields, &i, out);
	return 0;
}
