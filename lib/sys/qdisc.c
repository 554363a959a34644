// SPDX-License-Identifier: MIT
#include "sys/qdisc.h"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "sys/link.h"

#define KIND   "tbf"
#define HANDLE TC_H_MAKE(1 << 16, 0)

// The bucket holds 50 ms at the rate: tc-tbf(8) asks for the rate divided by HZ, which is 100 where
// it is coarsest, and we take five of these ticks. It never holds less than two of the largest
// packets that segmentation offload makes (64 KiB): what is larger than the bucket is cut into
// frames first, or dropped.
#define BURST_DIVISOR 20
#define BURST_MIN     (128 * KIB)
// The queue takes a bucketful and 200 ms at the rate, which is "latency 200ms" as tc counts it.
#define QUEUE_DIVISOR 5
#define TICK_NS	      64 // of struct tc_tbf_qopt's buffer: PSCHED_SHIFT 6 of net/pkt_sched.h

struct root {	  // what the kernel has at the root
	int link; // index
	bool there;
	char kind[16];
	uint32_t handle; // 0: the kernel's own default
	bool has_qopt;
	struct tc_tbf_qopt qopt;
	uint64_t rate64; // 0: qopt tells the rate
};

static uint32_t burst_of(uint64_t rate)
{
	return (uint32_t)MAX(rate / BURST_DIVISOR, BURST_MIN);
}

static uint32_t limit_of(uint64_t rate)
{
	return (uint32_t)MAX(rate / QUEUE_DIVISOR, BURST_MIN);
}

static int tbf_attr(const struct nlattr *a, void *arg)
{
	struct root *r = arg;

	if (mnl_attr_get_type(a) == TCA_TBF_PARMS &&
	    mnl_attr_get_payload_len(a) >= sizeof(r->qopt)) {
		memcpy(&r->qopt, mnl_attr_get_payload(a), sizeof(r->qopt));
		r->has_qopt = true;
	} else if (mnl_attr_get_type(a) == TCA_TBF_RATE64 &&
		   mnl_attr_validate(a, MNL_TYPE_U64) == 0) {
		r->rate64 = mnl_attr_get_u64(a);
	}
	return MNL_CB_OK;
}

static int root_attr(const struct nlattr *a, void *arg)
{
	struct root *r = arg;

	// the kernel puts the kind before its options
	if (mnl_attr_get_type(a) == TCA_KIND && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0)
		base_cut(r->kind, sizeof(r->kind), "%s", mnl_attr_get_str(a));
	else if (mnl_attr_get_type(a) == TCA_OPTIONS && str_eq(r->kind, KIND))
		return mnl_attr_parse_nested(a, tbf_attr, r);
	return MNL_CB_OK;
}

static int take_root(const struct nlmsghdr *h, void *arg)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(h);
	struct root *r = arg;

	if (h->nlmsg_type != RTM_NEWQDISC || h->nlmsg_len < mnl_nlmsg_size(sizeof(*tc)) ||
	    tc->tcm_ifindex != r->link || tc->tcm_parent != TC_H_ROOT)
		return MNL_CB_OK;
	r->there = true;
	r->handle = tc->tcm_handle;
	return mnl_attr_parse(h, sizeof(*tc), root_attr, r);
}

static void put_tcmsg(struct nlmsghdr *req, int link, uint32_t handle)
{
	struct tcmsg *tc = mnl_nlmsg_put_extra_header(req, sizeof(*tc));

	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = link;
	tc->tcm_handle = handle;
	tc->tcm_parent = TC_H_ROOT;
}

// One link is asked about: a dump lists those of the whole host. The kernel tells the answer to the
// listeners of its group, and with NLM_F_ECHO to who asked.
static int look(struct nl *nl, const char *name, struct root *ret, struct err *e)
{
	struct link_row row;
	struct nlmsghdr *req;
	struct root r = { 0 };

	if (link_get(nl, name, &row, e) < 0)
		return -e->no;
	r.link = row.index;
	req = nl_begin(nl, RTM_GETQDISC, NLM_F_ECHO);
	put_tcmsg(req, r.link, 0);
	if (nl_talk(nl, req, take_root, &r, e) < 0) {
		if (e->no != ENOENT)
			return err_wrap(e, "look at the queue of %s", name);
		err_clear(e); // a link that was never up may have none
	}
	*ret = r;
	return 0;
}

static bool is_limit(const struct root *r)
{
	return r->there && str_eq(r->kind, KIND) && r->has_qopt;
}

static uint64_t rate_of(const struct root *r)
{
	if (!is_limit(r))
		return 0;
	return r->rate64 ? r->rate64 : r->qopt.rate.rate;
}

// The kernel tells the bucket as the time it takes to fill, rounded on the way.
static bool is_as_asked(const struct root *r, uint64_t rate)
{
	double want = burst_of(rate), have = r->qopt.buffer * 1e-9 * TICK_NS * (double)rate;

	return rate_of(r) == rate && have > want * 0.99 && have < want * 1.01 &&
	       r->qopt.limit == limit_of(rate) && r->qopt.peakrate.rate == 0;
}

static void put_limit(struct nlmsghdr *req, uint64_t rate)
{
	struct tc_tbf_qopt qopt = {
		// the link layer is told, so the kernel counts by itself and wants no rate table
		.rate = { .linklayer = TC_LINKLAYER_ETHERNET,
			  .rate = (uint32_t)MIN(rate, UINT32_MAX) },
		.limit = limit_of(rate),
	};
	struct nlattr *options;

	mnl_attr_put_strz(req, TCA_KIND, KIND);
	options = mnl_attr_nest_start(req, TCA_OPTIONS);
	mnl_attr_put(req, TCA_TBF_PARMS, sizeof(qopt), &qopt);
	mnl_attr_put_u32(req, TCA_TBF_BURST, burst_of(rate));
	if (rate > UINT32_MAX)
		mnl_attr_put_u64(req, TCA_TBF_RATE64, rate);
	mnl_attr_nest_end(req, options);
}

// A queue of another kind or handle is taken away in the same sendmsg: the kernel does not change
// one kind into another under the same handle.
static int set_limit(struct nl *nl, const char *name, const struct root *r, uint64_t rate,
		     struct err *e)
{
	bool ours = is_limit(r) && r->handle == HANDLE;
	struct nlmsghdr *req = NULL;

	if (!ours && r->there && r->handle) {
		req = nl_begin(nl, RTM_DELQDISC, 0);
		put_tcmsg(req, r->link, 0);
	}
	req = req ? nl_more(nl, req, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE)
		  : nl_begin(nl, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
	put_tcmsg(req, r->link, HANDLE);
	put_limit(req, rate);
	if (nl_talk(nl, req, NULL, NULL, e) < 0) {
		struct err said = *e;

		if (said.no ==
		    ENOENT) { // its word for a kind it lacks; the link is not what is missing
			err_set(e, EOPNOTSUPP, "%s", said.msg);
			err_hint(e, "the kernel needs sch_tbf (CONFIG_NET_SCH_TBF)");
		}
		return err_wrap(e, "limit %s", name);
	}
	return 0;
}

static int drop_limit(struct nl *nl, const char *name, const struct root *r, struct err *e)
{
	struct nlmsghdr *req = nl_begin(nl, RTM_DELQDISC, 0);

	put_tcmsg(req, r->link, 0);
	if (nl_talk(nl, req, NULL, NULL, e) < 0 && e->no != ENOENT)
		return err_wrap(e, "take the limit off %s", name);
	err_clear(e);
	return 0;
}

int qdisc_rate_ensure(struct nl *nl, const char *link, uint64_t rate, struct changes *c,
		      struct err *e)
{
	struct root r = { 0 };

	if (rate > QDISC_RATE_MAX)
		return err_usage(e, "limit %s: %llu bytes per second are more than %llu", link,
				 (unsigned long long)rate, QDISC_RATE_MAX);
	if (look(nl, link, &r, e) < 0)
		return -e->no;
	if (rate ? is_as_asked(&r, rate) : !is_limit(&r))
		return 0;
	if (!rate)
		return changes_take(c, "take the limit off %s", link) ? drop_limit(nl, link, &r, e)
								      : 0;
	if (!changes_take(c, "limit %s to %llu bytes per second", link, (unsigned long long)rate))
		return 0;
	return set_limit(nl, link, &r, rate, e);
}

int qdisc_rate_get(struct nl *nl, const char *link, uint64_t *ret_rate, struct err *e)
{
	struct root r = { 0 };

	if (look(nl, link, &r, e) < 0)
		return -e->no;
	*ret_rate = rate_of(&r);
	return 0;
}
