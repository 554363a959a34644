// SPDX-License-Identifier: MIT
// The parts of net_deep: the places that packets go between (net_deep_rig.c), flows through IP
// stacks (net_deep_flow.c, net_deep_probe.c), frames past them (net_deep_frame.c). For net_deep*.c
// only.
#pragma once
#include <netinet/in.h>

#include "base/clock.h"
#include "life/net_deep.h"
#include "sys/link.h"
#include "sys/netns.h"

enum deep_place {
	AT_HOST,
	AT_GUEST,     // d1, from which most is tried
	AT_NEIGHBOUR, // d2
	AT_OTHER,     // d3, a guest of the other tenant
	AT_OUTSIDE,   // d0, beyond the host
	DEEP_PLACES
};
enum deep_target {
	TO_GUEST,
	TO_NEIGHBOUR,
	TO_GATEWAY,
	TO_HOST,       // its address on the link to the outside
	TO_PUBLIC,     // the outside
	TO_PRIVATE,    // an RFC 1918 address out there
	TO_LINK_LOCAL, // a metadata service's address out there
	TO_OTHER,
	TO_OTHER_GATEWAY,
	DEEP_TARGETS
};

struct deep_port {
	const struct net_deep_side *side; // whose rules; NULL: outside
	ifname_text name;		  // "" until the link is made
	int ns;				  // -1: this namespace
	int inner;			  // index of the link's other end, in there
	uint32_t ip;
	uint8_t mac[6];
	bool ruled;
};
struct deep_rig {
	const struct net_deep_args *a;
	struct nl *route;
	struct deep_port ports[DEEP_PLACES];
	struct {
		enum deep_place at;
		uint32_t ip;	     // 0: there is none
		const char *why_not; // then
	} targets[DEEP_TARGETS];
	int bridge, other_bridge; // indices
	bool forwarding;	  // of IPv4, by the host
};
#define cleanup_deep_rig cleanup(deep_rig_drop)
int deep_rig_make(const struct net_deep_args *a, struct deep_rig *rig, struct err *e) MUST_CHECK;
int deep_rig_end(struct deep_rig *rig, struct err *e) MUST_CHECK; // the first failure counts
void deep_rig_drop(struct deep_rig *rig);			  // the same, silently
static inline bool deep_has_other(const struct deep_rig *rig)
{
	return rig->a->other.net_id != 0;
}

// Chooses targets.ip of PUBLIC, HOST, PRIVATE and LINK_LOCAL.
int deep_choose(struct deep_rig *rig, struct err *e) MUST_CHECK;

// How long one that shall pass may take, of which the wait for the others is a part.
#define DEEP_PATIENCE_MS 2000
#define DEEP_LATE_MS	 20 // a wait that is so much longer than asked was no wait for packets

// What a wait of ms took beyond that, while this process had no turn: nothing was looked for then,
// so it does not count.
static inline int64_t deep_overslept(int64_t from, int64_t ms)
{
	const int64_t late = clock_ms() - from - ms;

	return late > DEEP_LATE_MS ? late : 0;
}

static inline int64_t deep_patience(const struct deep_rig *rig)
{
	return MIN((int64_t)rig->a->wait_ms * 5, DEEP_PATIENCE_MS);
}
int deep_nonce(uint64_t *ret, struct err *e) MUST_CHECK; // drawn by lot
// Both fill flows, in the order of their tables. Nothing of what a flow meets is an error.
int deep_flows(const struct deep_rig *rig, struct codec_list *flows, struct err *e) MUST_CHECK;
int deep_frames(const struct deep_rig *rig, struct codec_list *flows, struct err *e) MUST_CHECK;

// A flow through IP stacks (net_deep_flow.c), and how it went (net_deep_probe.c).
enum deep_kind { DEEP_ICMP, DEEP_UDP, DEEP_TCP };
struct deep_row {
	const char *name;
	enum deep_kind kind;
	enum deep_place from;
	enum deep_target to;
	bool pass, forwarded, nat;
	const char *twin; // of one that shall not pass
};
struct deep_probe {
	const struct deep_row *row;
	uint64_t nonce;
	uint16_t id; // of ICMP
	struct sockaddr_in to;
	int from_fd, at_fd, conn_fd; // who asks, who listens, what that one accepted
	bool started, said;	     // TCP: connect was called, the number is sent
	bool arrived, answered;
	uint32_t source; // as seen where it arrived
	int refused;	 // errno value
};
#define DEEP_PROBES_MAX 64
struct deep_probes {
	struct deep_probe items[DEEP_PROBES_MAX];
	size_t len;
};
#define cleanup_deep_probes cleanup(deep_probes_freep)
void deep_probes_freep(struct deep_probes **all);
// Makes the sockets; the listener is there from then on. A target without address is left out.
int deep_probe_add(const struct deep_rig *rig, struct deep_probes *all, const struct deep_row *row,
		   struct err *e) MUST_CHECK;
// Tries those that shall pass, or those that shall not, all at once.
void deep_probe_run(struct deep_probes *all, bool pass, int64_t wait_ms);
