// SPDX-License-Identifier: MIT
// The list of what has a name of ours, whoever made it.
#include <linux/netfilter.h>

#include "life/net.h"
#include "sys/link.h"
#include "sys/nft.h"

enum net_kind { NET_BRIDGE, NET_TAP, NET_TABLE };
static const char *const kind_names[] = { "bridge", "tap", "table", NULL };

struct net_row {
	uint32_t schema_version;
	int kind; // enum net_kind
	char name[64];
	uint32_t net_id;
	char *offset; // number or null: 0 is an offset
	char node_id[37];
	address_text address;
	char master[16];
	bool up;
};

static const struct field row_fields[] = {
	{ FIELD_SLOT(struct net_row, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct net_row, kind, int), .kind = KIND_ENUM, .names = kind_names,
	  .doc = "what it is" },
	{ FIELD_SLOT(struct net_row, name, char[64]), .kind = KIND_TEXT, .doc = "its name" },
	{ FIELD_SLOT(struct net_row, net_id, uint32_t), .kind = KIND_UINT, .max = NET_ID_MAX,
	  .doc = "number in its name" },
	{ FIELD_SLOT(struct net_row, offset, char *), .kind = KIND_RAW, .flags = FIELD_NULLABLE,
	  .doc = "the TAP's offset in the subnet, null for the others" },
	{ FIELD_SLOT(struct net_row, node_id, char[37]), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "the node that made it, null when it does not say" },
	{ FIELD_SLOT(struct net_row, address, address_text), .kind = KIND_TEXT,
	  .flags = FIELD_NULLABLE, .doc = "the tenant or instance it was made for" },
	{ FIELD_SLOT(struct net_row, master, char[16]), .kind = KIND_TEXT, .flags = FIELD_NULLABLE,
	  .doc = "the bridge a TAP is on" },
	{ FIELD_SLOT(struct net_row, up, bool), .kind = KIND_BOOL,
	  .doc = "a link is up; a table always" },
	FIELD_END
};

static struct net_row *add(struct codec_list *l, enum net_kind kind, const char *name,
			   uint32_t net_id, const char *owner)
{
	struct net_row *r = codec_list_add(l, sizeof(*r));

	r->schema_version = 1;
	r->kind = (int)kind;
	r->net_id = net_id;
	(void)snprintf(r->name, sizeof(r->name), "%s", name);
	(void)link_owner_parse(owner, r->node_id, r->address);
	return r;
}

static void add_link(struct codec_list *out, const struct links *all, const struct link_row *link)
{
	const struct link_row *master = link->master ? links_by_index(all, link->master) : NULL;
	uint32_t net_id, offset;
	struct net_row *r;

	if (name_is_bridge(link->name, &net_id)) {
		r = add(out, NET_BRIDGE, link->name, net_id, link->alias);
	} else if (name_is_tap(link->name, &net_id, &offset)) {
		r = add(out, NET_TAP, link->name, net_id, link->alias);
		r->offset = base_printf("%u", offset);
	} else {
		return;
	}
	if (master)
		memcpy(r->master, master->name, sizeof(r->master));
	r->up = link->up;
}

int net_list(struct buf *out, struct err *e)
{
	cleanup_nft_tables struct nft_tables tables = NFT_TABLES_INIT;
	cleanup_links struct links links = LINKS_INIT;
	cleanup_nl struct nl *route = NULL, *filter = NULL;
	struct codec_list rows = { 0 };
	uint32_t net_id;

	if (nl_new(NETLINK_ROUTE, &route, e) < 0 || nl_new(NETLINK_NETFILTER, &filter, e) < 0 ||
	    link_dump(route, &links, e) < 0 || nft_tables(filter, &tables, e) < 0)
		return -e->no;
	for (size_t i = 0; i < links.len; i++)
		add_link(&rows, &links, &links.items[i]);
	for (size_t i = 0; i < tables.len; i++)
		if (tables.items[i].family == NFPROTO_INET &&
		    name_is_table(tables.items[i].name, &net_id))
			add(&rows, NET_TABLE, tables.items[i].name, net_id, tables.items[i].comment)
				->up = true;
	codec_print_list(row_fields, sizeof(struct net_row), &rows, out);
	codec_free_list(row_fields, sizeof(struct net_row), &rows);
	return 0;
}
