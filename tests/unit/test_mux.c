// SPDX-License-Identifier: MIT
// Two engines of the mux joined by a socketpair.
#include "mux_rig.h"

TEST(crc_is_that_of_zlib)
{
	CHECK(mux_crc32(0, "123456789", 9) == 0xcbf43926u);
	CHECK(mux_crc32(mux_crc32(0, "1234", 4), "56789", 5) == 0xcbf43926u);
}

TEST(both_ends_dial_and_talk)
{
	struct rig *r = rig_new(true);
	int a = dial_wait(r, &r->host, ECHO_PORT), b = dial_wait(r, &r->guest, ECHO_PORT);

	CHECK_INT(mux_count(r->host.m), 2);
	CHECK(says(r, a, r->guest.fds[0], "to the guest"));
	CHECK(says(r, r->guest.fds[0], a, "and back"));
	CHECK(says(r, b, r->host.fds[0], "to the host"));
	CHECK(says(r, r->host.fds[0], b, "and back too"));
	CHECK_INT(r->host.ups, 1);
	rig_free(r);
}

TEST(a_dial_to_a_port_that_nobody_serves_is_refused)
{
	struct rig *r = rig_new(true);
	struct answer a = { 0 };
	int fd = dial(&r->host, NOBODY, &a);

	UNTIL(r, a.refused);
	CHECK_INT(a.taken, 0);
	CHECK(at_end(fd));
	CHECK_INT(mux_count(r->host.m), 0);
	rig_free(r);
}

TEST(a_dial_before_there_is_a_session_is_told_to_try_again)
{
	struct rig *r = rig_new(false);
	struct answer a = { 0 };

	CHECK_INT(dial(&r->host, ECHO_PORT, &a), -EAGAIN);
	CHECK_INT(a.taken + a.refused, 0);
	rig_free(r);
}

TEST(two_hundred_connections_move_data_at_once)
{
	enum { N = 200, EACH = 300000 };
	struct rig *r = rig_new(true);
	size_t sent[N] = { 0 }, got[N] = { 0 }, done = 0;
	struct answer a = { 0 };
	uint8_t chunk[8192];
	int fd[N];

	for (int i = 0; i < N; i++)
		fd[i] = dial(&r->host, ECHO_PORT, &a);
	UNTIL(r, a.taken == N);
	for (int64_t until = clock_ms() + 60000; done < N && clock_ms() < until;) {
		for (int i = 0; i < N; i++) {
			size_t n = MIN(sizeof(chunk), EACH - sent[i]);

			for (size_t k = 0; k < n; k++)
				chunk[k] = (uint8_t)((sent[i] + k) * 7 + (size_t)i);
			ssize_t w = n ? write(fd[i], chunk, n) : 0;

			sent[i] += w > 0 ? (size_t)w : 0;
			n = take(r->guest.fds[i], chunk, sizeof(chunk));
			for (size_t k = 0; k < n; k++)
				if (chunk[k] != (uint8_t)((got[i] + k) * 7 + (size_t)i))
					tap_fail(__FILE__, __LINE__, "stream %d is wrong", i);
			got[i] += n;
			done += n && got[i] == EACH;
		}
		turn(r, 0);
	}
	CHECK_INT(done, N);
	CHECK_INT(r->host.downs, 0);
	rig_free(r);
}

TEST(a_reader_that_stalls_stops_its_own_stream_only)
{
	struct rig *r = rig_new(true);
	int slow = dial_wait(r, &r->host, DRAIN_PORT), quick = dial_wait(r, &r->host, ECHO_PORT);
	size_t sent = 0, got = 0, n;
	uint8_t chunk[4096] = { 1 };

	for (int i = 0; i < 400; i++) {
		ssize_t w = write(slow, chunk, sizeof(chunk));

		sent += w > 0 ? (size_t)w : 0;
		turn(r, 0);
	}
	// Stuck: what the kernel's two socket buffers and the window hold, and no more.
	CHECK(sent >= MUX_WINDOW && sent < 1200000);
	CHECK(says(r, quick, r->guest.fds[1], "still quick"));
	for (int64_t until = clock_ms() + 20000; got < sent && clock_ms() < until; turn(r, 0))
		while ((n = take(r->guest.fds[0], chunk, sizeof(chunk))) > 0)
			got += n;
	CHECK_INT(got, sent);
	rig_free(r);
}

TEST(one_direction_ends_and_the_other_goes_on)
{
	struct rig *r = rig_new(true);
	int fd = dial_wait(r, &r->host, ECHO_PORT);

	CHECK(says(r, fd, r->guest.fds[0], "request"));
	CHECK(shutdown(fd, SHUT_WR) == 0);
	UNTIL(r, at_end(r->guest.fds[0]));
	CHECK(says(r, r->guest.fds[0], fd, "answer after the end of the request"));
	CHECK(close(r->guest.fds[0]) == 0);
	UNTIL(r, at_end(fd));
	UNTIL(r, mux_count(r->host.m) == 0 && mux_count(r->guest.m) == 0);
	rig_free(r);
}

TEST(what_was_sent_before_a_close_still_arrives)
{
	struct rig *r = rig_new(true);
	int fd = dial_wait(r, &r->guest, ECHO_PORT);
	uint8_t chunk[65536] = { 0 };
	size_t sent = 0, got = 0, n;
	ssize_t w;

	while ((w = write(fd, chunk, sizeof(chunk))) > 0 || (sent < 400000 && errno == EAGAIN)) {
		sent += w > 0 ? (size_t)w : 0;
		turn(r, 0);
		if (sent > 300000)
			break;
	}
	CHECK(close(fd) == 0);
	turn(r, 50); // the close has reached the other end while bytes wait there
	for (int64_t until = clock_ms() + 20000; got < sent && clock_ms() < until; turn(r, 0))
		while ((n = take(r->host.fds[0], chunk, sizeof(chunk))) > 0)
			got += n;
	CHECK_INT(got, sent);
	UNTIL(r, at_end(r->host.fds[0]));
	UNTIL(r, mux_count(r->host.m) == 0 && mux_count(r->guest.m) == 0);
	rig_free(r);
}

TEST(a_closed_reader_resets_the_writer)
{
	struct rig *r = rig_new(true);
	int fd = dial_wait(r, &r->host, ECHO_PORT);
	struct pollfd p = { .fd = fd };

	CHECK(close(r->guest.fds[0]) == 0);
	UNTIL(r, poll(&p, 1, 0) == 1 && p.revents & POLLHUP);
	CHECK_INT(mux_count(r->host.m) + mux_count(r->guest.m), 0);
	rig_free(r);
}

TEST(a_caller_that_goes_away_before_the_answer_leaves_nothing)
{
	struct rig *r = rig_new(true);
	struct answer a = { 0 };
	int fd = dial(&r->host, ECHO_PORT, &a);

	CHECK(close(fd) == 0);
	UNTIL(r, a.taken + a.refused == 1);
	UNTIL(r, mux_count(r->host.m) == 0 && mux_count(r->guest.m) == 0);
	rig_free(r);
}

TEST(the_1024th_connection_is_refused)
{
	struct rig *r = rig_new(true);
	struct answer a = { 0 }, b = { 0 };
	int first = -1;

	for (unsigned i = 0; i < MUX_CONNS; i++) {
		int fd = dial(i % 2 ? &r->host : &r->guest, ECHO_PORT, &a);

		CHECK(fd >= 0);
		first = i ? first : fd;
	}
	UNTIL(r, a.taken == (int)MUX_CONNS);
	CHECK_INT(dial(&r->host, ECHO_PORT, &b), -ENOSPC);
	CHECK_INT(dial(&r->guest, ECHO_PORT, &b), -ENOSPC);
	CHECK(close(first) == 0);
	UNTIL(r, mux_count(r->host.m) == MUX_CONNS - 1 && mux_count(r->guest.m) == MUX_CONNS - 1);
	CHECK(dial(&r->host, ECHO_PORT, &b) >= 0);
	UNTIL(r, b.taken == 1);
	rig_free(r);
}

TEST(garbage_in_the_middle_costs_the_session_and_both_ends_find_a_new_one)
{
	struct rig *r = rig_new(true);
	int fd = dial_wait(r, &r->host, ECHO_PORT), fd2;

	// Bytes that the engines did not send, in both directions.
	CHECK(write(r->host.port, "garbage", 7) == 7);
	UNTIL(r, r->guest.downs == 1 && r->host.downs == 1);
	UNTIL(r, mux_is_up(r->host.m) && mux_is_up(r->guest.m));
	CHECK(at_end(fd));
	CHECK(write(r->guest.port, "garbage", 7) == 7);
	UNTIL(r, r->host.downs == 2);
	UNTIL(r, mux_is_up(r->host.m) && mux_is_up(r->guest.m));
	turn(r, 300); // no late hello ends it again
	CHECK(mux_is_up(r->host.m) && mux_is_up(r->guest.m));
	fd2 = dial_wait(r, &r->host, ECHO_PORT);
	CHECK(says(r, fd2, r->guest.fds[r->guest.dials - 1], "works"));
	rig_free(r);
}

TEST(a_restart_closes_every_connection_of_both_ends)
{
	struct rig *r = rig_new(true);
	struct answer a = { 0 };
	int fd = dial_wait(r, &r->host, ECHO_PORT), half = dial(&r->host, ECHO_PORT, &a);

	mux_restart(r->host.m);
	CHECK_INT(a.refused, 1);
	CHECK(at_end(fd) && at_end(half));
	CHECK_INT(mux_count(r->host.m), 0);
	UNTIL(r, mux_is_up(r->host.m) && r->guest.ups == 2);
	UNTIL(r, at_end(r->guest.fds[0]));
	CHECK_INT(mux_count(r->guest.m), 0);
	fd = dial_wait(r, &r->guest, ECHO_PORT);
	CHECK(says(r, fd, r->host.fds[r->host.dials - 1], "new session"));
	rig_free(r);
}

TEST(an_agent_that_was_restarted_gets_a_session_by_itself)
{
	struct rig *r = rig_new(true);
	int fd = dial_wait(r, &r->host, ECHO_PORT);

	mux_free(r->guest.m);
	end_new(r, &r->guest, r->guest.port, MUX_GUEST);
	UNTIL(r, r->guest.ups == 2 && mux_is_up(r->host.m));
	CHECK(at_end(fd));
	fd = dial_wait(r, &r->host, ECHO_PORT);
	CHECK(says(r, fd, r->guest.fds[r->guest.dials - 1], "again"));
	rig_free(r);
}

TEST(a_host_whose_port_is_gone_says_so_and_a_guest_waits_for_it)
{
	struct rig *r = rig_new(true);
	int fd = dial_wait(r, &r->host, ECHO_PORT);
	struct answer a = { 0 };

	CHECK(shutdown(r->guest.port, SHUT_RDWR) == 0);
	UNTIL(r, !mux_is_up(r->host.m));
	CHECK(at_end(fd));
	CHECK_INT(dial(&r->host, ECHO_PORT, &a), -EAGAIN);
	// The guest looks again now and then, but does not spin: this many turns take their time.
	int64_t start = clock_ms();

	for (int i = 0; i < 20; i++)
		turn(r, 0);
	CHECK(clock_ms() - start > 50);
	rig_free(r);
}
