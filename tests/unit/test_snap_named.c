// SPDX-License-Identifier: MIT
// Named captures: with their copy of the data disk, found by name, gone on from more than once.
#include "snap/named.h"

#include "test_snap_world.h"

#define MINE	   "i-0000002a"
#define OTHER	   "i-0000002b"
#define DATA_BYTES ((off_t)(8 * PAGES_PAGE))

static int memory[PAGES];
static off_t disk_bytes = DATA_BYTES;

static void some_memory(void)
{
	pages_clear(memory);
	for (size_t i = 0; i < PAGES; i += 7)
		memory[i] = (int)(i % 13);
}

static int make_disk(void)
{
	const struct timespec then[2] = { { 1700000000, 5 }, { 1700000001, 123456789 } };
	cleanup_free char *path = base_printf("%s/disk", tap_dir());
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && ftruncate(fd, disk_bytes) == 0 && pwrite(fd, "data", 4, 4096) == 4 &&
	      pwrite(fd, "end", 3, disk_bytes - 4096) == 3);
	CHECK(futimens(fd, then) == 0);
	return fd;
}

static bool restless;

static int name_one(const char *name, bool with_data, snap_ref out, struct err *e)
{
	cleanup_snap_draft struct snap_draft d = SNAP_DRAFT_NONE;
	cleanup_manifest struct snap_manifest m = { 0 };
	cleanup_store struct store s = STORE_NONE;
	cleanup_fd int disk = with_data ? make_disk() : -1;

	world_manifest(&m);
	base_cut(m.name, sizeof(m.name), "%s", name);
	m.quiesced = !restless;
	world_lock(&s);
	if (snap_draft_begin(&s, SNAP_NAMED, "", NULL, &d, e) < 0)
		return -e->no;
	write_text(d.draft.dir, SNAP_VMSTATE, "state of CPUs");
	write_pages(d.draft.dir, SNAP_MEM, memory);
	if ((with_data && snap_data_keep(&d, disk, e) < 0) || snap_data_seal(&d, &m, NULL, e) < 0 ||
	    snap_draft_seal(&d, &m, NULL, e) < 0 || snap_draft_commit(&s, &d, e) < 0)
		return -e->no;
	memcpy(out, d.ref, sizeof(d.ref));
	return 0;
}

static void open_gen(const char *ref, struct snap_gen *g)
{
	cleanup_store struct store s = STORE_NONE;
	struct err e = { 0 };

	must(store_open(&s, STORE_INSTANCE, &world_at, &e), &e);
	must(snap_gen_open(&s, ref, SNAP_EXCLUSIVE, 0, g, &e), &e);
}

TEST(it_has_a_copy_of_the_disk_with_its_time_and_is_not_what_a_wake_loads)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };
	struct stat st;
	snap_ref ref, now;

	world_make();
	some_memory();
	must(name_one("before", true, ref, &e), &e);
	open_gen(ref, &g);
	CHECK_STR(g.m.name, "before");
	CHECK_INT(g.m.data.bytes, DATA_BYTES);
	CHECK(fstatat(g.dir, SNAP_DATA, &st, 0) == 0 && st.st_mtim.tv_nsec == 123456789);
	CHECK(fstatat(g.dir, SNAP_MEM, &st, 0) == 0 && (st.st_mode & 0777) == 0444);
	CHECK(snap_data_verify(&g, NULL, &e) == 0 &&
	      snap_gen_verify(&g, true, NULL, NULL, &e) == 0);
	CHECK(snap_spend(&g, &e) == 0 && !g.m.spent);
	must(store_open(&s, STORE_INSTANCE, &world_at, &e), &e);
	must(snap_current(&s, now, &e), &e);
	CHECK_STR(now, "");
}

TEST(a_disk_may_be_larger_than_any_memory)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };
	struct stat st;
	snap_ref ref;

	world_make();
	some_memory();
	disk_bytes = (off_t)(PAGES_FILE / 2);
	must(name_one("before", true, ref, &e), &e);
	open_gen(ref, &g);
	CHECK(g.m.data.bytes == PAGES_FILE / 2 && g.m.data.bytes > PAGES_MAX);
	CHECK(fstatat(g.dir, SNAP_DATA, &st, 0) == 0 && st.st_blocks * 512 <= 1 << 20);
	CHECK(snap_data_verify(&g, NULL, &e) == 0);
	cleanup_fd int fd = openat(g.dir, SNAP_DATA, O_RDWR | O_CLOEXEC);
	CHECK(pwrite(fd, "E", 1, disk_bytes - 4096) == 1);
	CHECK(snap_data_verify(&g, NULL, &e) < 0 && e.kind == ERR_DAMAGED);
}

TEST(a_copy_of_the_disk_that_is_another_is_seen)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };
	snap_ref ref;

	world_make();
	some_memory();
	must(name_one("before", true, ref, &e), &e);
	open_gen(ref, &g);
	cleanup_fd int fd = openat(g.dir, SNAP_DATA, O_RDWR | O_CLOEXEC);
	CHECK(pwrite(fd, "D", 1, 4096) == 1);
	CHECK(snap_data_verify(&g, NULL, &e) < 0 && e.kind == ERR_DAMAGED);
	err_clear(&e);
	CHECK(pwrite(fd, "d", 1, 4096) == 1 && snap_data_verify(&g, NULL, &e) == 0);
	CHECK(ftruncate(fd, DATA_BYTES + PAGES_PAGE) == 0);
	CHECK(snap_data_verify(&g, NULL, &e) < 0 && e.kind == ERR_DAMAGED);
	err_clear(&e);
	CHECK(unlinkat(g.dir, SNAP_DATA, 0) == 0);
	CHECK(snap_data_verify(&g, NULL, &e) < 0 && e.kind == ERR_DAMAGED);
}

TEST(names_are_found_once_each_and_not_without_end)
{
	cleanup_store struct store s = STORE_NONE;
	struct err e = { 0 };
	snap_ref ref, found;
	bool removed;
	char name[16];

	world_make();
	some_memory();
	for (unsigned i = 0; i < SNAP_NAMES_MAX; i++) {
		base_cut(name, sizeof(name), "n%u", i);
		world_lock(&s);
		CHECK(snap_named_room(&s, name, &e) == 0);
		store_close(&s);
		must(name_one(name, false, ref, &e), &e);
	}
	world_lock(&s);
	CHECK(snap_named_find(&s, "n3", found, &e) == 0);
	CHECK_STR(found, "gen-4");
	CHECK(snap_named_find(&s, "n", found, &e) < 0 && e.kind == ERR_MISSING);
	err_clear(&e);
	CHECK(snap_named_room(&s, "n3", &e) < 0 && e.kind == ERR_CONFLICT);
	err_clear(&e);
	CHECK(snap_named_room(&s, "more", &e) < 0 && e.kind == ERR_QUOTA);
	err_clear(&e);
	CHECK(snap_named_remove(&s, "n3", &removed, &e) == 0 && removed);
	CHECK(snap_named_remove(&s, "n3", &removed, &e) == 0 && !removed);
	CHECK(snap_named_room(&s, "more", &e) == 0);
}

TEST(one_that_is_damaged_keeps_its_name_and_is_removed_by_it)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	cleanup_store struct store s = STORE_NONE;
	struct codec_list rows = { 0 };
	const struct snap_row *r;
	struct err e = { 0 };
	snap_ref ref, found;
	bool removed;

	world_make();
	some_memory();
	must(name_one("kept", true, ref, &e), &e);
	open_gen(ref, &g);
	write_text(g.dir, SNAP_MANIFEST, "{");
	snap_gen_close(&g);
	world_lock(&s);
	must(snap_list(&s, &rows, &e), &e);
	r = rows.items;
	CHECK_INT(rows.len, 1);
	CHECK(r->kind == SNAP_NAMED && r->error[0]);
	CHECK_STR(r->name, "kept");
	codec_free_list(snap_row_fields, sizeof(*r), &rows);
	CHECK(snap_named_room(&s, "kept", &e) < 0 && e.kind == ERR_CONFLICT);
	err_clear(&e);
	must(snap_named_find(&s, "kept", found, &e), &e);
	CHECK(snap_gen_open(&s, found, SNAP_UNLOCKED, 0, &g, &e) < 0 && e.kind == ERR_DAMAGED);
	err_clear(&e);
	CHECK(snap_named_remove(&s, "kept", &removed, &e) == 0 && removed);
	CHECK(snap_named_find(&s, "kept", found, &e) < 0 && e.kind == ERR_MISSING);
}

TEST(one_that_somebody_goes_on_from_is_not_removed)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	cleanup_store struct store s = STORE_NONE;
	struct err e = { 0 };
	bool removed;
	snap_ref ref;

	world_make();
	some_memory();
	must(name_one("kept", false, ref, &e), &e);
	open_gen(ref, &g);
	world_lock(&s);
	CHECK(snap_named_remove(&s, "kept", &removed, &e) < 0 && e.kind == ERR_UNAVAILABLE);
	err_clear(&e);
	snap_gen_close(&g);
	CHECK(snap_named_remove(&s, "kept", &removed, &e) == 0 && removed);
}

static int share_as(const char *instance, const char *cloned_from, snap_ref out, struct err *e)
{
	cleanup_snap_draft struct snap_draft d = SNAP_DRAFT_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	cleanup_store struct store s = STORE_NONE;
	struct snap_guest as = { .tenant_id = "acme",
				 .pool_id = "web",
				 .guest_ip = "10.240.7.4",
				 .gateway_ip = "10.240.7.1",
				 .cidr = 24,
				 .mac = "02:fc:00:07:00:04" };

	base_cut(as.instance_id, sizeof(as.instance_id), "%s", instance);
	open_gen("gen-1", &g);
	world_lock(&s);
	if (snap_draft_begin(&s, SNAP_FULL, "", NULL, &d, e) < 0 ||
	    snap_share(&d, &g, &as, cloned_from, NULL, e) < 0 || snap_draft_commit(&s, &d, e) < 0)
		return -e->no;
	memcpy(out, d.ref, sizeof(d.ref));
	return 0;
}

TEST(many_go_on_from_it_each_with_a_capture_of_its_own)
{
	cleanup_gen struct snap_gen of = SNAP_GEN_NONE, a = SNAP_GEN_NONE, b = SNAP_GEN_NONE;
	struct err e = { 0 };
	snap_ref ref, one, two;

	world_make();
	some_memory();
	must(name_one("kept", true, ref, &e), &e);
	must(share_as(MINE, "", one, &e), &e);
	must(share_as(OTHER, MINE, two, &e), &e);
	open_gen(one, &a);
	open_gen(two, &b);
	open_gen(ref, &of);
	CHECK_INT(a.m.kind, SNAP_FULL);
	CHECK_STR(a.m.name, "");
	CHECK_STR(a.m.cloned_from, "");
	CHECK_STR(b.m.cloned_from, MINE);
	CHECK_STR(b.m.guest.instance_id, OTHER);
	CHECK_STR(b.m.guest.guest_ip, "10.240.7.4");
	CHECK_INT(b.m.guest.disks.len, 1);
	CHECK(snap_shares(&a, &of) && snap_shares(&a, &b));
	CHECK(snap_gen_verify(&a, true, NULL, NULL, &e) == 0);
	CHECK(same_pages(b.dir, SNAP_MEM, memory));
	CHECK(snap_spend(&a, &e) == 0 && a.m.spent && !b.m.spent && !of.m.spent);
	CHECK(snap_spend(&b, &e) == 0);
	// the copy of the copy is another file
	CHECK(unlinkat(a.dir, SNAP_DATA, 0) == 0 && snap_data_verify(&of, NULL, &e) == 0);
}

TEST(of_a_guest_that_was_not_at_rest_only_itself_goes_on)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };
	snap_ref ref;

	world_make();
	some_memory();
	restless = true;
	must(name_one("forced", true, ref, &e), &e);
	CHECK(share_as(OTHER, MINE, ref, &e) < 0 && e.kind == ERR_STATE);
	CHECK(strstr(e.msg, "not at rest") != NULL);
	err_clear(&e);
	CHECK(share_as(OTHER, "", ref, &e) < 0 && e.kind == ERR_STATE);
	err_clear(&e);
	must(share_as(MINE, "", ref, &e), &e);
	open_gen(ref, &g);
	CHECK(!g.m.quiesced && snap_spend(&g, &e) == 0);
}

// The VMM that wrote the files keeps its descriptors for as long as it lives.
TEST(who_wrote_it_cannot_write_to_it_any_more)
{
	static const char *const names[] = { SNAP_VMSTATE, SNAP_MEM };
	cleanup_snap_draft struct snap_draft d = SNAP_DRAFT_NONE;
	cleanup_manifest struct snap_manifest m = { 0 };
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	cleanup_store struct store s = STORE_NONE;
	int held[COUNT(names)];
	struct err e = { 0 };
	struct stat st, now;

	world_make();
	some_memory();
	world_manifest(&m);
	base_cut(m.name, sizeof(m.name), "kept");
	world_lock(&s);
	must(snap_draft_begin(&s, SNAP_NAMED, "", NULL, &d, &e), &e);
	write_text(d.draft.dir, SNAP_VMSTATE, "state of CPUs");
	write_pages(d.draft.dir, SNAP_MEM, memory);
	for (size_t i = 0; i < COUNT(names); i++)
		held[i] = openat(d.draft.dir, names[i], O_RDWR | O_CLOEXEC);
	must(snap_draft_seal(&d, &m, NULL, &e), &e);
	must(snap_draft_commit(&s, &d, &e), &e);
	store_close(&s);
	open_gen(d.ref, &g);
	for (size_t i = 0; i < COUNT(names); i++) {
		CHECK(held[i] >= 0 && fstat(held[i], &st) == 0 && st.st_nlink == 0);
		CHECK(pwrite(held[i], "mine", 4, 0) == 4);
		CHECK(fstatat(g.dir, names[i], &now, 0) == 0 && now.st_ino != st.st_ino);
		CHECK((now.st_mode & 0777) == 0444 && now.st_uid == getuid());
	}
	CHECK(st.st_blocks <= 8); // what it held of the memory is free
	CHECK(same_pages(g.dir, SNAP_MEM, memory));
	must(snap_gen_verify(&g, true, NULL, NULL, &e), &e);
}

static int share_one(void)
{
	struct err e = { 0 };
	snap_ref ref;

	return share_as(OTHER, MINE, ref, &e);
}

TEST(killed_on_the_way_nothing_of_it_is_there_and_the_named_one_is_whole)
{
	static const char *const points[] = { "snap-mark",   "snap-share",	"snap-data-copy",
					      "pages-clone", "snap-share-seal", "replace-rename",
					      "draft-rename" };
	struct err e = { 0 };
	snap_ref ref;

	world_make();
	some_memory();
	must(name_one("kept", true, ref, &e), &e);
	for (size_t i = 0; i < COUNT(points); i++) {
		cleanup_free char *fault = base_printf("%s:kill", points[i]);
		cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
		cleanup_store struct store s = STORE_NONE;
		struct codec_list rows = { 0 };

		CHECK(WIFSIGNALED(with_fault(fault, share_one)));
		world_lock(&s);
		must(snap_list(&s, &rows, &e), &e);
		CHECK_INT(rows.len, 1);
		codec_free_list(snap_row_fields, sizeof(struct snap_row), &rows);
		must(snap_gc(&s, NULL, false, &rows, &e), &e);
		codec_free_list(gc_row_fields, sizeof(struct gc_row), &rows);
		store_close(&s);
		open_gen(ref, &g);
		CHECK(snap_gen_verify(&g, true, NULL, NULL, &e) == 0);
		CHECK(snap_data_verify(&g, NULL, &e) == 0);
	}
}
