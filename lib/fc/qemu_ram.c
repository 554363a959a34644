// SPDX-License-Identifier: MIT
// Guest memory is a memfd of ours that QEMU maps too, so its contents are taken and given here,
// without QEMU. Holes are never read: they are zero, and reading a hole of a mapped memfd would
// fill it.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "fc/qemu_parts.h"

#define CHUNK (256 * KIB)

int qemu_ram_new(struct qemu_ram *r, uint64_t size, struct err *e)
{
	cleanup_fd int fd = memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return err_sys(e, "memfd");
	if (ftruncate(fd, (off_t)size) < 0)
		return err_sys(e, "guest memory of %llu bytes", (unsigned long long)size);
	// QEMU cannot pull it from under our feet.
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_sys(e, "seal guest memory");
	*r = (struct qemu_ram){ .fd = steal_fd(&fd), .size = size, .ref = REF_ZERO, .ref_fd = -1 };
	return 0;
}

static void set_ref(struct qemu_ram *r, enum qemu_ref ref, int fd)
{
	base_closep(&r->ref_fd);
	r->ref = ref;
	r->ref_fd = fd;
}

void qemu_ram_free(struct qemu_ram *r)
{
	set_ref(r, REF_ZERO, -1);
	base_closep(&r->fd);
	r->fd = -1;
}

static bool ref_stat(const struct qemu_ram *r, struct stat *st)
{
	return fstat(r->ref_fd, st) == 0 && (uint64_t)st->st_size == r->size;
}

// The file stays the reference as long as nobody writes to it.
static void set_ref_file(struct qemu_ram *r, int fd)
{
	struct stat st;

	set_ref(r, REF_FILE, fd);
	if (!ref_stat(r, &st)) {
		set_ref(r, REF_UNKNOWN, -1);
		return;
	}
	r->ref_dev = st.st_dev;
	r->ref_ino = st.st_ino;
	r->ref_mtime_s = st.st_mtim.tv_sec;
	r->ref_mtime_ns = st.st_mtim.tv_nsec;
}

static void check_ref_file(struct qemu_ram *r)
{
	struct stat st;

	if (r->ref == REF_FILE && (!ref_stat(r, &st) || st.st_mtim.tv_sec != r->ref_mtime_s ||
				   st.st_mtim.tv_nsec != r->ref_mtime_ns))
		set_ref(r, REF_UNKNOWN, -1);
}

// The first extent of data at or behind at, in whole pages; false when there is none.
static bool next_data(int fd, uint64_t at, uint64_t size, uint64_t *ret_start, uint64_t *ret_end)
{
	off_t start = lseek(fd, (off_t)at, SEEK_DATA);
	off_t end = start < 0 ? -1 : lseek(fd, start, SEEK_HOLE);

	if (start < 0 && errno != ENXIO) { // a file system that cannot tell: all is data
		start = (off_t)at;
		end = (off_t)size;
	}
	if (start < 0 || end < 0 || (uint64_t)start >= size)
		return false;
	*ret_start = (uint64_t)start & ~(uint64_t)(QEMU_PAGE - 1);
	*ret_end = MIN(((uint64_t)end + QEMU_PAGE - 1) & ~(uint64_t)(QEMU_PAGE - 1), size);
	return true;
}

static int read_at(int fd, uint8_t *out, size_t len, uint64_t at, struct err *e)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, out + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read memory");
		if (n == 0)
			return err_set(e, EIO, "read memory: the file was cut");
		done += (size_t)n;
	}
	return 0;
}

static int write_at(int fd, const uint8_t *data, size_t len, uint64_t at, struct err *e)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, data + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "write memory");
		done += (size_t)n;
	}
	return 0;
}

// Copies what is not zero. Both have the same size, and out reads as zeros.
static int copy_data(int in, int out, uint64_t size, struct err *e)
{
	uint8_t *map = mmap(NULL, size, PROT_READ, MAP_SHARED, in, 0);
	uint64_t start, end = 0;
	int r = 0;

	if (map == MAP_FAILED)
		return err_sys(e, "map memory");
	// The kernel reads the mapping, so a file that is cut meanwhile is an error, not a signal.
	while (r == 0 && next_data(in, end, size, &start, &end))
		for (uint64_t at = start; r == 0 && at < end; at += 8 * CHUNK)
			r = write_at(out, map + at, MIN(8 * CHUNK, end - at), at, e);
	(void)munmap(map, size);
	return r;
}

int qemu_ram_load(struct qemu_ram *r, int file, struct err *e)
{
	cleanup_fd int held = file;
	struct stat st;

	if (fstat(held, &st) < 0)
		return err_sys(e, "stat the memory file");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != r->size)
		return err_usage(e,
				 "the memory file has %llu bytes, the state is of a guest of %llu",
				 (unsigned long long)st.st_size, (unsigned long long)r->size);
	set_ref_file(r, steal_fd(&held));
	return copy_data(r->ref_fd, r->fd, r->size, e);
}

void qemu_ram_leave(struct qemu_ram *r, bool keep)
{
	cleanup_fd int copy = -1;
	struct err e = { 0 };

	if (r->ref != REF_SAME)
		return;
	if (keep)
		copy = memfd_create("guest-ram-before", MFD_CLOEXEC);
	// Without a copy the next Diff holds every page, which is right and large.
	if (!keep || copy < 0 || ftruncate(copy, (off_t)r->size) < 0 ||
	    copy_data(r->fd, copy, r->size, &e) < 0)
		set_ref(r, REF_UNKNOWN, -1);
	else
		set_ref(r, REF_COPY, steal_fd(&copy));
}

// --- what of memory goes into a file

struct saver {
	const struct qemu_ram *ram;
	int file;
	bool diff;
	bool everything; // nothing is known of what the file will be laid over
	bool wrote;
	uint8_t now[CHUNK], before[CHUNK];
};

// Writes the runs of pages in the chunk that the other side does not have.
static int save_chunk(struct saver *s, uint64_t at, size_t len, struct err *e)
{
	size_t run = 0; // bytes that wait to be written, ending at i

	for (size_t i = 0; i <= len; i += QEMU_PAGE) {
		bool wanted = i < len && (s->everything || memcmp(s->now + i, s->before + i,
								  MIN(QEMU_PAGE, len - i)) != 0);

		if (wanted) {
			run += QEMU_PAGE;
			continue;
		}
		s->wrote |= run > 0;
		if (run && write_at(s->file, s->now + i - run, run, at + i - run, e) < 0)
			return -e->no;
		run = 0;
	}
	return 0;
}

// Where neither side has data, both are zero.
static bool next_extent(const struct saver *s, uint64_t at, uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t size = s->ram->size, start, end;
	bool found = next_data(s->ram->fd, at, size, ret_start, ret_end);

	if (s->everything) {
		*ret_start = at;
		*ret_end = size;
		return at < size;
	}
	if (!s->diff || s->ram->ref_fd < 0 || !next_data(s->ram->ref_fd, at, size, &start, &end))
		return found;
	if (!found || start < *ret_start) {
		*ret_end = found ? MIN(end, *ret_start) : end;
		*ret_start = start;
	}
	return true;
}

static int save(struct saver *s, struct err *e)
{
	uint64_t start, end = 0;

	while (next_extent(s, end, &start, &end))
		for (uint64_t at = start; at < end; at += CHUNK) {
			size_t len = MIN(CHUNK, end - at);

			// By read(2), which does not fill a hole.
			if (read_at(s->ram->fd, s->now, len, at, e) < 0)
				return -e->no;
			if (s->diff && s->ram->ref_fd >= 0 &&
			    read_at(s->ram->ref_fd, s->before, len, at, e) < 0)
				return -e->no;
			if (save_chunk(s, at, len, e) < 0)
				return -e->no;
		}
	return 0;
}

static bool is_ref_file(const struct qemu_ram *r, const struct stat *st)
{
	return r->ref == REF_FILE && r->ref_dev == st->st_dev && r->ref_ino == st->st_ino;
}

// As upstream: a file of the right size is written in place (a Diff straight into its parent), any
// other is emptied first. A Full replaces everything.
static int prepare_file(struct qemu_ram *r, int file, bool diff, struct err *e)
{
	struct stat st;

	if (fstat(file, &st) < 0)
		return err_sys(e, "stat");
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "not a file");
	if (diff && (uint64_t)st.st_size == r->size)
		return 0;
	if (is_ref_file(r, &st))
		set_ref(r, REF_UNKNOWN, -1);
	if (ftruncate(file, 0) < 0 || ftruncate(file, (off_t)r->size) < 0)
		return err_sys(e, "set its size");
	return 0;
}

int qemu_ram_save(struct qemu_ram *r, int file, bool diff, struct err *e)
{
	cleanup_fd int held = file;
	struct saver *s;
	struct stat st;
	bool wrote;
	int ret;

	check_ref_file(r);
	if (prepare_file(r, held, diff, e) < 0)
		return -e->no;
	if (diff && r->ref == REF_SAME) // nothing has run since
		return fsync(held) < 0 ? err_sys(e, "sync") : 0;
	s = base_alloc(1, sizeof(*s));
	*s = (struct saver){
		.ram = r, .file = held, .diff = diff, .everything = diff && r->ref == REF_UNKNOWN
	};
	ret = save(s, e);
	wrote = s->wrote;
	free(s);
	if (ret == 0 && fsync(held) < 0)
		ret = err_sys(e, "sync");
	bool in_parent = diff && fstat(held, &st) == 0 && is_ref_file(r, &st);

	// Half a Diff in its own parent is part of what the next one will be laid over.
	if (in_parent || (ret == 0 && !diff))
		set_ref_file(r, steal_fd(&held));
	else if (ret == 0 && wrote) // else what it was taken against is the memory as it is
		set_ref(r, REF_SAME, -1);
	return ret;
}
