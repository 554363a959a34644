// SPDX-License-Identifier: MIT
// What the drives for secrets and configuration of one instance hold now.
#pragma once
#include "disk/drive.h"
#include "disk/image.h"

struct content {
	struct safe image;
	uint64_t size;	 // of the drive
	uint64_t number; // epoch or version
};
#define CONTENT_NONE               \
	{                          \
		.image = SAFE_NONE \
	}
#define cleanup_content cleanup(content_free)
void content_free(struct content *c);
// s: the instance's directory. A template has neither secrets nor values: its memory is
// everybody's.
int content_make(const struct store *s, const struct address *a, enum drive_kind kind,
		 struct content *ret, struct err *e) MUST_CHECK;

// config.json in the configuration's drive.
struct content_policy {
	int seccomp_policy;
	int egress;
	bool metadata_enabled;
	bool pinned;
	bool critical;
	struct pool_sleep_policy sleep_policy;
};
struct content_config {
	uint32_t schema_version; // 1
	uint64_t config_version;
	node_id_text node_id;
	name_text tenant_id;
	name_text pool_id;
	instance_text instance_id;
	ip_text guest_ip;
	ip_text gateway_ip;
	uint32_t cidr;
	mac_text mac;
	struct pool_resources resources;
	struct content_policy policy;
	char *values; // of the tenant's
};
extern const struct field content_config_fields[];
