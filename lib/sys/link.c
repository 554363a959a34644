// SPDX-License-Identifier: MIT
// Looking at links and their owner text; what makes and changes them is in link_make.c.
#include "sys/link.h"

#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#define OWNER_WORD "mvm "
#define UUID_LEN   36
#define TRIES	   8

void links_free(struct links *l)
{
	free(l->items);
	*l = (struct links)LINKS_INIT;
}

static void take_text(const struct nlattr *a, char *out, size_t size)
{
	if (mnl_attr_validate(a, MNL_TYPE_NUL_STRING) < 0 ||
	    base_copy(out, size, mnl_attr_get_str(a)) < 0)
		out[0] = '\0';
}

static uint32_t take_u32(const struct nlattr *a)
{
	return mnl_attr_validate(a, MNL_TYPE_U32) < 0 ? 0 : mnl_attr_get_u32(a);
}

static bool take_flag(const struct nlattr *a)
{
	return mnl_attr_validate(a, MNL_TYPE_U8) == 0 && mnl_attr_get_u8(a);
}

static int tun_attr(const struct nlattr *a, void *arg)
{
	struct link_row *row = arg;

	switch (mnl_attr_get_type(a)) {
	case IFLA_TUN_TYPE:
		row->tap = mnl_attr_validate(a, MNL_TYPE_U8) == 0 && mnl_attr_get_u8(a) == IFF_TAP;
		break;
	case IFLA_TUN_OWNER:
		row->uid = take_u32(a);
		row->has_owner = true;
		break;
	case IFLA_TUN_GROUP:
		row->gid = take_u32(a);
		break;
	case IFLA_TUN_VNET_HDR:
		row->vnet_hdr = take_flag(a);
		break;
	case IFLA_TUN_PERSIST:
		row->persistent = take_flag(a);
		break;
	case IFLA_TUN_MULTI_QUEUE:
		row->multi_queue = take_flag(a);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static int info_attr(const struct nlattr *a, void *arg)
{
	struct link_row *row = arg;

	// the kernel puts the kind before its data
	if (mnl_attr_get_type(a) == IFLA_INFO_KIND)
		take_text(a, row->kind, sizeof(row->kind));
	else if (mnl_attr_get_type(a) == IFLA_INFO_DATA && str_eq(row->kind, "tun"))
		return mnl_attr_parse_nested(a, tun_attr, row);
	return MNL_CB_OK;
}

static int link_attr(const struct nlattr *a, void *arg)
{
	struct link_row *row = arg;

	switch (mnl_attr_get_type(a)) {
	case IFLA_IFNAME:
		take_text(a, row->name, sizeof(row->name));
		break;
	case IFLA_IFALIAS:
		take_text(a, row->alias, sizeof(row->alias));
		break;
	case IFLA_MASTER:
		row->master = (int)take_u32(a);
		break;
	case IFLA_MTU:
		row->mtu = take_u32(a);
		break;
	case IFLA_ADDRESS:
		if (mnl_attr_get_payload_len(a) == sizeof(row->mac))
			memcpy(row->mac, mnl_attr_get_payload(a), sizeof(row->mac));
		break;
	case IFLA_CARRIER:
		row->carrier = take_flag(a);
		break;
	case IFLA_LINKINFO:
		return mnl_attr_parse_nested(a, info_attr, row);
	default:
		break;
	}
	return MNL_CB_OK;
}

static int take_link(const struct nlmsghdr *h, void *arg)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(h);
	struct links *l = arg;
	struct link_row row = { 0 };

	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < mnl_nlmsg_size(sizeof(*info)))
		return MNL_CB_OK;
	row.index = info->ifi_index;
	row.up = (info->ifi_flags & IFF_UP) != 0;
	if (mnl_attr_parse(h, sizeof(*info), link_attr, &row) < 0)
		return MNL_CB_ERROR;
	l->items = base_grow(l->items, l->len + 1, sizeof(*l->items));
	l->items[l->len++] = row;
	return MNL_CB_OK;
}

static int ask(struct nl *nl, const char *name, struct links *out, struct err *e)
{
	struct nlmsghdr *req = nl_begin(nl, RTM_GETLINK, name ? 0 : NLM_F_DUMP);
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(req, sizeof(*info));

	info->ifi_family = AF_UNSPEC;
	if (name)
		mnl_attr_put_strz(req, IFLA_IFNAME, name);
	mnl_attr_put_u32(req, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	return nl_talk(nl, req, take_link, out, e);
}

int link_dump(struct nl *nl, struct links *out, struct err *e)
{
	cleanup_links struct links l = LINKS_INIT;
	int r = -EINTR;

	for (int tries = 0; r == -EINTR && tries < TRIES; tries++) {
		links_free(&l);
		r = ask(nl, NULL, &l, e);
	}
	if (r < 0)
		return err_wrap(e, "list links");
	*out = l;
	l = (struct links)LINKS_INIT;
	return 0;
}

int link_get(struct nl *nl, const char *name, struct link_row *out, struct err *e)
{
	cleanup_links struct links l = LINKS_INIT;

	if (ask(nl, name, &l, e) < 0 && e->no != ENODEV)
		return err_wrap(e, "look up link %s", name);
	// the kernel also finds links by an alternative name: that one is not of our making
	if (l.len != 1 || !str_eq(l.items[0].name, name))
		return err_set(e, ENOENT, "no link %s", name);
	*out = l.items[0];
	return 0;
}

static int traffic_attr(const struct nlattr *a, void *arg)
{
	struct rtnl_link_stats64 s = { 0 };
	struct link_traffic *t = arg;

	// Kernels add members at the end.
	if (mnl_attr_get_type(a) != IFLA_STATS64 ||
	    mnl_attr_get_payload_len(a) < offsetof(struct rtnl_link_stats64, multicast))
		return MNL_CB_OK;
	memcpy(&s, mnl_attr_get_payload(a), MIN(sizeof(s), mnl_attr_get_payload_len(a)));
	*t = (struct link_traffic){ s.rx_bytes, s.rx_packets, s.rx_dropped,
				    s.tx_bytes, s.tx_packets, s.tx_dropped };
	return MNL_CB_STOP;
}

static int take_traffic(const struct nlmsghdr *h, void *arg)
{
	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < mnl_nlmsg_size(sizeof(struct ifinfomsg)))
		return MNL_CB_OK;
	return mnl_attr_parse(h, sizeof(struct ifinfomsg), traffic_attr, arg) < 0 ? MNL_CB_ERROR
										  : MNL_CB_OK;
}

int link_traffic(struct nl *nl, const char *name, struct link_traffic *ret, struct err *e)
{
	struct nlmsghdr *req = nl_begin(nl, RTM_GETLINK, 0);
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(req, sizeof(*info));
	struct link_traffic t = { .rx_bytes = UINT64_MAX };

	info->ifi_family = AF_UNSPEC;
	mnl_attr_put_strz(req, IFLA_IFNAME, name);
	if (nl_talk(nl, req, take_traffic, &t, e) < 0)
		return e->no == ENODEV ? err_set(e, ENOENT, "no link %s", name)
				       : err_wrap(e, "look up link %s", name);
	if (t.rx_bytes == UINT64_MAX)
		return err_set(e, EPROTO, "the kernel tells no traffic of %s", name);
	*ret = t;
	return 0;
}

const struct link_row *links_by_index(const struct links *l, int index)
{
	for (size_t i = 0; i < l->len; i++)
		if (l->items[i].index == index)
			return &l->items[i];
	return NULL;
}

const struct link_row *links_by_name(const struct links *l, const char *name)
{
	for (size_t i = 0; i < l->len; i++)
		if (str_eq(l->items[i].name, name))
			return &l->items[i];
	return NULL;
}

void link_owner_print(const char *node_id, const char *address, link_alias out)
{
	// both are checked and bounded: 36 and 95 bytes
	(void)snprintf(out, sizeof(link_alias), OWNER_WORD "%s %s", node_id, address);
}

bool link_owner_parse(const char *alias, char node_id[37], address_text address)
{
	const char *id = alias + strlen(OWNER_WORD);
	struct err why = { 0 };
	struct address a;

	node_id[0] = address[0] = '\0';
	if (!str_starts(alias, OWNER_WORD) || strcspn(id, " ") != UUID_LEN || id[UUID_LEN] != ' ' ||
	    address_parse(id + UUID_LEN + 1, ADDRESS_TENANT, ADDRESS_INSTANCE, &a, &why) < 0)
		return false;
	memcpy(node_id, id, UUID_LEN);
	node_id[UUID_LEN] = '\0';
	address_print(&a, address);
	return true;
}

int link_owner_check(const char *name, const char *text, const char *node_id, const char *address,
		     struct err *e)
{
	char node[UUID_LEN + 1];
	address_text of;

	if (!link_owner_parse(text, node, of))
		(void)err_kind(e, ERR_CONFLICT, "%s was not made by mvm", name);
	else if (!str_eq(node, node_id))
		(void)err_kind(e, ERR_CONFLICT, "%s belongs to node %s (%s)", name, node, of);
	else if (!str_eq(of, address))
		(void)err_kind(e, ERR_CONFLICT, "%s belongs to %s", name, of);
	else
		return 0;
	return err_hint(e, "remove it where it belongs, or use another network namespace");
}
