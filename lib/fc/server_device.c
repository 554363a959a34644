// SPDX-License-Identifier: MIT
#include "fc/server_parts.h"

#include <ctype.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/stat.h>

#include "fc/resolve.h"

#define DEVICES_MAX 32 // of a kind: more than there are slots, so that requests cannot pile up

int server_check_drive_file(const struct server *s, const char *path, bool read_only, struct err *e)
{
	cleanup_fd int fd = qemu_resolve(s->root_fd, path, read_only ? O_RDONLY : O_RDWR, e);
	struct stat sb;

	if (fd < 0)
		return fd;
	if (fstat(fd, &sb) < 0)
		return err_sys(e, "stat %s", path);
	if (!S_ISREG(sb.st_mode) && !S_ISBLK(sb.st_mode))
		return err_set(e, EINVAL, "%s: neither a file nor a block device", path);
	return 0;
}

static struct fc_drive *drive_find(struct server *s, const char *id)
{
	struct fc_drive *d = s->config.drives.items;

	for (size_t i = 0; i < s->config.drives.len; i++)
		if (str_eq(d[i].drive_id, id))
			return &d[i];
	return NULL;
}

static int drive_check(struct server *s, const struct fc_drive *d, struct err *e)
{
	const struct fc_drive *first = s->config.drives.items; // where the root drive always is

	if (d->rate_limiter)
		return server_refuse(e, "rate limiters");
	if (d->socket)
		return server_refuse(e, "vhost-user drives");
	if (d->is_root_device && s->config.drives.len && first->is_root_device &&
	    !str_eq(first->drive_id, d->drive_id))
		return err_usage(e, "Drive config error: A root block device already exists!");
	if (!d->path_on_host)
		return err_usage(e, "Drive config error: Unable to create the virtio block device: "
				    "Invalid block config.");
	if (server_check_drive_file(s, d->path_on_host, d->is_read_only, e) < 0)
		return err_wrap(e, "Drive config error: Unable to create the virtio block device");
	if (s->config.drives.len >= DEVICES_MAX && !drive_find(s, d->drive_id))
		return err_usage(e, "Drive config error: too many drives");
	return 0;
}

// In the order of the requests, the root drive first.
static void drive_store(struct server *s, const struct fc_drive *d)
{
	struct fc_drive *at = drive_find(s, d->drive_id), *first;

	if (at)
		codec_free(fc_drive_fields, at);
	else
		at = codec_list_add(&s->config.drives, sizeof(*at));
	*at = *d;
	first = s->config.drives.items;
	if (d->is_root_device && at != first) {
		memmove(first + 1, first, (size_t)((char *)at - (char *)first));
		*first = *d;
	}
}

int server_put_drive(struct server_call *c, struct err *e)
{
	struct fc_drive d = { 0 };

	if (fc_id_check(c->id ? c->id : "", e) < 0 || server_parse(c, fc_drive_fields, &d, e) < 0)
		return -e->no;
	if (server_check_id(c, d.drive_id, e) == 0) {
		c->s->booting = true;
		if (drive_check(c->s, &d, e) == 0) {
			drive_store(c->s, &d);
			return 0;
		}
	}
	codec_free(fc_drive_fields, &d);
	return -e->no;
}

struct drive_update {
	char *drive_id, *path_on_host, *rate_limiter;
};
static const struct field drive_update_fields[] = {
	{ FIELD_SLOT(struct drive_update, drive_id, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED },
	{ FIELD_SLOT(struct drive_update, path_on_host, char *), .kind = KIND_STRING,
	  .flags = FIELD_NULLABLE },
	{ FIELD_SLOT(struct drive_update, rate_limiter, char *), .kind = KIND_RAW,
	  .flags = FIELD_NULLABLE },
	FIELD_END
};

static int drive_update(struct server_call *c, struct drive_update *u, struct err *e)
{
	struct fc_drive *d;

	if (server_check_id(c, u->drive_id, e) < 0)
		return -e->no;
	if (u->rate_limiter)
		return server_refuse(e, "rate limiters");
	d = drive_find(c->s, u->drive_id);
	if (!d)
		return err_usage(e,
				 "Drive config error: Unable to patch the block device: there is "
				 "no drive '%.64s'",
				 u->drive_id);
	if (!u->path_on_host)
		return err_usage(e, "Drive config error: Unable to patch the block device: nothing "
				    "is to be changed");
	if (server_check_drive_file(c->s, u->path_on_host, d->is_read_only, e) < 0 ||
	    qemu_set_drive(c->s->qemu, d->drive_id, u->path_on_host, e) < 0)
		return err_wrap(e, "Drive config error: Unable to patch the block device");
	free(d->path_on_host);
	d->path_on_host = steal_ptr(&u->path_on_host);
	return 0;
}

int server_patch_drive(struct server_call *c, struct err *e)
{
	struct drive_update u = { 0 };
	int r;

	if (server_parse(c, drive_update_fields, &u, e) < 0)
		return -e->no;
	r = drive_update(c, &u, e);
	codec_free(drive_update_fields, &u);
	return r;
}

static struct fc_net *net_find(struct server *s, const char *id)
{
	struct fc_net *n = s->config.nets.items;

	for (size_t i = 0; i < s->config.nets.len; i++)
		if (str_eq(n[i].iface_id, id))
			return &n[i];
	return NULL;
}

static int net_check(struct server *s, const struct fc_net *n, struct err *e)
{
	const struct fc_net *other = s->config.nets.items;

	if (n->rx_rate_limiter || n->tx_rate_limiter)
		return server_refuse(e, "rate limiters");
	for (size_t i = 0; i < s->config.nets.len; i++) {
		if (str_eq(other[i].iface_id, n->iface_id))
			continue;
		if (n->guest_mac && other[i].guest_mac && str_eq(n->guest_mac, other[i].guest_mac))
			return err_usage(e,
					 "Network config error: The MAC address is already in "
					 "use: %s",
					 n->guest_mac);
		if (str_eq(n->host_dev_name, other[i].host_dev_name))
			return err_usage(e,
					 "Network config error: Could not create the network "
					 "device: %s is busy",
					 n->host_dev_name);
	}
	if (strlen(n->host_dev_name) >= IF_NAMESIZE || !if_nametoindex(n->host_dev_name))
		return err_usage(e,
				 "Network config error: Could not create the network device: "
				 "there is no TAP device '%.32s'",
				 n->host_dev_name);
	if (s->config.nets.len >= DEVICES_MAX && !net_find(s, n->iface_id))
		return err_usage(e, "Network config error: too many interfaces");
	return 0;
}

static void net_store(struct server *s, const struct fc_net *n)
{
	struct fc_net *at = net_find(s, n->iface_id);

	if (at)
		codec_free(fc_net_fields, at);
	else
		at = codec_list_add(&s->config.nets, sizeof(*at));
	*at = *n;
}

int server_put_net(struct server_call *c, struct err *e)
{
	struct fc_net n = { 0 };

	if (fc_id_check(c->id ? c->id : "", e) < 0 || server_parse(c, fc_net_fields, &n, e) < 0)
		return -e->no;
	for (char *m = n.guest_mac; m && *m; m++)
		*m = (char)tolower((unsigned char)*m);
	if (server_check_id(c, n.iface_id, e) == 0) {
		c->s->booting = true;
		if (net_check(c->s, &n, e) == 0) {
			net_store(c->s, &n);
			return 0;
		}
	}
	codec_free(fc_net_fields, &n);
	return -e->no;
}

struct net_update {
	char *iface_id, *rx_rate_limiter, *tx_rate_limiter;
};
static const struct field net_update_fields[] = {
	{ FIELD_SLOT(struct net_update, iface_id, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED },
	{ FIELD_SLOT(struct net_update, rx_rate_limiter, char *), .kind = KIND_RAW,
	  .flags = FIELD_NULLABLE },
	{ FIELD_SLOT(struct net_update, tx_rate_limiter, char *), .kind = KIND_RAW,
	  .flags = FIELD_NULLABLE },
	FIELD_END
};

// Only limiters can be changed, and there are none: a change of nothing is fine.
int server_patch_net(struct server_call *c, struct err *e)
{
	struct net_update u = { 0 };
	int r;

	if (server_parse(c, net_update_fields, &u, e) < 0)
		return -e->no;
	r = server_check_id(c, u.iface_id, e);
	if (r == 0 && (u.rx_rate_limiter || u.tx_rate_limiter))
		r = server_refuse(e, "rate limiters");
	if (r == 0 && !net_find(c->s, u.iface_id))
		r = err_usage(e,
			      "Network config error: Unable to update the net device: there is "
			      "no interface '%.64s'",
			      u.iface_id);
	codec_free(net_update_fields, &u);
	return r;
}
