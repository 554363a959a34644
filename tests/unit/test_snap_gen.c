// SPDX-License-Identifier: MIT
// Captures as they are made, listed, spent and removed; killed at each point on the way.
#include "snap/gen.h"

#include "test_snap_world.h"

static int full[PAGES];

static void some_memory(void)
{
	pages_clear(full);
	for (size_t i = 0; i < PAGES; i += 5)
		full[i] = (int)(i % 11);
}

static void current_is(const char *want)
{
	cleanup_store struct store s = STORE_NONE;
	struct err e = { 0 };
	snap_ref now;

	must(store_open(&s, STORE_INSTANCE, &world_at, &e), &e);
	must(snap_current(&s, now, &e), &e);
	CHECK_STR(now, want);
}

static int verify(const char *ref, bool all, bool *read_it, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;

	must(store_open(&s, STORE_INSTANCE, &world_at, e), e);
	if (snap_gen_open(&s, ref, SNAP_SHARED, 0, &g, e) < 0)
		return -e->no;
	return snap_gen_verify(&g, all, NULL, read_it, e);
}

static size_t gc(bool dry_run, const char *want_gone)
{
	cleanup_store struct store s = STORE_NONE;
	struct codec_list rows = { 0 };
	struct err e = { 0 };
	size_t gone = 0;

	world_lock(&s);
	must(snap_gc(&s, NULL, dry_run, &rows, &e), &e);
	for (size_t i = 0; i < rows.len; i++) {
		const struct gc_row *r = (const struct gc_row *)rows.items + i;

		gone += r->removed;
		if (want_gone && r->removed)
			CHECK_STR(r->ref, want_gone);
	}
	codec_free_list(gc_row_fields, sizeof(struct gc_row), &rows);
	return gone;
}

static size_t count(void)
{
	cleanup_store struct store s = STORE_NONE;
	struct codec_list rows = { 0 };
	struct err e = { 0 };
	size_t n;

	must(store_open(&s, STORE_INSTANCE, &world_at, &e), &e);
	must(snap_list(&s, &rows, &e), &e);
	n = rows.len;
	codec_free_list(snap_row_fields, sizeof(struct snap_row), &rows);
	return n;
}

TEST(a_capture_is_whole_current_and_as_sparse_as_its_memory)
{
	struct err e = { 0 };
	snap_ref ref, second;
	struct stat st;
	path_text dir;
	bool read_it;

	world_make();
	some_memory();
	current_is("");
	must(world_capture(SNAP_FULL, NULL, full, "", ref, &e), &e);
	CHECK_STR(ref, "gen-1");
	current_is("gen-1");
	must(verify("gen-1", true, &read_it, &e), &e);
	CHECK(read_it);
	must(verify("gen-1", false, &read_it, &e), &e);
	CHECK(!read_it); // as it was when its digest was taken
	path_instance(&world_at, dir);
	path_join(dir, dir, SNAP_DIR "/gen-1/" SNAP_MEM);
	CHECK(stat(dir, &st) == 0 && (st.st_mode & 0777) == 0600);
	CHECK(st.st_blocks * 512 < PAGES * PAGES_PAGE / 4); // its pages of zeros are holes
	must(world_capture(SNAP_FULL, NULL, full, "", second, &e), &e);
	CHECK_STR(second, "gen-2");
	current_is("gen-2");
}

TEST(a_named_capture_is_not_what_a_wake_loads_and_stays)
{
	struct err e = { 0 };
	snap_ref ref;

	world_make();
	some_memory();
	must(world_capture(SNAP_FULL, NULL, full, "", ref, &e), &e);
	must(world_capture(SNAP_NAMED, NULL, full, "before-lunch", ref, &e), &e);
	CHECK_STR(ref, "gen-2");
	current_is("gen-1");
	CHECK_INT(gc(false, NULL), 0);
	CHECK(world_capture(SNAP_NAMED, NULL, full, "", ref, &e) < 0); // a named one has a name
	CHECK(e.kind == ERR_DAMAGED || e.kind == ERR_USAGE);
	CHECK_INT(count(), 2);
}

TEST(a_delta_needs_the_parent_that_was_recorded)
{
	struct snap_parent p, other;
	struct err e = { 0 };
	snap_ref ref;

	world_make();
	some_memory();
	must(world_capture(SNAP_FULL, NULL, full, "", ref, &e), &e);
	world_parent("gen-1", &p);
	other = p;
	memset(other.sha256, 'a', 64);
	CHECK(world_capture(SNAP_DIFF, &other, full, "", ref, &e) < 0 && e.kind == ERR_CONFLICT);
	err_clear(&e);
	CHECK(COPY(other.ref, "gen-7") == 0);
	CHECK(world_capture(SNAP_DIFF, &other, full, "", ref, &e) < 0 && e.kind == ERR_DAMAGED);
	err_clear(&e);
	CHECK(world_capture(SNAP_DIFF, NULL, full, "", ref, &e) < 0 && e.kind == ERR_USAGE);
	err_clear(&e);
	CHECK(world_capture(SNAP_FULL, &p, full, "", ref, &e) < 0 && e.kind == ERR_USAGE);
	err_clear(&e);
	must(world_capture(SNAP_DIFF, &p, full, "", ref, &e), &e);
	CHECK_STR(ref, "gen-2");
	world_parent("gen-2", &p); // which is a delta: nothing is laid over that
	CHECK(world_capture(SNAP_DIFF, &p, full, "", ref, &e) < 0 && e.kind == ERR_STATE);
}

TEST(what_a_hostile_vmm_left_in_place_of_its_files_is_not_taken)
{
	cleanup_snap_draft struct snap_draft d = SNAP_DRAFT_NONE;
	cleanup_store struct store s = STORE_NONE;
	struct err e = { 0 };
	path_text snap;
	struct stat st;

	world_make();
	world_lock(&s);
	must(snap_draft_begin(&s, SNAP_FULL, "", NULL, &d, &e), &e);
	path_join(snap, tap_dir(), "state/snap");
	must(fd_mkdirs(snap, 0700, &e), &e);
	cleanup_fd int dir = open(snap, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	CHECK(symlinkat("/etc/passwd", dir, "link") == 0 && mkfifoat(dir, "fifo", 0600) == 0);
	write_text(dir, "two", "x");
	CHECK(linkat(dir, "two", dir, "names", 0) == 0);
	write_text(dir, "other", "x");
	CHECK(fchownat(dir, "other", 4711, 4711, 0) == 0);
	static const char *const bad[] = { "link", "fifo", "two", "other", "none" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		CHECK(snap_draft_take(&d, dir, bad[i], 0, SNAP_VMSTATE, &e) < 0);
		err_clear(&e);
		CHECK(fstatat(d.draft.dir, SNAP_VMSTATE, &st, AT_SYMLINK_NOFOLLOW) < 0);
	}
	(void)setenv("MVM_FAULT", "snap-take:err=EIO", 1);
	CHECK(snap_draft_take(&d, dir, "other", 4711, SNAP_VMSTATE, &e) == -EIO);
	CHECK(faccessat(dir, "other", F_OK, 0) == 0);
	(void)unsetenv("MVM_FAULT");
	err_clear(&e);
	must(snap_draft_take(&d, dir, "other", 4711, SNAP_VMSTATE, &e), &e);
	CHECK(fstatat(d.draft.dir, SNAP_VMSTATE, &st, 0) == 0 && st.st_uid == 0 &&
	      (st.st_mode & 0777) == 0600);
	CHECK(faccessat(dir, "other", F_OK, 0) < 0);
}

// --- killed

static int take_full(void)
{
	struct err e = { 0 };
	snap_ref ref;

	return world_capture(SNAP_FULL, NULL, full, "", ref, &e);
}

static const char *const points[] = {
	"draft-mkdir",	    "draft-create",	 "draft-write",	     "draft-sync",
	"snap-mark",	    "snap-sync-vmstate", "snap-sync-memory", "snap-seal",
	"replace-open",	    "replace-write",	 "replace-fsync",    "replace-rename",
	"replace-dirsync",  "draft-rename",	 "draft-sync-dir",   "snap-link",
	"snap-link-rename", "snap-link-sync",
};

static void is_whole(const char *what)
{
	cleanup_store struct store s = STORE_NONE;
	struct err e = { 0 };
	snap_ref now;
	bool read_it;

	must(store_open(&s, STORE_INSTANCE, &world_at, &e), &e);
	must(snap_current(&s, now, &e), &e);
	if (verify(now, true, &read_it, &e) < 0)
		tap_fail(__FILE__, __LINE__, "%s: %s", what, e.msg);
}

TEST(killed_at_any_point_the_old_capture_or_the_new_one_is_there)
{
	static const char *const actions[] = { "kill", "err=ENOSPC" };
	struct err e = { 0 };

	world_make();
	some_memory();
	must(take_full(), &e);
	for (size_t i = 0; i < COUNT(points) * COUNT(actions); i++) {
		char fault[64];
		int status;

		base_cut(fault, sizeof(fault), "%s:%s", points[i % COUNT(points)],
			 actions[i / COUNT(points)]);
		status = with_fault(fault, take_full);
		if (status == 0)
			tap_fail(__FILE__, __LINE__, "%s: was not passed", fault);
		is_whole(fault);
		(void)gc(false, NULL);
		CHECK_INT(count(), 1); // neither the old one nor half a new one is left
	}
	must(take_full(), &e);
	(void)gc(false, NULL);
	CHECK_INT(count(), 1);
}

TEST(what_is_in_the_making_keeps_its_parent_until_its_maker_is_gone)
{
	struct snap_draft d = SNAP_DRAFT_NONE;
	struct snap_parent p;
	struct err e = { 0 };
	snap_ref ref;

	world_make();
	some_memory();
	must(world_capture(SNAP_FULL, NULL, full, "", ref, &e), &e);
	world_parent("gen-1", &p);
	{
		cleanup_store struct store s = STORE_NONE;

		world_lock(&s);
		must(snap_draft_begin(&s, SNAP_DIFF, "", &p, &d, &e), &e);
		must(snap_set_current(&s, "", &e), &e); // only the draft refers to it
	}
	CHECK_INT(gc(false, NULL), 0);
	snap_draft_drop(&d);
	CHECK_INT(gc(true, NULL), 0);
	CHECK_INT(gc(false, "gen-1"), 1);
	CHECK_INT(count(), 0);
}

TEST(what_the_guest_runs_on_stays_and_what_is_locked_too)
{
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct snap_parent p;
	struct err e = { 0 };

	world_make();
	some_memory();
	must(take_full(), &e);
	must(take_full(), &e);
	world_parent("gen-1", &p);
	world_diff_base("gen-1", p.sha256);
	CHECK_INT(gc(false, NULL), 0);
	world_diff_base("", "");
	{
		cleanup_store struct store s = STORE_NONE;

		must(store_open(&s, STORE_INSTANCE, &world_at, &e), &e);
		must(snap_gen_open(&s, "gen-1", SNAP_SHARED, 0, &g, &e), &e);
	}
	CHECK_INT(gc(false, NULL), 0);
	snap_gen_close(&g);
	CHECK_INT(gc(false, "gen-1"), 1);
	current_is("gen-2");
}

TEST(spent_is_for_good_and_undone_only_on_purpose)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };

	world_make();
	some_memory();
	must(take_full(), &e);
	must(store_open(&s, STORE_INSTANCE, &world_at, &e), &e);
	must(snap_gen_open(&s, "gen-1", SNAP_EXCLUSIVE, 0, &g, &e), &e);
	must(snap_may_load(&g.m, &e), &e);
	must(snap_spend(&g, &e), &e);
	snap_gen_close(&g);
	must(snap_gen_open(&s, "gen-1", SNAP_EXCLUSIVE, 0, &g, &e), &e);
	CHECK(g.m.spent && g.m.spent_at[0]);
	CHECK(snap_may_load(&g.m, &e) < 0 && e.kind == ERR_STATE);
	err_clear(&e);
	CHECK(snap_spend(&g, &e) < 0 && e.kind == ERR_STATE);
	err_clear(&e);
	must(snap_unspend(&g, &e), &e);
	snap_gen_close(&g);
	must(snap_gen_open(&s, "gen-1", SNAP_UNLOCKED, 0, &g, &e), &e);
	CHECK(!g.m.spent && snap_may_load(&g.m, &e) == 0);
}

static int spend_one(void)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };

	if (store_open(&s, STORE_INSTANCE, &world_at, &e) < 0 ||
	    snap_gen_open(&s, "gen-1", SNAP_EXCLUSIVE, 0, &g, &e) < 0)
		return -e.no;
	return snap_spend(&g, &e);
}

static int unspend_one(void)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };

	if (store_open(&s, STORE_INSTANCE, &world_at, &e) < 0 ||
	    snap_gen_open(&s, "gen-1", SNAP_EXCLUSIVE, 0, &g, &e) < 0)
		return -e.no;
	return snap_unspend(&g, &e);
}

TEST(killed_while_it_is_marked_it_is_spent_or_not_and_whole)
{
	static const char *const marks[] = { "snap-spend",    "replace-open",	"replace-write",
					     "replace-fsync", "replace-rename", "replace-dirsync" };
	struct err e = { 0 };
	bool read_it;

	world_make();
	some_memory();
	must(take_full(), &e);
	for (size_t i = 0; i < COUNT(marks); i++) {
		char fault[64];

		base_cut(fault, sizeof(fault), "%s:kill", marks[i]);
		CHECK(WIFSIGNALED(with_fault(fault, spend_one)));
		must(verify("gen-1", true, &read_it, &e), &e);
	}
	CHECK(spend_one() < 0); // killed behind the rename it was spent
	CHECK(WIFSIGNALED(with_fault("snap-unspend:kill", unspend_one)));
	must(verify("gen-1", true, &read_it, &e), &e);
	CHECK(spend_one() < 0); // killed before, it still is
	CHECK(WIFSIGNALED(with_fault("replace-dirsync:kill", unspend_one)));
	CHECK(spend_one() == 0);
}

static void refused(const char *file, const char *how, off_t at)
{
	struct err e = { 0 };
	bool read_it;

	if (verify("gen-1", false, &read_it, &e) == 0 || e.kind != ERR_DAMAGED ||
	    !strstr(e.msg, file))
		tap_fail(__FILE__, __LINE__, "%s %s %lld: \"%s\"", file, how, (long long)at, e.msg);
}

static void taken(void)
{
	struct err e = { 0 };
	bool read_it;

	must(verify("gen-1", true, &read_it, &e), &e);
}

static void spoil(int f, const char *file)
{
	off_t size = lseek(f, 0, SEEK_END);
	const off_t places[] = { 0, size / 3, size / 2, size - 1 };
	const off_t lengths[] = { 0, 1, size / 2, size - 1, size + 1 };
	cleanup_free uint8_t *all = base_alloc((size_t)size, 1);

	CHECK(pread(f, all, (size_t)size, 0) == size);
	for (size_t i = 0; i < COUNT(places); i++) {
		uint8_t flipped = all[places[i]] ^ 1;

		CHECK(pwrite(f, &flipped, 1, places[i]) == 1);
		refused(file, "flipped at", places[i]);
		CHECK(pwrite(f, &all[places[i]], 1, places[i]) == 1);
	}
	taken();
	for (size_t i = 0; i < COUNT(lengths); i++) {
		CHECK(ftruncate(f, lengths[i]) == 0);
		refused(file, "cut at", lengths[i]);
	}
	CHECK(ftruncate(f, size) == 0 && pwrite(f, all, (size_t)size, 0) == size);
	taken();
}

TEST(every_file_that_is_cut_flipped_or_gone_is_refused)
{
	static const char *const files[] = { SNAP_VMSTATE, SNAP_MEM, SNAP_MANIFEST };
	struct err e = { 0 };
	path_text dir;

	world_make();
	some_memory();
	must(take_full(), &e);
	path_instance(&world_at, dir);
	path_join(dir, dir, SNAP_DIR "/gen-1");
	cleanup_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < COUNT(files); i++) {
		cleanup_fd int f = openat(fd, files[i], O_RDWR | O_CLOEXEC);

		spoil(f, files[i]);
		CHECK(renameat(fd, files[i], fd, "away") == 0);
		refused(files[i], "gone", 0);
		CHECK(renameat(fd, "away", fd, files[i]) == 0);
	}
}

TEST(a_base_belongs_to_its_pool_is_read_only_and_goes_with_its_last_user)
{
	const char *ref = "base-0123456789abcdef0123456789abcdef";
	cleanup_snap_draft struct snap_draft d = SNAP_DRAFT_NONE;
	cleanup_manifest struct snap_manifest m = { 0 };
	cleanup_store struct store pool = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct codec_list rows = { 0 };
	struct err e = { 0 };
	struct stat st;
	int held; // by the VMM that wrote it

	world_make();
	some_memory();
	world_manifest(&m);
	must(store_lock(&pool, STORE_POOL, &world_at, 1000, &e), &e);
	must(snap_draft_begin(&pool, SNAP_BASE, ref, NULL, &d, &e), &e);
	write_text(d.draft.dir, SNAP_VMSTATE, "state");
	write_pages(d.draft.dir, SNAP_MEM, full);
	held = openat(d.draft.dir, SNAP_MEM, O_RDWR | O_CLOEXEC);
	must(snap_draft_seal(&d, &m, NULL, &e), &e);
	must(snap_draft_commit(&pool, &d, &e), &e);
	must(snap_gen_open(&pool, ref, SNAP_UNLOCKED, 0, &g, &e), &e);
	CHECK(fstatat(g.dir, SNAP_MEM, &st, 0) == 0 && (st.st_mode & 0777) == 0444);
	CHECK(held >= 0 && fstat(held, &st) == 0 && st.st_nlink == 0);
	store_close(&pool);
	world_diff_base(ref, g.m.memory.sha256);
	must(store_lock(&pool, STORE_POOL, &world_at, 1000, &e), &e);
	must(snap_gc(&pool, NULL, false, &rows, &e), &e);
	CHECK(rows.len == 1 && !((struct gc_row *)rows.items)->removed);
	codec_free_list(gc_row_fields, sizeof(struct gc_row), &rows);
	store_close(&pool);
	world_diff_base("", "");
	must(store_lock(&pool, STORE_POOL, &world_at, 1000, &e), &e);
	must(snap_gc(&pool, NULL, false, &rows, &e), &e);
	CHECK(rows.len == 1 && ((struct gc_row *)rows.items)->removed);
	codec_free_list(gc_row_fields, sizeof(struct gc_row), &rows);
}
