// SPDX-License-Identifier: MIT
// Delta over parent, against a model; killed at each point on the way, and never over another one.
#include "snap/compose.h"

#include "base/proc.h"
#include "test_snap_world.h"

static int model[PAGES], delta[PAGES];

static void random_pages(int *pages, unsigned seed, bool sparse)
{
	pages_clear(pages);
	for (size_t i = 0; i < PAGES; i++) {
		seed = seed * 1103515245 + 12345;
		if (!sparse || (seed >> 16) % 4 == 0)
			pages[i] = (int)(seed >> 20) % 3 ? (int)(seed >> 18) % 200 : 0;
	}
}

// gen-1 full, gen-2 a delta over it; model is what gen-2 has to become.
static void two_generations(unsigned seed)
{
	struct snap_parent p;
	struct err e = { 0 };
	snap_ref ref;

	random_pages(model, seed, false);
	random_pages(delta, seed + 1, true);
	must(world_capture(SNAP_FULL, NULL, model, "", ref, &e), &e);
	world_parent(ref, &p);
	must(world_capture(SNAP_DIFF, &p, delta, "", ref, &e), &e);
	lay(model, delta);
}

static int compose_current(struct compose_result *r, struct err *e)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	snap_ref ref;

	if (store_open(&s, STORE_INSTANCE, &world_at, e) < 0 || snap_current(&s, ref, e) < 0 ||
	    snap_gen_open(&s, ref, SNAP_EXCLUSIVE, 1000, &g, e) < 0)
		return -e->no;
	return snap_compose(&s, &g, 1000, NULL, r, e);
}

static int compose_and_drop(void)
{
	cleanup_store struct store s = STORE_NONE;
	struct codec_list rows = { 0 };
	struct compose_result r;
	struct err e = { 0 };
	int done;

	if (compose_current(&r, &e) < 0 || store_lock(&s, STORE_INSTANCE, &world_at, 1000, &e) < 0)
		return -e.no;
	done = snap_gc(&s, r.composed_from, false, &rows, &e);
	codec_free_list(gc_row_fields, sizeof(struct gc_row), &rows);
	return done;
}

static int open_gen(const char *ref)
{
	path_text dir;

	path_instance(&world_at, dir);
	path_join(dir, dir, SNAP_DIR);
	path_join(dir, dir, ref);
	return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void is_composed(const char *ref)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct err e = { 0 };
	bool read_it;

	must(store_open(&s, STORE_INSTANCE, &world_at, &e), &e);
	must(snap_gen_open(&s, ref, SNAP_UNLOCKED, 0, &g, &e), &e);
	CHECK_INT(g.m.memory.form, SNAP_FORM_MEM);
	CHECK_STR(g.m.parent.ref, SNAP_NONE);
	must(snap_gen_verify(&g, false, NULL, &read_it, &e), &e);
	CHECK(!read_it);
	must(snap_gen_verify(&g, true, NULL, &read_it, &e), &e);
	CHECK(same_pages(g.dir, SNAP_MEM, model));
	CHECK(faccessat(g.dir, SNAP_DELTA, F_OK, 0) < 0);
	CHECK(faccessat(g.dir, SNAP_MEM ".new", F_OK, 0) < 0);
}

TEST(a_delta_is_laid_over_its_parent_zeros_too)
{
	for (unsigned seed = 1; seed < 6; seed++) {
		struct compose_result r;
		struct err e = { 0 };

		world_make();
		two_generations(seed);
		must(compose_current(&r, &e), &e);
		CHECK(r.changed && r.delta_bytes > 0);
		is_composed("gen-2");
		must(compose_current(&r, &e), &e);
		CHECK(!r.changed);
		CHECK_STR(r.composed_from, "gen-1");
		must(compose_and_drop(), &e);
		cleanup_fd int gone = open_gen("gen-1");
		CHECK(gone < 0);
		path_text state;
		path_instance(&world_at, state);
		must(fd_remove_tree(AT_FDCWD, state, &e), &e);
	}
}

TEST(twenty_generations_on_top_of_each_other)
{
	struct snap_parent p;
	struct err e = { 0 };
	snap_ref ref;

	world_make();
	random_pages(model, 99, true);
	must(world_capture(SNAP_FULL, NULL, model, "", ref, &e), &e);
	for (unsigned i = 0; i < 20; i++) {
		world_parent(ref, &p);
		random_pages(delta, 1000 + i, true);
		must(world_capture(SNAP_DIFF, &p, delta, "", ref, &e), &e);
		lay(model, delta);
		must(compose_and_drop(), &e);
	}
	CHECK_STR(ref, "gen-21");
	is_composed("gen-21");
}

// --- killed

static const char *const points[] = {
	"compose-create",   "pages-clone",     "compose-copied", "compose-write@1",
	"compose-write@2",  "compose-sync",    "compose-rename", "compose-renamed",
	"compose-manifest", "replace-open",    "replace-write",	 "replace-fsync",
	"replace-rename",   "replace-dirsync", "snap-settle@1",	 "snap-settle@4",
	"snap-settle@5",    "snap-settle@6",   "snap-settle@8",	 "snap-gc",
	"remove-rename",
};

// By links: nothing of a generation is written in place.
static void copy(const char *from, const char *to)
{
	const char *const argv[] = { "/bin/cp", "-al", from, to, NULL };
	cleanup_proc_result struct proc_result r = { 0 };
	struct err e = { 0 };

	must(proc_capture(argv, NULL, 4096, 10000, &r, &e), &e);
	CHECK_INT(r.status, 0);
}

static void each_point(const char *action)
{
	path_text state, kept;
	struct err e = { 0 };

	world_make();
	two_generations(12);
	path_instance(&world_at, state);
	path_join(kept, tap_dir(), "kept");
	copy(state, kept);
	for (size_t i = 0; i < COUNT(points); i++) {
		const char *at = points[i] + strcspn(points[i], "@");
		char fault[64];

		must(fd_remove_tree(AT_FDCWD, state, &e), &e);
		copy(kept, state);
		base_cut(fault, sizeof(fault), "%.*s:%s%s", (int)(at - points[i]), points[i],
			 action, at);
		if (with_fault(fault, compose_and_drop) == 0)
			tap_fail(__FILE__, __LINE__, "%s: was not passed", fault);
		must(compose_and_drop(), &e);
		is_composed("gen-2");
		cleanup_fd int gone = open_gen("gen-1");
		if (gone >= 0)
			tap_fail(__FILE__, __LINE__, "%s: the parent stays", fault);
	}
}

TEST(killed_at_any_point_it_is_done_again_and_ends_the_same)
{
	each_point("kill");
}

TEST(where_the_disk_is_full_at_any_point_it_is_done_again_and_ends_the_same)
{
	each_point("err=ENOSPC");
}

// --- refused

static void refused(const char *says, enum err_kind kind)
{
	cleanup_fd int dir = open_gen("gen-2");
	struct compose_result r;
	struct err e = { 0 };

	if (compose_current(&r, &e) == 0 || e.kind != kind || !strstr(e.msg, says))
		tap_fail(__FILE__, __LINE__, "kind %d: \"%s\", want \"%s\"", (int)e.kind, e.msg,
			 says);
	CHECK(faccessat(dir, SNAP_DELTA, F_OK, 0) == 0);
	CHECK(faccessat(dir, SNAP_MEM, F_OK, 0) < 0);
	CHECK(faccessat(dir, SNAP_MEM ".new", F_OK, 0) < 0);
}

static void flip(int dir, const char *name, off_t at)
{
	cleanup_fd int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
	uint8_t byte = 0;

	CHECK(pread(fd, &byte, 1, at) == 1);
	byte ^= 1;
	CHECK(pwrite(fd, &byte, 1, at) == 1);
}

TEST(a_wrong_delta_or_parent_leaves_everything_as_it_was)
{
	cleanup_fd int child = -1, parent = -1;
	struct compose_result r;
	struct err e = { 0 };
	size_t page = 0;

	world_make();
	two_generations(7);
	child = open_gen("gen-2");
	parent = open_gen("gen-1");
	while (delta[page] == KEEP || delta[page] == 0)
		page++;
	flip(child, SNAP_DELTA, (off_t)(page * PAGES_PAGE));
	refused("delta: its digest does not fit", ERR_DAMAGED);
	flip(child, SNAP_DELTA, (off_t)(page * PAGES_PAGE));
	flip(parent, SNAP_MEM, 100);
	refused("mem: its digest does not fit", ERR_DAMAGED);
	flip(parent, SNAP_MEM, 100);
	CHECK(renameat(child, SNAP_DELTA, child, "away") == 0);
	CHECK(compose_current(&r, &e) < 0 && e.kind == ERR_DAMAGED && strstr(e.msg, "delta"));
	CHECK(renameat(child, "away", child, SNAP_DELTA) == 0);
	must(compose_current(&r, (err_clear(&e), &e)), &e);
	is_composed("gen-2");
}

// A tool that turned pages of zeros into holes: the same bytes, and another delta.
TEST(a_delta_whose_zeros_became_holes_is_refused)
{
	cleanup_fd int child = -1, fd = -1;
	size_t page = 0;

	world_make();
	two_generations(8);
	child = open_gen("gen-2");
	while (delta[page] != 0)
		page++;
	fd = openat(child, SNAP_DELTA, O_RDWR | O_CLOEXEC);
	CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * PAGES_PAGE),
			PAGES_PAGE) == 0);
	refused("delta: its digest does not fit", ERR_DAMAGED);
}

TEST(another_memory_under_the_parents_name_is_refused)
{
	cleanup_fd int parent = -1;
	struct snap_manifest m = { 0 };
	struct err e = { 0 };

	world_make();
	two_generations(9);
	parent = open_gen("gen-1");
	must(snap_manifest_load(parent, NULL, &m, &e), &e);
	m.memory.sha256[0] = m.memory.sha256[0] == 'a' ? 'b' : 'a';
	must(snap_manifest_save(parent, &m, &e), &e); // sealed, as if it had been taken so
	snap_manifest_free(&m);
	refused("parent: sha256", ERR_CONFLICT);
}

TEST(a_damaged_manifest_is_reported_and_stays_as_it_is)
{
	cleanup_buf struct buf before = BUF_INIT, after = BUF_INIT;
	cleanup_fd int child = -1;
	struct err e = { 0 };

	world_make();
	two_generations(10);
	child = open_gen("gen-2");
	flip(child, SNAP_MANIFEST, 40);
	must(fd_read_file(child, SNAP_MANIFEST, MIB, &before, &e), &e);
	refused("manifest.json: damaged", ERR_DAMAGED);
	must(fd_read_file(child, SNAP_MANIFEST, MIB, &after, &e), &e);
	CHECK_STR(buf_text(&after), buf_text(&before));
}

TEST(a_parent_that_is_named_stays_with_its_child_composed)
{
	struct snap_parent p;
	struct err e = { 0 };
	snap_ref ref;

	world_make();
	random_pages(model, 3, false);
	random_pages(delta, 4, true);
	must(world_capture(SNAP_NAMED, NULL, model, "kept", ref, &e), &e);
	world_parent(ref, &p);
	must(world_capture(SNAP_DIFF, &p, delta, "", ref, &e), &e);
	lay(model, delta);
	must(compose_and_drop(), &e);
	is_composed("gen-2");
	cleanup_fd int kept = open_gen("gen-1");
	CHECK(kept >= 0);
}

TEST(a_generation_that_somebody_holds_is_not_composed)
{
	cleanup_store struct store s = STORE_NONE;
	cleanup_gen struct snap_gen g = SNAP_GEN_NONE;
	struct compose_result r;
	struct err e = { 0 };

	world_make();
	two_generations(11);
	must(store_open(&s, STORE_INSTANCE, &world_at, &e), &e);
	must(snap_gen_open(&s, "gen-2", SNAP_SHARED, 0, &g, &e), &e);
	CHECK(compose_current(&r, &e) < 0 && e.kind == ERR_UNAVAILABLE);
}
