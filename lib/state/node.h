// SPDX-License-Identifier: MIT
// The node: its identity (one UUID line in node-id, minted once under the node's lock).
#pragma once
#include "state/store.h"

typedef char node_id_text[37];

int node_id_load(node_id_text ret, struct err *e) MUST_CHECK; // ERR_MISSING when not minted yet
// Mints it when there is none. node: the node's store with its lock held, or NULL (takes the lock
// itself, waiting up to wait_ms, only when it has to mint).
int node_id_ensure(const struct store *node, int wait_ms, node_id_text ret,
		   struct err *e) MUST_CHECK;
