// SPDX-License-Identifier: MIT
#include "snap/packer.h"

#include <assert.h>
#include <signal.h>

#include "base/fd.h"
#include "base/proc.h"

const struct field snap_packer_fields[] = {
	{ FIELD_SLOT(struct snap_packer, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "version of this format" },
	{ FIELD_SLOT(struct snap_packer, pid, uint32_t), .kind = KIND_UINT, .flags = FIELD_REQUIRED,
	  .min = 2, .max = 1 << 22, .doc = "who packs it" },
	{ FIELD_SLOT(struct snap_packer, pid_start, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .doc = "when that process began" },
	{ FIELD_SLOT(struct snap_packer, boot_id, char[37]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .doc = "boot of the host" },
	FIELD_END
};

int snap_packer_begin(const struct snap_gen *g, struct err *e)
{
	struct snap_packer p = { .schema_version = 1 };
	cleanup_buf struct buf text = BUF_INIT;
	struct proc_id self;

	assert(g->lock >= 0);
	if (proc_id_get(getpid(), &self, e) < 0 || clock_boot_id(p.boot_id, e) < 0)
		return -e->no;
	p.pid = (uint32_t)self.pid;
	p.pid_start = self.start;
	codec_print(snap_packer_fields, &p, &text);
	return fd_replace_file(g->dir, SNAP_PACKER, text.data, text.len, SNAP_MANIFEST_MODE, e);
}

void snap_packer_done(const struct snap_gen *g)
{
	(void)unlinkat(g->dir, SNAP_PACKER, 0); // one that stays names a process that has ended
}

static int read_packer(const struct store *s, const char *ref, struct snap_packer *ret,
		       struct err *e)
{
	char path[sizeof(SNAP_DIR) + SNAP_REF + 1];
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_fd int dir = -1;

	if (snap_ref_check(ref, e) < 0)
		return -e->no;
	base_cut(path, sizeof(path), SNAP_DIR "/%s", ref);
	dir = fd_open_dir(s->dir, path, e);
	if (dir < 0 || fd_read_file(dir, SNAP_PACKER, 4 * KIB, &text, e) < 0)
		return -e->no;
	return codec_parse(snap_packer_fields, buf_text(&text), text.len, ret, e);
}

int snap_packer_end(const struct store *s, const char *ref, struct err *e)
{
	struct snap_packer p = { 0 };
	struct err unread = { 0 };
	cleanup_fd int fd = -1;
	char boot[37];

	// Only a word of advice: what cannot be read names nobody, and the lock is waited for.
	if (read_packer(s, ref, &p, &unread) < 0)
		return 0;
	if (clock_boot_id(boot, e) < 0)
		return -e->no;
	const struct proc_id id = { (pid_t)p.pid, p.pid_start };

	if (!str_eq(boot, p.boot_id))
		return 0;
	fd = proc_id_open(&id, e);
	if (fd < 0) { // it has ended
		err_clear(e);
		return 0;
	}
	return proc_kill(fd, SIGTERM, e);
}
