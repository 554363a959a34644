// SPDX-License-Identifier: MIT
// Rotation: the host has rewritten the drive for secrets or for configuration and says so by
// SECRETS_CHANGED or CONFIG_CHANGED, whose 32 bytes are the digest in its trailer (base/trailer).
// The guest reads the drive again and answers OK when what it found fits and is in its place; with
// ERROR it keeps what it has.
#pragma once
#include "guest/proto.h"

#define GUEST_DIGEST 32u

// Host. which: GUEST_DRIVE_SECRETS or _CONFIG.
struct guest_conn;
struct guest_told { // told together with a repair, of guest/host.h
	enum guest_drive which;
	uint8_t digest[GUEST_DIGEST];
	bool taken;
};
int guest_ask_drive(struct guest_conn *c, enum guest_drive which,
		    const uint8_t digest[GUEST_DIGEST], int64_t deadline_ms,
		    struct err *e) MUST_CHECK;

// Guest: puts what the drive holds in the place of what was read before. user owns secrets, as of
// the welcome. For mvm-guestd only.
int machine_drive_changed(enum guest_drive which, const char *user,
			  const uint8_t digest[GUEST_DIGEST], struct err *e) MUST_CHECK;
