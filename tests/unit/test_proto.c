// SPDX-License-Identifier: MIT
#include "guest/hook.h"
#include "guest/proto.h"

#include "tap.h"

typedef int (*try_fn)(const void *p, size_t len);

static int try_welcome(const void *p, size_t len)
{
	struct guest_welcome out;
	struct err e = { 0 };
	int r = guest_welcome_get(p, len, &out, &e);

	if (r == 0)
		guest_welcome_clear(&out);
	return r;
}

static int try_exec(const void *p, size_t len)
{
	struct guest_exec out;
	struct err e = { 0 };
	int r = guest_exec_get(p, len, &out, &e);

	if (r == 0)
		guest_exec_clear(&out);
	return r;
}

static int try_health(const void *p, size_t len)
{
	struct guest_health out;
	struct err e = { 0 };

	return guest_health_get(p, len, &out, &e);
}

// Every shorter payload is refused, and so is one byte more. Each is tried from a block of just its
// size, so that a sanitizer sees a read behind it.
static void refuse_other_lengths(const struct buf *b, try_fn try)
{
	CHECK(try(b->data, b->len) == 0);
	for (size_t n = 0; n <= b->len + 1; n++) {
		cleanup_free char *copy = base_alloc(n + 1, 1);

		memcpy(copy, b->data, MIN(n, b->len));
		if (n != b->len && try(copy, n) == 0)
			tap_fail(__FILE__, __LINE__, "%zu of %zu bytes were taken", n, b->len);
	}
}

static void words(struct guest_words *w, const char *a, const char *b)
{
	struct err e = { 0 };

	CHECK(guest_words_add(w, a, &e) == 0);
	CHECK(guest_words_add(w, b, &e) == 0);
}

TEST(welcome_comes_back_as_it_was)
{
	struct guest_welcome in = { .net = { .hostname = "i-0123abcd",
					     .address = 0x0af02a03,
					     .gateway = 0x0af02a01,
					     .dns = { 1, 2, 3 },
					     .prefix = 24,
					     .gateway_mac = { 2, 0xfc, 0, 42, 0, 1 },
					     .mtu = 1400 },
				    .time_us = 1795000000000000,
				    .cwd = "/srv",
				    .user = "app:web" };
	cleanup_buf struct buf b = BUF_INIT, again = BUF_INIT;
	struct guest_welcome out;
	struct err e = { 0 };

	memset(in.seed, 0xa5, sizeof(in.seed));
	words(&in.argv, "/bin/serve", "");
	words(&in.env, "A=1", "B=");
	guest_welcome_put(&b, &in);
	CHECK(guest_welcome_get(b.data, b.len, &out, &e) == 0);
	CHECK_STR(out.net.hostname, "i-0123abcd");
	CHECK_INT(out.net.gateway, 0x0af02a01);
	CHECK_INT(out.net.prefix, 24);
	CHECK_INT(out.time_us, 1795000000000000);
	CHECK_STR(guest_words_at(&out.argv, 0), "/bin/serve");
	CHECK_STR(guest_words_at(&out.argv, 1), "");
	CHECK(guest_words_at(&out.argv, 2) == NULL);
	CHECK_STR(out.user, "app:web");
	guest_welcome_put(&again, &out);
	CHECK(again.len == b.len && memcmp(again.data, b.data, b.len) == 0);
	refuse_other_lengths(&b, try_welcome);
	guest_welcome_clear(&in);
	guest_welcome_clear(&out);
}

TEST(a_welcome_that_would_write_into_files_is_refused)
{
	static const char *const bad[] = { "a b", "a\nnameserver 6.6.6.6", "a/b", "a\t" };

	for (size_t i = 0; i < COUNT(bad); i++) {
		struct guest_welcome in = { 0 };
		cleanup_buf struct buf b = BUF_INIT;

		CHECK(COPY(in.net.hostname, bad[i]) == 0);
		guest_welcome_put(&b, &in);
		CHECK(try_welcome(b.data, b.len) < 0);
	}
	struct guest_welcome in = { .net = { .prefix = 33 } };
	cleanup_buf struct buf b = BUF_INIT;

	guest_welcome_put(&b, &in);
	CHECK(try_welcome(b.data, b.len) < 0);
}

TEST(exec_comes_back_and_needs_a_command)
{
	struct guest_exec in = { .cwd = "/tmp", .user = "1000", .flags = GUEST_EXEC_NO_STDIN }, out;
	cleanup_buf struct buf b = BUF_INIT, empty = BUF_INIT;
	struct err e = { 0 };

	guest_exec_put(&empty, &in);
	CHECK(try_exec(empty.data, empty.len) < 0);
	words(&in.argv, "ls", "-l");
	guest_exec_put(&b, &in);
	CHECK(guest_exec_get(b.data, b.len, &out, &e) == 0);
	CHECK_INT(out.argv.count, 2);
	CHECK_INT(out.flags, GUEST_EXEC_NO_STDIN);
	CHECK_STR(out.cwd, "/tmp");
	refuse_other_lengths(&b, try_exec);
	guest_exec_clear(&in);
	guest_exec_clear(&out);
}

TEST(hook_has_a_hardware_address_only_for_a_template)
{
	struct guest_hook in = { .deadline_ms = 5, .mac = { 2, 0xfc, 0, 7, 0, 3 } }, out;
	cleanup_buf struct buf plain = BUF_INIT, with = BUF_INIT;
	struct err e = { 0 };

	guest_hook_put(&plain, &in);
	CHECK(guest_hook_get(plain.data, plain.len, &out, &e) == 0);
	CHECK_INT(out.mac[5], 0);
	in.flags = GUEST_HOOK_TEMPLATE;
	guest_hook_put(&with, &in);
	CHECK_INT(with.len, plain.len + sizeof(in.mac));
	CHECK(guest_hook_get(with.data, with.len, &out, &e) == 0);
	CHECK(memcmp(out.mac, in.mac, sizeof(in.mac)) == 0);
	CHECK(guest_hook_get(with.data, plain.len, &out, &e) < 0);
	err_clear(&e);
	in.flags = 4;
	with.len = 0;
	guest_hook_put(&with, &in);
	CHECK(guest_hook_get(with.data, with.len, &out, &e) < 0);
}

TEST(health_comes_back)
{
	struct guest_health in = { .mem_available_kib = 4,
				   .entry_state = GUEST_ENTRY_ENDED,
				   .entry_status = 0x8b,
				   .ready = true },
			    out;
	cleanup_buf struct buf b = BUF_INIT;
	struct err e = { 0 };

	guest_health_put(&b, &in);
	CHECK(guest_health_get(b.data, b.len, &out, &e) == 0);
	CHECK_INT(out.mem_available_kib, 4);
	CHECK_INT(out.entry_status, 0x8b);
	CHECK(out.ready);
	refuse_other_lengths(&b, try_health);
}

TEST(a_word_with_a_nul_is_refused)
{
	// exec: flags 0, one word of three bytes, no environment, no cwd, no user
	static const uint8_t in[] = { 0, 0, 0, 0, 1, 0, 3, 0, 0, 0, 'a', 0, 'b', 0, 0, 0, 0, 0, 0 };

	CHECK(try_exec(in, sizeof(in)) < 0);
}

TEST(lists_have_an_end)
{
	cleanup_free char *big = base_alloc(GUEST_WORDS_SIZE + 1, 1);
	struct guest_words w = GUEST_WORDS_INIT;
	struct err e = { 0 };

	for (unsigned i = 0; i < GUEST_WORDS; i++)
		CHECK(guest_words_add(&w, "x", &e) == 0);
	CHECK(guest_words_add(&w, "x", &e) < 0 && e.kind == ERR_USAGE);
	guest_words_clear(&w);
	memset(big, 'x', GUEST_WORDS_SIZE);
	CHECK(guest_words_add(&w, big, &e) < 0 && e.kind == ERR_USAGE);
	guest_words_clear(&w);
}

TEST(the_fullest_message_fits_into_a_frame)
{
	cleanup_free char *word = base_alloc(GUEST_WORDS_SIZE, 1);
	cleanup_buf struct buf b = BUF_INIT;
	struct guest_welcome in = { 0 };
	struct err e = { 0 };

	memset(word, 'x', GUEST_WORDS_SIZE - 4);
	CHECK(guest_words_add(&in.argv, word, &e) == 0);
	CHECK(guest_words_add(&in.env, word, &e) == 0);
	CHECK(guest_words_add(&in.probes, word, &e) == 0);
	memset(in.cwd, 'c', sizeof(in.cwd) - 1);
	memset(in.user, 'u', sizeof(in.user) - 1);
	memset(in.net.hostname, 'h', sizeof(in.net.hostname) - 1);
	guest_welcome_put(&b, &in);
	CHECK(b.len <= GUEST_FRAME_MAX);
	guest_welcome_clear(&in);
}

TEST(frame_heads_are_checked)
{
	static const struct {
		uint8_t bytes[GUEST_HEADER];
		bool good;
	} heads[] = {
		{ { 0, 0, 0, 0, GUEST_OK, 0, 0, 0 }, true },
		{ { 1, 0, 0, 0, GUEST_OK, 0, 0, 0 }, false },	   // OK has no payload
		{ { 0, 0x40, 0, 0, GUEST_DATA, 0, 1, 0 }, true },  // 16,384
		{ { 1, 0x40, 0, 0, GUEST_DATA, 0, 1, 0 }, false }, // one more
		{ { 0, 0, 0, 0, GUEST_DATA, 0, 3, 0 }, false },	   // no such stream
		{ { 0, 0, 0, 0, GUEST_DATA, 1, 1, 0 }, false },	   // reserved
		{ { 0, 0, 0, 0, 9, 0, 0, 0 }, false },
		{ { 0, 0, 0, 0, 255, 0, 0, 0 }, false },
		{ { 0xff, 0xff, 0xff, 0xff, GUEST_EXEC, 0, 0, 0 }, false },
	};

	for (size_t i = 0; i < COUNT(heads); i++) {
		struct guest_head h;
		struct err e = { 0 };

		if ((guest_head_get(heads[i].bytes, &h, &e) == 0) != heads[i].good)
			tap_fail(__FILE__, __LINE__, "head %zu", i);
	}
}

TEST(an_error_keeps_kind_errno_and_words)
{
	struct err in = { 0 }, out = { 0 };
	struct guest_error wire;
	cleanup_buf struct buf b = BUF_INIT;

	(void)err_kind(&in, ERR_EXEC_MISSING, "no-such: not found");
	guest_error_from(&in, &wire);
	guest_error_put(&b, &wire);
	CHECK(guest_error_get(b.data, b.len, &wire, &out) == 0);
	CHECK(guest_error_to(&wire, &out) == -in.no);
	CHECK_INT(out.kind, ERR_EXEC_MISSING);
	CHECK_STR(out.msg, "no-such: not found");
	wire.kind = 4000000000u; // of a hostile peer
	wire.no = 4000000000u;
	CHECK(guest_error_to(&wire, &out) < 0);
	CHECK_INT(out.kind, ERR_FAILED);
}

TEST(versions_are_agreed_on_or_refused)
{
	struct guest_hello future = { GUEST_VERSION + 1, GUEST_VERSION + 3, "x" };
	struct guest_hello wide = { 1, GUEST_VERSION + 3, "x" };
	struct err e = { 0 };
	uint16_t version = 0;

	CHECK(guest_hello_agree(&wide, &version, &e) == 0 && version == GUEST_VERSION);
	CHECK(guest_hello_agree(&future, &version, &e) < 0 && e.kind == ERR_CONFLICT);
}
