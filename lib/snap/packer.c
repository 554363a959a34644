// SPDX-License-Identifier: MIT
#include "snap/packer.h"

#include <assert.h>
#include <signal.h>

#include "base/fd.h"
#include "base/proc.h"

const struct field snap_process_fields[] = {
	{ FIELD_SLOT(struct snap_process, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct snap_process, pid, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 2, .max = 1 << 22, .doc = "its id" },
	{ FIELD_SLOT(struct snap_process, pid_start, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .doc = "when it began" },
	{ FIELD_SLOT(struct snap_process, boot_id, char[37]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .doc = "boot of the host" },
	FIELD_END
};

static int note(int dir, const char *name, struct err *e)
{
	struct snap_process p = { .schema_version = 1 };
	cleanup_buf struct buf text = BUF_INIT;
	struct proc_id self;

	if (proc_id_get(getpid(), &self, e) < 0 || clock_boot_id(p.boot_id, e) < 0)
		return -e->no;
	p.pid = (uint32_t)self.pid;
	p.pid_start = self.start;
	codec_print(snap_process_fields, &p, &text);
	return fd_replace_file(dir, name, text.data, text.len, SNAP_MANIFEST_MODE, e);
}

// Of this boot of the host: ret->start 0 when it was another.
static int noted(int dir, const char *name, struct proc_id *ret, struct err *e)
{
	cleanup_buf struct buf text = BUF_INIT;
	struct snap_process p = { 0 };
	char boot[37];

	if (fd_read_file(dir, name, 4 * KIB, &text, e) < 0 ||
	    codec_parse(snap_process_fields, buf_text(&text), text.len, &p, e) < 0 ||
	    clock_boot_id(boot, e) < 0)
		return -e->no;
	*ret = (struct proc_id){ (pid_t)p.pid, str_eq(boot, p.boot_id) ? p.pid_start : 0 };
	return 0;
}

// --- the packer

int snap_packer_begin(const struct snap_gen *g, struct err *e)
{
	assert(g->lock >= 0);
	return note(g->dir, SNAP_PACKER, e);
}

void snap_packer_done(const struct snap_gen *g)
{
	(void)unlinkat(g->dir, SNAP_PACKER, 0); // one that stays names a process that has ended
}

static int read_packer(const struct store *s, const char *ref, struct proc_id *ret, struct err *e)
{
	char path[sizeof(SNAP_DIR) + SNAP_REF + 1];
	cleanup_fd int dir = -1;

	if (snap_ref_check(ref, e) < 0)
		return -e->no;
	base_cut(path, sizeof(path), SNAP_DIR "/%s", ref);
	dir = fd_open_dir(s->dir, path, e);
	return dir < 0 ? -e->no : noted(dir, SNAP_PACKER, ret, e);
}

int snap_packer_end(const struct store *s, const char *ref, struct err *e)
{
	struct err unread = { 0 };
	struct proc_id id = { 0 };
	cleanup_fd int fd = -1;

	// Only a word of advice: what cannot be read names nobody, and the lock is waited for.
	if (read_packer(s, ref, &id, &unread) < 0 || !id.start)
		return 0;
	fd = proc_id_open(&id, e);
	if (fd < 0) { // it has ended
		err_clear(e);
		return 0;
	}
	return proc_kill(fd, SIGTERM, e);
}

// --- the owner

int snap_own(const struct snap_draft *d, struct err *e)
{
	return note(d->draft.dir, SNAP_OWNER, e);
}

bool snap_owner_gone(int dir)
{
	struct err unread = { 0 };
	struct proc_id id = { 0 };

	return noted(dir, SNAP_OWNER, &id, &unread) == 0 && (!id.start || !proc_id_alive(&id));
}
