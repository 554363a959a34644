// SPDX-License-Identifier: MIT
// EROFS, as little of it as it takes: compact inodes, flat uncompressed data, one directory. Block
// 0 has the superblock at 1024, block 1 the inodes (the root is number 1), then the directory, then
// the files, each from a block of its own. Layout: linux/fs/erofs/erofs_fs.h.
#include "disk/image.h"

#include <endian.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/fd.h"

#define BLOCK	   4096u
#define INODE	   32u
#define DIRENT	   12u
#define SUPER_AT   1024u
#define LABEL_SIZE 16u
#define DIR_AT	   8192u
enum { TYPE_FILE = 1, TYPE_DIR = 2 };

struct entry {
	const char *name;
	uint64_t inode;
	uint8_t type;
};

struct dir { // entries in order, and how many blocks their directory takes
	struct entry entries[IMAGE_FILES + 2];
	size_t count;
	uint32_t blocks, last; // bytes in the last one
};

static uint32_t blocks_of(uint64_t bytes)
{
	return (uint32_t)((bytes + BLOCK - 1) / BLOCK);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

// How many entries from the first on fit into one block, and their bytes.
static size_t fit(const struct dir *d, size_t first, uint32_t *bytes)
{
	size_t n = first;

	*bytes = 0;
	while (n < d->count && *bytes + DIRENT + strlen(d->entries[n].name) <= BLOCK)
		*bytes += DIRENT + (uint32_t)strlen(d->entries[n++].name);
	return n - first;
}

static void plan_dir(const struct image *i, struct dir *d)
{
	*d = (struct dir){ .entries = { { ".", 1, TYPE_DIR }, { "..", 1, TYPE_DIR } }, .count = 2 };
	for (size_t f = 0; f < i->count; f++)
		d->entries[d->count++] = (struct entry){ i->files[f].name, f + 2, TYPE_FILE };
	qsort(d->entries, d->count, sizeof(d->entries[0]), by_name); // readers search by halves
	for (size_t at = 0; at < d->count; d->blocks++)
		at += fit(d, at, &d->last);
}

uint64_t image_bytes(const struct image *i)
{
	struct dir d;
	uint64_t blocks;

	plan_dir(i, &d);
	blocks = DIR_AT / BLOCK + d.blocks;
	for (size_t f = 0; f < i->count; f++)
		blocks += blocks_of(i->files[f].len);
	return blocks * BLOCK;
}

static void put(uint8_t *at, uint64_t v, size_t bytes)
{
	v = htole64(v);
	memcpy(at, &v, bytes);
}

static void put_super(const struct image *i, uint8_t *at, uint64_t blocks)
{
	put(at, 0xE0F5E1E2, 4); // magic
	put(at + 12, 12, 1);	// log2 of the block size
	put(at + 14, 1, 2);	// root inode
	put(at + 16, i->count + 1, 8);
	put(at + 24, (uint64_t)i->time, 8); // every file's time
	put(at + 36, blocks, 4);
	put(at + 40, 1, 4); // block of the inodes
	memcpy(at + 64, i->label, strnlen(i->label, LABEL_SIZE));
}

struct inode {
	uint16_t mode, links;
	uint64_t size;
	uint32_t block;
};

static void put_inode(uint8_t *image, uint64_t number, const struct inode *n)
{
	uint8_t *at = image + BLOCK + number * INODE;

	put(at + 4, n->mode, 2); // format 0: compact, flat
	put(at + 6, n->links, 2);
	put(at + 8, n->size, 4);
	put(at + 16, n->block, 4);
	put(at + 20, number, 4);
}

static void put_dir(const struct dir *d, uint8_t *image)
{
	uint8_t *block = image + (size_t)DIR_AT;
	uint32_t bytes;

	for (size_t at = 0, n; at < d->count; at += n, block += BLOCK) {
		size_t name;

		n = fit(d, at, &bytes);
		name = n * DIRENT;
		for (size_t k = 0; k < n; k++) {
			const struct entry *it = &d->entries[at + k];

			put(block + k * DIRENT, it->inode, 8);
			put(block + k * DIRENT + 8, name, 2);
			put(block + k * DIRENT + 10, it->type, 1);
			memcpy(block + name, it->name, strlen(it->name));
			name += strlen(it->name);
		}
	}
}

int image_make(const struct image *i, struct safe *out, struct err *e)
{
	uint64_t used = image_bytes(i);
	struct inode n = { .mode = S_IFDIR | i->dir_mode, .links = 2, .block = DIR_AT / BLOCK };
	uint8_t *at;
	struct dir d;

	if (i->count > IMAGE_FILES || strlen(i->label) >= LABEL_SIZE)
		return err_set(e, EINVAL, "more than %u files, or a long label", IMAGE_FILES);
	if (safe_more(out, used, e) < 0)
		return -e->no;
	at = out->data + out->len;
	memset(at, 0, used);
	plan_dir(i, &d);
	put_super(i, at + SUPER_AT, used / BLOCK);
	n.size = (uint64_t)(d.blocks - 1) * BLOCK + d.last;
	put_inode(at, 1, &n);
	put_dir(&d, at);
	n = (struct inode){ .mode = S_IFREG | i->file_mode,
			    .links = 1,
			    .block = n.block + d.blocks };
	for (size_t f = 0; f < i->count; f++) {
		n.size = i->files[f].len;
		put_inode(at, f + 2, &n);
		if (n.size)
			memcpy(at + (size_t)n.block * BLOCK, i->files[f].data, n.size);
		n.block += blocks_of(n.size);
	}
	out->len += used;
	return 0;
}

uint64_t image_of_secrets(const struct secrets *s)
{
	struct image_file files[SECRETS_MAX] = { 0 };
	const struct image i = { .label = "", .files = files, .count = s->len };

	for (size_t f = 0; f < s->len; f++)
		files[f] = (struct image_file){ s->items[f].name, NULL, s->items[f].len };
	return image_bytes(&i);
}

int image_check_size(uint64_t used, uint64_t drive_mib, struct err *e)
{
	if (used + TRAILER_SIZE <= drive_mib * MIB)
		return 0;
	return err_kind(e, ERR_QUOTA, "%llu bytes do not fit into a drive of %llu MiB",
			0ULL + used + TRAILER_SIZE, 0ULL + drive_mib);
}

static int put_at(int fd, const void *data, size_t len, uint64_t at, struct err *e)
{
	if (lseek(fd, (off_t)at, SEEK_SET) < 0)
		return err_sys(e, "seek in the drive");
	return fd_write_all(fd, data, len, e);
}

// What the former image had more: a secret that is gone is gone from the drive as well.
static int clear_rest(int fd, uint64_t from, uint64_t to, struct err *e)
{
	static const uint8_t zeros[BLOCK];

	for (; from < to; from += BLOCK)
		if (put_at(fd, zeros, BLOCK, from, e) < 0)
			return -e->no;
	return 0;
}

int image_write(int fd, const struct image_drive *drive, const struct safe *image,
		struct trailer *ret, struct err *e)
{
	struct trailer t = { .used = image->len, .number = drive->number }, old = { 0 };
	const uint64_t size = drive->size;
	static const uint8_t zeros[TRAILER_SIZE];
	uint8_t block[TRAILER_SIZE];
	struct err ignored = { 0 };
	uint64_t was = 0;

	if (image_check_size(image->len, size / MIB, e) < 0)
		return -e->no;
	// An unknown former image may have been anywhere.
	if (!drive->fresh)
		was = trailer_check(fd, &old, &ignored) == 0 ? old.used : size - TRAILER_SIZE;
	if (put_at(fd, zeros, TRAILER_SIZE, size - TRAILER_SIZE, e) < 0)
		return err_wrap(e, "clear the drive's end");
	if (fault_point("image-cleared"))
		return err_sys(e, "write the drive");
	if (put_at(fd, image->data, image->len, 0, e) < 0 || clear_rest(fd, image->len, was, e) < 0)
		return err_wrap(e, "write the drive");
	if (fault_point("image-written"))
		return err_sys(e, "write the drive's end");
	trailer_make(&t, image->data, block);
	if (put_at(fd, block, TRAILER_SIZE, size - TRAILER_SIZE, e) < 0)
		return err_wrap(e, "write the drive's end");
	*ret = t;
	return 0;
}
