// SPDX-License-Identifier: MIT
// One engine of the mux against a peer that sends whatever bytes it likes.
#include "mux_rig.h"

static struct rig *rig_raw(enum mux_role role, int *ret_raw)
{
	struct rig *r = base_alloc(1, sizeof(*r));
	struct err e = { 0 };
	int fds[2];

	CHECK(loop_new(&r->l, &e) == 0);
	pair(fds);
	end_new(r, role == MUX_HOST ? &r->host : &r->guest, fds[0], role);
	*ret_raw = fds[1];
	return r;
}

static void raw_send(struct rig *r, int raw, uint32_t session, enum mux_type type, uint32_t conn,
		     const void *data, size_t len)
{
	struct buf b = BUF_INIT;

	mux_put_frame(&b, session, type, conn, data, len);
	CHECK(write(raw, b.data, b.len) == (ssize_t)b.len);
	buf_free(&b);
	turn(r, 0);
}

// Waits for a frame of that type, leaving others out; its payload goes to out.
static struct mux_frame raw_await(struct rig *r, int raw, enum mux_type type, uint8_t *out)
{
	static uint8_t bytes[MUX_RX_TEST];
	static size_t len;
	int64_t until = clock_ms() + 60000;

	while (clock_ms() < until) {
		struct mux_frame f = { 0 };
		size_t used = 0;
		bool junk;
		enum mux_scan what = mux_scan_frame(bytes, len, &f, &used, &junk);

		if (what == MUX_SCAN_FRAME && f.type == type)
			memcpy(out, f.data, MIN(f.len, 64));
		memmove(bytes, bytes + used, len - used);
		len -= used;
		if (what == MUX_SCAN_FRAME && f.type == type)
			return f;
		if (what == MUX_SCAN_FRAME)
			continue;
		turn(r, 0);
		len += take(raw, bytes + len, sizeof(bytes) - len);
	}
	tap_fail(__FILE__, __LINE__, "no frame of type %d", type);
	return (struct mux_frame){ 0 };
}

// A guest engine in session 5, the raw peer being its host.
static struct rig *guest_up(int *raw)
{
	struct rig *r = rig_raw(MUX_GUEST, raw);
	uint8_t out[64];

	raw_send(r, *raw, 5, MUX_HELLO, 0, "\5\0\0\0abcd", 8);
	do
		CHECK(raw_await(r, *raw, MUX_HELLO_ACK, out).len == 8);
	while (memcmp(out, "\5\0\0\0abcd", 8) != 0);
	CHECK(mux_is_up(r->guest.m));
	return r;
}

TEST(stale_bytes_before_the_hello_are_skipped)
{
	uint8_t port[4] = { ECHO_PORT }, out[64], stale[1000];
	int raw;
	struct rig *r = rig_raw(MUX_GUEST, &raw);
	struct buf old = BUF_INIT;

	// The tail of a frame, whole frames of an old session, and the beginning of a large frame.
	memset(stale, 0xee, sizeof(stale));
	mux_put_frame(&old, 77, MUX_DATA, 2, stale, sizeof(stale));
	mux_put_frame(&old, 77, MUX_OPEN, 4, port, sizeof(port));
	CHECK(write(raw, old.data + 500, old.len - 500) == (ssize_t)old.len - 500);
	CHECK(write(raw, old.data, 700) == 700);
	raw_send(r, raw, 9, MUX_HELLO, 0, "\11\0\0\0wxyz", 8);
	CHECK(!mux_is_up(r->guest.m)); // still waits for the rest of the old frame
	CHECK(write(raw, (uint8_t[MUX_HEAD + MUX_PAYLOAD]){ 0 }, MUX_HEAD + MUX_PAYLOAD) > 0);
	UNTIL(r, mux_is_up(r->guest.m));
	CHECK_INT(r->guest.dials, 0);
	(void)out;
	buf_free(&old);
	rig_free(r);
}

TEST(a_host_answers_to_the_acknowledgement_of_its_own_hello_only)
{
	uint8_t nonce[64] = { 0 };
	int raw;
	struct rig *r = rig_raw(MUX_HOST, &raw);
	struct mux_frame f = raw_await(r, raw, MUX_HELLO, nonce);

	raw_send(r, raw, f.session, MUX_HELLO_ACK, 0, "notours.", 8);
	nonce[7] ^= 1; // the session's number is only the first half of it
	raw_send(r, raw, f.session, MUX_HELLO_ACK, 0, nonce, 8);
	CHECK(!mux_is_up(r->host.m));
	raw_send(r, raw, 0, MUX_HELLO_ACK, 0, "\0\0\0\0\0\0\0\0", 8);
	raw_send(r, raw, f.session, MUX_OPEN, 1, "\7\0\0\0", 4);
	CHECK(!mux_is_up(r->host.m) && !r->host.dials);
	// It repeats itself for a guest that comes late.
	f = raw_await(r, raw, MUX_HELLO, nonce);
	raw_send(r, raw, f.session, MUX_HELLO_ACK, 0, nonce, 8);
	UNTIL(r, mux_is_up(r->host.m));
	raw_send(r, raw, f.session, MUX_OPEN, 1, "\7\0\0\0", 4);
	UNTIL(r, r->host.dials == 1);
	rig_free(r);
}

TEST(a_peer_over_the_limit_is_reset)
{
	uint8_t out[64];
	int raw;
	struct rig *r = guest_up(&raw);
	struct rlimit lim = { 16384, 16384 };

	(void)setrlimit(RLIMIT_NOFILE, &lim);
	for (uint32_t i = 0; i < MUX_CONNS; i++)
		raw_send(r, raw, 5, MUX_OPEN, 2 * i, "\7\0\0\0", 4);
	UNTIL(r, mux_count(r->guest.m) == MUX_CONNS);
	raw_send(r, raw, 5, MUX_OPEN, 5000, "\7\0\0\0", 4);
	CHECK_INT(raw_await(r, raw, MUX_RESET, out).conn, 5000);
	CHECK_INT(mux_count(r->guest.m), MUX_CONNS);
	rig_free(r);
}

// What a peer may not do costs it the session: every connection is closed.
static const struct {
	const char *what;
	enum mux_type type;
	uint32_t conn;
	const char *data;
	size_t len;
} wrong[] = {
	{ "a number of our own kind", MUX_OPEN, 3, "\7\0\0\0", 4 },
	{ "a number in use", MUX_OPEN, 2, "\7\0\0\0", 4 },
	{ "an open without a port", MUX_OPEN, 8, "\7", 1 },
	{ "an answer to no question", MUX_OPEN_OK, 2, "", 0 },
	{ "credit that was not owed", MUX_CREDIT, 2, "\1\0\0\0", 4 },
	{ "credit of no size", MUX_CREDIT, 2, "\1", 1 },
};

TEST(what_a_peer_may_not_do_ends_the_session)
{
	for (size_t i = 0; i < COUNT(wrong); i++) {
		int raw;
		struct rig *r = guest_up(&raw);

		raw_send(r, raw, 5, MUX_OPEN, 2, "\7\0\0\0", 4);
		UNTIL(r, r->guest.dials == 1);
		raw_send(r, raw, 5, wrong[i].type, wrong[i].conn, wrong[i].data, wrong[i].len);
		turn(r, 20);
		if (mux_is_up(r->guest.m) || mux_count(r->guest.m) || !at_end(r->guest.fds[0]))
			tap_fail(__FILE__, __LINE__, "%s is let through", wrong[i].what);
		CHECK_INT(r->guest.downs, 1);
		rig_free(r);
	}
}

TEST(a_peer_that_sends_beyond_the_window_ends_the_session)
{
	uint8_t data[MUX_PAYLOAD] = { 0 };
	int raw;
	struct rig *r = guest_up(&raw);

	raw_send(r, raw, 5, MUX_OPEN, 2, "\7\0\0\0", 4);
	// The application reads nothing, so its socket fills, then the window.
	for (int i = 0; i < 200 && mux_is_up(r->guest.m); i++)
		raw_send(r, raw, 5, MUX_DATA, 2, data, sizeof(data));
	CHECK(!mux_is_up(r->guest.m));
	rig_free(r);
}

TEST(a_corrupted_frame_ends_the_session_and_the_next_hello_starts_one)
{
	struct buf b = BUF_INIT;
	int raw;
	struct rig *r = guest_up(&raw);

	raw_send(r, raw, 5, MUX_OPEN, 2, "\7\0\0\0", 4);
	mux_put_frame(&b, 5, MUX_DATA, 2, "hello", 5);
	b.data[MUX_HEAD + 1] ^= 1;
	CHECK(write(raw, b.data, b.len) == (ssize_t)b.len);
	UNTIL(r, !mux_is_up(r->guest.m));
	CHECK(at_end(r->guest.fds[0])); // and not one byte of it
	raw_send(r, raw, 6, MUX_HELLO, 0, "\6\0\0\0abcd", 8);
	UNTIL(r, mux_is_up(r->guest.m));
	CHECK_INT(r->guest.ups, 2);
	buf_free(&b);
	rig_free(r);
}
