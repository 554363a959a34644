// SPDX-License-Identifier: MIT
#include "life/net_find.h"

#include <fcntl.h>

#include "base/fd.h"
#include "sys/link.h"
#include "sys/nft.h"

const struct field net_report_fields[] = {
	{ FIELD_SLOT(struct net_report, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct net_report, address, address_text), .kind = KIND_TEXT,
	  .doc = "the tenant or instance" },
	{ FIELD_SLOT(struct net_report, net_id, uint32_t), .kind = KIND_UINT, .max = NET_ID_MAX,
	  .doc = "number of the tenant's network" },
	{ FIELD_SLOT(struct net_report, bridge, ifname_text), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .doc = "the tenant's bridge" },
	{ FIELD_SLOT(struct net_report, table, char[16]), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .doc = "the tenant's nftables table, of family inet" },
	{ FIELD_SLOT(struct net_report, subnet, subnet_text), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .doc = "the tenant's addresses" },
	{ FIELD_SLOT(struct net_report, gateway, ip_text), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .doc = "address of the bridge" },
	{ FIELD_SLOT(struct net_report, tap, ifname_text), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .doc = "the instance's TAP" },
	{ FIELD_SLOT(struct net_report, mac, mac_text), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .doc = "MAC of the guest behind it" },
	{ FIELD_SLOT(struct net_report, uid, uint32_t), .kind = KIND_UINT, .max = UINT32_MAX,
	  .flags = FIELD_OMIT_EMPTY, .doc = "uid and gid that may open the TAP" },
	{ FIELD_SLOT(struct net_report, mtu, uint32_t), .kind = KIND_UINT, .max = 65535,
	  .flags = FIELD_OMIT_EMPTY, .doc = "of the bridge and its TAPs" },
	{ FIELD_SLOT(struct net_report, ip_forward, bool), .kind = KIND_BOOL,
	  .doc = "this network namespace forwards IPv4" },
	{ FIELD_SLOT(struct net_report, dry_run, bool), .kind = KIND_BOOL,
	  .flags = FIELD_OMIT_EMPTY, .doc = "nothing was done, changes says what would be" },
	{ FIELD_SLOT(struct net_report, changed, bool), .kind = KIND_BOOL,
	  .doc = "anything was not as asked before" },
	{ FIELD_SLOT(struct net_report, changes, struct codec_list), .kind = KIND_TEXTS,
	  .doc = "what was done, in order" },
	FIELD_END
};

void net_report_free(struct net_report *r)
{
	codec_free(net_report_fields, r);
}

int net_job_open(struct net_job *j, const char *address, const struct net_call *c, struct err *e)
{
	j->report.schema_version = 1;
	j->report.dry_run = j->changes.dry_run = c->dry_run;
	j->wait_ms = c->wait_ms;
	if (COPY(j->report.address, address) < 0)
		return err_usage(e, "'%.100s' is too long", address);
	if (nl_new(NETLINK_ROUTE, &j->route, e) < 0 || nl_new(NETLINK_NETFILTER, &j->filter, e) < 0)
		return -e->no;
	return 0;
}

int net_job_open_instance(struct net_job *j, const struct address *a, const struct net_call *c,
			  struct err *e)
{
	struct net_report *r = &j->report;
	struct tenant t = { 0 };
	struct instance i = { 0 };
	address_text text;

	address_print(a, text);
	if (net_job_open(j, text, c, e) < 0 || tenant_load(a->tenant, &t, e) < 0 ||
	    instance_load(a, &t, &i, e) < 0)
		return -e->no;
	r->net_id = t.net.tenant_net_id;
	name_bridge(r->net_id, r->bridge);
	memcpy(r->tap, i.net.tap_dev, sizeof(r->tap));
	memcpy(r->mac, i.net.mac, sizeof(r->mac));
	memcpy(r->subnet, t.net.ipv4_subnet, sizeof(r->subnet));
	r->uid = name_uid(r->net_id, i.net.offset);
	r->mtu = NET_MTU;
	return 0;
}

int net_job_lock(struct net_job *j, struct err *e)
{
	cleanup_fd int dir = -1;
	char name[32];

	if (fd_mkdirs(path_run(), 0755, e) < 0)
		return -e->no;
	dir = fd_open_dir(AT_FDCWD, path_run(), e);
	if (dir < 0)
		return -e->no;
	(void)snprintf(name, sizeof(name), "net-%u.lock", j->report.net_id);
	j->lock = fd_lock(dir, name, true, j->wait_ms, e);
	return j->lock < 0 ? j->lock : 0;
}

static int read_forward(bool *ret, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (fd_read_file(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward", 16, &text, e) < 0)
		return -e->no;
	*ret = buf_text(&text)[0] == '1';
	return 0;
}

int net_job_close(struct net_job *j, struct net_report *ret, struct err *e)
{
	struct net_report *r = &j->report;

	if (read_forward(&r->ip_forward, e) < 0)
		return -e->no;
	r->changed = changes_any(&j->changes);
	r->changes = j->changes.done;
	j->changes.done = (struct codec_list){ 0 };
	*ret = *r;
	*r = (struct net_report){ 0 };
	return 0;
}

void net_job_drop(struct net_job *j)
{
	nl_free(j->route);
	nl_free(j->filter);
	base_closep(&j->lock);
	changes_free(&j->changes);
	net_report_free(&j->report);
}

static bool is_tenants(const struct net_job *j, const char *owner, const char *tenant)
{
	address_text address;
	node_id_text node;

	return link_owner_parse(owner, node, address) && str_eq(node, j->node_id) &&
	       str_eq(address, tenant);
}

static int find_by_owner(struct net_job *j, const char *tenant, struct err *e)
{
	cleanup_nft_tables struct nft_tables tables = NFT_TABLES_INIT;
	cleanup_links struct links l = LINKS_INIT;

	if (link_dump(j->route, &l, e) < 0 || nft_tables(j->filter, &tables, e) < 0)
		return -e->no;
	for (size_t i = 0; i < l.len; i++)
		if (is_tenants(j, l.items[i].alias, tenant) &&
		    name_is_bridge(l.items[i].name, &j->report.net_id))
			return 0;
	for (size_t i = 0; i < tables.len; i++)
		if (is_tenants(j, tables.items[i].comment, tenant) &&
		    name_is_table(tables.items[i].name, &j->report.net_id))
			return 0;
	return err_kind(e, ERR_MISSING, "no tenant %s, and no bridge or table of one", tenant);
}

int net_find_tenant(struct net_job *j, const char *tenant, struct err *e)
{
	struct tenant t = { 0 };

	if (tenant_load(tenant, &t, e) == 0)
		j->report.net_id = t.net.tenant_net_id;
	else if (e->kind != ERR_MISSING || find_by_owner(j, tenant, e) < 0)
		return -e->no;
	name_bridge(j->report.net_id, j->report.bridge);
	name_table(j->report.net_id, j->report.table);
	return 0;
}

// Of the tenant whose instance it was, as far as there is one.
static void find_subnet(struct net_job *j)
{
	struct tenant t = { 0 };
	struct err why = { 0 };
	struct address a;

	if (address_parse(j->report.address, ADDRESS_TENANT, ADDRESS_INSTANCE, &a, &why) == 0 &&
	    tenant_load(a.tenant, &t, &why) == 0)
		memcpy(j->report.subnet, t.net.ipv4_subnet, sizeof(j->report.subnet));
}

int net_find_tap(struct net_job *j, struct err *e)
{
	cleanup_links struct links l = LINKS_INIT;
	link_alias want;
	uint32_t offset;

	link_owner_print(j->node_id, j->report.address, want);
	if (link_dump(j->route, &l, e) < 0)
		return -e->no;
	for (size_t i = 0; i < l.len; i++) {
		if (!str_eq(l.items[i].alias, want) ||
		    !name_is_tap(l.items[i].name, &j->report.net_id, &offset))
			continue;
		memcpy(j->report.tap, l.items[i].name, sizeof(j->report.tap));
		find_subnet(j);
		return 0;
	}
	return err_kind(e, ERR_MISSING, "no instance %s, and no TAP of one", j->report.address);
}
