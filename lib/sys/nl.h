// SPDX-License-Identifier: MIT
// A netlink socket through libmnl, with the kernel's own reason (extended ACK) in the message. The
// only header that includes libmnl; used by link and nft, so by mvm-bridge, and for the traffic of
// a link by mvm-instance.
#pragma once
#include "base/err.h"
#include <libmnl/libmnl.h>

struct nl {
	struct mnl_socket *sock;
	unsigned port;
	unsigned first, seq; // numbers of the first and the last request being built
	char out[8192];	     // the request being built
	char in[65536];	     // one datagram of answers
};
#define cleanup_nl cleanup(nl_freep)

int nl_new(int bus, struct nl **ret, struct err *e) MUST_CHECK; // NETLINK_ROUTE, NETLINK_NETFILTER
void nl_free(struct nl *nl);
void nl_freep(struct nl **nl);
// The same, with a child that waits in our stead: the last close of a netfilter socket lasts until
// the kernel has freed what was removed through it, which takes an RCU grace period or two
// (nf_tables, NETLINK_URELEASE). For tools, which end before it does.
void nl_free_behind(struct nl **nl);
// Starts a request in nl->out; NLM_F_REQUEST and a fresh number are added.
struct nlmsghdr *nl_begin(struct nl *nl, uint16_t type, uint16_t flags);
// Starts one more request behind req in nl->out, so that both go in one sendmsg: the kernel works
// on them without a kill in between.
struct nlmsghdr *nl_more(struct nl *nl, const struct nlmsghdr *req, uint16_t type, uint16_t flags);
// Sends nl->out up to the end of last and reads every answer: one ACK for each request (NLM_F_ACK
// is added), or a dump to its end; cb gets what is neither. The first refusal is the error, the
// rest is read all the same. -EINTR: a dump was not consistent, ask again.
int nl_talk(struct nl *nl, const struct nlmsghdr *last, mnl_cb_t cb, void *data,
	    struct err *e) MUST_CHECK;
// The same for requests built elsewhere (an nftables batch), numbered first to last; the last one
// asks for an ACK. What the kernel refuses is answered for each.
int nl_talk_batch(struct nl *nl, const void *data, size_t len, unsigned first, unsigned last,
		  struct err *e) MUST_CHECK;
