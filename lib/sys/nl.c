// SPDX-License-Identifier: MIT
#include "sys/nl.h"

#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/proc.h"

#define BATCH_ROOM \
	65536 // that a socket has without asking, and what messages take beside their data
#define ANSWER_MS 10000 // answers are there when send returns; this only guards against a bug

void nl_free(struct nl *nl)
{
	if (!nl)
		return;
	if (nl->sock)
		(void)mnl_socket_close(nl->sock);
	free(nl);
}

void nl_freep(struct nl **nl)
{
	nl_free(*nl);
}

#define CALLER_CLOSES_US 2000 // if it should take longer, it waits itself; nothing else is lost

void nl_free_behind(struct nl **nl)
{
	if (fork() == 0) {
		proc_leave(mnl_socket_get_fd((*nl)->sock));
		(void)usleep(CALLER_CLOSES_US);
		_exit(0);
	}
	nl_free(*nl);
	*nl = NULL;
}

int nl_new(int bus, struct nl **ret, struct err *e)
{
	cleanup_nl struct nl *nl = base_alloc(1, sizeof(*nl));
	int on = 1;

	nl->sock = mnl_socket_open2(bus, SOCK_CLOEXEC);
	if (!nl->sock || mnl_socket_bind(nl->sock, 0, MNL_SOCKET_AUTOPID) < 0)
		return err_sys(e, "open netlink");
	// both are comfort: older kernels answer without
	(void)mnl_socket_setsockopt(nl->sock, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)mnl_socket_setsockopt(nl->sock, NETLINK_CAP_ACK, &on, sizeof(on));
	nl->port = mnl_socket_get_portid(nl->sock);
	nl->seq = 1;
	*ret = nl;
	nl = NULL;
	return 0;
}

static struct nlmsghdr *put(struct nl *nl, char *at, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *req = mnl_nlmsg_put_header(at);

	req->nlmsg_type = type;
	req->nlmsg_flags = NLM_F_REQUEST | flags;
	if ((flags & NLM_F_DUMP) != NLM_F_DUMP) // one of its bits is also NLM_F_EXCL
		req->nlmsg_flags |= NLM_F_ACK;
	req->nlmsg_seq = ++nl->seq;
	return req;
}

struct nlmsghdr *nl_begin(struct nl *nl, uint16_t type, uint16_t flags)
{
	nl->first = nl->seq + 1;
	return put(nl, nl->out, type, flags);
}

static size_t end_of(const struct nl *nl, const struct nlmsghdr *req)
{
	return (size_t)((const char *)req - nl->out) + MNL_ALIGN(req->nlmsg_len);
}

struct nlmsghdr *nl_more(struct nl *nl, const struct nlmsghdr *req, uint16_t type, uint16_t flags)
{
	return put(nl, nl->out + end_of(nl, req), type, flags);
}

// The kernel's own words behind an error message, NULL when it gave none.
static const char *kernel_says(const struct nlmsghdr *h)
{
	const struct nlmsgerr *report = mnl_nlmsg_get_payload(h);
	size_t at = sizeof(*h) + sizeof(*report);
	const struct nlattr *a;

	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (!(h->nlmsg_flags & NLM_F_CAPPED))
		at += MNL_ALIGN(report->msg.nlmsg_len) - sizeof(report->msg);
	for (a = (const struct nlattr *)(const void *)((const char *)h + at);
	     mnl_attr_ok(a, (int)((const char *)h + h->nlmsg_len - (const char *)a));
	     a = mnl_attr_next(a))
		if (mnl_attr_get_type(a) == NLMSGERR_ATTR_MSG &&
		    mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0)
			return mnl_attr_get_str(a);
	return NULL;
}

static int refusal(const struct nlmsghdr *h, struct err *e)
{
	const struct nlmsgerr *report = mnl_nlmsg_get_payload(h);
	const char *said;

	if (h->nlmsg_len < mnl_nlmsg_size(sizeof(*report)))
		return err_set(e, EPROTO, "netlink: a short answer");
	if (report->error == 0)
		return 0;
	said = kernel_says(h);
	errno = -report->error;
	if (said)
		(void)err_set(e, errno, "%s", said);
	else
		(void)err_sys(e, "netlink");
	if (e->no == EPERM)
		(void)err_hint(e, "run it as root, or with CAP_NET_ADMIN");
	return -e->no;
}

struct answers {
	unsigned first, last; // numbers that are ours
	unsigned missing;     // answers still to come
	bool torn;	      // a dump that changed under us
	struct err err;	      // the first refusal
	mnl_cb_t cb;
	void *data;
};

static void keep(struct answers *a, const struct err *why)
{
	if (!a->err.no)
		a->err = *why;
}

static void take_message(struct answers *a, const struct nlmsghdr *h)
{
	struct err why = { 0 };

	if (h->nlmsg_seq < a->first || h->nlmsg_seq > a->last)
		return; // a late answer of a talk that failed before
	a->torn |= (h->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
	if (h->nlmsg_type == NLMSG_ERROR) {
		a->missing--;
		if (refusal(h, &why) < 0)
			keep(a, &why);
	} else if (h->nlmsg_type == NLMSG_DONE) {
		const int *status = mnl_nlmsg_get_payload(h);

		a->missing--;
		if (h->nlmsg_len >= mnl_nlmsg_size(sizeof(*status)) && *status < 0) {
			(void)err_set(&why, -*status, "netlink: %s", strerror(-*status));
			keep(a, &why);
		}
	} else if (a->cb && a->cb(h, a->data) < 0) {
		(void)err_set(&why, EPROTO, "netlink: an answer is not understood");
		keep(a, &why);
	}
}

// A batch that is refused gets one error for each request or for its first message alone, so after
// a refusal nothing is waited for: what there is lies in the socket already.
static int receive(struct nl *nl, struct answers *a, struct err *e)
{
	struct pollfd p = { .fd = mnl_socket_get_fd(nl->sock), .events = POLLIN };

	while (a->missing > 0) {
		int ready = poll(&p, 1, a->err.no ? 0 : ANSWER_MS);
		ssize_t n;
		int left;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready == 0 && a->err.no)
			break;
		if (ready <= 0)
			return err_set(e, ready ? errno : ETIMEDOUT, "no answer from netlink");
		n = mnl_socket_recvfrom(nl->sock, nl->in, sizeof(nl->in));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "receive from netlink");
		left = (int)n;
		for (const struct nlmsghdr *h = (const void *)nl->in; mnl_nlmsg_ok(h, left);
		     h = mnl_nlmsg_next(h, &left))
			take_message(a, h);
	}
	if (a->err.no) {
		*e = a->err;
		return -e->no;
	}
	return a->torn ? err_set(e, EINTR, "netlink: the list changed while it was read") : 0;
}

int nl_talk(struct nl *nl, const struct nlmsghdr *last, mnl_cb_t cb, void *data, struct err *e)
{
	struct answers a = { .first = nl->first, .last = nl->seq, .cb = cb, .data = data };

	a.missing = a.last - a.first + 1;
	if (mnl_socket_sendto(nl->sock, nl->out, end_of(nl, last)) < 0)
		return err_sys(e, "send to netlink");
	return receive(nl, &a, e);
}

int nl_talk_batch(struct nl *nl, const void *data, size_t len, unsigned first, unsigned last,
		  struct err *e)
{
	struct answers a = { .first = first, .last = last, .missing = 1 };
	int room = (int)len + BATCH_ROOM;

	// one send or none; without the right to it the kernel says what is too long
	if (len > BATCH_ROOM)
		(void)setsockopt(mnl_socket_get_fd(nl->sock), SOL_SOCKET, SO_SNDBUFFORCE, &room,
				 sizeof(room));
	if (mnl_socket_sendto(nl->sock, data, len) < 0)
		return err_sys(e, "send to netlink");
	return receive(nl, &a, e);
}
