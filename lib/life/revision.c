// SPDX-License-Identifier: MIT
#include "life/revision.h"
#include "base/fd.h"
#include "state/pool.h"
#include <fcntl.h>

const struct field fc_base_fields[] = {
	{ FIELD_NAMED("boot-source", struct fc_base, boot_source, struct fc_boot_source),
	  .kind = KIND_RECORD, .flags = FIELD_REQUIRED, .sub = fc_boot_source_fields,
	  .doc = "kernel, initrd and command line" },
	{ FIELD_SLOT(struct fc_base, drives, struct codec_list), .kind = KIND_LIST,
	  .flags = FIELD_REQUIRED, .max = 8, .sub = fc_drive_fields,
	  .item_size = sizeof(struct fc_drive), .doc = "shared drives, the root first" },
	FIELD_END
};

// Names of the revision's own files; nothing may lead out of it.
static int check_names(const struct fc_base *b, struct err *e)
{
	const struct fc_drive *d = b->drives.items;
	const char *names[16] = { b->boot_source.kernel_image_path, b->boot_source.initrd_path };
	size_t n = 2;

	for (size_t i = 0; i < b->drives.len; i++)
		names[n++] = d[i].path_on_host;
	for (size_t i = 0; i < n; i++)
		if (names[i] && (!names[i][0] || names[i][0] == '.' || strchr(names[i], '/')))
			return err_kind(e, ERR_DAMAGED, "'%s' is not a file name", names[i]);
	return 0;
}

int revision_open(const char *tenant, const char *pool, struct revision *ret, struct err *e)
{
	char hash[65];

	if (pool_revision(tenant, pool, hash, e) < 0)
		return -e->no;
	if (!hash[0]) {
		(void)err_kind(e, ERR_STATE, "pool %s/%s has no image", tenant, pool);
		return err_hint(e, "run 'mvm pool build %s/%s'", tenant, pool);
	}
	return revision_open_hash(tenant, pool, hash, ret, e);
}

int revision_open_hash(const char *tenant, const char *pool, const char *hash, struct revision *ret,
		       struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	path_text dir, path;

	if (!hash[0] || strchr(hash, '/') || hash[0] == '.' || COPY(ret->hash, hash) < 0)
		return err_kind(e, ERR_MISSING, "no image '%.64s'", hash);
	path_pool(tenant, pool, dir);
	path_join(path, dir, "artifacts/revisions");
	path_join(dir, path, ret->hash);
	ret->dir = fd_open_dir(AT_FDCWD, dir, e);
	if (ret->dir < 0)
		return err_wrap(e, "revision %s", ret->hash);
	if (fd_read_file(ret->dir, "fc-base.json", CODEC_MAX, &text, e) < 0)
		return err_wrap(e, "%s", dir);
	if (codec_parse(fc_base_fields, buf_text(&text), text.len, &ret->base, e) < 0 ||
	    check_names(&ret->base, e) < 0) {
		e->kind = ERR_DAMAGED;
		return err_wrap(e, "%s/fc-base.json", dir);
	}
	return 0;
}

void revision_close(struct revision *r)
{
	base_closep(&r->dir);
	r->dir = -1;
	codec_free(fc_base_fields, &r->base);
	memset(&r->base, 0, sizeof(r->base));
}
