// SPDX-License-Identifier: MIT
// The drives of a run, and the directory its VMM is confined to.
#include "life/prepare.h"

#include "base/proc.h"
#include "life/capture.h"
#include "sys/jail.h"

#define DRIVES_MS 170000 // a data disk is copied from its seed in that time

// A revision is never changed: a file that it names and does not have is damage.
static int link_shared(const struct plan *p, const struct jail *jail, const char *name,
		       struct err *e)
{
	if (jail_link(jail, p->revision.dir, name, jail->root, name, JAIL_SHARED, e) == 0)
		return 0;
	if (e->kind != ERR_MISSING)
		return -e->no;
	e->kind = ERR_DAMAGED;
	(void)err_wrap(e, "revision %s", p->revision.hash);
	return err_hint(e, "run 'mvm pool build %s/%s' again", p->a.tenant, p->a.pool);
}

// By a process of its own: what handles secrets is short and has nothing else to do.
int prepare_drives(struct plan *p, struct err *e)
{
	const char *const argv[] = { "mvm-disk", "ensure", p->address, NULL };
	cleanup_drive_rows struct codec_list rows = { 0 };
	cleanup_buf struct buf out = BUF_INIT;
	const struct drive_row *r;

	if (proc_tool(argv, NULL, &out, DRIVES_MS, e) < 0)
		return -e->no;
	if (codec_parse_list(drive_row_fields, sizeof(*r), buf_text(&out), out.len, &rows, e) < 0)
		return err_wrap(e, "mvm-disk");
	r = rows.items;
	for (size_t i = 0; i < rows.len; i++)
		p->drives[r[i].drive] = r[i].present;
	return 0;
}

static void add_bind(struct plan *p, const char *from, const char *name)
{
	struct launch_bind *b = codec_list_add(&p->launch.binds, sizeof(*b));

	b->from = base_strdup(from);
	base_cut(b->name, sizeof(b->name), "%s", name);
}

// The data disk is a link, as it lies on the same file system, and the VM's own while it runs; the
// ramfs is another file system and is bound.
static int link_drives(struct plan *p, const struct jail *jail, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	path_text path;

	if (p->drives[DRIVE_DATA] && (store_open(&s, STORE_INSTANCE, &p->a, e) < 0 ||
				      jail_link(jail, s.dir, "volumes/" DATA_FILE, jail->root,
						DATA_FILE, JAIL_PRIVATE, e) < 0))
		return -e->no;
	for (enum drive_kind k = DRIVE_SECRETS; k < DRIVES; k++) {
		if (!p->drives[k])
			continue;
		place_path(p->a.instance, drive_files[k], path);
		add_bind(p, path, drive_files[k]);
	}
	return 0;
}

// Bound and not linked: the files stay root's, and a VM that could write to them would change what
// its next delta is laid over.
static void bind_capture(struct plan *p)
{
	path_text owner, dir, file;

	if (launch_from_base(&p->launch))
		path_pool(p->a.tenant, p->a.pool, owner);
	else
		path_instance(&p->a, owner);
	path_join(dir, owner, SNAP_DIR);
	path_join(dir, dir, p->launch.capture);
	path_join(file, dir, SNAP_VMSTATE);
	add_bind(p, file, CAPTURE_STATE);
	path_join(file, dir, SNAP_MEM);
	add_bind(p, file, CAPTURE_MEMORY);
}

// A restored VM opens its drives; kernel and initrd are in its memory.
static int link_boot(const struct plan *p, const struct jail *jail, struct err *e)
{
	const struct fc_boot_source *b = &p->revision.base.boot_source;

	if (p->launch.mode == LAUNCH_LOAD)
		return 0;
	if (link_shared(p, jail, b->kernel_image_path, e) < 0)
		return -e->no;
	return b->initrd_path ? link_shared(p, jail, b->initrd_path, e) : 0;
}

int prepare_jail(struct plan *p, struct err *e)
{
	const struct fc_base *b = &p->revision.base;
	const struct fc_drive *d = b->drives.items;
	cleanup_jail struct jail jail = JAIL_NONE;

	if (jail_make(instance_vmm_names[p->vmm.kind], p->a.instance, p->uid, &jail, e) < 0 ||
	    link_boot(p, &jail, e) < 0)
		return -e->no;
	for (size_t i = 0; i < b->drives.len; i++)
		if (link_shared(p, &jail, d[i].path_on_host, e) < 0)
			return -e->no;
	if (p->launch.mode == LAUNCH_LOAD)
		bind_capture(p);
	p->launch.jail = base_strdup(jail.path);
	return link_drives(p, &jail, e);
}
