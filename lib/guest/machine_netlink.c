// SPDX-License-Identifier: MIT
// The few rtnetlink requests of a guest, without a library: the agent is one small static binary.
#include "guest/machine.h"

#include <linux/netlink.h>
#include <sys/socket.h>

int netlink_send(struct nlmsghdr *req, struct err *e)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	cleanup_fd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	union {
		struct nlmsghdr head;
		char bytes[8192];
	} in;
	ssize_t n;

	req->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	if (fd < 0)
		return err_sys(e, "netlink");
	if (sendto(fd, req, req->nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return err_sys(e, "send to netlink");
	do {
		n = recv(fd, &in, sizeof(in), 0);
	} while (n < 0 && errno == EINTR);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || in.head.nlmsg_type != NLMSG_ERROR)
		return err_kind(e, ERR_FAILED, "netlink: no acknowledgement");
	const struct nlmsgerr *ack = NLMSG_DATA(&in.head);
	if (ack->error)
		return err_set(e, -ack->error, "%s", strerror(-ack->error));
	return 0;
}
