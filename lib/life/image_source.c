// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/tool.h"
#include "life/image_part.h"
#include "life/revision.h"
#include "sys/digest.h"

#define BLOCK	 65536
#define INFO_MAX 65536

const struct field image_info_fields[] = {
	{ FIELD_SLOT(struct image_info, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "1" },
	{ FIELD_SLOT(struct image_info, system, char[32]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .doc = "x86_64-linux" },
	{ FIELD_SLOT(struct image_info, profile, char[41]), .kind = KIND_TEXT,
	  .doc = "what it is" },
	{ FIELD_SLOT(struct image_info, kernel_release, char[65]), .kind = KIND_TEXT,
	  .doc = "as uname -r says in the guest" },
	{ FIELD_SLOT(struct image_info, rootfs, char[32]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 1, .doc = "name of the root file system" },
	{ FIELD_SLOT(struct image_info, init, char[256]), .kind = KIND_TEXT,
	  .doc = "process 1 on the root file system" },
	{ FIELD_SLOT(struct image_info, boot_args, char *), .kind = KIND_STRING,
	  .flags = FIELD_REQUIRED, .max = 1500, .doc = "kernel command line" },
	FIELD_END
};

static const struct field image_file_fields[] = {
	{ FIELD_SLOT(struct image_file, name, char[32]), .kind = KIND_TEXT, .flags = FIELD_REQUIRED,
	  .min = 1, .doc = "file name" },
	{ FIELD_SLOT(struct image_file, sha256, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .min = 64, .doc = "its digest" },
	{ FIELD_SLOT(struct image_file, size_bytes, uint64_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .max = UINT64_MAX, .doc = "its length" },
	FIELD_END
};

const struct field image_manifest_fields[] = {
	{ FIELD_SLOT(struct image_manifest, schema_version, uint32_t), .kind = KIND_UINT,
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1, .doc = "1" },
	{ FIELD_SLOT(struct image_manifest, revision_hash, char[65]), .kind = KIND_TEXT,
	  .flags = FIELD_REQUIRED, .doc = "of the files' names and digests" },
	{ FIELD_SLOT(struct image_manifest, system, char[32]), .kind = KIND_TEXT,
	  .doc = "x86_64-linux" },
	{ FIELD_SLOT(struct image_manifest, profile, char[41]), .kind = KIND_TEXT,
	  .doc = "of the image" },
	{ FIELD_SLOT(struct image_manifest, kernel_release, char[65]), .kind = KIND_TEXT,
	  .doc = "of the image" },
	{ FIELD_SLOT(struct image_manifest, init, char[256]), .kind = KIND_TEXT,
	  .doc = "of the image" },
	{ FIELD_SLOT(struct image_manifest, files, struct codec_list), .kind = KIND_LIST,
	  .flags = FIELD_REQUIRED, .max = 16, .sub = image_file_fields,
	  .item_size = sizeof(struct image_file), .doc = "all but this one, by name" },
	{ FIELD_SLOT(struct image_manifest, built_at, time_text), .kind = KIND_TEXT,
	  .doc = "when it became a revision" },
	FIELD_END
};

static int open_part(int dir, const char *name, struct stat *st, struct err *e)
{
	// A FIFO would hold us up for ever.
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 && errno == ELOOP)
		return err_kind(e, ERR_USAGE, "%s: a link, not a file", name);
	if (fd < 0 || fstat(fd, st) < 0)
		return err_sys(e, "open %s", name);
	if (!S_ISREG(st->st_mode) || st->st_size == 0)
		return err_kind(e, ERR_USAGE, "%s: not a file with something in it", name);
	return steal_fd(&fd);
}

static int add_part(struct image_source *s, const char *name, struct err *e)
{
	struct image_file *f = codec_list_add(&s->manifest.files, sizeof(*f));
	struct stat st = { 0 };
	cleanup_fd int fd = open_part(s->dir, name, &st, e);

	if (fd < 0)
		return -e->no;
	if (COPY(f->name, name) < 0)
		return err_kind(e, ERR_USAGE, "%s: name too long", name);
	f->size_bytes = (uint64_t)st.st_size;
	tool_progress(name, "digest", 0, f->size_bytes);
	return digest_fd(fd, f->sha256, e) < 0 ? err_wrap(e, "%s", name) : 0;
}

// VMMs load the kernel itself, not a loader around it.
static int check_kernel(int dir, struct err *e)
{
	struct stat st;
	cleanup_fd int fd = open_part(dir, "vmlinux", &st, e);
	char magic[4] = "";

	if (fd < 0)
		return -e->no;
	if (read(fd, magic, sizeof(magic)) < 0)
		return err_sys(e, "read vmlinux");
	return memcmp(magic, "\177ELF", 4) == 0
		       ? 0
		       : err_kind(e, ERR_USAGE, "vmlinux: not an ELF file");
}

static int read_info(struct image_source *s, struct err *e)
{
	static const char *const names[] = { "rootfs.erofs", "rootfs.squashfs", "rootfs.ext4" };
	cleanup_buf struct buf text = BUF_INIT;

	if (fd_read_file(s->dir, "mvm-image.json", INFO_MAX, &text, e) < 0 ||
	    codec_parse(image_info_fields, buf_text(&text), text.len, &s->info, e) < 0)
		return err_wrap(e, "mvm-image.json");
	if (!str_eq(s->info.system, "x86_64-linux"))
		return err_kind(e, ERR_USAGE, "mvm-image.json: system %s cannot run here",
				s->info.system);
	for (size_t i = 0; i < COUNT(names); i++)
		if (str_eq(s->info.rootfs, names[i]))
			return 0;
	return err_kind(e, ERR_USAGE,
			"mvm-image.json: rootfs: '%s' is none of rootfs.erofs, "
			"rootfs.squashfs, rootfs.ext4",
			s->info.rootfs);
}

static void make_fc_base(struct image_source *s, bool initrd)
{
	char kernel[] = "vmlinux", ramdisk[] = "initrd", id[] = "rootfs";
	struct fc_base base = { .boot_source = { .kernel_image_path = kernel,
						 .initrd_path = initrd ? ramdisk : NULL,
						 .boot_args = s->info.boot_args } };
	struct fc_drive root = { .drive_id = id,
				 .path_on_host = s->info.rootfs,
				 .is_root_device = true,
				 .is_read_only = true };

	base.drives = (struct codec_list){ &root, 1 };
	codec_print(fc_base_fields, &base, &s->fc_base);
	buf_char(&s->fc_base, '\n');
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct image_file *)a)->name, ((const struct image_file *)b)->name);
}

static int make_hash(struct image_source *s, struct err *e)
{
	struct image_manifest *m = &s->manifest;
	struct image_file *f = codec_list_add(&m->files, sizeof(*f));
	cleanup_buf struct buf text = BUF_INIT;
	digest_text digest;

	if (COPY(f->name, "fc-base.json") < 0 ||
	    digest_data(s->fc_base.data, s->fc_base.len, f->sha256, e) < 0)
		return err_wrap(e, "fc-base.json");
	f->size_bytes = s->fc_base.len;
	f = m->files.items;
	qsort(f, m->files.len, sizeof(*f), by_name);
	for (size_t i = 0; i < m->files.len; i++)
		buf_fmt(&text, "%s %s\n", f[i].name, f[i].sha256);
	if (digest_data(text.data, text.len, digest, e) < 0)
		return -e->no;
	memcpy(m->revision_hash, digest, IMAGE_HASH);
	return 0;
}

int image_source_open(const char *dir, struct image_source *ret, struct err *e)
{
	struct image_source *s = ret;
	struct image_manifest *m = &s->manifest;
	struct stat st;
	bool initrd;

	s->dir = open(dir, O_DIRECTORY | O_CLOEXEC);
	if (s->dir < 0)
		return err_sys(e, "open %s", dir);
	if (read_info(s, e) < 0 || check_kernel(s->dir, e) < 0)
		return err_wrap(e, "%s", dir);
	initrd = fstatat(s->dir, "initrd", &st, AT_SYMLINK_NOFOLLOW) == 0;
	make_fc_base(s, initrd);
	m->schema_version = 1;
	if (COPY(m->system, s->info.system) < 0 || COPY(m->profile, s->info.profile) < 0 ||
	    COPY(m->kernel_release, s->info.kernel_release) < 0 || COPY(m->init, s->info.init) < 0)
		return err_set(e, ENAMETOOLONG, "%s", dir);
	if (add_part(s, "vmlinux", e) < 0 || (initrd && add_part(s, "initrd", e) < 0) ||
	    add_part(s, s->info.rootfs, e) < 0 || make_hash(s, e) < 0)
		return err_wrap(e, "%s", dir);
	return 0;
}

void image_source_close(struct image_source *s)
{
	base_closep(&s->dir);
	codec_free(image_info_fields, &s->info);
	codec_free(image_manifest_fields, &s->manifest);
	buf_free(&s->fc_base);
}

// Runs of zeros become holes.
static int copy_bytes(int from, int to, struct err *e)
{
	static const char zero[BLOCK];
	char block[BLOCK];
	off_t size = 0;
	ssize_t n;

	while ((n = read(from, block, sizeof(block))) > 0) {
		size += n;
		if (memcmp(block, zero, (size_t)n) == 0) {
			if (lseek(to, n, SEEK_CUR) < 0)
				return err_sys(e, "seek");
		} else if (fd_write_all(to, block, (size_t)n, e) < 0) {
			return -e->no;
		}
	}
	if (n < 0)
		return err_sys(e, "read");
	return ftruncate(to, size) < 0 ? err_sys(e, "truncate") : 0;
}

static int finish_part(int fd, struct err *e)
{
	if (geteuid() == 0 && fchown(fd, 0, 0) < 0)
		return err_sys(e, "owner");
	if (fchmod(fd, 0444) < 0)
		return err_sys(e, "mode");
	return fsync(fd) < 0 ? err_sys(e, "sync") : 0;
}

static int copy_part(const struct image_source *s, const struct image_file *f, int to,
		     struct err *e)
{
	cleanup_fd int out = openat(to, f->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	cleanup_fd int in = -1;
	digest_text digest;
	struct stat st;

	if (out < 0)
		return err_sys(e, "make");
	if (str_eq(f->name, "fc-base.json"))
		return fd_write_all(out, s->fc_base.data, s->fc_base.len, e) < 0
			       ? -e->no
			       : finish_part(out, e);
	in = open_part(s->dir, f->name, &st, e);
	if (in < 0 || copy_bytes(in, out, e) < 0 || finish_part(out, e) < 0)
		return -e->no;
	// What is kept is what was digested, also if somebody writes the source meanwhile.
	if (lseek(out, 0, SEEK_SET) < 0)
		return err_sys(e, "seek");
	if (digest_fd(out, digest, e) < 0)
		return -e->no;
	return str_eq(digest, f->sha256)
		       ? 0
		       : err_kind(e, ERR_UNAVAILABLE, "changed while it was read");
}

int image_source_copy(const struct image_source *s, int to, struct err *e)
{
	const struct image_file *f = s->manifest.files.items;

	for (size_t i = 0; i < s->manifest.files.len; i++) {
		tool_progress(f[i].name, "copy", i, s->manifest.files.len);
		if (copy_part(s, &f[i], to, e) < 0)
			return err_wrap(e, "%s", f[i].name);
	}
	return 0;
}
