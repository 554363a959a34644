// SPDX-License-Identifier: MIT
// How a pool finds out whether what its guests run is well: the words "probes" of WELCOME, and what
// HEALTH answers of them.
#pragma once
#include "guest/proto.h"

enum guest_probe_kind { GUEST_PROBE_NONE, GUEST_PROBE_EXEC, GUEST_PROBE_HTTP };
struct guest_probe {
	int kind; // enum guest_probe_kind
	uint32_t interval_s, timeout_s;
	uint32_t failures; // so many one after the other make it unhealthy
	uint16_t port;	   // of http, on the guest's loopback
	char path[256];
	struct guest_words command; // of exec
};
void guest_probe_clear(struct guest_probe *p);
// As words: kind, interval, timeout, failures, then the command, or port and path.
int guest_probe_put(struct guest_words *out, const struct guest_probe *in,
		    struct err *e) MUST_CHECK;
// No words at all: none.
int guest_probe_get(const struct guest_words *in, struct guest_probe *out,
		    struct err *e) MUST_CHECK;
