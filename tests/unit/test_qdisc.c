// SPDX-License-Identifier: MIT
// Limits on a real link: each case has a network namespace of its own, with a veth pair whose end
// "near" is limited. Needs root.
#include "sys/qdisc.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/proc.h"
#include "tap.h"

#define ETHER_TEST 0x88B5 // for local experiments (IEEE 802)
#define FRAME	   1400

// Runs a program of words; its output, which the caller frees.
static char *words(const char *line)
{
	cleanup_proc_result struct proc_result r = { 0 };
	cleanup_free char *copy = base_strdup(line);
	const char *argv[32] = { NULL };
	char *rest = copy;
	struct err e = { 0 };
	size_t n = 0;

	for (char *w = strsep(&rest, " "); w && n < COUNT(argv) - 1; w = strsep(&rest, " "))
		argv[n++] = w;
	if (proc_capture(argv, NULL, 64 * KIB, 10000, &r, &e) < 0 || r.status != 0)
		tap_fail(__FILE__, __LINE__, "%s: %s%s", line, e.msg, r.last_line);
	return base_strdup(buf_text(&r.out));
}

static void run(const char *line)
{
	cleanup_free char *ignored = words(line);

	(void)ignored;
}

static bool shows(const char *line, const char *what)
{
	cleanup_free char *text = words(line);

	return strstr(text, what) != NULL;
}

static struct nl *world(void)
{
	struct nl *nl = NULL;
	struct err e = { 0 };

	if (unshare(CLONE_NEWNET) < 0 || nl_new(NETLINK_ROUTE, &nl, &e) < 0) {
		tap_fail(__FILE__, __LINE__, "a network namespace: %s %s", strerror(errno), e.msg);
		exit(1);
	}
	run("ip link add near type veth peer name far");
	run("ip link set near up");
	run("ip link set far up");
	return nl;
}

// The number of changes, or -1.
static int ensure(struct nl *nl, uint64_t rate, bool dry_run)
{
	cleanup_changes struct changes c = { .dry_run = dry_run };
	struct err e = { 0 };

	if (qdisc_rate_ensure(nl, "near", rate, &c, &e) == 0)
		return (int)c.done.len;
	tap_fail(__FILE__, __LINE__, "%s", e.msg);
	return -1;
}

static uint64_t rate_now(struct nl *nl)
{
	struct err e = { 0 };
	uint64_t rate = UINT64_MAX;

	CHECK(qdisc_rate_get(nl, "near", &rate, &e) == 0);
	CHECK_STR(e.msg, "");
	return rate;
}

static int packet_socket(const char *link)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ETHER_TEST),
				  .sll_ifindex = (int)if_nametoindex(link) };
	int big = 8 << 20, fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
	return fd;
}

// Bytes per second that arrive at the far end when as much is sent as the near one takes.
static double measure(int64_t ms)
{
	const int64_t start = clock_ms();
	cleanup_fd int from = packet_socket("near"), to = packet_socket("far");
	struct sockaddr_ll dst = { .sll_family = AF_PACKET,
				   .sll_protocol = htons(ETHER_TEST),
				   .sll_ifindex = (int)if_nametoindex("near"),
				   .sll_halen = 6,
				   .sll_addr = { 255, 255, 255, 255, 255, 255 } };
	char frame[FRAME] = { 0 };
	double bytes = 0;

	while (clock_ms() - start < ms) {
		for (int n = 0; n < 64; n++) // what the queue has no room for is dropped
			(void)sendto(from, frame, sizeof(frame), 0, (struct sockaddr *)&dst,
				     sizeof(dst));
		for (ssize_t n = 1; n > 0; bytes += n > 0 ? (double)n + ETHER_HDR_LEN : 0)
			n = recv(to, frame, sizeof(frame), 0);
		(void)usleep(500);
	}
	return bytes * 1000 / (double)(clock_ms() - start);
}

// In one of some such spans: in another this process may not have its turn.
static void passes(int64_t ms, double min, double max)
{
	double rate = 0;

	for (int i = 0; i < 10 && (rate < min || rate > max); i++)
		rate = measure(ms);
	if (rate < min || rate > max)
		tap_fail(__FILE__, __LINE__, "%.0f bytes per second", rate);
}

TEST(a_rate_is_set_once_changed_and_taken_off)
{
	cleanup_nl struct nl *nl = world();

	CHECK_INT(rate_now(nl), 0);
	CHECK_INT(ensure(nl, 0, false), 0);
	CHECK_INT(ensure(nl, 1000000, false), 1);
	CHECK_INT(rate_now(nl), 1000000);
	CHECK(shows("tc qdisc show dev near", "qdisc tbf 1: root"));
	CHECK(shows("tc qdisc show dev near", "rate 8Mbit burst 128Kb"));
	CHECK_INT(ensure(nl, 1000000, false), 0);
	CHECK_INT(ensure(nl, 2000000, false), 1);
	CHECK_INT(rate_now(nl), 2000000);
	CHECK_INT(ensure(nl, 0, false), 1);
	CHECK_INT(rate_now(nl), 0);
	CHECK(!shows("tc qdisc show dev near", "tbf"));
	CHECK_INT(ensure(nl, 0, false), 0);
}

TEST(every_rate_there_may_be_is_found_as_it_was_set)
{
	static const uint64_t rates[] = { 8000,		 8125,	     125000,
					  1000000,	 2621440,    12345678,
					  125000000,	 1250000000, UINT32_MAX - 1ULL,
					  UINT32_MAX,	 1ULL << 32, 5000000001,
					  QDISC_RATE_MAX };
	cleanup_nl struct nl *nl = world();

	for (size_t i = 0; i < COUNT(rates); i++) {
		CHECK_INT(ensure(nl, rates[i], false), 1);
		CHECK_INT(ensure(nl, rates[i], false), 0);
		CHECK_INT(rate_now(nl), rates[i]);
	}
}

TEST(what_is_sent_arrives_at_the_rate)
{
	cleanup_nl struct nl *nl = world();

	passes(300, 4e6, 1e12);
	CHECK_INT(ensure(nl, 1000000, false), 1); // 8 Mbit/s
	passes(2000, 0.7e6, 1.3e6);
	CHECK_INT(ensure(nl, 0, false), 1);
	passes(300, 4e6, 1e12);
}

TEST(a_plan_changes_nothing)
{
	cleanup_nl struct nl *nl = world();

	CHECK_INT(ensure(nl, 1000000, true), 1);
	CHECK_INT(rate_now(nl), 0);
	CHECK_INT(ensure(nl, 1000000, false), 1);
	CHECK_INT(ensure(nl, 0, true), 1);
	CHECK_INT(ensure(nl, 5000000, true), 1);
	CHECK_INT(rate_now(nl), 1000000);
}

TEST(queues_of_others_give_way_to_a_limit_and_to_nothing_else)
{
	static const char *const others[] = {
		"tc qdisc add dev near root pfifo",
		"tc qdisc add dev near root handle 1: pfifo limit 7",
		"tc qdisc add dev near root handle 2: htb",
	};
	cleanup_nl struct nl *nl = world();

	for (size_t i = 0; i < COUNT(others); i++) {
		run(others[i]);
		if (i == 2) { // a child has the handle that is wanted
			run("tc class add dev near parent 2: classid 2:1 htb rate 8mbit");
			run("tc qdisc add dev near parent 2:1 handle 1: pfifo");
		}
		CHECK_INT(rate_now(nl), 0);
		CHECK_INT(ensure(nl, 0, false), 0);
		CHECK(shows("tc qdisc show dev near", i == 2 ? "htb 2: root" : "pfifo"));
		CHECK_INT(ensure(nl, 1000000, false), 1);
		CHECK_INT(ensure(nl, 1000000, false), 0);
		CHECK_INT(rate_now(nl), 1000000);
		CHECK_INT(ensure(nl, 0, false), 1);
	}
}

TEST(a_limit_of_others_is_a_limit_and_is_made_as_asked)
{
	cleanup_nl struct nl *nl = world();

	run("tc qdisc add dev near root handle 9: tbf rate 8mbit burst 64kb latency 50ms");
	CHECK_INT(rate_now(nl), 1000000);
	CHECK_INT(ensure(nl, 1000000, false), 1); // another burst
	CHECK(shows("tc qdisc show dev near", "burst 128Kb"));
	CHECK_INT(ensure(nl, 1000000, false), 0);
	run("tc qdisc replace dev near root handle 1: tbf rate 8mbit burst 128kb latency 200ms "
	    "peakrate 9mbit mtu 2000");
	CHECK_INT(ensure(nl, 1000000, false), 1);
	CHECK(!shows("tc qdisc show dev near", "peakrate"));
	run("tc qdisc replace dev near root handle 9: tbf rate 3mbit burst 64kb latency 50ms");
	CHECK_INT(ensure(nl, 0, false), 1);
	CHECK_INT(rate_now(nl), 0);
}

TEST(a_limit_holds_on_a_link_that_is_down_and_when_it_comes_up)
{
	cleanup_nl struct nl *nl = world();

	run("ip link del near");
	run("ip tuntap add near mode tap");
	CHECK_INT(rate_now(nl), 0);
	CHECK_INT(ensure(nl, 0, false), 0);
	CHECK_INT(ensure(nl, 1000000, false), 1);
	run("ip link set near up");
	CHECK_INT(ensure(nl, 1000000, false), 0);
	run("ip link set near down");
	CHECK_INT(ensure(nl, 1000000, false), 0);
	CHECK_INT(ensure(nl, 0, false), 1);
	CHECK_INT(rate_now(nl), 0);
}

TEST(no_link_and_no_such_rate_are_told_and_change_nothing)
{
	cleanup_nl struct nl *nl = world();
	cleanup_changes struct changes c = CHANGES_INIT;
	struct err e = { 0 };
	uint64_t rate = 7;

	CHECK_INT(qdisc_rate_ensure(nl, "nowhere", 1000000, &c, &e), -ENOENT);
	CHECK_INT(qdisc_rate_get(nl, "nowhere", &rate, &e), -ENOENT);
	CHECK_INT(rate, 7);
	CHECK(qdisc_rate_ensure(nl, "near", QDISC_RATE_MAX + 1, &c, &e) < 0);
	CHECK_INT(e.kind, ERR_USAGE);
	CHECK(!changes_any(&c));
	CHECK_INT(rate_now(nl), 0);
}

TEST(without_the_right_to_a_link_it_is_denied_and_left_alone)
{
	cleanup_changes struct changes c = CHANGES_INIT;
	cleanup_nl struct nl *nl = world();
	struct err e = { 0 };

	// a user namespace of its own has no say over the network of its parent
	CHECK(unshare(CLONE_NEWUSER) == 0);
	CHECK(qdisc_rate_ensure(nl, "near", 1000000, &c, &e) < 0);
	CHECK_INT(e.kind, ERR_DENIED);
	CHECK_STR(e.msg, "limit near: netlink: Operation not permitted");
	CHECK_INT(rate_now(nl), 0);
}
