// SPDX-License-Identifier: MIT
#include "meta/document.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>

#include "base/fd.h"

static const struct field facts_fields[] = {
	{ FIELD_NAMED("instance-id", struct meta_facts, instance_id, instance_text),
	  .kind = KIND_TEXT, .flags = FIELD_REQUIRED, .doc = "its id, unique on the node" },
	{ FIELD_NAMED("hostname", struct meta_facts, hostname, instance_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "the name it has been given" },
	{ FIELD_NAMED("tenant", struct meta_facts, tenant, name_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "whose it is" },
	{ FIELD_NAMED("pool", struct meta_facts, pool, name_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "the pool it is of" },
	{ FIELD_NAMED("local-ipv4", struct meta_facts, local_ipv4, ip_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "its address" },
	{ FIELD_NAMED("prefix", struct meta_facts, prefix, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = 32, .doc = "length of its network's prefix" },
	{ FIELD_NAMED("gateway", struct meta_facts, gateway, ip_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "its way out" },
	{ FIELD_NAMED("mac", struct meta_facts, mac, mac_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "its hardware address" },
	{ FIELD_NAMED("node-id", struct meta_facts, node_id, node_id_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "the node it runs on" },
	{ FIELD_NAMED("revision", struct meta_facts, revision, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_OMIT_EMPTY, .doc = "the image it runs" },
	{ FIELD_NAMED("created-at", struct meta_facts, created_at, time_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "when its record was made" },
	FIELD_END
};

const struct field meta_document_fields[] = {
	{ FIELD_SLOT(struct meta_document, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct meta_document, address, address_text), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "the instance it is about" },
	{ FIELD_NAMED("meta-data", struct meta_document, meta_data, struct meta_facts),
	  .kind = KIND_RECORD, .flags = FIELD_REQUIRED, .sub = facts_fields,
	  .doc = "what mvm knows of the instance" },
	{ FIELD_NAMED("user-data", struct meta_document, user_data, char *), .kind = KIND_RAW,
	  .flags = FIELD_REQUIRED, .max = META_DOCUMENT_MAX, .doc = "keys for this instance" },
	{ FIELD_NAMED("tenant-data", struct meta_document, tenant_data, char *), .kind = KIND_RAW,
	  .flags = FIELD_REQUIRED, .max = META_DOCUMENT_MAX, .doc = "keys for all of the tenant" },
	FIELD_END
};

void meta_document_free(struct meta_document *d)
{
	codec_free(meta_document_fields, d);
}

void meta_document_name(const char *ip, char out[32])
{
	base_cut(out, 32, "%s.json", ip);
}

// On a machine without the group, and for who cannot give files away, the caller's own.
static gid_t readers(void)
{
	const struct group *g = geteuid() == 0 ? getgrnam(META_GROUP) : NULL;

	return g ? g->gr_gid : getegid();
}

static int set_group(int fd, const char *path, struct err *e)
{
	gid_t gid = readers();
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat %s", path);
	if (st.st_gid != gid && fchown(fd, (uid_t)-1, gid) < 0)
		return err_sys(e, "set group of %s", path);
	if ((st.st_mode & 07777) != 0750 && fchmod(fd, 0750) < 0)
		return err_sys(e, "set mode of %s", path);
	return 0;
}

int meta_dir_open(const char *tenant, bool make, int *ret_parent, struct err *e)
{
	cleanup_fd int parent = -1, dir = -1;
	path_text path;

	path_join(path, path_run(), "metadata");
	if (make && fd_mkdirs(path, 0750, e) < 0)
		return -e->no;
	parent = fd_open_dir(AT_FDCWD, path, e);
	if (parent < 0 ||
	    (make && (set_group(parent, path, e) < 0 || fd_mkdir(parent, tenant, 0750, e) < 0)))
		return -e->no;
	dir = fd_open_dir(parent, tenant, e);
	if (dir < 0 || (make && set_group(dir, tenant, e) < 0))
		return err_wrap(e, "%s", path);
	if (ret_parent)
		*ret_parent = steal_fd(&parent);
	return steal_fd(&dir);
}

int meta_document_read(int dir, const char *name, struct meta_document *ret, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;

	if (fd_read_file(dir, name, META_DOCUMENT_MAX, &text, e) < 0)
		return -e->no;
	if (codec_parse(meta_document_fields, buf_text(&text), text.len, ret, e) == 0)
		return 0;
	e->kind = ERR_DAMAGED;
	return err_wrap(e, "%s", name);
}

int meta_document_write(int dir, const char *name, const struct buf *text, struct err *e)
{
	gid_t own = getegid();
	int r;

	if (text->len > META_DOCUMENT_MAX)
		return err_kind(e, ERR_QUOTA, "%s: larger than %u bytes", name, META_DOCUMENT_MAX);
	if (setegid(readers()) < 0)
		return err_sys(e, "take the group %s", META_GROUP);
	r = fd_replace_file(dir, name, text->data, text->len, 0640, e);
	if (setegid(own) < 0 && r == 0)
		return err_sys(e, "give the group %s back", META_GROUP);
	return r;
}
