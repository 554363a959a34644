// SPDX-License-Identifier: MIT
#include "disk/content.h"

#include "disk/config.h"
#include "state/node.h"

static const struct field policy_fields[] = {
	{ FIELD_SLOT(struct content_policy, seccomp_policy, int), .kind = KIND_ENUM,
	  .names = pool_seccomp_names, .doc = "of the VMM" },
	{ FIELD_SLOT(struct content_policy, egress, int), .kind = KIND_ENUM,
	  .names = pool_egress_names, .doc = "where the guest's packets may go" },
	{ FIELD_SLOT(struct content_policy, metadata_enabled, bool), .kind = KIND_BOOL,
	  .doc = "the guest may ask for metadata" },
	{ FIELD_SLOT(struct content_policy, pinned, bool), .kind = KIND_BOOL,
	  .doc = "never put to sleep by policy" },
	{ FIELD_SLOT(struct content_policy, critical, bool), .kind = KIND_BOOL,
	  .doc = "left alone by reconcile" },
	{ FIELD_SLOT(struct content_policy, sleep_policy, struct pool_sleep_policy),
	  .kind = KIND_RECORD, .sub = pool_sleep_policy_fields, .doc = "what counts as idle" },
	FIELD_END
};
const struct field content_config_fields[] = {
	{ FIELD_SLOT(struct content_config, schema_version, uint32_t), .kind = KIND_UINT, .min = 1,
	  .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct content_config, config_version, uint64_t), .kind = KIND_UINT,
	  .doc = "version of the tenant's values" },
	{ FIELD_SLOT(struct content_config, node_id, node_id_text), .kind = KIND_TEXT,
	  .doc = "the node the guest runs on" },
	{ FIELD_SLOT(struct content_config, tenant_id, name_text), .kind = KIND_TEXT,
	  .doc = "its tenant" },
	{ FIELD_SLOT(struct content_config, pool_id, name_text), .kind = KIND_TEXT,
	  .doc = "its pool" },
	{ FIELD_SLOT(struct content_config, instance_id, instance_text), .kind = KIND_TEXT,
	  .doc = "itself" },
	{ FIELD_SLOT(struct content_config, guest_ip, ip_text), .kind = KIND_TEXT,
	  .doc = "its address" },
	{ FIELD_SLOT(struct content_config, gateway_ip, ip_text), .kind = KIND_TEXT,
	  .doc = "the tenant's gateway" },
	{ FIELD_SLOT(struct content_config, cidr, uint32_t), .kind = KIND_UINT,
	  .doc = "prefix length of the tenant's network" },
	{ FIELD_SLOT(struct content_config, mac, mac_text), .kind = KIND_TEXT,
	  .doc = "of its interface" },
	{ FIELD_SLOT(struct content_config, resources, struct pool_resources), .kind = KIND_RECORD,
	  .sub = pool_resources_fields, .doc = "what it is made of" },
	{ FIELD_SLOT(struct content_config, policy, struct content_policy), .kind = KIND_RECORD,
	  .sub = policy_fields, .doc = "what holds for it" },
	{ FIELD_SLOT(struct content_config, values, char *), .kind = KIND_RAW,
	  .max = 2 * CONFIG_BYTES, .doc = "what its tenant set" },
	FIELD_END
};

void content_free(struct content *c)
{
	safe_free(&c->image);
}

static int64_t unix_time(const char *utc)
{
	struct err ignored = { 0 };
	int64_t t = 0;

	return clock_parse_utc(utc, &t, &ignored) < 0 ? 0 : t;
}

static int secrets_image(const struct secrets *set, struct safe *out, struct err *e)
{
	struct image_file files[SECRETS_MAX] = { 0 };
	struct image i = { .label = drive_labels[DRIVE_SECRETS],
			   .file_mode = 0400,
			   .dir_mode = 0500,
			   .files = files,
			   .count = set->len };

	for (size_t f = 0; f < set->len; f++) {
		const struct secret *it = &set->items[f];

		files[f] = (struct image_file){ it->name, set->text.data + it->at, it->len };
		i.time = MAX(i.time, unix_time(it->changed_at));
	}
	return image_make(&i, out, e);
}

static int make_secrets(const char *tenant, bool none, struct content *c, struct err *e)
{
	cleanup_secrets struct secrets set = SECRETS_NONE;

	if (!none && secrets_load(tenant, &set, &c->number, e) < 0)
		return -e->no;
	return secrets_image(&set, &c->image, e);
}

static void take_facts(const struct instance *i, const struct pool *p, struct content_config *d)
{
	d->schema_version = 1;
	memcpy(d->tenant_id, i->tenant_id, sizeof(d->tenant_id));
	memcpy(d->pool_id, i->pool_id, sizeof(d->pool_id));
	memcpy(d->instance_id, i->instance_id, sizeof(d->instance_id));
	memcpy(d->guest_ip, i->net.guest_ip, sizeof(d->guest_ip));
	memcpy(d->gateway_ip, i->net.gateway_ip, sizeof(d->gateway_ip));
	memcpy(d->mac, i->net.mac, sizeof(d->mac));
	d->cidr = i->net.cidr;
	d->resources = p->instance_resources;
	d->policy = (struct content_policy){ .seccomp_policy = p->seccomp_policy,
					     .egress = p->egress,
					     .metadata_enabled = p->metadata_enabled,
					     .pinned = p->pinned,
					     .critical = p->critical,
					     .sleep_policy = p->sleep_policy };
}

static int make_config(const struct instance *i, const struct pool *p, struct content *c,
		       struct err *e)
{
	cleanup(config_free) struct config values = CONFIG_NONE;
	cleanup_buf struct buf text = BUF_INIT, doc = BUF_INIT;
	struct config_read read = { .version = 0 };
	struct content_config d = { 0 };
	int r = 0;

	if (i->role != INSTANCE_ROLE_TEMPLATE) {
		r = config_load(i->tenant_id, 0, &read, e);
		values = read.values;
		take_facts(i, p, &d);
	}
	if (r < 0 || node_id_load(d.node_id, e) < 0)
		return -e->no;
	d.schema_version = 1;
	d.config_version = c->number = read.version;
	config_print(&values, &text);
	d.values = text.data;
	codec_print(content_config_fields, &d, &doc);
	buf_char(&doc, '\n');
	const struct image_file file = { "config.json", doc.data, doc.len };
	const struct image image = { .label = drive_labels[DRIVE_CONFIG],
				     .file_mode = 0444,
				     .dir_mode = 0555,
				     .files = &file,
				     .count = 1,
				     .time = unix_time(read.changed_at) };

	return image_make(&image, &c->image, e);
}

int content_make(const struct store *s, const struct address *a, enum drive_kind kind,
		 struct content *ret, struct err *e)
{
	cleanup_pool struct pool p = { 0 };
	struct instance i = { 0 };
	uint64_t mib;
	int r;

	if (pool_load(a->tenant, a->pool, &p, e) < 0 || instance_load_from(s, a, NULL, &i, e) < 0)
		return -e->no;
	mib = kind == DRIVE_SECRETS ? p.instance_resources.secrets_mib : DRIVE_CONFIG_MIB;
	r = kind == DRIVE_SECRETS
		    ? make_secrets(a->tenant, i.role == INSTANCE_ROLE_TEMPLATE, ret, e)
		    : make_config(&i, &p, ret, e);
	if (r < 0)
		return r;
	ret->size = mib * MIB;
	return image_check_size(ret->image.len, mib, e);
}
