// SPDX-License-Identifier: MIT
// The rate of what is sent out of a link, towards the guest where the link is its TAP: a token
// bucket (sch_tbf) at the root of the link's queue. Needs CAP_NET_ADMIN.
//
// Any tbf at the root counts as the limit, whoever put it there; one that is made here has the
// handle 1:0. A limit goes away with its link.
#pragma once
#include "sys/changes.h"
#include "sys/nl.h"

#define QDISC_RATE_MAX 12500000000ULL // 100 Gbit/s: queue and burst still fit the kernel's 32 bits

// rate in bytes per second, up to QDISC_RATE_MAX; 0: no limit, the kernel's default queue is back.
// Whatever else is at the root gives way to a limit, and is left alone where none is wanted.
// -ENOENT: no such link; -EOPNOTSUPP: the kernel has no tbf.
int qdisc_rate_ensure(struct nl *nl, const char *link, uint64_t rate, struct changes *c,
		      struct err *e) MUST_CHECK;
// 0 when there is no limit.
int qdisc_rate_get(struct nl *nl, const char *link, uint64_t *ret_rate, struct err *e) MUST_CHECK;
