// SPDX-License-Identifier: MIT
#include "audit/context.h"
#include "audit/list.h"
#include "audit/verify.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/path.h"
#include "tap.h"

static path_text where;

static const struct address acme = { .tenant = "acme" };

// A tenant's directory, and it as a descriptor.
static int use_tenant(void)
{
	struct err e = { 0 };

	(void)setenv("MVM_STATE_DIR", tap_dir(), 1);
	(void)setenv("MVM_RUN_DIR", tap_dir(), 1);
	CHECK(path_check_env(&e) == 0);
	path_tenant("acme", where);
	CHECK(fd_mkdirs(where, 0750, &e) == 0);
	return fd_open_dir(AT_FDCWD, where, &e);
}

static int note(const char *detail)
{
	const struct audit_event event = { .at = acme,
					   .action = AUDIT_POOL_SCALED,
					   .detail = detail };
	struct err e = { 0 };

	return audit_append(&event, &e);
}

static void notes(unsigned n)
{
	while (n--)
		CHECK(note("more") == 0);
}

static void spoil(int dir, const char *name, const char *text)
{
	cleanup_fd int fd = openat(dir, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	struct err e = { 0 };

	CHECK(fd >= 0 && fd_write_all(fd, text, strlen(text), &e) == 0);
}

static void read_log(int dir, struct buf *out)
{
	struct err e = { 0 };

	buf_clear(out);
	CHECK(fd_read_file(dir, AUDIT_LOG, 64 * MIB, out, &e) == 0);
}

static void write_log(int dir, const struct buf *text)
{
	struct err e = { 0 };

	CHECK(fd_replace_file(dir, AUDIT_LOG, text->data, text->len, 0600, &e) == 0);
}

// *r is the caller's to free.
static bool verify(struct verify_report *r)
{
	cleanup_files struct audit_files f = FILES_NONE;
	struct err e = { 0 };

	verify_begin("acme", r);
	CHECK(files_open("acme", &f, &e) == 0 && verify_log(&f, r, &e) == 0);
	return r->ok;
}

#define cleanup_report cleanup(verify_free)

static bool there(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

TEST(each_line_has_the_digest_of_the_one_before)
{
	cleanup_fd int dir = use_tenant();
	cleanup_buf struct buf text = BUF_INIT;
	struct audit_entry first = { 0 }, second = { 0 };
	struct err e = { 0 };
	char digest[65];

	CHECK(note("one") == 0 && note("two") == 0);
	read_log(dir, &text);
	size_t len = strcspn(text.data, "\n");
	CHECK(audit_parse_line(text.data, len, &first, &e) == 0);
	CHECK(audit_parse_line(text.data + len + 1, text.len - len - 2, &second, &e) == 0);
	CHECK_STR(first.prev, AUDIT_FIRST_PREV);
	audit_digest(text.data, len, digest);
	CHECK_STR(second.prev, digest);
	CHECK(first.seq == 1 && second.seq == 2);
	CHECK_STR(second.detail, "two");
	audit_digest("abc", 3, digest);
	CHECK_STR(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(what_was_changed_in_the_middle_is_found)
{
	static const struct {
		const char *from, *to, *says;
		uint64_t line;
	} cases[] = {
		{ "\"detail\":\"b\"", "\"detail\":\"B\"", "prev is not the digest", 3 },
		{ "\"seq\":2,", "\"seq\":9,", "the number does not follow", 2 },
		{ "\"tenant_id\":\"acme\",\"pool_id\":null,\"instance_id\":null,\"action\":"
		  "\"PoolScaled\",\"detail\":\"b\"",
		  "\"tenant_id\":\"evil\",\"pool_id\":null,\"instance_id\":null,\"action\":"
		  "\"PoolScaled\",\"detail\":\"b\"",
		  "of another tenant", 2 },
		{ "\"seq\":1,", "\"seq\":7,", "older entries are missing", 1 },
		{ "\"seq\":2", "\"seq\":x", "not JSON", 2 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		cleanup_report struct verify_report r = { 0 };
		cleanup_buf struct buf text = BUF_INIT, new = BUF_INIT;
		cleanup_fd int dir = use_tenant();
		size_t at;

		(void)unlinkat(dir, AUDIT_LOG, 0);
		CHECK(note("a") == 0 && note("b") == 0 && note("c") == 0);
		read_log(dir, &text);
		char *found = strstr(text.data, cases[i].from);
		CHECK(found);
		if (!found)
			return;
		at = (size_t)(found - text.data);
		buf_add(&new, text.data, at);
		buf_str(&new, cases[i].to);
		buf_str(&new, text.data + at + strlen(cases[i].from));
		write_log(dir, &new);
		CHECK(!verify(&r));
		CHECK_INT(r.first_bad.line, cases[i].line);
		if (!strstr(r.first_bad.reason, cases[i].says))
			tap_fail(__FILE__, __LINE__, "%s: %s", cases[i].says, r.first_bad.reason);
		CHECK(str_ends(r.first_bad.file, "/tenants/acme/audit.log"));
	}
}

TEST(a_line_taken_out_is_found)
{
	cleanup_report struct verify_report r = { 0 };
	cleanup_buf struct buf text = BUF_INIT, new = BUF_INIT;
	cleanup_fd int dir = use_tenant();

	notes(5);
	read_log(dir, &text);
	const char *second = strchr(text.data, '\n') + 1, *third = strchr(second, '\n') + 1;

	buf_add(&new, text.data, (size_t)(second - text.data));
	buf_str(&new, third);
	write_log(dir, &new);
	CHECK(!verify(&r));
	CHECK_INT(r.bad, 1);
	CHECK_INT(r.first_bad.line, 2);
}

TEST(an_unfinished_line_is_replaced_by_an_entry_that_quotes_it)
{
	cleanup_report struct verify_report before = { 0 }, after = { 0 };
	cleanup_fd int dir = use_tenant();
	cleanup_buf struct buf text = BUF_INIT;

	notes(2);
	spoil(dir, AUDIT_LOG, "{\"schema_version\":1,\"seq\":3,\x01\xff half");
	CHECK(verify(&before));
	CHECK(before.torn_bytes == 35 && before.entries == 2);
	CHECK(note("next") == 0);
	CHECK(verify(&after));
	CHECK(after.torn_bytes == 0 && after.entries == 4);
	read_log(dir, &text);
	CHECK(strstr(text.data, "\"action\":\"LogRepaired\",\"detail\":\"an unfinished line of 35 "
				"bytes (SHA-256 "));
	CHECK(strstr(text.data, "\\\"seq\\\":3,?? half\""));
	CHECK(strstr(text.data, "next"));
}

TEST(a_torn_tail_longer_than_its_note_leaves_nothing_behind)
{
	cleanup_report struct verify_report r = { 0 };
	cleanup_fd int dir = use_tenant();
	cleanup_free char *zeros = base_alloc(1, 20000);
	struct err e = { 0 };

	notes(1);
	cleanup_fd int fd = openat(dir, AUDIT_LOG, O_WRONLY | O_APPEND | O_CLOEXEC);
	CHECK(fd_write_all(fd, zeros, 20000, &e) == 0); // as a power cut leaves it
	notes(1);
	CHECK(verify(&r));
	CHECK(r.entries == 3 && r.torn_bytes == 0);
}

TEST(a_last_line_that_does_not_decode_keeps_nothing_out)
{
	cleanup_report struct verify_report r = { 0 };
	cleanup_fd int dir = use_tenant();

	notes(2);
	spoil(dir, AUDIT_LOG, "garbage\n");
	CHECK(note("behind") == 0);
	CHECK(!verify(&r));
	CHECK_INT(r.bad, 1);
	CHECK_INT(r.first_bad.line, 3);
	CHECK_INT(r.last_seq, 4);
}

// With a small limit: the entry that would go beyond it is the first one of the next file.
static void add_with_limit(int dir, uint64_t max, unsigned n)
{
	const struct audit_event event = { .at = acme, .action = AUDIT_POOL_SCALED, .detail = "d" };

	while (n--) {
		cleanup_trail struct audit_trail t = TRAIL_NONE;
		struct err e = { 0 };

		CHECK(trail_open(&t, dir, "acme", &e) == 0);
		t.max = max;
		CHECK(trail_add(&t, &event, &e) == 0);
	}
}

TEST(a_full_file_is_packed_and_the_chain_goes_on)
{
	cleanup_report struct verify_report r = { 0 };
	cleanup_fd int dir = use_tenant();
	struct stat st;

	add_with_limit(dir, TRAIL_MAX, 1);
	CHECK(fstatat(dir, AUDIT_LOG, &st, 0) == 0);
	uint64_t line = (uint64_t)st.st_size;

	add_with_limit(dir, 2 * line, 1); // fits to the byte
	CHECK(!there(dir, AUDIT_LOG ".1.gz"));
	add_with_limit(dir, 2 * line, 1);
	CHECK(there(dir, AUDIT_LOG ".1.gz") && !there(dir, AUDIT_LOG ".1"));
	CHECK(fstatat(dir, AUDIT_LOG, &st, 0) == 0 && (uint64_t)st.st_size == line);
	CHECK(verify(&r));
	CHECK(r.entries == 3 && r.files.len == 2);
}

TEST(three_files_are_kept_and_the_rest_still_verifies)
{
	cleanup_report struct verify_report r = { 0 };
	cleanup_fd int dir = use_tenant();

	add_with_limit(dir, 10, 7); // each in a file of its own
	CHECK(there(dir, AUDIT_LOG ".3.gz") && !there(dir, AUDIT_LOG ".4.gz"));
	CHECK(verify(&r));
	CHECK(r.entries == 4 && r.first_seq == 4 && r.last_seq == 7);
	CHECK(unlinkat(dir, AUDIT_LOG ".3.gz", 0) == 0);
	verify_free(&r);
	CHECK(!verify(&r));
	CHECK_STR(r.first_bad.reason, "older entries are missing");
}

// Runs fn in a process that is killed at the named point.
static void killed_at(const char *point, void (*fn)(int dir), int dir)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		cleanup_free char *fault = base_printf("%s:kill", point);

		(void)setenv("MVM_FAULT", fault, 1);
		fn(dir);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == 9);
}

static void rotate(int dir)
{
	cleanup_trail struct audit_trail t = TRAIL_NONE;
	struct err e = { 0 };
	bool changed;

	CHECK(trail_open(&t, dir, "acme", &e) == 0 && trail_rotate(&t, &changed, &e) == 0);
}

TEST(a_rotation_killed_anywhere_is_taken_to_its_end)
{
	static const char *const points[] = { "audit-shift", "audit-rename", "audit-pack",
					      "audit-packed", "audit-unlink" };

	for (size_t i = 0; i < COUNT(points); i++) {
		cleanup_report struct verify_report half = { 0 }, whole = { 0 };
		cleanup_fd int dir = use_tenant();
		unsigned files = 0;

		for (size_t k = 0; trail_files[k]; k++)
			(void)unlinkat(dir, trail_files[k], 0);
		notes(2);
		rotate(dir);
		notes(3);
		killed_at(points[i], rotate, dir);
		CHECK(verify(&half)); // a reader needs no repair
		CHECK_INT(half.entries, 5);
		notes(1);
		rotate(dir);
		CHECK(verify(&whole));
		CHECK_INT(whole.entries, 6);
		CHECK(!there(dir, AUDIT_LOG ".1") && !there(dir, ".new-" AUDIT_LOG ".1.gz"));
		for (size_t k = 0; trail_files[k]; k++)
			files += there(dir, trail_files[k]);
		CHECK(files == 2 || files == 3);
	}
}

TEST(a_packed_file_that_was_cut_or_spoilt_is_told)
{
	cleanup_report struct verify_report r = { 0 };
	cleanup_fd int dir = use_tenant();

	notes(3);
	rotate(dir);
	notes(1);
	cleanup_fd int fd = openat(dir, AUDIT_LOG ".1.gz", O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0 && ftruncate(fd, 60) == 0);
	CHECK(!verify(&r));
	CHECK(str_ends(r.first_bad.file, AUDIT_LOG ".1.gz") && r.first_bad.line == 0);
	CHECK(strstr(r.first_bad.reason, "zlib"));
}

TEST(a_spoilt_packed_file_keeps_nothing_out)
{
	cleanup_report struct verify_report r = { 0 };
	cleanup_fd int dir = use_tenant();

	(void)setenv("MVM_LOG_LEVEL", "error", 1);
	notes(2);
	rotate(dir);
	spoil(dir, AUDIT_LOG ".1.gz", "more than was packed");
	cleanup_fd int fd = openat(dir, AUDIT_LOG ".1.gz", O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0 && ftruncate(fd, 60) == 0);
	notes(2);
	CHECK(!verify(&r));
	CHECK_INT(r.bad, 1);
	CHECK(str_ends(r.first_bad.file, AUDIT_LOG ".1.gz"));
	CHECK_INT(r.entries, 2);
}

TEST(garbage_without_an_end_is_put_aside_and_told)
{
	cleanup_report struct verify_report r = { 0 };
	cleanup_free char *zeros = base_alloc(1, 100000);
	cleanup_fd int dir = use_tenant();
	struct err e = { 0 };

	notes(2);
	cleanup_fd int fd = openat(dir, AUDIT_LOG, O_WRONLY | O_APPEND | O_CLOEXEC);
	CHECK(fd_write_all(fd, zeros, 100000, &e) == 0);
	notes(1);
	CHECK(!verify(&r));
	CHECK_INT(r.bad, 1);
	CHECK_STR(r.first_bad.reason, "the last line is unfinished");
	CHECK(r.entries == 3 && r.last_seq == 3);
}

static void collect(const struct audit_query *q, struct audit_rows *r)
{
	cleanup_files struct audit_files f = FILES_NONE;
	struct err e = { 0 };

	CHECK(files_open("acme", &f, &e) == 0 && list_collect(&f, q, r, &e) == 0);
}

TEST(the_newest_entries_come_from_as_many_files_as_it_takes)
{
	cleanup_rows struct audit_rows some = ROWS_NONE, all = ROWS_NONE, rest = ROWS_NONE;
	cleanup_buf struct buf out = BUF_INIT;
	cleanup_fd int dir = use_tenant();

	notes(4);
	rotate(dir);
	notes(2);
	collect(&(struct audit_query){ .last = 3, .action = -1 }, &some);
	CHECK_INT(some.texts.len, 3);
	list_print(&some, &out);
	CHECK(strstr(out.data, "\"seq\":4,") < strstr(out.data, "\"seq\":5,"));
	CHECK(!strstr(out.data, "\"seq\":3,"));
	collect(&(struct audit_query){ .action = -1 }, &all);
	CHECK_INT(all.texts.len, 6);
	collect(&(struct audit_query){ .action = -1, .after_seq = 5 }, &rest);
	CHECK_INT(rest.texts.len, 1);
	CHECK_INT(rest.last_seq, 6);
}

TEST(what_is_asked_for_is_what_comes)
{
	cleanup_rows struct audit_rows none = ROWS_NONE, later = ROWS_NONE, action = ROWS_NONE;

	CHECK(close(use_tenant()) == 0);
	notes(3);
	collect(&(struct audit_query){ .action = AUDIT_TENANT_CREATED }, &none);
	CHECK_INT(none.texts.len, 0);
	collect(&(struct audit_query){ .action = AUDIT_POOL_SCALED }, &action);
	CHECK_INT(action.texts.len, 3);
	collect(&(struct audit_query){ .action = -1, .since_given = true, .since_us = INT64_MAX },
		&later);
	CHECK_INT(later.texts.len, 0);
}

TEST(a_damaged_line_is_a_row_with_its_file_and_number)
{
	cleanup_rows struct audit_rows r = ROWS_NONE;
	cleanup_buf struct buf out = BUF_INIT;
	cleanup_fd int dir = use_tenant();

	(void)setenv("MVM_LOG_LEVEL", "error", 1);
	notes(1);
	spoil(dir, AUDIT_LOG, "{\"seq\":2}\n");
	notes(1);
	collect(&(struct audit_query){ .action = AUDIT_TENANT_CREATED }, &r); // whatever is asked
	CHECK_INT(r.damaged, 1);
	list_print(&r, &out);
	CHECK(strstr(out.data, "\"status\":\"damaged\""));
	CHECK(strstr(out.data, "/tenants/acme/audit.log\",\"line\":2,"));
}

TEST(times_are_read_to_the_microsecond)
{
	static const struct {
		const char *text;
		int64_t us; // -1: refused
	} cases[] = {
		{ "1970-01-01T00:00:01Z", 1000000 },
		{ "1970-01-01T00:00:01.5Z", 1500000 },
		{ "1970-01-01T00:00:00.000001Z", 1 },
		{ "2026-02-29T00:00:00Z", -1 },
		{ "1970-01-01T00:00:01.Z", -1 },
		{ "1970-01-01T00:00:01.1234567Z", -1 },
		{ "1970-01-01T00:00:01.12", -1 },
		{ "1970-01-01T00:00:01+00:00", -1 },
		{ "1970-01-01T00:00:01ZZ", -1 },
		{ "yesterday", -1 },
		{ "", -1 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct err e = { 0 };
		int64_t us = -1;
		bool ok = audit_parse_time(cases[i].text, &us, &e) == 0;

		if (ok != (cases[i].us >= 0) || us != cases[i].us)
			tap_fail(__FILE__, __LINE__, "%s: %lld", cases[i].text, (long long)us);
	}
}

TEST(changes_are_told_key_by_key)
{
	cleanup_fd int dir = use_tenant();
	cleanup_buf struct buf text = BUF_INIT;

	audit_note_changes(&acme, AUDIT_TENANT_UPDATED,
			   "{\"a\":1,\"b\":{\"c\":2,\"d\":3},\"e\":[1]}",
			   "{\"a\":1,\"b\":{\"c\":5,\"d\":3},\"f\":true}");
	read_log(dir, &text);
	CHECK(strstr(text.data, "\"detail\":\"e: [1] -> none, b.c: 2 -> 5, f: none -> true\""));
}

TEST(the_steps_act_in_the_name_of_who_asked)
{
	cleanup_fd int dir = use_tenant();
	struct audit_context c;

	(void)setenv("MVM_WHY", "reconcile", 1);
	(void)setenv("MVM_REQUEST_ID", "first", 1);
	audit_context_leave(dir, "o-00000001");
	(void)setenv("MVM_WHY", "policy", 1);
	(void)setenv("MVM_REQUEST_ID", "second", 1);
	audit_context_of(dir, "o-00000001", &c);
	CHECK_INT(c.why, AUDIT_RECONCILE);
	CHECK_STR(c.request_id, "first");
	audit_context_of(dir, "o-00000002", &c); // work of somebody else
	CHECK_INT(c.why, AUDIT_POLICY);
	CHECK_STR(c.request_id, "second");
	spoil(dir, AUDIT_ASKED_FILE, "x");
	audit_context_of(dir, "o-00000001", &c);
	CHECK_STR(c.request_id, "second");
}

TEST(behind_sudo_it_is_the_user)
{
	struct audit_context c;

	(void)setenv("SUDO_UID", "1", 1);
	audit_context_now(&c);
	CHECK_INT(c.who.uid, getuid() == 0 ? 1 : getuid());
	(void)setenv("SUDO_UID", "-1", 1);
	audit_context_now(&c);
	CHECK_INT(c.who.uid, getuid());
}

TEST(a_tenant_that_is_not_there_has_no_log)
{
	const struct audit_event event = { .at = { .tenant = "other" } };
	cleanup_files struct audit_files f = FILES_NONE;
	struct err e = { 0 };

	CHECK(close(use_tenant()) == 0);
	CHECK(audit_append(&event, &e) < 0);
	CHECK_INT(e.kind, ERR_MISSING);
	err_clear(&e);
	CHECK(files_open("other", &f, &e) < 0);
	CHECK_INT(e.kind, ERR_MISSING);
}

TEST(archives_are_told_apart_by_the_whole_name)
{
	static const char *const dirs[] = { "archive", "archive/a-20260101T000000.000Z",
					    "archive/a-1-20260101T000000.001Z",
					    "archive/a-20250101T000000.000Z", "archive/a-new" };
	cleanup_archives struct audit_archives a = ARCHIVES_NONE;
	cleanup_fd int dir = use_tenant();
	struct err e = { 0 };

	for (size_t i = 0; i < COUNT(dirs); i++) {
		path_text path;

		path_join(path, path_state(), dirs[i]);
		CHECK(fd_mkdirs(path, 0700, &e) == 0);
	}
	CHECK(archives_find("a", &a, &e) == 0);
	CHECK_INT(a.len, 2);
	CHECK_STR(a.names[0], "a-20250101T000000.000Z");
}
