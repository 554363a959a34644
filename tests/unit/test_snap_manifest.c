// SPDX-License-Identifier: MIT
#include "snap/manifest.h"
#include "snap/rules.h"

#include "test_snap_whole.h"

TEST(a_manifest_is_read_as_it_was_written)
{
	cleanup_buf struct buf text = BUF_INIT, again = BUF_INIT;
	cleanup_manifest struct snap_manifest m = { 0 }, back = { 0 };
	cleanup_wanted struct snap_wanted w = { 0 };
	struct err e = { 0 };

	whole(&m);
	wanted_by(&w);
	snap_manifest_print(&m, &text);
	must(load_text(&text, &w, &e), &e);
	must(snap_manifest_parse(buf_text(&text), text.len, &back, &e), &e);
	snap_manifest_print(&back, &again);
	CHECK_STR(buf_text(&again), buf_text(&text));
}

// --- every field in turn

static size_t named;

// "memory.seen.inode" as messages have it.
static void spell(const char *path, char out[160])
{
	size_t n = 0;

	for (; *path && n < 158; path++) {
		out[n++] = *path == '.' ? ':' : *path;
		if (*path == '.')
			out[n++] = ' ';
	}
	out[n] = '\0';
}

static void try_field(const struct field *f, size_t at, const char *path)
{
	cleanup_buf struct buf text = BUF_INIT, first = BUF_INIT;
	cleanup_manifest struct snap_manifest m = { 0 };
	cleanup_wanted struct snap_wanted w = { 0 };
	struct err e = { 0 };
	char words[160];

	whole(&m);
	wanted_by(&w);
	be_for(&m, path);
	spell(path, words);
	snap_manifest_print(&m, &first); // which seals it
	mutate(f, (char *)&m + at);
	codec_print(snap_manifest_fields, &m, &text);
	if (load_text(&text, &w, &e) == 0)
		tap_fail(__FILE__, __LINE__, "%s: changed, and taken", path);
	else if (strstr(e.msg, f->key) && (!strstr(e.msg, "the seal") || str_starts(e.msg, words)))
		named++;
	else
		tap_fail(__FILE__, __LINE__, "%s: refused with \"%s\"", path, e.msg);
}

TEST(every_field_that_is_changed_is_refused_and_named)
{
	each_leaf(snap_manifest_fields, 0, "", try_field);
	CHECK_INT(named, 55);
}

// What has no marks, or those of other tables, is refused all the same.
TEST(where_no_mark_tells_the_seal_does)
{
	static const char *const marks[] = { "", "abcd" };

	for (size_t i = 0; i < COUNT(marks); i++) {
		cleanup_manifest struct snap_manifest m = { 0 };
		cleanup_buf struct buf text = BUF_INIT;
		struct err e = { 0 };
		char field[64];

		whole(&m);
		snap_manifest_print(&m, &text); // which seals it
		CHECK(!snap_manifest_changed(&m, field, sizeof(field)));
		m.vmstate.bytes++;
		CHECK(snap_manifest_changed(&m, field, sizeof(field)));
		CHECK_STR(field, "vmstate: bytes");
		base_cut(m.marks, sizeof(m.marks), "%s", marks[i]);
		CHECK(snap_manifest_sealed(&m, &e) < 0 && e.kind == ERR_DAMAGED);
		CHECK(str_starts(e.msg, "seal: does not fit"));
	}
}

// One that was written before there was such a field still fits its seal.
TEST(what_is_not_known_to_be_of_a_guest_at_rest_counts_as_not)
{
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_manifest struct snap_manifest m = { 0 }, old = { 0 };
	cleanup_wanted struct snap_wanted w = { 0 };
	struct err e = { 0 };

	whole(&m);
	wanted_by(&w);
	must(snap_may_share(&m, &e), &e);
	m.quiesced = false;
	snap_manifest_print(&m, &text);
	CHECK(!strstr(buf_text(&text), "quiesced"));
	must(load_text(&text, &w, &e), &e);
	must(snap_manifest_parse(buf_text(&text), text.len, &old, &e), &e);
	CHECK(!old.quiesced && snap_may_load(&old, &e) == 0);
	CHECK(snap_may_share(&old, &e) < 0 && e.kind == ERR_STATE && strstr(e.msg, "not at rest"));
	CHECK(strstr(e.hint, "--force") != NULL);
	err_clear(&e);
	old.kind = SNAP_BASE;
	CHECK(snap_manifest_rules(&old, &e) < 0 && e.kind == ERR_DAMAGED);
	CHECK(str_starts(e.msg, "quiesced: "));
}

TEST(every_field_of_every_device_counts)
{
	const struct field *devices = snap_machine_fields;

	while (!str_eq(devices->key, "devices"))
		devices++;
	for (const struct field *f = devices->sub; f->key; f++) {
		cleanup_manifest struct snap_manifest m = { 0 };
		cleanup_wanted struct snap_wanted w = { 0 };
		struct err e = { 0 };

		whole(&m);
		wanted_by(&w);
		mutate(f, (char *)m.machine.devices.items + f->at);
		CHECK(snap_manifest_check(&m, &w, &e) < 0 && e.kind == ERR_CONFLICT);
		CHECK(strstr(e.msg, "devices") != NULL);
		err_clear(&e);
		snap_manifest_free(&m);
		whole(&m);
		mutate(f, (char *)m.guest.disks.items + f->at);
		CHECK(snap_manifest_check(&m, &w, &e) < 0 && strstr(e.msg, "guest: disks"));
	}
}

TEST(every_byte_of_a_manifest_counts)
{
	cleanup_buf struct buf text = BUF_INIT;
	cleanup_manifest struct snap_manifest m = { 0 };
	cleanup_wanted struct snap_wanted w = { 0 };

	whole(&m);
	wanted_by(&w);
	snap_manifest_print(&m, &text);
	for (size_t i = 0; i < text.len - 1; i++) {
		struct err e = { 0 };
		char kept = text.data[i];
		struct buf cut = { text.data, i, text.size };

		text.data[i] = (char)(kept ^ 1);
		if (load_text(&text, &w, &e) == 0)
			tap_fail(__FILE__, __LINE__, "byte %zu flipped, and taken", i);
		text.data[i] = kept;
		err_clear(&e);
		if (load_text(&cut, &w, &e) == 0)
			tap_fail(__FILE__, __LINE__, "cut at %zu, and taken", i);
	}
}

TEST(a_refusal_says_what_differs_and_how)
{
	cleanup_manifest struct snap_manifest m = { 0 };
	cleanup_wanted struct snap_wanted w = { 0 };
	struct err e = { 0 };

	whole(&m);
	wanted_by(&w);
	w.machine.vcpus = 4;
	CHECK(snap_manifest_check(&m, &w, &e) < 0);
	CHECK_STR(e.msg, "machine: vcpus: the capture has 2, here it is 4");
	w.machine.vcpus = 2;
	w.machine.cpu.model = 86;
	CHECK(snap_manifest_check(&m, &w, &e) < 0);
	CHECK_STR(e.msg, "machine: cpu: model: the capture has 85, here it is 86");
	w.machine.cpu.model = 85;
	CHECK(COPY(w.guest.mac, "02:fc:00:07:00:04") == 0);
	CHECK(snap_manifest_check(&m, &w, &e) < 0);
	CHECK_STR(e.msg, "guest: mac: the capture has \"02:fc:00:07:00:03\", here it is "
			 "\"02:fc:00:07:00:04\"");
}

TEST(another_qemu_or_rate_is_refused_until_it_is_put_right)
{
	static const struct {
		uint64_t have, here;
		bool good;
	} rates[] = {
		{ 2000000, 2000000, true },  { 2000000, 2001000, true },
		{ 2000000, 1999000, true },  { 2000000, 2001001, false },
		{ 2000000, 1998999, false }, { 2000000, 0, false },
		{ 0, 2000000, true }, // it does not say
	};
	cleanup_manifest struct snap_manifest m = { 0 };
	cleanup_wanted struct snap_wanted w = { 0 };
	struct err e = { 0 };
	snap_ref a, b;

	whole(&m);
	wanted_by(&w);
	for (size_t i = 0; i < COUNT(rates); i++) {
		cleanup_buf struct buf text = BUF_INIT;

		m.machine.tsc_khz = rates[i].have;
		w.machine.tsc_khz = rates[i].here;
		snap_manifest_print(&m, &text); // which seals it
		if ((load_text(&text, &w, &e) == 0) != rates[i].good ||
		    (!rates[i].good && (e.kind != ERR_UNAVAILABLE || !strstr(e.msg, "tsc_khz"))))
			tap_fail(__FILE__, __LINE__, "row %zu: %s", i, e.msg);
		err_clear(&e);
	}
	w.machine.tsc_khz = 0;
	snap_base_ref(&m.machine, a);
	m.machine.tsc_khz = 2000000;
	snap_base_ref(&m.machine, b);
	CHECK_STR(a, b); // by the rate no base is another
	m.machine.tsc_khz = 0;
	CHECK(COPY(w.machine.emulator, "8.0.0 ()") == 0);
	must(snap_manifest_check(&m, &w, &e), &e); // it does not say
	CHECK(COPY(m.machine.emulator, "7.2.22 (Debian)") == 0);
	CHECK(snap_manifest_check(&m, &w, &e) < 0 && e.kind == ERR_UNAVAILABLE);
	CHECK_STR(e.msg, "machine: emulator: the capture is of QEMU 7.2.22 (Debian), here it is "
			 "8.0.0 ()");
	CHECK(strstr(e.hint, "--cold") != NULL);
	snap_base_ref(&m.machine, b);
	CHECK(!str_eq(a, b));
	// what cannot be put right comes first
	err_clear(&e);
	w.guest.cidr++;
	CHECK(snap_manifest_check(&m, &w, &e) < 0 && e.kind == ERR_CONFLICT);
	CHECK(strstr(e.msg, "guest: cidr") != NULL);
}

TEST(releases_that_are_known_to_be_bad_are_not_used_for_it)
{
	static const struct {
		const char *version;
		enum snap_use use;
		uint64_t mem_mib;
		bool good;
	} rows[] = {
		{ "1.15.1", SNAP_USE_LOAD, 8192, true },
		{ "1.15.1", SNAP_USE_DIFF, 8192, true },
		{ "1.15.1", SNAP_USE_WARM, 128, true },
		{ "0.0.0", SNAP_USE_LOAD, 128, false },
		{ "1.11.0", SNAP_USE_LOAD, 128, false },
		{ "1.11.999", SNAP_USE_LOAD, 128, false },
		{ "1.12.0", SNAP_USE_LOAD, 128, true },
		{ "1.13.999", SNAP_USE_DIFF, 1 << 20, true },
		{ "1.14.0", SNAP_USE_DIFF, 3073, false },
		{ "1.14.0", SNAP_USE_DIFF, 3072, true },
		{ "1.14.1", SNAP_USE_DIFF, 3072, true },
		{ "1.14.1", SNAP_USE_DIFF, 3073, false },
		{ "1.14.0", SNAP_USE_WARM, 4096, true },
		{ "1.14.2", SNAP_USE_DIFF, 4096, true },
		{ "1.13.2", SNAP_USE_DIFF, 4096, true },
		{ "1.14.1", SNAP_USE_LOAD, 4096, true },
		{ "1.15.999", SNAP_USE_LOAD, 128, true },
		{ "1.15.999", SNAP_USE_WARM, 128, true },
		{ "1.16.0", SNAP_USE_LOAD, 128, false },
		{ "1.16.0-dev", SNAP_USE_LOAD, 128, false },
		{ "1.16.0", SNAP_USE_DIFF, 1 << 20, true },
		{ "1.16.0", SNAP_USE_WARM, 128, false },
		{ "1.16.1", SNAP_USE_WARM, 128, false },
		{ "1.16.1", SNAP_USE_LOAD, 128, true },
		{ "1.16.2", SNAP_USE_WARM, 128, true },
		{ "1.17.0-dev", SNAP_USE_DIFF, 1, true },
		{ "1.14.0-dev", SNAP_USE_DIFF, 4096, false },
		{ "1.17.0", SNAP_USE_LOAD, 128, true },
		{ "2.0.0", SNAP_USE_LOAD, 128, true },
		{ "new", SNAP_USE_LOAD, 128, false },
		{ "1.15", SNAP_USE_LOAD, 128, false },
		{ "v1.15.1", SNAP_USE_LOAD, 128, false },
		{ "", SNAP_USE_DIFF, 128, false },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct err e = { 0 };
		bool good = snap_release_check(INSTANCE_VMM_FIRECRACKER, rows[i].version,
					       rows[i].use, rows[i].mem_mib, &e) == 0;

		if (good != rows[i].good || (!good && e.kind != ERR_STATE))
			tap_fail(__FILE__, __LINE__, "row %zu: %s", i, e.msg);
		err_clear(&e);
		CHECK(snap_release_check(INSTANCE_VMM_QEMU, rows[i].version, rows[i].use,
					 rows[i].mem_mib, &e) == 0);
	}
}

TEST(a_delta_of_a_bad_release_is_not_loaded_however_it_is_kept)
{
	cleanup_manifest struct snap_manifest m = { 0 };
	struct snap_wanted w; // its lists are m's
	struct err e = { 0 };

	whole(&m);
	m.machine.mem_mib = 4096;
	CHECK(COPY(m.machine.vmm_version, "1.14.1") == 0 && COPY(m.composed_from, "gen-1") == 0);
	w = (struct snap_wanted){ .machine = m.machine, .guest = m.guest };
	CHECK(snap_manifest_check(&m, &w, &e) < 0 && e.kind == ERR_STATE);
	CHECK(strstr(e.msg, "machine: vmm_version: Firecracker 1.14.1") == e.msg);
}

TEST(names_of_captures)
{
	static const char *const bad[] = { "",
					   "gen-",
					   "gen-0",
					   "gen-01",
					   "gen-1x",
					   "none",
					   "base-",
					   "gen--1",
					   "../gen-1",
					   "gen-1/..",
					   "base-0123",
					   "gen-9999999999",
					   "base-0123456789abcdef0123456789abcdeF" };
	cleanup_manifest struct snap_manifest m = { 0 };
	struct err e = { 0 };
	snap_ref a, b;

	for (size_t i = 0; i < COUNT(bad); i++)
		if (snap_ref_check(bad[i], &e) == 0)
			tap_fail(__FILE__, __LINE__, "'%s' was taken", bad[i]);
	CHECK(snap_ref_check("gen-1", &e) == 0 && snap_ref_number("gen-42") == 42);
	whole(&m);
	snap_base_ref(&m.machine, a);
	must(snap_ref_check(a, (err_clear(&e), &e)), &e);
	m.machine.vcpus++;
	snap_base_ref(&m.machine, b);
	CHECK(!str_eq(a, b));
}

TEST(this_host_can_be_told_from_another)
{
	struct snap_machine m = { .vcpus = 0 };
	struct err e = { 0 };

	must(snap_machine_host(&m, &e), &e);
	CHECK(m.arch[0] && m.host_kernel[0] && strlen(m.cpu.flags_sha256) == 64);
	if (str_eq(m.arch, "x86_64"))
		CHECK(m.cpu.vendor[0] && m.cpu.family > 0);
}
