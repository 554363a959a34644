// SPDX-License-Identifier: MIT
// The node itself: forwarding, and what nobody owns.
#include <fcntl.h>

#include "base/fd.h"
#include "life/net_look.h"

// Of a link or table of this node: is there a record that it is for?
static bool has_record(const char *owner, bool tap)
{
	struct err why = { 0 };
	struct address a;

	if (address_parse(owner, ADDRESS_TENANT, ADDRESS_INSTANCE, &a, &why) < 0)
		return false;
	// a TAP in store is its tenant's
	return store_exists(tap && a.instance[0] ? STORE_INSTANCE : STORE_TENANT, &a);
}

int net_look_orphans(const struct net_look *l, net_orphan_fn fn, void *arg, struct err *e)
{
	uint32_t net_id, offset;
	address_text owner;
	char node[37];

	for (size_t i = 0; i < l->links.len; i++) {
		const struct link_row *row = &l->links.items[i];
		bool tap = name_is_tap(row->name, &net_id, &offset);

		if ((tap || name_is_bridge(row->name, &net_id)) &&
		    link_owner_parse(row->alias, node, owner) && str_eq(node, l->node_id) &&
		    !has_record(owner, tap) && fn(arg, row, NULL, owner, e) < 0)
			return -e->no;
	}
	for (size_t i = 0; i < l->tables.len; i++) {
		const struct nft_row *row = &l->tables.items[i];

		if (name_is_table(row->name, &net_id) &&
		    link_owner_parse(row->comment, node, owner) && str_eq(node, l->node_id) &&
		    !has_record(owner, false) && fn(arg, NULL, row, owner, e) < 0)
			return -e->no;
	}
	return 0;
}

static int tell(void *arg, const struct link_row *link, const struct nft_row *table,
		const char *owner, struct err *e)
{
	const char *kind = table ? "table" : "link", *name = table ? table->name : link->name;

	(void)e;
	net_issue_add(arg, "orphans", "mvm net repair", "%s %s of %s, which has no record", kind,
		      name, owner);
	return 0;
}

static int reads(const char *path, char want, bool *ret, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (fd_read_file(AT_FDCWD, path, 16, &text, e) < 0)
		return -e->no;
	*ret = buf_text(&text)[0] == want;
	return 0;
}

int net_look_node(struct net_look *l, struct net_verdict *v, struct err *e)
{
	bool forwards = false, has_tenants = false;

	*v = (struct net_verdict){ .schema_version = 1 };
	for (size_t i = 0; i < l->links.len; i++) {
		uint32_t net_id;

		has_tenants |= name_is_bridge(l->links.items[i].name, &net_id);
	}
	if (reads("/proc/sys/net/ipv4/ip_forward", '1', &forwards, e) < 0)
		return -e->no;
	if (has_tenants && !forwards)
		net_issue_add(v, "ip-forward", "mvm net repair", "this host does not forward IPv4");
	if (l->node_id[0] && net_look_orphans(l, tell, v, e) < 0)
		return -e->no;
	net_verdict_close(v);
	return 0;
}
