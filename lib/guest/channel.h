// SPDX-License-Identifier: MIT
// How the agent reaches its host: AF_VSOCK when the guest has such a device, else the virtio-serial
// port named "mvm.0" with base/mux over it. Both are looked for until one is there. The host's
// connections (port G) go to agent_take; after a cold boot the host is dialled (port R), again and
// again with growing pauses, until it has taken READY.
#pragma once
#include "guest/agent.h"

struct channel;
int channel_new(struct loop *l, struct agent *a, struct channel **ret, struct err *e) MUST_CHECK;
void channel_dial_ended(struct channel *k, bool taken); // agent_hooks.dial_ended
void channel_free(struct channel *k);
