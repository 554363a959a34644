// SPDX-License-Identifier: MIT
#include "base/buf.h"
#include "base/err.h"

#include "tap.h"

TEST(every_kind_has_its_word_and_status)
{
	static const struct {
		enum err_kind kind;
		const char *code;
		int exit;
		bool retryable;
	} cases[] = {
		{ ERR_FAILED, "failed", 1, false },
		{ ERR_DAMAGED, "damaged", 1, false },
		{ ERR_USAGE, "usage", 2, false },
		{ ERR_STATE, "state", 3, false },
		{ ERR_MISSING, "missing", 4, false },
		{ ERR_CONFLICT, "conflict", 5, false },
		{ ERR_QUOTA, "quota", 6, false },
		{ ERR_DENIED, "denied", 7, false },
		{ ERR_UNAVAILABLE, "unavailable", 8, true },
		{ ERR_TIMEOUT, "timeout", 124, true },
		{ ERR_EXEC_LOST, "exec-lost", 125, false },
		{ ERR_EXEC_DENIED, "exec-denied", 126, false },
		{ ERR_EXEC_MISSING, "exec-missing", 127, false },
	};

	CHECK_INT(COUNT(cases), ERR_KINDS);
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct err_row *row = &err_kinds[cases[i].kind];
		struct err e = { 0 };

		CHECK_STR(row->code, cases[i].code);
		CHECK_INT(row->exit, cases[i].exit);
		CHECK_INT(row->retryable, cases[i].retryable);
		CHECK(row->doc && row->doc[0] && row->no > 0);
		CHECK_INT(err_kind(&e, cases[i].kind, "x"), -row->no);
		CHECK_INT(err_exit(&e), cases[i].exit);
	}
}

TEST(an_errno_tells_the_kind)
{
	static const struct {
		int no;
		enum err_kind kind;
	} cases[] = {
		{ EACCES, ERR_DENIED },	    { EPERM, ERR_DENIED },	{ EAGAIN, ERR_UNAVAILABLE },
		{ EBUSY, ERR_UNAVAILABLE }, { ETIMEDOUT, ERR_TIMEOUT }, { ENOENT, ERR_MISSING },
		{ EEXIST, ERR_CONFLICT },   { EBADMSG, ERR_DAMAGED },	{ ENOSPC, ERR_FAILED },
		{ EDQUOT, ERR_FAILED },	    { EINVAL, ERR_FAILED },	{ EIO, ERR_FAILED },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct err e = { 0 };

		CHECK_INT(err_set(&e, cases[i].no, "x"), -cases[i].no);
		CHECK_INT(e.kind, cases[i].kind);
		errno = cases[i].no;
		CHECK_INT(err_sys(&e, "x"), -cases[i].no);
		CHECK_INT(e.kind, cases[i].kind);
	}
}

TEST(wraps_are_read_from_outside_in)
{
	struct err e = { 0 };

	errno = ENOENT;
	CHECK_INT(err_sys(&e, "open %s", "tenant.json"), -ENOENT);
	CHECK_INT(err_wrap(&e, "tenant %s", "acme"), -ENOENT);
	CHECK_STR(e.msg, "tenant acme: open tenant.json: No such file or directory");
	(void)err_prefix(&e, "%s", "[3] ");
	CHECK_STR(e.msg, "[3] tenant acme: open tenant.json: No such file or directory");
	CHECK_INT(err_usage(&e, "expected one %s", "TENANT"), -EINVAL);
	CHECK_INT(e.kind, ERR_USAGE);
	CHECK_STR(e.msg, "expected one TENANT");
}

TEST(object_is_set_once_and_hint_replaced)
{
	struct err e = { 0 };

	(void)err_kind(&e, ERR_STATE, "not running");
	CHECK_INT(err_object(&e, "a/b"), -e.no);
	(void)err_object(&e, "c");
	CHECK_STR(e.object, "a/b");
	(void)err_hint(&e, "one");
	CHECK_INT(err_hint(&e, "two %d", 2), -e.no);
	CHECK_STR(e.hint, "two 2");
	e.exit = 77;
	CHECK_INT(err_exit(&e), 77);
	err_clear(&e);
	CHECK(e.no == 0 && !e.msg[0] && !e.object[0] && !e.hint[0]);
}

TEST(long_messages_are_cut_and_never_overflow)
{
	struct err e = { 0 };
	char big[2000];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	(void)err_set(&e, EIO, "%s", big);
	CHECK_INT(strlen(e.msg), sizeof(e.msg) - 1);
	(void)err_wrap(&e, "outer");
	CHECK_INT(strlen(e.msg), sizeof(e.msg) - 1);
	CHECK(str_starts(e.msg, "outer: xxx"));
	(void)err_wrap(&e, "%s", big);
	CHECK_INT(strlen(e.msg), sizeof(e.msg) - 1);
	errno = EIO;
	(void)err_sys(&e, "%s", big);
	(void)err_hint(&e, "%s", big);
	CHECK_INT(strlen(e.hint), sizeof(e.hint) - 1);
}

TEST(json_form_goes_there_and_back)
{
	cleanup_buf struct buf out = BUF_INIT;
	struct err e = { 0 }, back = { 0 };

	(void)err_kind(&e, ERR_QUOTA, "max_running: \"2\" is used\tup\nnow \xc3\xa9");
	(void)err_hint(&e, "raise it");
	(void)err_object(&e, "acme/web");
	err_to_json(&e, "R1", &out);
	CHECK_STR(out.data,
		  "{\"code\":\"quota\",\"exit\":6,\"message\":\"max_running: \\\"2\\\" is used?up?"
		  "now \xc3\xa9\",\"hint\":\"raise it\",\"object\":\"acme/web\","
		  "\"request_id\":\"R1\",\"retryable\":false}");
	CHECK(err_from_json(out.data, 6, &back));
	CHECK_INT(back.kind, ERR_QUOTA);
	CHECK_INT(back.no, EDQUOT);
	CHECK_INT(back.exit, 0);
	CHECK_STR(back.msg, "max_running: \"2\" is used?up?now \xc3\xa9");
	CHECK_STR(back.hint, "raise it");
	CHECK_STR(back.object, "acme/web");
	CHECK(err_from_json(out.data, 130, &back)); // a status of its own
	CHECK_INT(err_exit(&back), 130);
	buf_clear(&out);
	err_clear(&e);
	(void)err_kind(&e, ERR_FAILED, "x");
	err_to_json(&e, "", &out);
	CHECK_STR(out.data, "{\"code\":\"failed\",\"exit\":1,\"message\":\"x\",\"hint\":null,"
			    "\"object\":null,\"request_id\":null,\"retryable\":false}");
}

TEST(lines_that_are_no_error_object_are_refused)
{
	static const char *const bad[] = {
		"",
		"mvm-x: acme: no",
		"{",
		"{}",
		"{\"code\":\"frob\",\"message\":\"x\"}",
		"{\"code\":\"usage\",\"message\":\"x}",
		"{\"code\":\"usage\",\"message\":\"\\q\"}",
		"{\"code\":\"usage\",\"message\":\"\\u12\"}",
		"{\"code\":\"usage\" \"message\"}",
		"{\"code\":\"usage\",\"message\":[1]}",
	};
	struct err e = { .no = 7 };

	for (size_t i = 0; i < COUNT(bad); i++)
		CHECK(!err_from_json(bad[i], 1, &e));
	CHECK_INT(e.no, 7);
	CHECK(err_from_json("{\"code\":\"usage\",\"message\":\"\\u00e9\\u20ac\\n\",\"new\":12}", 2,
			    &e));
	CHECK_STR(e.msg, "\xc3\xa9\xe2\x82\xac\n");
}
