// SPDX-License-Identifier: MIT
// What the halves of sys/link.h share.
#pragma once
#include "sys/link.h"

struct ifinfomsg;

// The header of a request about links, with the link's name where it is given.
struct ifinfomsg *link_put(struct nlmsghdr *req, const char *name);
int link_no_ipv6(const char *name, struct changes *c, struct err *e) MUST_CHECK;
int link_row_mtu(struct nl *nl, const struct link_row *row, uint32_t mtu, struct changes *c,
		 struct err *e) MUST_CHECK;
// Kind conflict unless ok: the link is there and is no `what`.
int link_kind_check(const struct link_row *row, bool ok, const char *what,
		    struct err *e) MUST_CHECK;
