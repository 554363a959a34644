// SPDX-License-Identifier: MIT
#include "snap/rules.h"

#include "test_snap_world.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

TEST(a_delta_is_asked_only_over_the_memory_that_was_loaded)
{
	static const struct {
		struct snap_before before;
		enum snap_choice choice;
	} rows[] = {
		{ { { "gen-3", A }, true, A, true, true, false }, SNAP_TAKE_DIFF },
		{ { { "base-0123456789abcdef0123456789abcdef", A }, true, A, true, true, false },
		  SNAP_TAKE_DIFF },
		{ { { "gen-3", A }, true, A, true, true, true }, SNAP_TAKE_FULL_ASKED },
		{ { { "", "" }, true, A, true, true, false }, SNAP_TAKE_FULL_NO_BASE },
		{ { { "none", "" }, true, A, true, true, false }, SNAP_TAKE_FULL_NO_BASE },
		{ { { "gen-3", "" }, true, "", true, true, false }, SNAP_TAKE_FULL_NO_BASE },
		{ { { "gen-3", A }, false, A, true, true, false }, SNAP_TAKE_FULL_GONE },
		{ { { "gen-3", A }, true, NULL, true, true, false }, SNAP_TAKE_FULL_GONE },
		{ { { "gen-3", A }, true, B, true, true, false }, SNAP_TAKE_FULL_OTHER },
		{ { { "gen-3", A }, true, A, false, true, false }, SNAP_TAKE_FULL_RELEASE },
		{ { { "gen-3", A }, true, A, true, false, false }, SNAP_TAKE_FULL_HOLES },
		{ { { "gen-3333333333333333333333333333333333333333", A },
		    true,
		    A,
		    true,
		    true,
		    false },
		  SNAP_TAKE_FULL_GONE },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct snap_parent p;
		enum snap_choice c = snap_choose(&rows[i].before, &p);

		CHECK_INT(c, rows[i].choice);
		CHECK_STR(p.ref, c == SNAP_TAKE_DIFF ? rows[i].before.base.ref : SNAP_NONE);
		CHECK_STR(p.sha256, c == SNAP_TAKE_DIFF ? A : "");
		CHECK((snap_choice_why[c][0] == '\0') == (c == SNAP_TAKE_DIFF));
	}
}

TEST(any_create_call_forgets_what_was_loaded)
{
	const struct instance_base loaded = { "gen-2", A };
	static const struct {
		enum snap_event ev;
		const char *ref;
	} rows[] = {
		{ SNAP_EV_BOOTED, "" },
		{ SNAP_EV_LOADED, "gen-2" },
		{ SNAP_EV_CREATE_ASKED, "" },
		{ SNAP_EV_ENDED, "" },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct instance_base b = { "gen-1", B };

		snap_base_after(rows[i].ev, &loaded, &b);
		CHECK_STR(b.ref, rows[i].ref);
		CHECK_STR(b.sha256, rows[i].ref[0] ? A : "");
	}
}

TEST(what_was_loaded_once_or_is_not_whole_is_not_loaded)
{
	struct snap_manifest m = { .memory = { .form = SNAP_FORM_MEM } };
	struct err e = { 0 };

	CHECK(snap_may_load(&m, &e) == 0);
	m.spent = true;
	CHECK(snap_may_load(&m, &e) < 0 && e.kind == ERR_STATE);
	m.spent = false;
	m.memory.form = SNAP_FORM_DELTA;
	CHECK(snap_may_load(&m, &e) < 0 && strstr(e.msg, "compose"));
	m.memory.form = SNAP_FORM_PACK;
	CHECK(snap_may_load(&m, &e) < 0 && strstr(e.msg, "unpack"));
}

#define BASE1 "base-11111111111111111111111111111111"
#define BASE2 "base-22222222222222222222222222222222"

TEST(nothing_that_somebody_refers_to_is_removed)
{
	static const struct gc_item gens[] = {
		{ "gen-1", SNAP_FULL, false, "none", false, false },
		{ "gen-2", SNAP_FULL, false, "none", false, false },
		{ "gen-3", SNAP_NAMED, false, "gen-2", false, false },
		{ "gen-4", SNAP_FULL, false, "none", false, false },
		{ "gen-5", SNAP_DIFF, false, "gen-4", false, false },
		{ "gen-6", SNAP_FULL, false, "none", false, false },
		{ "gen-7", SNAP_DIFF, false, "gen-1", false, false },
		{ "gen-8", SNAP_NAMED, false, "none", false, true },
	};
	static const snap_ref used[] = { "gen-6" };
	const struct gc_refs refs = { .current = "gen-5", .used = used, .used_len = 1 };
	static const enum gc_why want[] = { GC_UNUSED,	GC_PARENT,    GC_NAMED,	 GC_PARENT,
					    GC_CURRENT, GC_DIFF_BASE, GC_UNUSED, GC_UNUSED };
	enum gc_why why[COUNT(gens)];

	gc_decide(gens, COUNT(gens), &refs, why);
	for (size_t i = 0; i < COUNT(gens); i++)
		CHECK_INT(why[i], want[i]);
}

TEST(where_a_manifest_is_damaged_all_that_it_may_refer_to_stays)
{
	static const struct gc_item gens[] = {
		{ "gen-1", SNAP_FULL, false, "none", false, false },
		{ "gen-2", SNAP_BASE, true, "", false, false },
		{ "gen-3", SNAP_FULL, false, "none", false, false },
	};
	static const struct gc_item bases[] = {
		{ BASE1, SNAP_BASE, false, "none", true, false },
		{ BASE2, SNAP_BASE, false, "none", false, false },
	};
	struct gc_refs refs = { .current = "" };
	enum gc_why why[3];

	gc_decide(gens, 3, &refs, why);
	CHECK_INT(why[0], GC_DOUBT);
	CHECK_INT(why[1], GC_DAMAGED);
	CHECK_INT(why[2], GC_UNUSED);
	gc_decide(bases, 2, &refs, why);
	CHECK_INT(why[0], GC_IMAGE);
	CHECK_INT(why[1], GC_UNUSED);
	refs.doubt = true;
	gc_decide(bases, 2, &refs, why);
	CHECK_INT(why[1], GC_DOUBT);
}
