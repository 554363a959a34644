// SPDX-License-Identifier: MIT
// What goes into a memory file and what a Diff is taken against, without a guest; and the state
// file against damage.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "fc/qemu_parts.h"
#include "tap.h"

#define SIZE (8 * MIB)

static int file_at(const char *name)
{
	char *path = base_printf("%s/%s", tap_dir(), name);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	free(path);
	return fd;
}

static uint8_t *map(int fd)
{
	uint8_t *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void new_ram(struct qemu_ram *r, uint8_t **ret_map)
{
	struct err e = { 0 };

	CHECK(qemu_ram_new(r, SIZE, &e) == 0);
	*ret_map = map(r->fd);
}

static int save(struct qemu_ram *r, const char *name, bool diff)
{
	struct err e = { 0 };

	return qemu_ram_save(r, file_at(name), diff, &e);
}

static uint64_t blocks(const char *name)
{
	struct stat st = { 0 };
	int fd = file_at(name);

	CHECK(fstat(fd, &st) == 0);
	CHECK_INT(st.st_size, SIZE);
	(void)close(fd);
	return (uint64_t)st.st_blocks / 8; // pages
}

// parent + diff, compared with memory.
static bool composes(const char *parent, const char *diff, const uint8_t *want)
{
	uint8_t *sum = base_alloc(1, SIZE);
	int p = file_at(parent), d = file_at(diff);
	off_t from = 0, to;
	bool same;

	CHECK(ftruncate(p, SIZE) == 0 && pread(p, sum, SIZE, 0) == (ssize_t)SIZE);
	while ((from = lseek(d, from, SEEK_DATA)) >= 0) {
		to = lseek(d, from, SEEK_HOLE);
		CHECK(pread(d, sum + from, (size_t)(to - from), from) == to - from);
		from = to;
	}
	same = memcmp(sum, want, SIZE) == 0;
	free(sum);
	(void)close(p);
	(void)close(d);
	return same;
}

TEST(a_full_holds_what_is_not_zero_and_holes_stay_holes)
{
	struct qemu_ram r;
	uint8_t *m;

	new_ram(&r, &m);
	m[5] = 1;
	m[SIZE - 1] = 2;
	memset(m + MIB, 0, 65536); // touched, and zero
	CHECK(save(&r, "full", false) == 0);
	CHECK(blocks("full") <= 4);
	CHECK(composes("none", "full", m));
	// A larger one of before leaves nothing behind.
	m[SIZE - 1] = 0;
	CHECK(save(&r, "full", false) == 0);
	CHECK(composes("none", "full", m));
	qemu_ram_free(&r);
}

TEST(diffs_follow_each_other)
{
	struct qemu_ram r;
	uint8_t *m;

	new_ram(&r, &m);
	memset(m, 7, 2 * MIB);
	CHECK(save(&r, "d0", true) == 0); // against nothing
	CHECK(composes("none", "d0", m));
	CHECK_INT(r.ref, REF_SAME);
	CHECK(save(&r, "again", true) == 0);
	CHECK_INT(blocks("again"), 0);
	qemu_ram_leave(&r, true);
	CHECK_INT(r.ref, REF_COPY);
	memset(m + MIB, 0, 40960); // zeros over something
	m[4 * MIB] = 9;		   // something over zeros
	CHECK(save(&r, "d1", true) == 0);
	CHECK(blocks("d1") >= 11 && blocks("d1") <= 14);
	CHECK(composes("d0", "d1", m));
	qemu_ram_free(&r);
}

TEST(after_a_full_its_file_is_the_reference)
{
	struct qemu_ram r;
	uint8_t *m;

	new_ram(&r, &m);
	memset(m, 7, MIB);
	CHECK(save(&r, "full", false) == 0);
	CHECK_INT(r.ref, REF_FILE);
	qemu_ram_leave(&r, true);
	CHECK_INT(r.ref, REF_FILE);
	m[3] = 1;
	CHECK(save(&r, "d", true) == 0);
	CHECK(blocks("d") <= 2);
	CHECK(composes("full", "d", m));
	qemu_ram_free(&r);
}

TEST(a_reference_that_was_changed_or_given_up_makes_a_diff_of_everything)
{
	struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	struct qemu_ram r;
	uint8_t *m;
	int fd;

	new_ram(&r, &m);
	m[0] = 1;
	CHECK(save(&r, "full", false) == 0);
	fd = file_at("full");
	CHECK(pwrite(fd, "x", 1, 4 * MIB) == 1 && futimens(fd, times) == 0);
	CHECK(save(&r, "d", true) == 0);
	CHECK(composes("full", "d", m)); // the x is overwritten by a zero
	(void)close(fd);

	m[1] = 1;
	qemu_ram_leave(&r, false);
	CHECK_INT(r.ref, REF_UNKNOWN);
	CHECK(save(&r, "d2", true) == 0);
	CHECK(composes("full", "d2", m));
	qemu_ram_free(&r);
}

TEST(a_diff_into_its_parent_is_made_in_place)
{
	struct qemu_ram r;
	uint8_t *m;

	new_ram(&r, &m);
	memset(m, 3, MIB);
	CHECK(save(&r, "p", false) == 0);
	memset(m + 4096, 0, 8192);
	CHECK(save(&r, "p", true) == 0);
	CHECK(composes("none", "p", m));
	CHECK_INT(r.ref, REF_FILE);
	m[9] = 9;
	CHECK(save(&r, "d", true) == 0);
	CHECK(blocks("d") <= 2);
	CHECK(composes("p", "d", m));
	qemu_ram_free(&r);
}

TEST(a_load_gives_the_memory_back_and_takes_no_other_size)
{
	struct qemu_ram r, s;
	struct err e = { 0 };
	uint8_t *m, *n;
	int fd;

	new_ram(&r, &m);
	memset(m + 3 * MIB, 3, MIB);
	CHECK(save(&r, "f", false) == 0);
	new_ram(&s, &n);
	CHECK(qemu_ram_load(&s, file_at("f"), &e) == 0);
	CHECK(memcmp(m, n, SIZE) == 0);
	n[0] = 1;
	CHECK(save(&s, "d", true) == 0);
	CHECK(blocks("d") <= 2);
	fd = file_at("short");
	CHECK(ftruncate(fd, SIZE / 2) == 0);
	CHECK(qemu_ram_load(&s, fd, &e) < 0);
	qemu_ram_free(&r);
	qemu_ram_free(&s);
}

TEST(a_failed_create_moves_nothing)
{
	struct qemu_ram r;
	struct err e = { 0 };
	uint8_t *m;
	int fd;

	new_ram(&r, &m);
	memset(m, 3, MIB);
	fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	CHECK(qemu_ram_save(&r, fd, true, &e) < 0);
	CHECK_INT(r.ref, REF_ZERO);
	CHECK(save(&r, "d", true) == 0);
	CHECK(composes("none", "d", m));
	qemu_ram_free(&r);
}

// --- the state file

static void new_doc(struct qemu_doc *d)
{
	static char kernel[] = "/k", uds[] = "/v.sock", id[] = "data";
	struct fc_drive drive = { .drive_id = id, .path_on_host = kernel };
	struct qemu_config c = { .machine = { .vcpu_count = 2, .mem_size_mib = 128 },
				 .boot = { .kernel_image_path = kernel },
				 .drives = { &drive, 1 },
				 .has_vsock = true,
				 .has_entropy = true,
				 .vsock = { .guest_cid = 3, .uds_path = uds } };
	struct err e = { 0 };

	CHECK(qemu_doc_from_config(d, &c, &e) == 0);
	CHECK(COPY(d->accel, "tcg") == 0 && COPY(d->cpu, "qemu64") == 0 && COPY(d->qemu, "7") == 0);
	d->tsc_khz = 2596128;
}

static int write_state(const char *name)
{
	int file = file_at(name), stream = memfd_create("s", MFD_CLOEXEC);
	struct qemu_doc d = { .entropy = false };
	struct err e = { 0 };

	new_doc(&d);
	for (int i = 0; i < 30000; i++)
		CHECK(write(stream, &(char){ (char)(i * 7) }, 1) == 1);
	CHECK(qemu_state_write(file, &d, stream, &e) == 0);
	qemu_doc_clear(&d);
	(void)close(stream);
	CHECK(lseek(file, 0, SEEK_SET) == 0);
	return file;
}

TEST(a_state_file_comes_back_as_it_was)
{
	struct qemu_doc d = { .entropy = false };
	struct qemu_config c = { .has_vsock = false };
	struct err e = { 0 };
	struct stat st;
	int stream = -1;

	CHECK(qemu_state_read(write_state("s"), &d, &stream, &e) == 0);
	CHECK(fstat(stream, &st) == 0 && st.st_size == 30000);
	CHECK(qemu_config_from_doc(&c, &d, &e) == 0);
	CHECK(c.has_vsock && c.has_entropy && c.drives.len == 1 && c.machine.vcpu_count == 2);
	CHECK_STR(c.vsock.uds_path, "/v.sock");
	CHECK_STR(((struct fc_drive *)c.drives.items)->drive_id, "data");
	CHECK_INT(d.tsc_khz, 2596128);
	qemu_config_clear(&c);
	qemu_doc_clear(&d);
}

TEST(a_state_file_with_any_one_byte_wrong_is_refused)
{
	int file = write_state("s");
	off_t size = lseek(file, 0, SEEK_END);

	for (off_t at = 0; at < size; at += at < 1000 ? 1 : 977) {
		struct qemu_doc d = { .entropy = false };
		struct err e = { 0 };
		uint8_t byte, bent;
		int stream = -1;

		CHECK(pread(file, &byte, 1, at) == 1);
		bent = byte ^ 0x10;
		CHECK(pwrite(file, &bent, 1, at) == 1 && lseek(file, 0, SEEK_SET) == 0);
		// The four bytes above the checksum are of no meaning but have to be zero.
		if (qemu_state_read(file, &d, &stream, &e) == 0)
			tap_fail(__FILE__, __LINE__, "byte %lld may be anything", (long long)at);
		CHECK(pwrite(file, &byte, 1, at) == 1);
	}
}

TEST(a_state_file_that_is_cut_is_refused)
{
	int file = write_state("s");

	for (off_t size = lseek(file, 0, SEEK_END) - 1; size >= 0; size -= size < 700 ? 1 : 991) {
		struct qemu_doc d = { .entropy = false };
		struct err e = { 0 };
		int stream = -1;

		CHECK(ftruncate(file, size) == 0 && lseek(file, 0, SEEK_SET) == 0);
		CHECK(qemu_state_read(file, &d, &stream, &e) < 0);
	}
}
